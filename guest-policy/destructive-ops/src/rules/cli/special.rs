//! Tools with an operation that the rule of verbs can not read.

use crate::hit::Hit;
use crate::rules::{has, value};
use crate::shell::Command;

/// Tools with an operation that the rule of verbs can not read. True where nothing more is to be said.
pub(super) fn special(command: &Command, program: &str, texts: &[&str], hits: &mut Vec<Hit>) -> bool {
    let argv = &command.argv;
    let first = texts.first().copied().unwrap_or_default();
    let mut hit = |code: &'static str, kind: &str, name: &str| {
        hits.push(Hit::of(command, code, kind, name));
        true
    };
    match program {
        "rclone" | "s5cmd" | "mc"
            if matches!(first, "sync" | "move" | "mirror") && (first == "sync" || has(argv, &["--remove", "--delete"])) =>
        {
            hit("shell.sync-delete", "folder", texts.last().copied().unwrap_or_default())
        }
        "aws" if first == "s3" && has(argv, &["--delete"]) => {
            hit("shell.sync-delete", "bucket", texts.last().copied().unwrap_or_default())
        }
        "aws" if matches!(texts.get(1), Some(&("rm" | "rb"))) => {
            hit("cloud.delete", "bucket", texts.last().copied().unwrap_or_default())
        }
        "gsutil" if texts.contains(&"rsync") && has(argv, &["-d"]) => {
            hit("shell.sync-delete", "bucket", texts.last().copied().unwrap_or_default())
        }
        "gsutil" if matches!(first, "iam" | "acl" | "defacl") && matches!(texts.get(1), Some(&("set" | "ch"))) => {
            hit("cloud.permission", "bucket", texts.last().copied().unwrap_or_default())
        }
        "docker" | "podman" | "nerdctl"
            if matches!(first, "run" | "exec" | "build" | "pull" | "push" | "logs" | "cp" | "inspect") =>
        {
            true
        }
        "docker" | "podman" | "nerdctl" | "docker-compose" | "podman-compose" if texts.contains(&"down") => {
            if has(argv, &["-v", "--volumes", "--rmi"]) {
                hit("cloud.delete", "container", "the project's volumes")
            } else {
                hit("cloud.disrupt", "container", "the project")
            }
        }
        "kubectl" | "oc" | "k" => {
            if matches!(first, "exec" | "logs" | "get" | "describe" | "port-forward" | "cp" | "explain" | "top" | "run" | "debug")
            {
                return true;
            }
            // With --force, what is there is deleted and made anew.
            if matches!(first, "replace" | "apply") && has(argv, &["--force"]) {
                return hit("cloud.delete", "resource", &texts[1..].join(" "));
            }
            if first == "apply" && has(argv, &["--prune"]) {
                return hit("cloud.delete", "resource", "what the manifests lack");
            }
            if first == "scale" && argv.iter().any(|arg| arg.text == "--replicas=0") {
                return hit("cloud.disrupt", "workload", &texts[1..].join(" "));
            }
            if first == "drain" {
                return hit("cloud.disrupt", "node", &texts[1..].join(" "));
            }
            if first == "create" && texts.get(1).is_some_and(|word| word.contains("role"))
                || first == "certificate" && texts.get(1) == Some(&"approve")
                || first == "adm"
                || first == "auth" && texts.get(1) == Some(&"reconcile")
            {
                return hit("cloud.permission", "role", &texts[1..].join(" "));
            }
            false
        }
        "helm" if matches!(first, "upgrade") && has(argv, &["--reset-values"]) => {
            hit("cloud.overwrite", "release", texts.get(1).copied().unwrap_or_default())
        }
        "gh" if first == "repo" && texts.get(1) == Some(&"edit") && has(argv, &["--visibility"]) => {
            hit("cloud.permission", "repository", texts.get(2).copied().unwrap_or_default())
        }
        "databricks" if texts.get(..2) == Some(&["fs", "rm"]) => {
            hit("cloud.delete", "file", texts.get(2).copied().unwrap_or_default())
        }
        "nix-collect-garbage" => hit("shell.package", "package", "old generations"),
        "ip" | "route" | "nmcli" => {
            if let Some(at) = texts.iter().position(|word| matches!(*word, "del" | "delete" | "flush" | "down")) {
                return hit("shell.firewall", "network", &texts[at..].join(" "));
            }
            true
        }
        "gpg" | "gpg2" if argv.iter().any(|arg| arg.text.starts_with("--delete")) => {
            hit("shell.rm", "key", texts.last().copied().unwrap_or_default())
        }
        "ssh-keygen" => {
            if has(argv, &["-R"]) {
                hit("shell.overwrite", "file", "known_hosts");
            }
            true
        }
        "ssh-add" if has(argv, &["-D", "-d"]) => hit("shell.process", "key", "keys of the agent"),
        "qm" | "pct" | "virsh" if matches!(first, "destroy" | "undefine" | "vol-delete" | "pool-delete" | "snapshot-delete") => {
            hit("cloud.delete", "machine", &texts[1..].join(" "))
        }
        "rails" | "rake" | "bin/rails" => {
            if let Some(task) = texts.iter().find(|word| {
                ["drop", "reset", "purge", "truncate", "rollback", "destroy"]
                    .iter()
                    .any(|verb| word.split(':').any(|part| part.starts_with(verb)))
            }) {
                return hit("sql.drop", "database", task);
            }
            true
        }
        "artisan" | "php"
            if texts.iter().any(|word| {
                matches!(*word, "migrate:fresh" | "migrate:reset" | "migrate:refresh" | "db:wipe" | "migrate:rollback")
            }) =>
        {
            hit("sql.drop", "database", "the application's database")
        }
        "kafka-topics"
        | "kafka-topics.sh"
        | "kafka-consumer-groups"
        | "kafka-consumer-groups.sh"
        | "kafka-delete-records"
        | "kafka-delete-records.sh"
            if has(argv, &["--delete", "--delete-offsets"]) || program.contains("delete") =>
        {
            hit("cloud.delete", "topic", value(argv, &["--topic", "--group"]).map_or("", |arg| arg.text.as_str()))
        }
        "manage.py" | "django-admin" if matches!(first, "flush" | "reset_db" | "sqlflush") => {
            hit("sql.drop", "database", "the application's database")
        }
        "python" | "python3"
            if texts.iter().any(|word| word.ends_with("manage.py"))
                && texts.iter().any(|word| matches!(*word, "flush" | "reset_db")) =>
        {
            hit("sql.drop", "database", "the application's database")
        }
        _ => false,
    }
}
