//! Commands that run something else: shells, `eval`, wrappers, xargs, find, containers, remote shells, builtins that
//! change what later words mean. What they run is followed; the rest are leaves.

mod carrier;
mod many;
mod script;

use self::carrier::container;
use self::many::{find, parallel, words_as_text, xargs};
use self::script::{remote, script_from, shell};
use super::command::{GapKind, Open, Stdin, base_name};
use super::output::decode_base64;
use super::walk::Walker;
use super::word::Arg;

/// Follows a command. The answer is its output, where that is evident.
pub(crate) fn follow(walker: &mut Walker<'_>, name: &str, argv: Vec<Arg>, stdin: Stdin, open: Open) -> Option<String> {
    if let Some(text) = walker.aliases.get(name).cloned() {
        walker.aliases.remove(name);
        let rest: String = argv[1..].iter().map(|arg| format!(" {}", quoted(&arg.text))).collect();
        let output = walker.nested(&format!("{text}{rest}"), "alias");
        walker.aliases.insert(name.to_owned(), text);
        return output;
    }
    if let Some(output) = walker.call(name, &argv[1..], stdin.clone()) {
        return output;
    }
    match name {
        "sh" | "bash" | "dash" | "zsh" | "ksh" | "ash" | "fish" | "rbash" | "mksh" | "su" | "runuser" => {
            shell(walker, name, argv, stdin, open)
        }
        "eval" => {
            let text = argv[1..].iter().map(|arg| arg.text.as_str()).collect::<Vec<_>>().join(" ");
            if argv[1..].iter().all(|arg| arg.known) {
                walker.nested(&text, "eval")
            } else {
                // `eval "$(tool init)"` is how many tools set up a shell; what it runs was not in the text.
                walker.gap(GapKind::UnseenScript, &text);
                None
            }
        }
        "source" | "." => {
            if let Some(text) = argv.get(1).and_then(|arg| arg.text.strip_prefix("<(")) {
                if argv[1].known {
                    walker.nested(text, "source");
                } else {
                    walker.gap(GapKind::UnseenScript, "source <(…)");
                }
            } else if argv.get(1).is_some_and(|arg| arg.text == "/dev/stdin") {
                script_from(walker, "source", stdin);
            }
            None
        }
        "xargs" => xargs(walker, argv, stdin),
        "parallel" => parallel(walker, argv, stdin),
        "find" | "gfind" | "fd" | "fdfind" => find(walker, name, argv),
        "ssh" | "mosh" | "rsh" | "slogin" | "autossh" => remote(walker, name, argv, stdin),
        "watch" | "hyperfine" | "entr" | "nodemon" => words_as_text(walker, name, argv),
        "set" => {
            if let Some(at) = argv.iter().position(|arg| arg.text == "--") {
                let rest = &argv[at + 1..];
                let known = rest.iter().all(|arg| arg.known && !arg.glob);
                walker.set_positional(known.then(|| rest.iter().map(|arg| arg.text.clone()).collect()));
            }
            None
        }
        "export" | "declare" | "local" | "typeset" | "readonly" => {
            for arg in &argv[1..] {
                if let Some((variable, value)) = arg.text.split_once('=') {
                    walker.set(variable, arg.known.then(|| vec![value.to_owned()]));
                }
            }
            walker.plain(name, argv, stdin, open);
            Some(String::new())
        }
        "read" | "mapfile" | "readarray" => {
            read(walker, &argv, &stdin);
            Some(String::new())
        }
        "alias" => {
            for arg in &argv[1..] {
                if let Some((alias, text)) = arg.text.split_once('=') {
                    // It may be used in a later line of a live shell, so it counts where it is made.
                    let (alias, text) = (alias.to_owned(), text.to_owned());
                    walker.nested(&text, "alias");
                    walker.aliases.insert(alias, text);
                }
            }
            walker.plain(name, argv, stdin, open)
        }
        "trap" => {
            if let Some(text) = argv.get(1).filter(|arg| arg.known && arg.text.contains(' ')).map(|arg| arg.text.clone()) {
                walker.nested(&text, "trap");
            }
            None
        }
        "command" if argv.get(1).is_some_and(|arg| arg.text.starts_with("-v") || arg.text.starts_with("-V")) => None,
        "env" if argv.get(1).is_some_and(|arg| arg.text.starts_with("-S") || arg.text.starts_with("--split-string")) => {
            let text: Vec<&str> = argv[1..].iter().map(|arg| arg.text.as_str()).collect();
            let text = text.join(" ");
            let text = text.trim_start_matches("-S").trim_start_matches("--split-string").trim_start_matches('=').to_owned();
            walker.nested(&text, "env -S")
        }
        _ => container(walker, name, argv, stdin, open),
    }
}

fn read(walker: &mut Walker<'_>, argv: &[Arg], stdin: &Stdin) {
    let names: Vec<String> = argv[1..].iter().filter(|arg| !arg.text.starts_with('-')).map(|arg| arg.text.clone()).collect();
    let line = match stdin {
        Stdin::Known(text) => Some(text.trim_end_matches('\n').to_owned()),
        Stdin::Inherited | Stdin::From(_) => None,
    };
    match (names.as_slice(), line) {
        ([name], line) => walker.set(name, line.map(|line| vec![line])),
        (names, Some(line)) => {
            let mut rest = line.as_str();
            for (index, name) in names.iter().enumerate() {
                let (value, after) =
                    if index + 1 == names.len() { (rest, "") } else { rest.split_once(' ').unwrap_or((rest, "")) };
                walker.set(name, Some(vec![value.to_owned()]));
                rest = after;
            }
        }
        (names, None) => names.iter().for_each(|name| walker.set(name, None)),
    }
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}

/// A script in base64, as interpreters and PowerShell take it.
pub(crate) fn encoded(text: &str) -> Option<String> {
    decode_base64(text)
}
