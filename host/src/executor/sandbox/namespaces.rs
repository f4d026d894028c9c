//! Namespaces for one task, made by a process of one thread that needs no rights for it.
//!
//! ```text
//! second stage ── user namespace ── the others ── clone ──► first process inside: child of the supervisor
//!       └─ ends                                             ends with the supervisor
//! ```
//! An ordinary user stays the user that it is, and is nobody else in there. Root keeps all users, so that files of others
//! stay theirs; over the host itself it has no rights left.

use std::io::Write as _;

use rustix::process::{Pid, Signal, getegid, geteuid, getppid, set_parent_process_death_signal};
use rustix::thread::{UnshareFlags, unshare_unsafe};

use super::{Network, SandboxError};
use crate::executor::process;

/// Where the caller finds itself afterwards.
pub(in crate::executor) enum Side {
    /// As before: nothing is left to do here.
    Outside,
    /// Inside, as the first process. On the host it has this id.
    Inside(i32),
}

/// Makes the namespaces and a first process in them. Must be called where there is one thread.
pub(in crate::executor) fn split(network: Network) -> Result<Side, SandboxError> {
    #[cfg(test)]
    if alone()? == Copied::Original {
        return Ok(Side::Outside);
    }
    let supervisor = getppid();
    make_users()?;
    let more = match network {
        Network::GatewayOnly => UnshareFlags::NEWNET,
        Network::Open => UnshareFlags::empty(),
    };
    let all = UnshareFlags::NEWNS | UnshareFlags::NEWPID | UnshareFlags::NEWIPC | UnshareFlags::NEWUTS | more;
    unshare(all).map_err(SandboxError::namespaces("namespaces for mounts, processes and network cannot be made"))?;
    if clone(libc::CLONE_PARENT)?.is_some() {
        return Ok(Side::Outside);
    }
    // The supervisor is our parent. Without it nobody would end this tree.
    let no_life_line = SandboxError::namespaces("the supervisor cannot be watched");
    set_parent_process_death_signal(Some(Signal::KILL)).map_err(no_life_line)?;
    // The host's /proc still shows us as the host does.
    let link = std::fs::read_link("/proc/self").ok().and_then(|link| link.to_str()?.parse::<i32>().ok());
    let us = link.and_then(process::find);
    match us {
        Some(us) if Some(us.parent) == supervisor.map(Pid::as_raw_pid) => Ok(Side::Inside(us.pid)),
        _ => Err(SandboxError::Namespaces { what: "the supervisor".into(), source: std::io::ErrorKind::NotFound.into() }),
    }
}

/// Copies this process, as `fork` does. `None` in the copy. Safe where there is one thread, as `split` saw to.
pub(in crate::executor) fn fork() -> Result<Option<Pid>, SandboxError> {
    clone(0)
}

/// Ends this process without running what others registered for its end.
pub(in crate::executor) fn leave(code: u8) -> ! {
    #[expect(unsafe_code, reason = "a copy of a process must not run what the original registered for its end")]
    // SAFETY: it takes a number and does not return.
    unsafe {
        libc::_exit(i32::from(code))
    }
}

/// Does something with the terminal that stops those in the background, unless they do not listen.
pub(in crate::executor) fn without_stop<T>(work: impl FnOnce() -> T) -> T {
    let listen = |how| {
        #[expect(unsafe_code, reason = "there is no safe way to ignore a signal")]
        // SAFETY: no handler is put in place, only one of the two ready-made answers.
        unsafe {
            libc::signal(libc::SIGTTOU, how)
        }
    };
    let before = listen(libc::SIG_IGN);
    let done = work();
    listen(before);
    done
}

fn clone(flags: i32) -> Result<Option<Pid>, SandboxError> {
    #[expect(unsafe_code, reason = "there is no safe way to copy a process")]
    // SAFETY: no memory is shared and no stack given, so the copy goes on with what this thread had. There is one thread,
    // so no lock is held by one that is not copied.
    let id = unsafe { libc::syscall(libc::SYS_clone, flags | libc::SIGCHLD, 0, 0, 0, 0) };
    match i32::try_from(id) {
        Ok(id @ 0..) => Ok(Pid::from_raw(id)),
        _ => {
            let source = std::io::Error::last_os_error();
            Err(SandboxError::Namespaces { what: "a process cannot be made".into(), source })
        }
    }
}

fn unshare(flags: UnshareFlags) -> rustix::io::Result<()> {
    #[expect(unsafe_code, reason = "unshare is unsafe for tables of descriptors, which are not among the flags")]
    // SAFETY: descriptors stay shared with nobody: there is one thread, and FILES is never asked for.
    unsafe {
        unshare_unsafe(flags)
    }
}

/// A user namespace and who is who in it.
fn make_users() -> Result<(), SandboxError> {
    let denied = SandboxError::namespaces("user namespaces are denied");
    if !geteuid().is_root() {
        let (user, group) = (geteuid().as_raw(), getegid().as_raw());
        unshare(UnshareFlags::NEWUSER).map_err(denied)?;
        // Who can't set groups can't drop one that denies something.
        write("/proc/self/setgroups", "deny")?;
        write("/proc/self/uid_map", &format!("{user} {user} 1"))?;
        return write("/proc/self/gid_map", &format!("{group} {group} 1"));
    }
    // Only a process outside may map more than itself.
    let us = std::process::id();
    let (told, mut tell) = std::io::pipe().map_err(pipe_failed)?;
    let Some(helper) = fork()? else {
        drop(tell);
        leave(u8::from(map_everybody(us, told).is_err()));
    };
    drop(told);
    let made = unshare(UnshareFlags::NEWUSER);
    let begun = made.is_err() || tell.write_all(b"!").is_ok();
    drop(tell);
    // Waited for in any case: nobody else is to hear of its end.
    let ended = rustix::process::waitpid(Some(helper), rustix::process::WaitOptions::empty());
    made.map_err(denied)?;
    let mapped = begun && ended.is_ok_and(|ended| ended.is_some_and(|(_, status)| status.exit_status() == Some(0)));
    let source = std::io::ErrorKind::PermissionDenied.into();
    if mapped { Ok(()) } else { Err(SandboxError::Namespaces { what: "users cannot be mapped".into(), source }) }
}

fn pipe_failed(source: std::io::Error) -> SandboxError {
    SandboxError::Namespaces { what: "a pipe".into(), source }
}

/// In the helper: every id that this machine or container has is itself in the namespace of process `of`.
fn map_everybody(of: u32, mut told: std::io::PipeReader) -> std::io::Result<()> {
    use std::io::Read as _;
    told.read_exact(&mut [0])?;
    for map in ["uid_map", "gid_map"] {
        let ours = std::fs::read_to_string(format!("/proc/self/{map}"))?;
        std::fs::write(format!("/proc/{of}/{map}"), same(&ours))?;
    }
    Ok(())
}

/// A map that leaves every id as it is, for all that this one knows.
fn same(map: &str) -> String {
    let lines = map.lines().filter_map(|line| {
        let mut fields = line.split_ascii_whitespace();
        let (first, count) = (fields.next()?, fields.nth(1)?);
        Some(format!("{first} {first} {count}\n"))
    });
    lines.collect()
}

fn write(path: &str, text: &str) -> Result<(), SandboxError> {
    std::fs::write(path, text).map_err(|source| SandboxError::Namespaces { what: format!("{path} cannot be written"), source })
}

/// Which of two.
#[cfg(test)]
#[derive(PartialEq, Eq)]
enum Copied {
    Original,
    Copy,
}

/// A test's binary has a second thread, which waits for the first test to end. The copy has one only.
#[cfg(test)]
fn alone() -> Result<Copied, SandboxError> {
    Ok(if clone(libc::CLONE_PARENT)?.is_some() { Copied::Original } else { Copied::Copy })
}

#[cfg(test)]
mod tests {
    #[test]
    fn everybody_stays_who_they_are() {
        assert_eq!(super::same("         0          0 4294967295\n"), "0 0 4294967295\n");
        assert_eq!(super::same("0 100000 65536\n70000 1000 1\n"), "0 0 65536\n70000 70000 1\n");
        assert_eq!(super::same("nonsense"), "");
    }
}
