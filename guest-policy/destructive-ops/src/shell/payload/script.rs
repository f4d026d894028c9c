//! Shells, and what they read as their script.

use super::{GapKind, Open, Stdin, Walker, base_name};
use crate::shell::word::Arg;
use crate::shell::wrappers;

pub(super) fn shell(walker: &mut Walker<'_>, name: &str, argv: Vec<Arg>, stdin: Stdin, open: Open) -> Option<String> {
    let mut at = 1;
    while let Some(arg) = argv.get(at) {
        let text = arg.text.as_str();
        let short = text.starts_with('-') && !text.starts_with("--");
        if short && text.contains('c') || text == "--command" || text == "--session-command" {
            return match argv.get(at + 1) {
                Some(script) if script.known => {
                    let arguments = argv.get(at + 3..).unwrap_or_default().iter().map(|arg| arg.text.clone()).collect();
                    walker.nested_with(&script.text, &format!("{name} -c"), arguments)
                }
                Some(script) => {
                    if let Some(inner) = embedded(&script.text) {
                        walker.nested(&inner, &format!("{name} -c"));
                    }
                    walker.gap(GapKind::UnseenScript, &script.text);
                    None
                }
                None => {
                    walker.gap(GapKind::UnseenScript, &format!("{name} -c"));
                    None
                }
            };
        }
        if let Some(script) = text.strip_prefix("--command=") {
            return walker.nested(script, &format!("{name} -c"));
        }
        if text == "-s" {
            break;
        }
        if matches!(text, "-o" | "+o" | "--rcfile" | "--init-file" | "-O") {
            at += 2;
        } else if short && text.len() > 1 || text.starts_with("--") || text == "-" {
            at += 1;
        } else {
            break;
        }
    }
    if matches!(name, "su" | "runuser") {
        let at = argv.iter().position(|arg| arg.text == "-c" || arg.text == "--command");
        if let Some(script) = at.and_then(|at| argv.get(at + 1)).filter(|script| script.known).map(|script| script.text.clone()) {
            return walker.nested(&script, "su -c");
        }
        return match (name, wrappers::unwrap(name, &argv)) {
            ("runuser", Some(inner)) => walker.execute(inner, stdin, open),
            _ => None,
        };
    }
    match argv.get(at) {
        Some(script) if script.text.starts_with("<(") => {
            let text = script.text.trim_start_matches("<(").to_owned();
            if script.known { walker.nested(&text, name) } else { unseen(walker, name, "a substitution") }
        }
        Some(script) if script.text == "/dev/stdin" || script.text == "-s" => script_from(walker, name, stdin),
        // A script file: what it does is the sandbox's matter.
        Some(_) => walker.plain(name, argv, stdin, open),
        None => script_from(walker, name, stdin),
    }
}

/// A shell that reads its script from standard input.
pub(super) fn script_from(walker: &mut Walker<'_>, name: &str, stdin: Stdin) -> Option<String> {
    match stdin {
        Stdin::Known(text) => walker.nested(&text, &format!("| {name}")),
        Stdin::From(program) => unseen(walker, name, &program),
        Stdin::Inherited => None,
    }
}

pub(super) fn unseen(walker: &mut Walker<'_>, name: &str, source: &str) -> Option<String> {
    let remote = matches!(base_name(source), "curl" | "wget" | "fetch" | "nc" | "ncat" | "aria2c" | "http" | "lwp-request");
    let kind = if remote { GapKind::RemoteScript } else { GapKind::UnseenScript };
    walker.gap(kind, &format!("{source} | {name}"));
    None
}

/// What of a partly unknown script is still worth reading: everything, with the unknown parts as they stand.
pub(super) fn embedded(script: &str) -> Option<String> {
    (!script.trim_start().starts_with('$')).then(|| script.to_owned())
}

pub(super) fn remote(walker: &mut Walker<'_>, name: &str, argv: Vec<Arg>, stdin: Stdin) -> Option<String> {
    const VALUED: &[&str] = &[
        "-p", "-l", "-i", "-o", "-F", "-J", "-L", "-R", "-D", "-b", "-c", "-e", "-E", "-I", "-m", "-O", "-Q", "-S", "-W", "-w",
        "-B", "-M",
    ];
    let mut at = 1;
    while let Some(arg) = argv.get(at) {
        if VALUED.contains(&arg.text.as_str()) {
            at += 2;
        } else if arg.text.starts_with('-') {
            at += 1;
        } else {
            break;
        }
    }
    for option in argv.iter().filter_map(|arg| arg.text.trim_start_matches("-o").split_once(['=', ' '])) {
        if matches!(
            option.0.to_ascii_lowercase().as_str(),
            "proxycommand" | "localcommand" | "knownhostscommand" | "remotecommand"
        ) {
            walker.nested(option.1, name);
        }
    }
    let command = argv.get(at + 1..).unwrap_or_default();
    let text = command.iter().filter(|arg| arg.text != "--").map(|arg| arg.text.as_str()).collect::<Vec<_>>().join(" ");
    if text.is_empty() {
        if let Stdin::Known(script) = stdin {
            return walker.nested(&script, name);
        }
        return walker.plain(name, argv, stdin, Open::No);
    }
    walker.nested(&text, name)
}
