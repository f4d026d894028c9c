//! The rules: their codes, how much they matter, and what a person reads. `{}` stands for the resource.

use coda_policy::{Effect, Reversible, Severity};

/// One rule.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rule {
    pub(crate) code: &'static str,
    pub(crate) severity: Severity,
    pub(crate) effect: Effect,
    pub(crate) reversible: Reversible,
    /// One line.
    pub(crate) summary: &'static str,
    /// What would be lost.
    pub(crate) lost: &'static str,
    /// The nearest safe form.
    pub(crate) safe: &'static str,
}

const fn rule(
    code: &'static str,
    severity: Severity,
    effect: Effect,
    reversible: Reversible,
    summary: &'static str,
    lost: &'static str,
    safe: &'static str,
) -> Rule {
    Rule { code, severity, effect, reversible, summary, lost, safe }
}

use Effect::{Delete, Disrupt, Modify, Other, Overwrite, PermissionChange, Persist, RemoteExec};
use Reversible::{No, Unknown, Yes};
use Severity::{Critical, High, Low, Medium};

/// The rules whose findings refuse unless settings say otherwise.
pub(crate) const DENIED: &[&str] = &["shell.wipe-root", "shell.device", "shell.fork-bomb", "coda.own-files"];

/// Every rule.
pub(crate) const RULES: &[Rule] = &[
    rule("shell.rm", High, Delete, No, "files are deleted", "{} would be deleted for good.", "Move it aside (mv) or delete it after a look with ls."),
    rule("shell.wipe-root", Critical, Delete, No, "a whole system or home is deleted", "Everything below {} would be deleted.", "Name the one folder that is meant."),
    rule("shell.device", Critical, Overwrite, No, "a disk is overwritten", "All data on {} would be overwritten.", "Write to an image file instead."),
    rule("shell.volume", High, Delete, No, "a volume, pool or snapshot is removed", "The storage {} and its data would be removed.", "Take a snapshot first, or list it with the tool's read-only command."),
    rule("shell.truncate", High, Overwrite, No, "a file is emptied", "The content of {} would be lost.", "Write to a new file, or keep a copy first."),
    rule("shell.overwrite", Low, Overwrite, Unknown, "a file may be overwritten", "If {} exists, its content would be replaced.", "Append with >> or write to a new name."),
    rule("shell.system-file", High, Overwrite, Unknown, "a file of the system is written", "{} belongs to the system and would be replaced.", "Write below the working directory and let an operator install it."),
    rule("shell.move", Low, Overwrite, Unknown, "a file may be moved over another", "If {} exists, it would be replaced.", "Use mv -n, which never replaces."),
    rule("shell.sync-delete", High, Delete, No, "a copy deletes what the source lacks", "What exists only in {} would be deleted.", "Run it with --dry-run first, or without the deleting option."),
    rule("shell.fork-bomb", Critical, Disrupt, Unknown, "processes multiply without end", "The machine would run out of processes.", "Start a fixed number of jobs instead."),
    rule("shell.permission", Medium, PermissionChange, Yes, "who may use a file changes", "The access rights of {} would change.", "Give the one right that is needed to the one file (chmod u+x FILE)."),
    rule("shell.account", High, PermissionChange, Unknown, "an account or group changes", "The account {} would change.", "Ask the owner of the machine."),
    rule("shell.firewall", Medium, PermissionChange, Unknown, "network rules change", "The network rules {} would change.", "List them first and change one rule by name."),
    rule("shell.process", Low, Disrupt, Yes, "a process or service is stopped", "{} would stop.", "Look at its state first."),
    rule("shell.power", Medium, Disrupt, Yes, "the machine stops", "The machine would stop or restart.", "Restart the one service that is meant."),
    rule("shell.schedule", Medium, Delete, No, "scheduled jobs are removed", "The scheduled jobs {} would be removed.", "Edit the one entry that is meant."),
    rule("shell.persist", Low, Persist, Yes, "something stays behind that runs later", "{} would run later without a further question.", "Run it in this task."),
    rule("shell.package", Medium, Delete, Yes, "installed software is removed", "{} would be uninstalled.", "Leave it installed, or use a separate environment."),
    rule("shell.remote-script", Medium, RemoteExec, Unknown, "a script from the network runs unread", "{} would run whatever the server sends.", "Download it, read it, then run the file."),
    rule("shell.unseen-script", Medium, Other, Unknown, "a script runs that is not in the text", "What {} runs can not be seen here.", "Write the commands out."),
    rule("shell.dynamic-program", Medium, Other, Unknown, "the program is known only when it runs", "Which program {} starts can not be seen here.", "Write the program's name out."),
    rule("shell.unparsed", Medium, Other, Unknown, "the command does not parse", "The command can not be read: {}.", "Write it as simple commands, one a line."),
    rule("shell.too-long", Medium, Other, Unknown, "the command is too long to judge", "The command is longer than what is judged.", "Split it."),
    rule("shell.too-deep", Medium, Other, Unknown, "the command nests too deeply to judge", "The command nests deeper than what is judged.", "Write it flat."),
    rule("coda.own-files", Critical, Modify, Unknown, "coda's own files are written", "{} belongs to coda and decides what tasks may do.", "An operator changes it outside of tasks."),
    rule("vcs.discard", High, Delete, No, "uncommitted work is thrown away", "Uncommitted changes in {} would be lost.", "Use git stash, which keeps them."),
    rule("vcs.history", High, Overwrite, Unknown, "published or kept history is replaced", "The history of {} would be replaced.", "Push to a new branch, or use git revert."),
    rule("vcs.delete", Medium, Delete, Unknown, "a branch, tag, stash or remote is deleted", "{} would be deleted.", "Rename or archive it instead."),
    rule("cloud.delete", High, Delete, Unknown, "a cloud or platform resource is deleted", "{} would be deleted.", "Look at it with the tool's get or describe, then disable it instead."),
    rule("cloud.permission", High, PermissionChange, Unknown, "access to a cloud or platform resource changes", "Who may use {} would change.", "Ask the owner, or add one narrow grant."),
    rule("cloud.overwrite", Medium, Overwrite, Unknown, "a cloud or platform resource is replaced or reset", "The present state of {} would be replaced.", "Write to a new name or version."),
    rule("cloud.disrupt", Low, Disrupt, Yes, "a cloud or platform resource stops", "{} would stop or restart.", "Look at its state first."),
    rule("cloud.dynamic", Medium, Other, Unknown, "the operation is known only when it runs", "Which operation {} does can not be seen here.", "Write the operation out."),
    rule("iac.destroy", High, Delete, No, "managed infrastructure is destroyed", "The infrastructure {} would be destroyed.", "Use plan to see what would go, and target one resource."),
    rule("iac.apply", Low, Modify, Unknown, "infrastructure changes without a question", "{} would be changed without a further question.", "Apply a plan file that was read."),
    rule("http.delete", Medium, Delete, Unknown, "a DELETE request is sent", "What {} names would be deleted.", "GET it first."),
    rule("data.flush", High, Delete, No, "a data store is emptied or keys are deleted", "The data in {} would be deleted.", "Let keys expire, or rename them."),
    rule("code.delete", High, Delete, Unknown, "a program's text deletes something", "The program calls {}, which deletes.", "Move it aside instead."),
    rule("code.dynamic", Medium, Other, Unknown, "a program runs text that is not readable here", "What {} runs can not be seen here.", "Write the program out."),
    rule("sql.drop", High, Delete, Unknown, "a table, schema or other object is dropped", "{} and all its data would be dropped.", "Rename it, or use CREATE OR REPLACE, whose history can be restored."),
    rule("sql.delete-all", High, Delete, Unknown, "all rows are deleted", "All rows of {} would be deleted.", "Add a WHERE clause, or mark rows as deleted."),
    rule("sql.delete-where", Medium, Delete, Unknown, "rows are deleted", "The matching rows of {} would be deleted.", "Count them with SELECT first, or mark them as deleted."),
    rule("sql.truncate", High, Delete, No, "a table is emptied", "All rows of {} would be lost.", "Use INSERT OVERWRITE from a checked query, or a new table."),
    rule("sql.alter-drop", High, Delete, Unknown, "a column, partition or constraint is dropped", "A part of {} and its data would be dropped.", "Rename the column and drop it later."),
    rule("sql.merge-delete", Medium, Delete, Unknown, "a merge deletes rows", "The matched rows of {} would be deleted.", "Let the merge set a deleted mark instead."),
    rule("sql.update-all", High, Overwrite, Unknown, "all rows are changed", "All rows of {} would be changed.", "Add a WHERE clause."),
    rule("sql.replace", Low, Overwrite, Yes, "an object is created or replaced", "If {} exists, it would be replaced.", "Use CREATE … IF NOT EXISTS."),
    rule("sql.overwrite", Medium, Overwrite, Unknown, "the rows of a table are replaced", "The present rows of {} would be replaced.", "Use INSERT INTO, or MERGE."),
    rule("sql.permission", High, PermissionChange, Yes, "grants change", "Who may use {} would change.", "Ask the owner of the object."),
    rule("sql.purge", High, Delete, No, "history or unused files are removed", "Old versions of {} could not be restored any more.", "Keep the default retention."),
    rule("sql.unknown", Medium, Other, Unknown, "the statement can not be judged", "What {} does can not be seen here.", "Write plain statements, one at a time."),
    rule("prompt.order", High, Delete, Unknown, "the prompt orders something destructive on production", "The task is told to destroy {}.", "Name the object and what is to be kept, or ask for a report first."),
    rule("prompt.intent", Low, Delete, Unknown, "the prompt speaks of destroying something", "The task may destroy {}.", "What it does is judged call by call."),
];

/// The rule of a code. INVARIANT: codes in this crate are in the table; a test walks them.
pub(crate) fn find(code: &str) -> &'static Rule {
    RULES.iter().find(|rule| rule.code == code).unwrap_or(&RULES[0])
}
