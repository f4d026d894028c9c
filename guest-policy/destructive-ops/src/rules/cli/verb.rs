//! Verbs of operations: what a word says will happen.

/// Verbs after which a resource is gone.
pub(super) const DELETE: &[&str] = &[
    "delete",
    "del",
    "rm",
    "remove",
    "destroy",
    "terminate",
    "purge",
    "drop",
    "erase",
    "wipe",
    "prune",
    "unpublish",
    "deregister",
    "rmi",
    "rb",
    "rmdir",
    "deprovision",
    "unregister",
    "undeploy",
    "nuke",
    "trash",
    "flush",
    "empty",
    "clear",
    "uninstall",
    "decommission",
    "evict",
    "expunge",
    "truncate",
    "teardown",
    "down",
    "disassociate",
    "unlink",
    "deletefile",
    "rmdirs",
    "cleanup",
    "unassign",
    "cancel",
    "abort",
    "discard",
    "detach",
    "unset",
    "forget",
];

/// Verbs that any program's first words may carry to be asked about.
pub(super) const STRONG: &[&str] = &[
    "delete",
    "destroy",
    "purge",
    "terminate",
    "drop",
    "wipe",
    "erase",
    "nuke",
    "deprovision",
    "unpublish",
    "truncate",
    "undeploy",
];

/// Verbs that replace or reset what is there.
pub(super) const REPLACE: &[&str] =
    &["reset", "restore", "rollback", "replace", "overwrite", "reimage", "failover", "revert", "reimport", "rebuild"];

/// Verbs that only look.
pub(super) const READS: &[&str] = &["get", "list", "ls", "describe", "show", "help", "status", "diff", "log", "logs", "config"];
/// Verbs after which something stops.
pub(super) const STOP: &[&str] = &[
    "stop",
    "restart",
    "reboot",
    "disable",
    "kill",
    "pause",
    "suspend",
    "drain",
    "cordon",
    "shutdown",
    "scale",
    "deallocate",
    "halt",
    "hibernate",
];

/// Verbs that change who may do what, beside a word of access.
pub(super) const GRANT: &[&str] = &[
    "grant",
    "revoke",
    "set",
    "put",
    "update",
    "attach",
    "detach",
    "add",
    "remove",
    "create",
    "authorize",
    "modify",
    "patch",
    "replace",
    "delete",
    "edit",
    "approve",
    "assign",
    "unassign",
    "change",
    "apply",
    "enable",
    "disable",
    "reset",
    "upload",
];

/// Words of access.
pub(super) const ACCESS: &[&str] = &[
    "policy",
    "policies",
    "acl",
    "acls",
    "permission",
    "permissions",
    "grant",
    "grants",
    "iam",
    "access",
    "rolebinding",
    "rolebindings",
    "clusterrolebinding",
    "clusterrole",
    "privilege",
    "privileges",
    "ingress",
    "egress",
    "binding",
    "bindings",
    "membership",
    "collaborator",
    "collaborators",
    "visibility",
    "firewall",
];

/// The verb at the head or tail of an operation: `delete-bucket`, `batch-delete-image`, `permanent-delete`.
pub(super) fn verb_of(word: &str) -> Option<&'static str> {
    let mut parts = word.split(['-', '_', ':', '.']).filter(|part| !part.is_empty());
    let first = parts.next()?;
    let head =
        if matches!(first, "batch" | "bulk" | "force" | "permanent" | "permanently" | "admin" | "schedule" | "multi" | "begin") {
            parts.next()?
        } else {
            first
        };
    DELETE.iter().find(|verb| head.eq_ignore_ascii_case(verb)).copied()
}

/// The rule that a tool's name falls under: `delete_cluster`, `mcp__jobs__delete`, `clusters.permanentDelete`.
pub(crate) fn tool_verb(name: &str) -> Option<&'static str> {
    let mut spaced = String::with_capacity(name.len() + 4);
    for c in name.chars() {
        if c.is_uppercase() {
            spaced.push('_');
        }
        spaced.extend(c.to_lowercase());
    }
    let parts: Vec<&str> = spaced.split(|c: char| !c.is_alphanumeric()).filter(|part| !part.is_empty()).collect();
    let access = parts.iter().any(|part| ACCESS.contains(part));
    if access
        && parts.iter().any(|part| matches!(*part, "grant" | "revoke" | "set" | "put" | "update" | "add" | "remove" | "delete"))
    {
        return Some("cloud.permission");
    }
    parts.iter().any(|part| STRONG.contains(part) || matches!(*part, "remove" | "rm")).then_some("cloud.delete")
}
