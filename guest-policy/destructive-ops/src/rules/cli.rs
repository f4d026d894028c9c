//! Command lines of clouds and platforms, by rule: the operation's verb decides, whatever the service. New services and
//! tools are covered on the day they appear.

use super::{has, value};
use crate::hit::Hit;
use crate::shell::{Arg, Command};

/// Verbs after which a resource is gone.
const DELETE: &[&str] = &[
    "delete",
    "del",
    "rm",
    "remove",
    "destroy",
    "terminate",
    "purge",
    "drop",
    "erase",
    "wipe",
    "prune",
    "unpublish",
    "deregister",
    "rmi",
    "rb",
    "rmdir",
    "deprovision",
    "unregister",
    "undeploy",
    "nuke",
    "trash",
    "flush",
    "empty",
    "clear",
    "uninstall",
    "decommission",
    "evict",
    "expunge",
    "truncate",
    "teardown",
    "down",
    "disassociate",
    "unlink",
    "deletefile",
    "rmdirs",
    "cleanup",
    "unassign",
    "cancel",
    "abort",
    "discard",
    "detach",
    "unset",
    "forget",
];
/// Verbs that any program's first words may carry to be asked about.
const STRONG: &[&str] = &[
    "delete",
    "destroy",
    "purge",
    "terminate",
    "drop",
    "wipe",
    "erase",
    "nuke",
    "deprovision",
    "unpublish",
    "truncate",
    "undeploy",
];
/// Verbs that replace or reset what is there.
const REPLACE: &[&str] =
    &["reset", "restore", "rollback", "replace", "overwrite", "reimage", "failover", "revert", "reimport", "rebuild"];
/// Verbs after which something stops.
const STOP: &[&str] = &[
    "stop",
    "restart",
    "reboot",
    "disable",
    "kill",
    "pause",
    "suspend",
    "drain",
    "cordon",
    "shutdown",
    "scale",
    "deallocate",
    "halt",
    "hibernate",
];
/// Verbs that change who may do what, beside a word of access.
const GRANT: &[&str] = &[
    "grant",
    "revoke",
    "set",
    "put",
    "update",
    "attach",
    "detach",
    "add",
    "remove",
    "create",
    "authorize",
    "modify",
    "patch",
    "replace",
    "delete",
    "edit",
    "approve",
    "assign",
    "unassign",
    "change",
    "apply",
    "enable",
    "disable",
    "reset",
    "upload",
];
/// Words of access.
const ACCESS: &[&str] = &[
    "policy",
    "policies",
    "acl",
    "acls",
    "permission",
    "permissions",
    "grant",
    "grants",
    "iam",
    "access",
    "rolebinding",
    "rolebindings",
    "clusterrolebinding",
    "clusterrole",
    "privilege",
    "privileges",
    "ingress",
    "egress",
    "binding",
    "bindings",
    "membership",
    "collaborator",
    "collaborators",
    "visibility",
    "firewall",
];
/// Tools whose words are read as service, resource, operation.
const PLATFORMS: &[&str] = &[
    "aws",
    "gcloud",
    "gsutil",
    "az",
    "azcopy",
    "bq",
    "databricks",
    "dbx",
    "kubectl",
    "oc",
    "helm",
    "terraform",
    "tofu",
    "terragrunt",
    "pulumi",
    "cdk",
    "cdktf",
    "sam",
    "serverless",
    "sls",
    "eksctl",
    "gh",
    "glab",
    "hub",
    "docker",
    "podman",
    "nerdctl",
    "docker-compose",
    "podman-compose",
    "buildah",
    "crictl",
    "ctr",
    "heroku",
    "fly",
    "flyctl",
    "vercel",
    "netlify",
    "now",
    "doctl",
    "linode-cli",
    "hcloud",
    "ibmcloud",
    "oci",
    "aliyun",
    "tccli",
    "scw",
    "wrangler",
    "firebase",
    "supabase",
    "railway",
    "render",
    "vault",
    "consul",
    "nomad",
    "etcdctl",
    "minikube",
    "kind",
    "k3d",
    "k3s",
    "kops",
    "kubeadm",
    "velero",
    "argocd",
    "flux",
    "istioctl",
    "linkerd",
    "openstack",
    "vboxmanage",
    "VBoxManage",
    "virsh",
    "vagrant",
    "lxc",
    "incus",
    "multipass",
    "mc",
    "s3cmd",
    "s5cmd",
    "s4cmd",
    "rclone",
    "airflow",
    "prefect",
    "dagster",
    "dbt",
    "snow",
    "kafka-topics",
    "kafka-topics.sh",
    "kafka-consumer-groups",
    "rabbitmqctl",
    "rabbitmqadmin",
    "eb",
    "ecs-cli",
    "copilot",
    "amplify",
    "cf",
    "mlflow",
    "dvc",
    "restic",
    "borg",
    "duplicity",
    "gitlab-runner",
    "jira",
    "auth0",
    "okta",
    "stripe",
    "sfdx",
    "sf",
    "rails",
    "rake",
    "bin/rails",
    "artisan",
    "prisma",
    "alembic",
    "flyway",
    "liquibase",
    "sequelize",
    "knex",
    "django-admin",
    "wp",
    "drush",
    "ng",
    "ansible",
    "salt",
    "knife",
    "chef",
    "packer",
    "skaffold",
    "tilt",
    "nx",
    "pscale",
    "neonctl",
    "turso",
    "atlas",
    "ccloud",
    "confluent",
    "elastic",
    "newrelic",
    "dog",
    "op",
    "bw",
    "pass",
    "gopass",
    "gpg",
    "ssh-keygen",
    "ykman",
    "keytool",
    "certbot",
    "acme.sh",
    "aws-vault",
    "nmcli",
    "ip",
    "route",
    "multipass",
    "proxmox",
    "qm",
    "pct",
    "esxcli",
    "govc",
    "fleetctl",
    "kn",
    "tkn",
    "stern",
    "skopeo",
    "crane",
    "oras",
    "cosign",
    "nix-collect-garbage",
];

/// What a command does to a platform.
pub(crate) fn judge(command: &Command, hits: &mut Vec<Hit>) {
    let argv = &command.argv;
    let program = command.program();
    if let "curl" | "wget" | "http" | "https" | "httpie" | "xh" = program {
        http(command, hits);
        return;
    }
    if dry(argv) {
        return;
    }
    let words = words(argv);
    let texts: Vec<&str> = words.iter().map(|arg| arg.text.as_str()).collect();
    if let "terraform" | "tofu" | "terragrunt" | "pulumi" | "cdk" | "cdktf" = program {
        infrastructure(command, program, &texts, hits);
        return;
    }
    if special(command, program, &texts, hits) {
        return;
    }
    if PLATFORMS.contains(&program) {
        if rest_call(command, hits) {
            return;
        }
        let Some(operation) = words.iter().take(2).find(|arg| !arg.known && arg.text.starts_with('$')) else {
            verbs(command, program, &texts, hits);
            return;
        };
        hits.push(Hit {
            partial: true,
            ..Hit::of(command, "cloud.dynamic", "operation", &format!("{program} … {}", operation.text))
        });
    } else if !LOOKS.contains(&program) {
        let verb = texts
            .iter()
            .take(3)
            .enumerate()
            .find(|(_, word)| STRONG.iter().any(|strong| word.eq_ignore_ascii_case(strong) || verb_of(word) == Some(strong)));
        if let Some((at, _)) = verb.filter(|(at, _)| texts[..*at].iter().all(|word| plain(word))) {
            hits.push(Hit { partial: true, ..Hit::of(command, "cloud.delete", program, &texts[at..].join(" ")) });
        } else if program.len() > 6 && STRONG.iter().any(|strong| program.split(['-', '_']).next() == Some(strong)) {
            hits.push(Hit { partial: true, ..Hit::of(command, "cloud.delete", "object", &texts.join(" ")) });
        }
    }
}

/// Programs whose words are data.
const LOOKS: &[&str] = &[
    "echo",
    "printf",
    "grep",
    "egrep",
    "fgrep",
    "rg",
    "ag",
    "ack",
    "cat",
    "bat",
    "less",
    "more",
    "ls",
    "man",
    "info",
    "which",
    "type",
    "help",
    "tldr",
    "sed",
    "awk",
    "head",
    "tail",
    "vim",
    "vi",
    "nano",
    "code",
    "test",
    "[",
    "[[",
    "export",
    "declare",
    "local",
    "alias",
    "touch",
    "mkdir",
    "cd",
    "cp",
    "mv",
    "find",
    "pytest",
    "cargo",
    "go",
    "make",
    "jest",
    "tr",
    "cut",
    "sort",
    "diff",
    "jq",
    "yq",
    "logger",
    "say",
    "espeak",
    "notify-send",
    "python",
    "python3",
    "node",
    "ruby",
    "perl",
    "php",
    "psql",
    "mysql",
    "sqlite3",
    "git",
    "fd",
    "locate",
    "wc",
    "tee",
    "xdg-open",
    "open",
    "read",
    "expr",
    "figlet",
    "cowsay",
    "pandoc",
    "apropos",
    "whatis",
    "strings",
    "look",
    "dict",
    "trans",
    "npm",
    "yarn",
    "pnpm",
    "apt",
    "apt-get",
    "brew",
    "pip",
    "pip3",
    "crontab",
];

fn plain(word: &str) -> bool {
    !word.is_empty() && word.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b':'))
}

/// How many leading words may name the operation.
fn depth(program: &str) -> usize {
    match program {
        "aws" | "databricks" | "gh" | "glab" | "doctl" | "openstack" | "docker" | "podman" | "vault" | "firebase" => 3,
        "gcloud" | "az" | "ibmcloud" | "oci" | "aliyun" => 6,
        "kubectl" | "oc" | "helm" | "gsutil" | "rclone" | "s5cmd" | "mc" | "s3cmd" => 2,
        _ => 3,
    }
}

/// The words before and among the options, values of options left out where that can be told.
fn words(argv: &[Arg]) -> Vec<&Arg> {
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
fn dry(argv: &[Arg]) -> bool {
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

/// The verb at the head or tail of an operation: `delete-bucket`, `batch-delete-image`, `permanent-delete`.
fn verb_of(word: &str) -> Option<&'static str> {
    let mut parts = word.split(['-', '_', ':', '.']).filter(|part| !part.is_empty());
    let first = parts.next()?;
    let head =
        if matches!(first, "batch" | "bulk" | "force" | "permanent" | "permanently" | "admin" | "schedule" | "multi" | "begin") {
            parts.next()?
        } else {
            first
        };
    DELETE.iter().find(|verb| head.eq_ignore_ascii_case(verb)).copied()
}

fn verbs(command: &Command, program: &str, texts: &[&str], hits: &mut Vec<Hit>) {
    let considered = texts.len().min(depth(program));
    let operation = |list: &[&str]| {
        texts[..considered].iter().position(|word| {
            let word = word.to_ascii_lowercase();
            let mut parts = word.split(['-', '_', ':']);
            let first = parts.next().unwrap_or_default().to_owned();
            let second = parts.next().unwrap_or_default().to_owned();
            let head = if matches!(first.as_str(), "batch" | "bulk" | "force" | "permanent" | "admin" | "schedule") {
                second
            } else {
                first
            };
            // `sites:delete` names the object first.
            let tail = word.rsplit_once(':').map_or("", |(_, tail)| tail);
            // `disable-legacy-access get`: a hyphenated noun before a reading verb.
            list.contains(&head.as_str()) || list.contains(&word.as_str()) || list.contains(&tail)
        })
    };
    let target = |at: usize| {
        let named = texts.get(at + 1..).unwrap_or_default().join(" ");
        let option =
            || command.argv.iter().find(|arg| arg.text.starts_with("--") && arg.text.contains('=')).map(|arg| arg.text.clone());
        let following = || {
            command
                .argv
                .iter()
                .position(|arg| arg.text.ends_with("name") || arg.text.ends_with("-id") || arg.text == "--json")
                .and_then(|i| command.argv.get(i + 1))
                .map(|arg| arg.text.clone())
        };
        if named.is_empty() { following().or_else(option).unwrap_or_else(|| texts.join(" ")) } else { named }
    };
    let partial = command.argv.iter().any(|arg| !arg.known);
    let kind = || kind(program, texts);
    let mut hit = |code: &'static str, at: usize| hits.push(Hit { partial, ..Hit::of(command, code, &kind(), &target(at)) });
    let reads = texts[..considered]
        .windows(2)
        .any(|pair| pair[0].contains('-') && matches!(pair[1], "get" | "list" | "describe" | "show"));
    if reads {
        return;
    }
    let access = texts[..considered].iter().any(|word| {
        word.split(['-', '_', ':']).any(|part| ACCESS.contains(&part))
            || matches!(*word, "role" | "roles" | "put-acl" | "secret-acl")
    });
    let access = access
        || program == "aws" && texts.first() == Some(&"iam")
        || texts.windows(2).any(|pair| pair == ["role", "assignment"]);
    let grants = texts[..considered].iter().position(|word| word.split(['-', '_', ':']).any(|part| GRANT.contains(&part)));
    let delete = operation(DELETE).filter(|at| !(program == "aws" && texts[*at] == "rm" && *at == 0));
    match (delete, grants, access) {
        (_, Some(at), true) => hit("cloud.permission", at),
        (Some(at), _, _) if !mild(program, texts, at) => hit("cloud.delete", at),
        _ => {
            if let Some(at) = operation(REPLACE) {
                hit("cloud.overwrite", at);
            } else if let Some(at) = operation(STOP).or(delete) {
                hit("cloud.disrupt", at);
            } else if has(&command.argv, &["--full-refresh", "--accept-data-loss", "--force-reset"])
                || has(&command.argv, &["--delete"]) && operation(&["sync", "cp", "mirror", "copy", "rsync"]).is_some()
                || has(&command.argv, &["--overwrite"])
            {
                hit("cloud.overwrite", 0);
            }
        }
    }
}

/// Words that delete nothing worth asking about, although a verb of the list is in them.
fn mild(program: &str, texts: &[&str], at: usize) -> bool {
    match texts[at] {
        "down" => !matches!(
            program,
            "docker" | "docker-compose" | "podman-compose" | "alembic" | "flyway" | "knex" | "artisan" | "tilt"
        ),
        "unset" => texts.iter().any(|word| matches!(*word, "config" | "context")),
        "cancel" | "abort" | "detach" | "disassociate" | "unassign" | "forget" | "discard" => true,
        "clear" | "flush" | "empty" | "cleanup" => texts.iter().any(|word| word.contains("cache")) && at > 0,
        word if word.starts_with("cancel-") || word.starts_with("detach-") || word.starts_with("disassociate-") => true,
        _ => false,
    }
}

fn kind(program: &str, texts: &[&str]) -> String {
    match texts {
        [first, ..] if program == "kubectl" || program == "oc" => {
            texts.get(1).map_or(*first, |kind| kind.split('/').next().unwrap_or(kind)).to_owned()
        }
        [first, ..] if verb_of(first).is_none() && plain(first) => format!("{program} {first}"),
        _ => program.to_owned(),
    }
}

/// Tools with an operation that the rule of verbs can not read. True where nothing more is to be said.
fn special(command: &Command, program: &str, texts: &[&str], hits: &mut Vec<Hit>) -> bool {
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
        "kubectl" | "oc" => {
            if matches!(first, "exec" | "logs" | "get" | "describe" | "port-forward" | "cp" | "explain" | "top" | "run" | "debug")
            {
                return true;
            }
            if first == "replace" && has(argv, &["--force"]) {
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
                ["drop", "reset", "purge", "truncate", "rollback"]
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

fn infrastructure(command: &Command, program: &str, texts: &[&str], hits: &mut Vec<Hit>) {
    let argv = &command.argv;
    let first = texts.iter().find(|word| !matches!(**word, "run-all" | "run" | "stack")).copied().unwrap_or_default();
    let name =
        texts.get(1..).map(|rest| rest.join(" ")).filter(|name| !name.is_empty()).unwrap_or_else(|| "of this folder".to_owned());
    let flag = |flag: &str| {
        argv.iter().any(|arg| {
            arg.text.trim_start_matches('-') == flag.trim_start_matches('-')
                || arg.text.trim_start_matches('-').starts_with(&format!("{flag}="))
        })
    };
    if first == "destroy" || first == "apply" && flag("destroy") || first == "down" && program == "pulumi" {
        hits.push(Hit::of(command, "iac.destroy", "infrastructure", &name));
    } else if first == "state" && texts.iter().any(|word| matches!(*word, "rm" | "push" | "replace-provider" | "delete"))
        || first == "workspace" && texts.contains(&"delete")
        || first == "rm"
        || matches!(first, "taint" | "force-unlock" | "cancel")
    {
        hits.push(Hit::of(
            command,
            if first == "force-unlock" || first == "cancel" { "iac.apply" } else { "cloud.delete" },
            "state",
            &name,
        ));
    } else if matches!(first, "apply" | "up" | "deploy")
        && (flag("auto-approve") || flag("yes") || flag("-y") || flag("require-approval"))
    {
        hits.push(Hit::of(command, "iac.apply", "infrastructure", &name));
    }
}

/// `curl -X DELETE`, `http DELETE`, `wget --method=DELETE`.
fn http(command: &Command, hits: &mut Vec<Hit>) {
    let argv = &command.argv;
    let method = method(argv)
        .or_else(|| argv.get(1).map(|arg| arg.text.clone()).filter(|_| !matches!(command.program(), "curl" | "wget")));
    if method.is_some_and(|method| method.eq_ignore_ascii_case("DELETE")) {
        let url = argv
            .iter()
            .skip(1)
            .find(|arg| arg.text.contains("://") || arg.text.contains('/'))
            .map_or("", |arg| arg.text.as_str());
        hits.push(Hit::of(command, "http.delete", "url", url));
    } else if let Some(url) =
        argv.iter().skip(1).find(|arg| arg.text.starts_with("http") && has_data(argv) && url_verb(&arg.text))
    {
        // APIs that name the operation in the path: POST …/api/2.1/jobs/delete.
        hits.push(Hit::on(command, "http.delete", "url", url));
    }
}

fn has_data(argv: &[Arg]) -> bool {
    method(argv).is_some_and(|method| !method.eq_ignore_ascii_case("GET"))
        || argv.iter().any(|arg| matches!(arg.text.as_str(), "-d" | "--data" | "--json" | "--data-raw" | "--post-data" | "-F"))
}

fn url_verb(url: &str) -> bool {
    let path = url.split(['?', '#']).next().unwrap_or(url).trim_end_matches('/');
    path.rsplit('/').next().is_some_and(|last| verb_of(last).is_some() || last.starts_with("_delete"))
}

fn method(argv: &[Arg]) -> Option<String> {
    const OPTIONS: &[&str] = &["-X", "--request", "--method", "-method", "-m"];
    value(argv, OPTIONS)
        .map(|arg| arg.text.clone())
        .or_else(|| super::joined_value(argv, OPTIONS).map(str::to_owned))
        .or_else(|| argv.iter().find_map(|arg| arg.text.strip_prefix("-X").filter(|rest| !rest.is_empty()).map(str::to_owned)))
}

/// `gh api -X DELETE`, `databricks api delete`, `az rest --method delete`, `kubectl --raw`.
fn rest_call(command: &Command, hits: &mut Vec<Hit>) -> bool {
    let argv = &command.argv;
    let api = argv.get(1).is_some_and(|arg| matches!(arg.text.as_str(), "api" | "rest"));
    if api {
        let verb = method(argv).or_else(|| argv.get(2).map(|arg| arg.text.clone())).unwrap_or_default();
        let deletes = verb.eq_ignore_ascii_case("delete")
            || argv.iter().skip(2).any(|arg| arg.text.contains('/') && url_verb(&arg.text)) && !verb.eq_ignore_ascii_case("get")
            || argv.iter().any(|arg| arg.text.contains("mutation") && arg.text.to_ascii_lowercase().contains("delete"));
        let name = argv.iter().skip(2).find(|arg| arg.text.contains('/')).map_or("", |arg| arg.text.as_str()).to_owned();
        let access = name.split(['/', '-', '_', '?']).any(|part| ACCESS.contains(&part));
        if access && !verb.is_empty() && !verb.eq_ignore_ascii_case("get") && !verb.starts_with('/') {
            hits.push(Hit::of(command, "cloud.permission", "url", &name));
        } else if deletes {
            hits.push(Hit::of(command, "http.delete", "url", &name));
        }
    }
    api
}

/// The rule that a tool's name falls under: `delete_cluster`, `mcp__jobs__delete`, `clusters.permanentDelete`.
pub(crate) fn tool_verb(name: &str) -> Option<&'static str> {
    let mut spaced = String::with_capacity(name.len() + 4);
    for c in name.chars() {
        if c.is_uppercase() {
            spaced.push('_');
        }
        spaced.extend(c.to_lowercase());
    }
    let parts: Vec<&str> = spaced.split(|c: char| !c.is_alphanumeric()).filter(|part| !part.is_empty()).collect();
    let access = parts.iter().any(|part| ACCESS.contains(part));
    if access
        && parts.iter().any(|part| matches!(*part, "grant" | "revoke" | "set" | "put" | "update" | "add" | "remove" | "delete"))
    {
        return Some("cloud.permission");
    }
    parts.iter().any(|part| STRONG.contains(part) || matches!(*part, "remove" | "rm")).then_some("cloud.delete")
}
