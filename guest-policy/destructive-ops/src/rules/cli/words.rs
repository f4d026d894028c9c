//! The words of a command line that may name an operation.

use super::verb::verb_of;
use crate::shell::Arg;

pub(super) fn plain(word: &str) -> bool {
    !word.is_empty() && word.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b':'))
}

/// How many leading words may name the operation.
pub(super) fn depth(program: &str) -> usize {
    match program {
        "aws" | "databricks" | "gh" | "glab" | "doctl" | "openstack" | "docker" | "podman" | "vault" | "firebase" => 3,
        "gcloud" | "az" | "ibmcloud" | "oci" | "aliyun" => 6,
        "kubectl" | "oc" | "k" | "helm" | "gsutil" | "rclone" | "s5cmd" | "mc" | "s3cmd" => 2,
        _ => 3,
    }
}

/// The words before and among the options, values of options left out where that can be told.
pub(super) fn words(argv: &[Arg]) -> Vec<&Arg> {
    const FLAGS: &[&str] = &[
        "-f",
        "--force",
        "-q",
        "--quiet",
        "-y",
        "--yes",
        "--all",
        "-a",
        "-A",
        "--recursive",
        "-r",
        "-R",
        "--debug",
        "-v",
        "--verbose",
        "--no-wait",
        "-D",
        "-m",
        "--auto-approve",
        "--json",
        "--purge",
        "--no-cli-pager",
        "--no-prompt",
        "-i",
        "--volumes",
        "--rmi",
        "-af",
        "-rf",
        "--no-verify-ssl",
        "--no-sign-request",
        "--no-paginate",
        "--ignore-not-found",
        "--now",
        "--cascade",
        "--skip-final-snapshot",
        "--interactive",
        "--no-input",
        "-d",
        "-t",
    ];
    let mut out = Vec::new();
    let mut at = 1;
    while let Some(arg) = argv.get(at) {
        let text = arg.text.as_str();
        at += 1;
        if text == "--" {
            break;
        }
        if !text.starts_with('-') || text == "-" {
            out.push(arg);
        } else if !text.contains('=')
            && !FLAGS.contains(&text)
            && text.starts_with('-')
            && argv.get(at).is_some_and(|next| !next.text.starts_with('-'))
        {
            // An option with a value, or a flag before a verb: a verb is never skipped.
            if verb_of(&argv[at].text).is_none() {
                at += 1;
            }
        }
    }
    out
}

/// A run that only shows what it would do.
pub(super) fn dry(argv: &[Arg]) -> bool {
    argv.iter().skip(1).any(|arg| {
        matches!(
            arg.text.as_str(),
            "--dry-run"
                | "-dry-run"
                | "--test"
                | "--dryrun"
                | "--dry-run=client"
                | "--dry-run=server"
                | "--dry-run=true"
                | "--what-if"
                | "--whatif"
                | "--generate-cli-skeleton"
                | "--just-print"
        )
    })
}
