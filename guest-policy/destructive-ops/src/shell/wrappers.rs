//! Programs that run their arguments as a command. The table says how to find where that command begins.

use super::word::Arg;

/// How a wrapper's own words end.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wrapper {
    /// Options that take the next word.
    valued: &'static [&'static str],
    /// Words after the options that are the wrapper's own.
    operands: usize,
}

/// The command that a wrapper runs, if `name` is one and there is a command.
pub(crate) fn unwrap(name: &str, argv: &[Arg]) -> Option<Vec<Arg>> {
    let wrapper = find(name, argv)?;
    let rest = &argv[wrapper.1..];
    let mut at = 0;
    while let Some(arg) = rest.get(at) {
        let text = arg.text.as_str();
        if text == "--" {
            at += 1;
            break;
        }
        if wrapper.0.valued.contains(&text) {
            at += 2;
        } else if text.starts_with('-') && text.len() > 1 || is_assignment(text) {
            at += 1;
        } else {
            break;
        }
    }
    at += wrapper.0.operands;
    if rest.get(at).is_some_and(|arg| arg.text == "--") {
        at += 1;
    }
    // `sudo VAR=1 cmd`, `timeout 5 VAR=1`: assignments may also follow the operands.
    while rest.get(at).is_some_and(|arg| is_assignment(&arg.text)) {
        at += 1;
    }
    rest.get(at..).filter(|command| !command.is_empty()).map(<[Arg]>::to_vec)
}

fn is_assignment(text: &str) -> bool {
    text.split_once('=').is_some_and(|(name, _)| {
        !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') && !name.as_bytes()[0].is_ascii_digit()
    })
}

/// The wrapper and how many words its own name has (`uv run`, `aws-vault exec`).
fn find(name: &str, argv: &[Arg]) -> Option<(Wrapper, usize)> {
    const fn wrapper(valued: &'static [&'static str], operands: usize) -> Wrapper {
        Wrapper { valued, operands }
    }
    let simple = match name {
        "sudo" => wrapper(
            &[
                "-u", "-g", "-h", "-p", "-C", "-r", "-t", "-T", "-U", "-D", "-R", "--user", "--group", "--host", "--prompt",
                "--chdir",
            ],
            0,
        ),
        "doas" => wrapper(&["-u", "-C", "-a"], 0),
        "pkexec" => wrapper(&["--user"], 0),
        "env" => wrapper(&["-u", "-C", "--unset", "--chdir"], 0),
        "time" | "gtime" => wrapper(&["-o", "-f", "--format", "--output"], 0),
        "caffeinate" | "proxychains" | "proxychains4" => wrapper(&["-t", "-w", "-f"], 0),
        "nohup" | "setsid" | "builtin" | "unbuffer" | "fakeroot" | "torsocks" | "tsocks" | "xvfb-run" | "dbus-run-session"
        | "catchsegv" | "rlwrap" | "noglob" | "nocorrect" | "command" | "valgrind" | "busybox" | "toybox" | "linux32"
        | "linux64" | "ccache" | "eatmydata" | "coproc" | "winpty" | "firejail" => wrapper(&[], 0),
        "sshpass" => wrapper(&["-p", "-f", "-d"], 0),
        "exec" => wrapper(&["-a"], 0),
        "nice" => wrapper(&["-n", "--adjustment"], 0),
        "ionice" => wrapper(&["-c", "-n", "-p", "-P", "-u", "--class", "--classdata"], 0),
        "timeout" | "gtimeout" => wrapper(&["-s", "-k", "--signal", "--kill-after"], 1),
        "stdbuf" => wrapper(&["-i", "-o", "-e", "--input", "--output", "--error"], 0),
        "strace" | "ltrace" => wrapper(&["-e", "-o", "-p", "-s", "-u", "-a", "-O", "-S", "-P"], 0),
        "chroot" => wrapper(&["--userspec", "--groups"], 1),
        "unshare" | "systemd-run" | "bwrap" => {
            wrapper(&["-p", "--property", "--unit", "-u", "--uid", "--gid", "-E", "--setenv"], 0)
        }
        "nsenter" => wrapper(&["-t", "--target", "-S", "-G", "-r", "-w"], 0),
        "flock" => wrapper(&["-w", "-E", "--wait", "--timeout", "--conflict-exit-code"], 1),
        "taskset" | "chrt" => wrapper(&["-p"], 1),
        "numactl" | "setarch" | "prlimit" | "cgexec" => wrapper(&["-g", "-m", "-N", "-C"], 0),
        "runuser" | "setpriv" | "gosu" | "su-exec" => {
            wrapper(&["-u", "-g", "-G"], usize::from(matches!(name, "gosu" | "su-exec")))
        }
        "npx" | "bunx" | "pnpx" | "uvx" | "pipx" | "direnv" => {
            wrapper(&["-p", "--package", "--from", "--with"], usize::from(name == "direnv") * 2)
        }
        _ => {
            let second = argv.get(1).map_or("", |arg| arg.text.as_str());
            let pair = match (name, second) {
                (
                    "uv" | "poetry" | "pipenv" | "hatch" | "pdm" | "rye" | "conda" | "mamba" | "doppler" | "op" | "infisical"
                    | "mise",
                    "run",
                )
                | ("bundle" | "pnpm" | "yarn" | "npm" | "mise" | "rtx" | "perf", "exec" | "dlx" | "record" | "stat") => wrapper(
                    &["-n", "-p", "--name", "--prefix", "--project", "--with", "--env-file", "-c", "--config", "-e", "-o"],
                    0,
                ),
                ("aws-vault" | "chamber" | "granted" | "saml2aws" | "teller", "exec" | "run") => {
                    wrapper(&["-d", "--duration"], 1)
                }
                _ => return None,
            };
            return Some((pair, 2));
        }
    };
    Some((simple, 1))
}
