//! From one command to its effects. Each file knows one family of programs; unknown programs fall to the rule of verbs.

mod cli;
mod code;
mod files;
mod stores;
mod system;
mod vcs;

use crate::hit::Hit;
use crate::shell::{Arg, Command, Gap, GapKind, RedirectKind, Stdin, Walk};

/// The effects of everything that a text would run.
pub(crate) fn judge(walk: &Walk) -> Vec<Hit> {
    let mut hits = Vec::new();
    if let Some(span) = walk.fork_bomb {
        hits.push(Hit { span, ..Hit::new("shell.fork-bomb", "machine", "the machine") });
    }
    for command in &walk.commands {
        command_effects(command, &mut hits);
    }
    hits.extend(walk.gaps.iter().map(gap));
    hits
}

fn command_effects(command: &Command, hits: &mut Vec<Hit>) {
    for redirect in &command.redirects {
        let code = match redirect.kind {
            RedirectKind::Empty => "shell.truncate",
            RedirectKind::Write => "shell.overwrite",
            RedirectKind::Append => "shell.append",
        };
        files::written(command, &redirect.target, code, hits);
    }
    if command.argv.is_empty() || only_asks(command) {
        return;
    }
    let before = hits.len();
    files::judge(command, hits);
    system::judge(command, hits);
    vcs::judge(command, hits);
    stores::judge(command, hits);
    code::judge(command, hits);
    if hits.len() == before {
        cli::judge(command, hits);
    }
}

/// `tool --help`, `tool --version`, `tool help delete`: nothing happens.
fn only_asks(command: &Command) -> bool {
    let words = &command.argv[1..];
    let last = words.last().map_or("", |arg| arg.text.as_str());
    words.first().is_some_and(|arg| matches!(arg.text.as_str(), "--help" | "--version" | "help"))
        || last == "/?"
            && matches!(command.program(), "wine" | "reg" | "net" | "sc" | "taskkill" | "wevtutil" | "vssadmin" | "cmd")
        || words.len() < 4 && last == "-h" && !matches!(command.program(), "rm" | "shutdown" | "chown" | "chmod")
        || matches!(last, "--help" | "help") && words.len() < 8 && command.program() != "rm"
}

fn gap(gap: &Gap) -> Hit {
    let code = match gap.kind {
        GapKind::Unparsed => "shell.unparsed",
        GapKind::TooLong => "shell.too-long",
        GapKind::TooDeep => "shell.too-deep",
        GapKind::DynamicProgram => "shell.dynamic-program",
        GapKind::UnseenScript => "shell.unseen-script",
        GapKind::RemoteScript => "shell.remote-script",
    };
    let partial = gap.kind != GapKind::RemoteScript;
    Hit { span: gap.span, partial, ..Hit::new(code, "command", &gap.what) }
}

/// The words of a command that are not options. `valued` are the options that take the next word.
pub(crate) fn operands<'c>(argv: &'c [Arg], valued: &[&str]) -> Vec<&'c Arg> {
    let mut out = Vec::new();
    let mut at = 1;
    let mut only_operands = false;
    while let Some(arg) = argv.get(at) {
        let text = arg.text.as_str();
        at += 1;
        if only_operands || !text.starts_with('-') || text == "-" {
            out.push(arg);
        } else if text == "--" {
            only_operands = true;
        } else if valued.contains(&text) {
            at += 1;
        }
    }
    out
}

/// Whether an option is there: long ones with or without a value, short ones also in a bundle.
pub(crate) fn has(argv: &[Arg], options: &[&str]) -> bool {
    argv.iter().skip(1).map(|arg| arg.text.as_str()).take_while(|text| *text != "--").any(|text| {
        options.iter().any(|option| {
            let long = option.starts_with("--") || option.len() != 2;
            if long {
                text == *option || text.strip_prefix(option).is_some_and(|rest| rest.starts_with('='))
            } else {
                text.starts_with('-') && !text.starts_with("--") && text.contains(&option[1..])
            }
        })
    })
}

/// The value of an option: `-o V`, `--option V`, `--option=V`.
pub(crate) fn value<'c>(argv: &'c [Arg], options: &[&str]) -> Option<&'c Arg> {
    argv.iter().position(|arg| options.contains(&arg.text.as_str())).and_then(|at| argv.get(at + 1))
}

/// The text after `--option=`.
pub(crate) fn joined_value<'c>(argv: &'c [Arg], options: &[&str]) -> Option<&'c str> {
    argv.iter().find_map(|arg| {
        let (name, value) = arg.text.split_once('=')?;
        options.contains(&name).then_some(value)
    })
}

/// The SQL of a text inside a command.
pub(crate) fn sql(command: &Command, text: &str, hits: &mut Vec<Hit>) {
    let found = crate::sql::judge(text);
    hits.extend(found.into_iter().map(|hit| Hit { span: command.span, via: command.via.clone(), ..hit }));
}

/// Paths that a tool writes.
pub(crate) fn paths(paths: &[String], span: (usize, usize)) -> Vec<Hit> {
    let mut hits = Vec::new();
    for path in paths {
        let command =
            Command { argv: Vec::new(), redirects: Vec::new(), stdin: Stdin::Inherited, open: false, span, via: Vec::new() };
        files::written(&command, &Arg::literal(path), "shell.append", &mut hits);
    }
    hits
}

/// A tool of which nothing is known but its name and arguments: the name's verb decides, as on a command line.
pub(crate) fn tool(name: &str, arguments: &str, span: (usize, usize)) -> Vec<Hit> {
    let Some(verb) = cli::tool_verb(name) else { return Vec::new() };
    let shown: String = arguments.chars().take(80).collect();
    vec![Hit { span, partial: true, ..Hit::new(verb, name, &shown) }]
}
