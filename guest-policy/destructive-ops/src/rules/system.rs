//! The machine: power, processes, accounts, packages, schedules, firewall.

use super::{has, operands};
use crate::hit::Hit;
use crate::shell::Command;

/// What a command does to the machine.
pub(crate) fn judge(command: &Command, hits: &mut Vec<Hit>) {
    let argv = &command.argv;
    let words = operands(argv, &["-u", "-g", "-n", "-c", "-s", "-p", "-G", "-d", "-t"]);
    let word = |at: usize| words.get(at).map_or("", |arg| arg.text.as_str());
    let rest = || words.iter().skip(1).map(|arg| arg.text.as_str()).collect::<Vec<_>>().join(" ");
    let mut hit = |code: &'static str, kind: &str, name: &str| hits.push(Hit::of(command, code, kind, name));
    match command.program() {
        "shutdown" | "reboot" | "halt" | "poweroff" | "init" | "telinit" => hit("shell.power", "machine", "the machine"),
        "kill" | "pkill" | "killall" | "taskkill" | "skill" => {
            if !has(argv, &["-l", "-0"]) && !argv.iter().any(|arg| arg.text == "-0" || arg.text == "-l") {
                hit("shell.process", "process", words.last().map_or("a process", |arg| arg.text.as_str()));
            }
        }
        "systemctl" | "service" | "launchctl" | "supervisorctl" | "rc-service" | "initctl" | "sc" | "pm2" => {
            match command.argv.iter().skip(1).map(|arg| arg.text.as_str()).find(|text| {
                matches!(
                    *text,
                    "stop"
                        | "disable"
                        | "mask"
                        | "kill"
                        | "restart"
                        | "delete"
                        | "unload"
                        | "bootout"
                        | "remove"
                        | "poweroff"
                        | "reboot"
                        | "halt"
                )
            }) {
                Some("poweroff" | "reboot" | "halt") => hit("shell.power", "machine", "the machine"),
                Some(_) => hit("shell.process", "service", &rest()),
                None => {}
            }
        }
        "apt" | "apt-get" | "aptitude" | "yum" | "dnf" | "zypper" | "brew" | "snap" | "flatpak" | "pip" | "pip3" | "pipx"
        | "npm" | "pnpm" | "yarn" | "gem" | "cargo" | "conda" | "mamba" | "apk" | "choco" | "winget" | "scoop" | "port"
        | "helm-plugin" | "dpkg" | "rpm" | "pacman" | "emerge" | "opkg" | "pkg" | "rustup" | "uv" | "composer" | "asdf"
        | "nix-env" => {
            packages(command, word(0), word(1), hits);
        }
        "userdel" | "deluser" | "groupdel" | "delgroup" | "usermod" | "passwd" | "chpasswd" | "gpasswd" | "visudo"
        | "useradd" | "adduser" | "groupmod" | "vipw" | "chage" | "dseditgroup" | "dscl" | "net" => {
            let reads = command.program() == "passwd" && has(argv, &["-S", "--status"])
                || command.program() == "chage" && has(argv, &["-l"])
                || command.program() == "dscl"
                    && !argv
                        .iter()
                        .any(|arg| matches!(arg.text.trim_start_matches('-'), "delete" | "create" | "append" | "passwd"))
                || command.program() == "net"
                    && !argv.iter().any(|arg| arg.text.starts_with("/add") || arg.text.starts_with("/del"));
            if !reads {
                hit("shell.account", "account", words.last().map_or("of the machine", |arg| arg.text.as_str()));
            }
        }
        "iptables" | "ip6tables" | "nft" | "ufw" | "firewall-cmd" | "pfctl" | "netsh" | "semanage" | "setsebool"
        | "setenforce" => {
            let changes = argv.iter().skip(1).any(|arg| {
                matches!(
                    arg.text.trim_start_matches('-'),
                    "F" | "X"
                        | "D"
                        | "P"
                        | "A"
                        | "I"
                        | "R"
                        | "flush"
                        | "delete"
                        | "reset"
                        | "disable"
                        | "allow"
                        | "deny"
                        | "add"
                        | "permissive"
                        | "0"
                        | "off"
                        | "d"
                ) || arg.text.starts_with("--remove")
                    || arg.text.starts_with("--add")
                    || arg.text.starts_with("state=off")
            });
            if changes {
                hit("shell.firewall", "firewall", &words.iter().map(|arg| arg.text.as_str()).collect::<Vec<_>>().join(" "));
            }
        }
        "crontab" => {
            if has(argv, &["-r"]) {
                hit("shell.schedule", "schedule", "of the user");
            } else if !has(argv, &["-l", "-e"]) {
                hit("shell.persist", "schedule", "a schedule");
            }
        }
        "atrm" => hit("shell.schedule", "schedule", &words.iter().map(|arg| arg.text.as_str()).collect::<Vec<_>>().join(" ")),
        "umount" | "swapoff" => hit("shell.process", "mount", word(0)),
        "sysctl" => {
            if has(argv, &["-w", "--write"]) {
                hit("shell.process", "kernel", word(0));
            }
        }
        "swaks" | "journalctl" if argv.iter().any(|arg| arg.text.starts_with("--vacuum") || arg.text == "--rotate") => {
            hit("shell.rm", "log", "the journal")
        }
        "history" if has(argv, &["-c", "-d"]) => hit("shell.process", "history", "the shell's history"),
        "wevtutil" if matches!(word(0), "cl" | "clear-log") => hit("shell.rm", "log", word(1)),
        "reg" if word(0).eq_ignore_ascii_case("delete") => hit("shell.rm", "registry", word(1)),
        "cipher" if argv.iter().any(|arg| arg.text.to_ascii_lowercase().starts_with("/w")) => {
            hit("shell.truncate", "disk", "free space")
        }
        "bcdedit" => hit("shell.system-file", "file", "the boot configuration"),
        "ipcrm" | "modprobe" | "rmmod" if command.program() != "modprobe" || has(argv, &["-r", "--remove"]) => {
            hit("shell.process", "kernel", word(0))
        }
        name => cmdlet(command, name, hits),
    }
}

/// Package managers: the operation is the first word; `pacman -R` and its like are options.
fn packages(command: &Command, first: &str, second: &str, hits: &mut Vec<Hit>) {
    let program = command.program();
    let simulated = has(&command.argv, &["-s", "--simulate", "--dry-run", "--just-print", "--no-act"]) && program != "pacman";
    let operation = if matches!(
        (program, first),
        ("uv" | "conda" | "mamba", "pip" | "env" | "tool")
            | ("cargo", "owner" | "yank")
            | ("rustup", "toolchain" | "target" | "component")
            | ("composer", "global")
            | (
                "npm" | "pnpm" | "yarn",
                "hook" | "config" | "c" | "access" | "token" | "team" | "org" | "owner" | "dist-tag" | "profile"
            )
    ) {
        second
    } else {
        first
    };
    let removes = matches!(
        operation,
        "remove"
            | "purge"
            | "autoremove"
            | "auto-remove"
            | "uninstall"
            | "rm"
            | "erase"
            | "delete"
            | "del"
            | "un"
            | "unlink"
            | "autopurge"
            | "prune"
            | "unpublish"
            | "deprecate"
            | "zap"
            | "yank"
            | "clean"
            | "cleanup"
            | "autoclean"
            | "unmerge"
    ) || program == "pacman" && command.argv.iter().any(|arg| arg.text.starts_with("-R"))
        || matches!(program, "dpkg") && has(&command.argv, &["-r", "-P", "--remove", "--purge"])
        || program == "rpm" && has(&command.argv, &["-e", "--erase"])
        || program == "emerge" && has(&command.argv, &["-C", "--unmerge", "--depclean", "-c"])
        || program == "nix-env" && has(&command.argv, &["-e", "--uninstall", "--delete-generations"]);
    // Caches of packages are made to be emptied.
    let cache = matches!(operation, "clean" | "cleanup" | "autoclean") || matches!(first, "cache" | "store");
    if removes && !simulated && !cache && program != "cargo"
        || program == "cargo" && matches!(first, "uninstall" | "yank")
        || matches!(operation, "unpublish")
    {
        let registry =
            operation == "unpublish" || matches!(first, "hook" | "access" | "token" | "team" | "org" | "owner" | "dist-tag");
        hits.push(Hit::of(command, if registry { "cloud.delete" } else { "shell.package" }, "package", second));
    }
}

/// PowerShell: a cmdlet's verb says what it does.
fn cmdlet(command: &Command, name: &str, hits: &mut Vec<Hit>) {
    if has(&command.argv, &["-WhatIf"]) || command.argv.iter().any(|arg| arg.text.eq_ignore_ascii_case("-whatif")) {
        return;
    }
    let target = command.argv.iter().skip(1).find(|arg| !arg.text.starts_with('-')).map_or("", |arg| arg.text.as_str());
    let code = match name.to_ascii_lowercase().split_once('-') {
        Some(("remove", _)) => "shell.rm",
        Some(("clear", "content" | "item" | "itemproperty" | "recyclebin" | "disk" | "eventlog")) => "shell.truncate",
        Some(("format", "volume")) | Some(("initialize", "disk")) => "shell.device",
        Some(("set", "acl" | "executionpolicy")) => "shell.permission",
        Some(("stop" | "restart", "service" | "process" | "computer")) => "shell.process",
        _ => return,
    };
    hits.push(Hit::of(command, code, "object", target));
}
