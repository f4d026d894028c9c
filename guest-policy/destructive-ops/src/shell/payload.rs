//! Commands that run something else: shells, `eval`, wrappers, xargs, find, containers, remote shells, builtins that
//! change what later words mean. What they run is followed; the rest are leaves.

use super::output::decode_base64;
use super::walk::{GapKind, Open, Stdin, Walker, base_name};
use super::word::Arg;
use super::wrappers;

/// Programs that only look at their arguments: a destructive word among them is data.
const LOOK_ONLY: &[&str] = &[
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
    "ll",
    "man",
    "info",
    "which",
    "whereis",
    "whatis",
    "apropos",
    "type",
    "help",
    "tldr",
    "cheat",
    "sed",
    "awk",
    "gawk",
    "head",
    "tail",
    "vim",
    "vi",
    "nano",
    "code",
    "git",
    "brew",
    "apt",
    "apt-get",
    "yum",
    "dnf",
    "pacman",
    "pip",
    "pip3",
    "cargo",
    "go",
    "make",
    "test",
    "[",
    "pgrep",
    "pidof",
    "dpkg",
    "rpm",
    "snap",
    "hash",
    "complete",
    "trap",
    "alias",
    "cut",
    "sort",
    "diff",
    "comm",
    "jq",
    "yq",
    "systemctl",
    "service",
    "touch",
    "mkdir",
    "cd",
    "cp",
    "mv",
    "ln",
    "stat",
    "file",
    "wc",
    "tee",
    "tar",
    "zip",
    "unzip",
    "say",
    "logger",
    "notify-send",
    "figlet",
    "cowsay",
    "npm",
    "pnpm",
    "yarn",
    "read",
    "expr",
    "seq",
    "basename",
    "dirname",
    "fzf",
];

/// Programs whose name alone says that their arguments are destroyed.
const DESTROYERS: &[&str] = &["rm", "shred", "unlink", "rmdir", "dd", "mkfs", "wipefs", "truncate", "dropdb", "srm", "wipe"];

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

fn shell(walker: &mut Walker<'_>, name: &str, argv: Vec<Arg>, stdin: Stdin, open: Open) -> Option<String> {
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
fn script_from(walker: &mut Walker<'_>, name: &str, stdin: Stdin) -> Option<String> {
    match stdin {
        Stdin::Known(text) => walker.nested(&text, &format!("| {name}")),
        Stdin::From(program) => unseen(walker, name, &program),
        Stdin::Inherited => None,
    }
}

fn unseen(walker: &mut Walker<'_>, name: &str, source: &str) -> Option<String> {
    let remote = matches!(base_name(source), "curl" | "wget" | "fetch" | "nc" | "ncat" | "aria2c" | "http" | "lwp-request");
    let kind = if remote { GapKind::RemoteScript } else { GapKind::UnseenScript };
    walker.gap(kind, &format!("{source} | {name}"));
    None
}

/// What of a partly unknown script is still worth reading: everything, with the unknown parts as they stand.
fn embedded(script: &str) -> Option<String> {
    (!script.trim_start().starts_with('$')).then(|| script.to_owned())
}

fn xargs(walker: &mut Walker<'_>, argv: Vec<Arg>, stdin: Stdin) -> Option<String> {
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

fn parallel(walker: &mut Walker<'_>, argv: Vec<Arg>, stdin: Stdin) -> Option<String> {
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
    }
    walker.via.pop();
    None
}

fn find(walker: &mut Walker<'_>, name: &str, argv: Vec<Arg>) -> Option<String> {
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

fn remote(walker: &mut Walker<'_>, name: &str, argv: Vec<Arg>, stdin: Stdin) -> Option<String> {
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

fn words_as_text(walker: &mut Walker<'_>, name: &str, argv: Vec<Arg>) -> Option<String> {
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
    if text.is_empty() { None } else { walker.nested(&text, name) }
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

/// `docker exec C cmd`, `kubectl exec P -- cmd`, `vagrant ssh -c`, `tmux send-keys`, wrappers, and the rule for programs
/// that nothing is known of: one whose arguments are a destructive command runs it.
fn container(walker: &mut Walker<'_>, name: &str, argv: Vec<Arg>, stdin: Stdin, open: Open) -> Option<String> {
    if let Some(inner) = wrappers::unwrap(name, &argv) {
        walker.via.push(name.to_owned());
        let output = walker.execute(inner, stdin, open);
        walker.via.pop();
        return output;
    }
    let has = |word: &str| argv.iter().skip(1).any(|arg| arg.text == word);
    let runs = match name {
        "docker" | "podman" | "nerdctl" | "docker-compose" | "kubectl" | "oc" | "k3s" | "lxc" | "incus" | "crictl"
        | "distrobox" => has("exec") || has("run") || has("rsh") || has("enter") || has("debug"),
        "heroku" | "fly" | "flyctl" | "vagrant" | "gcloud" | "az" | "multipass" | "toolbox" | "nix-shell" | "nix"
        | "flatpak-spawn" | "tmux" | "screen" | "script" | "at" | "batch" | "adb" | "machinectl" | "wsl" | "scl" | "aws" => true,
        _ => false,
    };
    if runs {
        payload_words(walker, name, &argv);
        if matches!(name, "at" | "batch")
            && let Stdin::Known(text) = &stdin
        {
            walker.nested(&text.clone(), name);
        }
    } else if !LOOK_ONLY.contains(&name) && !DESTROYERS.contains(&name) {
        let first = argv.iter().skip(1).position(|arg| !arg.text.starts_with('-')).map(|at| at + 1);
        if let Some(at) = first.filter(|at| DESTROYERS.contains(&argv[*at].text.as_str()) && argv.len() > at + 1)
            // `tool rm NAME` is a verb of the tool; `tool rm -rf PATH` is a command.
            && argv[at + 1..].iter().any(|arg| arg.text.starts_with("-r") || arg.text.contains('/') || arg.text.contains("of="))
        {
            walker.via.push(name.to_owned());
            walker.execute(argv[at..].to_vec(), Stdin::Inherited, open);
            walker.via.pop();
        }
    }
    walker.plain(name, argv, stdin, open)
}

/// Looks for the command in the words of a program that runs one somewhere else.
fn payload_words(walker: &mut Walker<'_>, name: &str, argv: &[Arg]) {
    walker.via.push(name.to_owned());
    for (at, arg) in argv.iter().enumerate().skip(1) {
        let option = matches!(arg.text.as_str(), "-c" | "--command" | "--run" | "--commands" | "--scripts" | "--script");
        if let Some(script) = option.then(|| argv.get(at + 1)).flatten()
            && !matches!(name, "kubectl" | "oc" | "aws" | "tmux" | "docker" | "docker-compose" | "az")
        {
            walker.nested(&script.text.clone(), name);
        }
        if let Some((_, script)) = arg.text.split_once("--command=").filter(|(before, _)| before.is_empty()) {
            walker.nested(script, name);
        }
    }
    if name == "az"
        && let Some(at) = argv.iter().position(|arg| arg.text == "--scripts")
    {
        for arg in &argv[at + 1..] {
            walker.nested(&arg.text.clone(), name);
        }
    }
    if name == "tmux" || name == "screen" || name == "aws" {
        for arg in argv.iter().skip(2).filter(|arg| arg.text.contains(' ') && !arg.text.trim_start().starts_with('{')) {
            if name != "aws" || argv.iter().any(|arg| arg.text == "execute-command" || arg.text == "send-command") {
                let text = arg.text.strip_prefix("commands=").unwrap_or(&arg.text).to_owned();
                walker.nested(&text, name);
            }
        }
    } else {
        let separator = argv.iter().position(|arg| arg.text == "--").map(|at| at + 1);
        let known = |arg: &Arg| {
            let program = base_name(&arg.text);
            DESTROYERS.contains(&program)
                || matches!(
                    program,
                    "sh" | "bash"
                        | "ash"
                        | "dash"
                        | "zsh"
                        | "env"
                        | "sudo"
                        | "find"
                        | "psql"
                        | "mysql"
                        | "mysqladmin"
                        | "redis-cli"
                        | "mongosh"
                        | "mongo"
                        | "git"
                        | "python"
                        | "python3"
                        | "xargs"
                        | "nohup"
                        | "timeout"
                )
        };
        // Without a separator: the first word after the verb that is a program to follow.
        let guess = argv.iter().enumerate().skip(3).find(|(_, arg)| known(arg)).map(|(at, _)| at);
        if let Some(at) = separator.or(guess).filter(|at| *at < argv.len()) {
            walker.execute(argv[at..].to_vec(), Stdin::Inherited, Open::No);
        }
    }
    walker.via.pop();
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}

/// A script in base64, as interpreters and PowerShell take it.
pub(crate) fn encoded(text: &str) -> Option<String> {
    decode_base64(text)
}
