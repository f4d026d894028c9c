//! The system calls that no agent needs: refused by filters that every process of a task inherits.
//!
//! They are lists of what is refused, so that ordinary programs run: what looks into or steers other processes, changes
//! mounts, namespaces or the kernel, keeps keys, or talks to the kernel past these filters. System calls that are newer
//! than the list are refused too, as an older kernel would do, and programs of another architecture are ended.

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule, TargetArch,
    apply_filter, sock_filter,
};

use super::SandboxError;

/// Which sockets may be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sockets {
    /// Of the families that programs use: local, IPv4, IPv6, and those that ask the kernel about interfaces.
    Families,
    /// Of these, for the internet nothing but TCP: what Landlock confines. No UDP, no raw packets, no MPTCP, no SCTP.
    TcpOnly,
}

/// The newest system call that was looked at for this list (`removexattrat`). On x86-64 it also ends before those of x32.
const NEWEST: u32 = 466;

/// Refused with EPERM whatever the arguments.
const REFUSED: &[i64] = &[
    // Other processes.
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_process_madvise,
    libc::SYS_pidfd_getfd,
    libc::SYS_kcmp,
    // Mounts, namespaces, root.
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_open_tree,
    libc::SYS_move_mount,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_mount_setattr,
    libc::SYS_setns,
    libc::SYS_open_by_handle_at,
    libc::SYS_quotactl,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    // The kernel.
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    libc::SYS_kexec_file_load,
    libc::SYS_reboot,
    libc::SYS_syslog,
    libc::SYS_acct,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_adjtimex,
    libc::SYS_clock_adjtime,
    libc::SYS_fanotify_init,
    libc::SYS_lookup_dcookie,
    libc::SYS_vhangup,
    // Keys of the user who runs the server.
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
];
/// As before, where the architecture has them.
#[cfg(target_arch = "x86_64")]
const REFUSED_HERE: &[i64] = &[libc::SYS_iopl, libc::SYS_ioperm];
#[cfg(not(target_arch = "x86_64"))]
const REFUSED_HERE: &[i64] = &[];

/// Answered as if the kernel did not have them: programs then take the older way, whose arguments a filter can see.
const UNKNOWN: &[i64] = &[libc::SYS_clone3, libc::SYS_io_uring_setup, libc::SYS_io_uring_enter, libc::SYS_io_uring_register];

/// New namespaces, for `clone` and `unshare`.
const NAMESPACES: &[i32] = &[
    libc::CLONE_NEWUSER,
    libc::CLONE_NEWNS,
    libc::CLONE_NEWPID,
    libc::CLONE_NEWNET,
    libc::CLONE_NEWIPC,
    libc::CLONE_NEWUTS,
    libc::CLONE_NEWCGROUP,
];
/// `CLONE_NEWTIME`, which only `unshare` takes: in `clone` the bit is part of the signal's number.
const NEW_TIME: i32 = 0x80;
/// Puts bytes into a terminal as if they had been typed there, and the console's odd relative.
const TYPING: &[u64] = &[libc::TIOCSTI, libc::TIOCLINUX];
/// Data with the first packet: opens a connection past Landlock's sight on kernels that lack the check.
const FAST_OPEN: u64 = 0x2000_0000;
/// What a socket's type is without its flags.
const TYPE_MASK: u64 = 0xf;
/// `SOCK_PACKET`, the old way to raw packets.
const OLD_PACKET: i32 = 10;
/// Every type but streams.
const OTHER_TYPES: &[i32] =
    &[libc::SOCK_DGRAM, libc::SOCK_RAW, libc::SOCK_RDM, libc::SOCK_SEQPACKET, libc::SOCK_DCCP, OLD_PACKET];

/// Puts the filters on this thread. No new privileges must be in force: Landlock saw to that.
pub(super) fn install(sockets: Sockets) -> Result<(), SandboxError> {
    let failed = |e: seccompiler::Error| SandboxError::Seccomp(e.to_string());
    for program in programs(sockets).map_err(failed)? {
        apply_filter(&program).map_err(failed)?;
    }
    Ok(())
}

type Rules = Vec<(i64, Vec<SeccompRule>)>;

fn programs(sockets: Sockets) -> Result<Vec<BpfProgram>, seccompiler::Error> {
    let mut refused: Rules = REFUSED.iter().chain(REFUSED_HERE).map(|call| (*call, Vec::new())).collect();
    refused.extend(conditional()?);
    if sockets == Sockets::TcpOnly {
        refused.extend(fast_open()?);
        refused.push((libc::SYS_socket, other_than_tcp()?));
    }
    let unknown = UNKNOWN.iter().map(|call| (*call, Vec::new())).collect();
    let families = vec![(libc::SYS_socket, vec![other_families()?])];
    Ok(vec![
        answer(libc::EPERM, refused)?,
        answer(libc::ENOSYS, unknown)?,
        answer(libc::EAFNOSUPPORT, families)?,
        newer_than_this_list(),
    ])
}

fn answer(errno: i32, rules: Rules) -> Result<BpfProgram, seccompiler::Error> {
    let arch: TargetArch = std::env::consts::ARCH.try_into()?;
    let errno = SeccompAction::Errno(u32::try_from(errno).expect("error numbers are positive"));
    let filter = SeccompFilter::new(rules.into_iter().collect(), SeccompAction::Allow, errno, arch)?;
    Ok(filter.try_into()?)
}

fn has(argument: u8, bits: u64) -> Result<SeccompRule, seccompiler::Error> {
    let condition = SeccompCondition::new(argument, SeccompCmpArgLen::Dword, SeccompCmpOp::MaskedEq(bits), bits)?;
    Ok(SeccompRule::new(vec![condition])?)
}

fn is(argument: u8, op: SeccompCmpOp, value: i32) -> Result<SeccompCondition, seccompiler::Error> {
    Ok(SeccompCondition::new(argument, SeccompCmpArgLen::Dword, op, u64::try_from(value).expect("constants are positive"))?)
}

/// Refused with some arguments only.
fn conditional() -> Result<Rules, seccompiler::Error> {
    let bits = |flags: &[i32]| -> Result<Vec<SeccompRule>, seccompiler::Error> {
        flags.iter().map(|flag| has(0, u64::try_from(*flag).expect("flags are positive"))).collect()
    };
    let typing: Result<Vec<SeccompRule>, seccompiler::Error> = TYPING
        .iter()
        .map(|request| {
            let same = SeccompCondition::new(1, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, *request)?;
            Ok(SeccompRule::new(vec![same])?)
        })
        .collect();
    let unshare: Vec<i32> = NAMESPACES.iter().copied().chain([NEW_TIME]).collect();
    Ok(vec![(libc::SYS_clone, bits(NAMESPACES)?), (libc::SYS_unshare, bits(&unshare)?), (libc::SYS_ioctl, typing?)])
}

fn fast_open() -> Result<Rules, seccompiler::Error> {
    Ok(vec![
        (libc::SYS_sendto, vec![has(3, FAST_OPEN)?]),
        (libc::SYS_sendmsg, vec![has(2, FAST_OPEN)?]),
        (libc::SYS_sendmmsg, vec![has(3, FAST_OPEN)?]),
    ])
}

/// A socket that is of none of the families that programs use.
fn other_families() -> Result<SeccompRule, seccompiler::Error> {
    let families = [libc::AF_UNIX, libc::AF_INET, libc::AF_INET6, libc::AF_NETLINK];
    let none: Result<Vec<_>, _> = families.into_iter().map(|family| is(0, SeccompCmpOp::Ne, family)).collect();
    Ok(SeccompRule::new(none?)?)
}

fn other_than_tcp() -> Result<Vec<SeccompRule>, seccompiler::Error> {
    let mut rules = Vec::new();
    for family in [libc::AF_INET, libc::AF_INET6] {
        for other in OTHER_TYPES {
            let kind = is(1, SeccompCmpOp::MaskedEq(TYPE_MASK), *other)?;
            rules.push(SeccompRule::new(vec![is(0, SeccompCmpOp::Eq, family)?, kind])?);
        }
        let not_tcp = [is(2, SeccompCmpOp::Ne, 0)?, is(2, SeccompCmpOp::Ne, libc::IPPROTO_TCP)?];
        rules.push(SeccompRule::new([vec![is(0, SeccompCmpOp::Eq, family)?], not_tcp.to_vec()].concat())?);
    }
    // Of what the kernel tells over netlink, interfaces and routes.
    let netlink = [is(0, SeccompCmpOp::Eq, libc::AF_NETLINK)?, is(2, SeccompCmpOp::Ne, libc::NETLINK_ROUTE)?];
    rules.push(SeccompRule::new(netlink.to_vec())?);
    Ok(rules)
}

/// Load the number; beyond `NEWEST`, answer ENOSYS; else allow.
fn newer_than_this_list() -> BpfProgram {
    let (load, greater, give) = (0x20, 0x25, 0x06);
    let (errno, allow) = (0x0005_0000 | u32::try_from(libc::ENOSYS).expect("error numbers are positive"), 0x7fff_0000);
    let step = |code, jt, jf, k| sock_filter { code, jt, jf, k };
    vec![step(load, 0, 0, 0), step(greater, 0, 1, NEWEST), step(give, 0, 0, errno), step(give, 0, 0, allow)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_filters_compile_and_fit_into_the_kernel() {
        const MOST: usize = 4096;
        for sockets in [Sockets::Families, Sockets::TcpOnly] {
            let programs = programs(sockets).expect("they compile");
            assert_eq!(programs.len(), 4);
            assert!(programs.iter().all(|program| (4..MOST).contains(&program.len())));
        }
    }
}
