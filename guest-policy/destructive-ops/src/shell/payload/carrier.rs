//! Programs that run their words somewhere else: containers, terminals, remote services, wrappers.

use super::{Open, Stdin, Walker, base_name};
use crate::shell::word::Arg;
use crate::shell::wrappers;

/// Programs that only look at their arguments: a destructive word among them is data.
pub(super) const LOOK_ONLY: &[&str] = &[
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
pub(super) const DESTROYERS: &[&str] =
    &["rm", "shred", "unlink", "rmdir", "dd", "mkfs", "wipefs", "truncate", "dropdb", "srm", "wipe"];

/// `docker exec C cmd`, `kubectl exec P -- cmd`, `vagrant ssh -c`, `tmux send-keys`, wrappers, and the rule for programs
/// that nothing is known of: one whose arguments are a destructive command runs it.
pub(super) fn container(walker: &mut Walker<'_>, name: &str, argv: Vec<Arg>, stdin: Stdin, open: Open) -> Option<String> {
    if let Some(inner) = wrappers::unwrap(name, &argv) {
        walker.via.push(name.to_owned());
        let output = walker.execute(inner, stdin, open);
        walker.via.pop();
        return output;
    }
    if name == "git" || name == "socat" {
        configured(walker, name, &argv);
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

/// `git -c core.sshCommand=…`, `socat … EXEC:…`: commands in the words of a program's own settings.
fn configured(walker: &mut Walker<'_>, name: &str, argv: &[Arg]) {
    for (at, arg) in argv.iter().enumerate().skip(1) {
        let text = match name {
            "socat" => ["EXEC:", "SYSTEM:", "exec:", "system:"].iter().find_map(|kind| arg.text.strip_prefix(kind)),
            _ if argv[at - 1].text == "-c" => arg.text.split_once('=').and_then(|(key, value)| match value.strip_prefix('!') {
                Some(command) => Some(command),
                None => {
                    (key.eq_ignore_ascii_case("core.sshcommand") || key.to_ascii_lowercase().ends_with("editor")).then_some(value)
                }
            }),
            _ => None,
        };
        if let Some(text) = text {
            walker.nested(&text.replace("\\ ", " "), name);
        }
    }
}

/// Looks for the command in the words of a program that runs one somewhere else.
pub(super) fn payload_words(walker: &mut Walker<'_>, name: &str, argv: &[Arg]) {
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
