//! Command lines of clouds and platforms, by rule: the operation's verb decides, whatever the service. New services and
//! tools are covered on the day they appear.

mod http;
mod infrastructure;
mod program;
mod special;
mod verb;
mod words;

use self::http::{http, rest_call};
use self::infrastructure::infrastructure;
use self::program::{LOOKS, PLATFORMS};
use self::special::special;
pub(crate) use self::verb::tool_verb;
use self::verb::{ACCESS, DELETE, GRANT, READS, REPLACE, STOP, STRONG, verb_of};
use self::words::{depth, dry, plain, words};
use super::has;
use crate::hit::Hit;
use crate::shell::Command;

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
        let before = hits.len();
        infrastructure(command, program, &texts, hits);
        // What is no matter of the infrastructure itself, such as `pulumi env rm`, falls to the rule of verbs.
        if hits.len() > before || program != "pulumi" {
            return;
        }
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
        || texts[..considered].iter().any(|word| role_change(word))
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
            } else if has(&command.argv, &["--delete"]) && operation(READS).is_none() {
                hit("cloud.delete", 0);
            } else if has(&command.argv, &["--full-refresh", "--accept-data-loss", "--force-reset"])
                || has(&command.argv, &["--overwrite"])
            {
                hit("cloud.overwrite", 0);
            }
        }
    }
}

/// `add-role-to-…`, `set-…-roles`: a role is given or taken; making or reading one changes nobody's access.
fn role_change(operation: &str) -> bool {
    let mut parts = operation.split('-');
    let gives = matches!(parts.next(), Some("add" | "set" | "put" | "attach" | "remove" | "associate" | "disassociate"));
    gives && parts.any(|part| matches!(part, "role" | "roles"))
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
