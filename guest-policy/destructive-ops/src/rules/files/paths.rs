//! What a path stands for.

/// Block devices; not the ones that any program may write to.
pub(super) fn device(path: &str) -> bool {
    let Some(name) = path.strip_prefix("/dev/") else { return path.starts_with("\\\\.\\") };
    [
        "sd", "hd", "vd", "xvd", "nvme", "mmcblk", "disk", "rdisk", "loop", "md", "dm-", "mapper/", "mem", "kmem", "port", "ram",
        "block/", "fd0", "sr",
    ]
    .iter()
    .any(|prefix| name.starts_with(prefix))
}

/// Not a file, or one that keeps nothing.
pub(super) fn harmless(path: &str) -> bool {
    path.starts_with("/dev/")
        || path.starts_with("/proc/self/")
        || path.starts_with("&")
        || path == "NUL"
        || path == "$null"
        || path.starts_with(">(")
}

/// What the machine or a person's accounts live by.
pub(super) fn system_file(path: &str) -> bool {
    const SYSTEM: &[&str] = &[
        "/etc/",
        "/usr/",
        "/bin/",
        "/sbin/",
        "/boot/",
        "/lib/",
        "/lib64/",
        "/sys/",
        "/proc/",
        "/root/.",
        "/System/",
        "/Library/",
        "C:\\Windows",
    ];
    const PERSONAL: &[&str] = &[
        ".bashrc",
        ".bash_profile",
        ".profile",
        ".zshrc",
        ".ssh/authorized_keys",
        ".ssh/config",
        ".ssh/id_",
        ".gitconfig",
        ".netrc",
        ".aws/credentials",
        ".databrickscfg",
        ".kube/config",
    ];
    SYSTEM.iter().any(|prefix| path.starts_with(prefix)) && !path.starts_with("/usr/local/src/")
        || PERSONAL.iter().any(|file| {
            path.starts_with("~/") && path[2..].starts_with(file)
                || path.starts_with("/home/") && path.contains(&format!("/{file}"))
        })
}

/// The policies, keys and store of the server that judges this.
pub(super) fn own_files(path: &str) -> bool {
    const OWN: &[&str] =
        &["policies", "policies.toml", "coda.toml", "coda.db", "keys", "server.lock", "server.json", "cli", "cache"];
    if path.starts_with("$CODA_HOME") || path.starts_with("${CODA_HOME") {
        return true;
    }
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    parts
        .iter()
        .position(|part| matches!(*part, ".coda" | "coda-home" | "CODA_HOME"))
        .is_some_and(|at| parts.get(at + 1).is_none_or(|next| OWN.contains(next) || next.contains('*')))
}
