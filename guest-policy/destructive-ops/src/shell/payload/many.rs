//! Programs that run a command once for each of many things: xargs, parallel, find, watch.

use super::script::{script_from, unseen};
use super::{Open, Stdin, Walker, base_name};
use crate::shell::word::Arg;

pub(super) fn xargs(walker: &mut Walker<'_>, argv: Vec<Arg>, stdin: Stdin) -> Option<String> {
    const VALUED: &[&str] = &["-n", "-P", "-I", "-L", "-d", "-a", "-s", "-E", "-R", "-S", "-J"];
    let mut at = 1;
    let mut replace = None;
    while let Some(arg) = argv.get(at) {
        let text = arg.text.as_str();
        if matches!(text, "-i" | "--replace" | "--replace=") {
            replace = Some("{}".to_owned());
        } else if text == "-I" || text == "-J" {
            replace = argv.get(at + 1).map(|arg| arg.text.clone());
        } else if let Some(mark) = text.strip_prefix("-I").or_else(|| text.strip_prefix("--replace=")) {
            replace = Some(mark.to_owned());
        }
        if VALUED.contains(&text) {
            at += 2;
        } else if text.starts_with('-') {
            at += 1;
        } else {
            break;
        }
    }
    let mut inner = argv.get(at..).unwrap_or_default().to_vec();
    if inner.is_empty() {
        return None;
    }
    walker.via.push("xargs".to_owned());
    let known = match &stdin {
        Stdin::Known(text) => Some(text.split_whitespace().map(Arg::literal).collect::<Vec<_>>()),
        Stdin::Inherited | Stdin::From(_) => None,
    };
    let open = if known.is_some() { Open::No } else { Open::Yes };
    match (known, replace) {
        (Some(words), Some(mark)) => {
            let all = words.iter().map(|word| word.text.as_str()).collect::<Vec<_>>().join(" ");
            inner = inner.into_iter().map(|arg| Arg { text: arg.text.replace(&mark, &all), ..arg }).collect();
        }
        (Some(words), None) => inner.extend(words),
        (None, Some(mark)) => {
            inner = inner.into_iter().map(|arg| Arg { known: arg.known && !arg.text.contains(&mark), ..arg }).collect();
        }
        (None, None) => {}
    }
    let shell = matches!(inner.first().map(|arg| base_name(&arg.text)), Some("sh" | "bash" | "zsh" | "dash"));
    let output = if shell && inner.len() == 1 {
        unseen(walker, "xargs sh", "a pipe")
    } else {
        walker.execute(inner, Stdin::Inherited, open)
    };
    walker.via.pop();
    output
}

pub(super) fn parallel(walker: &mut Walker<'_>, argv: Vec<Arg>, stdin: Stdin) -> Option<String> {
    let own =
        argv[1..].iter().take_while(|arg| arg.text.starts_with('-') || arg.text.bytes().all(|b| b.is_ascii_digit())).count();
    let rest = &argv[1 + own..];
    let end = rest.iter().position(|arg| arg.text.starts_with(":::")).unwrap_or(rest.len());
    let (command, values) = rest.split_at(end);
    walker.via.push("parallel".to_owned());
    if command.is_empty() {
        for value in values.iter().skip(1) {
            walker.nested(&value.text, "parallel");
        }
        if values.is_empty() {
            script_from(walker, "parallel", stdin);
        }
    } else {
        let mut text = command.iter().map(|arg| arg.text.as_str()).collect::<Vec<_>>().join(" ");
        let first = values.get(1).map_or("$value", |value| value.text.as_str());
        text = if text.contains("{}") { text.replace("{}", first) } else { format!("{text} {first}") };
        walker.nested(&text, "parallel");
        // Its words are joined and read again; a script that was quoted is still looked at as it was meant.
        if command.len() > 2 {
            walker.execute(command.to_vec(), stdin, Open::No);
        }
    }
    walker.via.pop();
    None
}

pub(super) fn find(walker: &mut Walker<'_>, name: &str, argv: Vec<Arg>) -> Option<String> {
    const RUN: &[&str] = &["-exec", "-execdir", "-ok", "-okdir", "-x", "-X", "--exec", "--exec-batch"];
    let mut at = 1;
    while at < argv.len() {
        if RUN.contains(&argv[at].text.as_str()) {
            let rest = &argv[at + 1..];
            let end = rest.iter().position(|arg| arg.text == ";" || arg.text == "+").unwrap_or(rest.len());
            let place = argv.get(1).map_or(".", |arg| arg.text.as_str());
            let mark = |arg: &Arg| Arg {
                text: arg.text.replace("{}", place),
                known: arg.known && !arg.text.contains("{}"),
                glob: false,
            };
            let inner: Vec<Arg> = rest[..end].iter().map(mark).collect();
            walker.via.push(format!("{name} -exec"));
            walker.execute(inner, Stdin::Inherited, Open::Yes);
            walker.via.pop();
            at += end + 1;
        }
        at += 1;
    }
    walker.plain(name, argv, Stdin::Inherited, Open::No);
    None
}

pub(super) fn words_as_text(walker: &mut Walker<'_>, name: &str, argv: Vec<Arg>) -> Option<String> {
    let valued = |text: &str| {
        matches!(
            text,
            "-n" | "--interval" | "-w" | "-r" | "-m" | "--warmup" | "--runs" | "--export-json" | "-x" | "-e" | "--exec"
        )
    };
    let mut at = 1;
    while let Some(arg) = argv.get(at) {
        if matches!(arg.text.as_str(), "-x" | "--exec") || !arg.text.starts_with('-') {
            break;
        }
        at += if valued(&arg.text) { 2 } else { 1 };
    }
    let rest = argv.get(at..).unwrap_or_default();
    if name == "hyperfine" {
        for arg in rest {
            walker.nested(&arg.text, name);
        }
        return None;
    }
    let text = rest
        .iter()
        .filter(|arg| !matches!(arg.text.as_str(), "-x" | "--exec"))
        .map(|arg| arg.text.as_str())
        .collect::<Vec<_>>()
        .join(" ");
    if text.is_empty() {
        return None;
    }
    if rest.len() > 2 {
        walker.execute(rest.to_vec(), Stdin::Inherited, Open::No);
    }
    walker.nested(&text, name)
}
