//! Version control.

use super::{has, operands};
use crate::hit::Hit;
use crate::shell::{Arg, Command};

/// What a command does to a repository.
pub(crate) fn judge(command: &Command, hits: &mut Vec<Hit>) {
    match command.program() {
        "git" => git(command, hits),
        "hg" => {
            let word = command.argv.get(1).map_or("", |arg| arg.text.as_str());
            match word {
                "strip" | "histedit" => hits.push(Hit::of(command, "vcs.history", "repository", "the repository")),
                "purge" | "revert" => hits.push(Hit::of(command, "vcs.discard", "repository", "the working copy")),
                "update" | "up" | "checkout" if has(&command.argv, &["-C", "--clean"]) => {
                    hits.push(Hit::of(command, "vcs.discard", "repository", "the working copy"))
                }
                "push" if has(&command.argv, &["-f", "--force"]) => {
                    hits.push(Hit::of(command, "vcs.history", "repository", "the remote"))
                }
                _ => {}
            }
        }
        "svn" => {
            let word = command.argv.get(1).map_or("", |arg| arg.text.as_str());
            if matches!(word, "delete" | "del" | "remove" | "rm" | "revert" | "cleanup")
                && (word != "cleanup" || has(&command.argv, &["--remove-unversioned", "--remove-ignored"]))
            {
                hits.push(Hit::of(
                    command,
                    if word == "revert" || word == "cleanup" { "vcs.discard" } else { "vcs.delete" },
                    "repository",
                    "the working copy",
                ));
            }
        }
        "bfg" | "git-filter-repo" => hits.push(Hit::of(command, "vcs.history", "repository", "the repository")),
        _ => {}
    }
}

fn git(command: &Command, hits: &mut Vec<Hit>) {
    // Options before the operation: `git -C dir -c k=v push`.
    let mut at = 1;
    while let Some(arg) = command.argv.get(at) {
        match arg.text.as_str() {
            "-C" | "-c" | "--git-dir" | "--work-tree" | "--namespace" => at += 2,
            text if text.starts_with('-') => at += 1,
            _ => break,
        }
    }
    let Some(operation) = command.argv.get(at) else { return };
    let argv = &spelled_out(&command.argv[at..]);
    let words = operands(argv, &["-m", "-b", "-s", "--source", "-o", "--expire", "-t"]);
    let first = words.first().map_or("", |arg| arg.text.as_str());
    let names = |from: usize| words.iter().skip(from).map(|arg| arg.text.as_str()).collect::<Vec<_>>().join(" ");
    let mut hit = |code: &'static str, kind: &str, name: &str| {
        let name = if name.is_empty() { "the repository" } else { name };
        hits.push(Hit { partial: argv.iter().any(|arg| !arg.known), ..Hit::of(command, code, kind, name) });
    };
    if !operation.known {
        hit("cloud.dynamic", "repository", &operation.text);
        return;
    }
    let dry = has(argv, &["--dry-run"]) || operation.text != "branch" && operation.text != "commit" && has(argv, &["-n"]);
    if dry && matches!(operation.text.as_str(), "clean" | "push" | "rm" | "prune" | "add" | "fetch" | "worktree") {
        return;
    }
    match operation.text.as_str() {
        "reset" if has(argv, &["--hard", "--merge", "--keep"]) => hit("vcs.discard", "repository", "the working tree"),
        "clean" if has(argv, &["-f", "--force", "-x", "-X"]) || unguarded(&command.argv[..at]) => {
            hit("vcs.discard", "repository", "untracked files")
        }
        "checkout" => checkout(argv, &words, &mut hit),
        "switch" if has(argv, &["-f", "--force", "--discard-changes", "-C", "--force-create"]) => {
            hit("vcs.discard", "repository", "the working tree")
        }
        "restore" if !has(argv, &["--staged", "-S"]) || has(argv, &["--worktree", "-W"]) => hit("vcs.discard", "file", &names(0)),
        "push" => push(argv, &words, &mut hit),
        "branch" if has(argv, &["-D", "-d", "--delete"]) => hit("vcs.delete", "branch", &names(0)),
        "branch" if has(argv, &["-f", "-M", "-C", "--force"]) => hit("vcs.history", "branch", &names(0)),
        "tag" if has(argv, &["-d", "--delete"]) => hit("vcs.delete", "tag", &names(0)),
        "tag" if has(argv, &["-f", "--force"]) => hit("vcs.history", "tag", &names(0)),
        "stash" if matches!(first, "drop" | "clear") => hit("vcs.delete", "stash", "stashed work"),
        "remote" if matches!(first, "remove" | "rm" | "prune") => hit("vcs.delete", "remote", &names(1)),
        "worktree" if matches!(first, "remove" | "prune") => hit("vcs.delete", "worktree", &names(1)),
        "submodule" if first == "deinit" => hit("vcs.delete", "submodule", &names(1)),
        "notes" if matches!(first, "remove" | "prune") => hit("vcs.delete", "notes", &names(1)),
        "rm" if !has(argv, &["--cached"]) => hit("vcs.delete", "file", &names(0)),
        "reflog" if matches!(first, "expire" | "delete") => hit("vcs.history", "repository", "the reflog"),
        "gc" if has(argv, &["--prune", "--aggressive"]) && argv.iter().any(|arg| arg.text.starts_with("--prune=")) => {
            hit("vcs.history", "repository", "unreachable commits")
        }
        "prune" => hit("vcs.history", "repository", "unreachable objects"),
        "update-ref" if has(argv, &["-d", "--delete", "--stdin"]) => hit("vcs.delete", "ref", &names(0)),
        "symbolic-ref" if has(argv, &["-d", "--delete"]) => hit("vcs.delete", "ref", &names(0)),
        "replace" if has(argv, &["-d", "--delete", "-f"]) => hit("vcs.history", "repository", &names(0)),
        "filter-branch" | "filter-repo" => hit("vcs.history", "repository", "the repository"),
        "rebase"
            if !has(argv, &["--abort", "--continue", "--quit", "--skip", "--show-current-patch", "--edit-todo"])
                && has(argv, &["--root", "--exec", "-x"]) =>
        {
            hit("vcs.history", "branch", "the branch");
        }
        "lfs" if first == "prune" => hit("vcs.delete", "file", "local LFS files"),
        "read-tree" if has(argv, &["--reset"]) => hit("vcs.discard", "repository", "the working tree"),
        "bisect" | "rerere" if matches!(first, "clear" | "forget") => hit("vcs.delete", "repository", "recorded resolutions"),
        "config"
            if has(argv, &["--global", "--system"])
                && argv.iter().any(|arg| arg.text.contains("hooksPath") || arg.text.starts_with("alias.")) =>
        {
            hit("shell.persist", "file", "the git configuration");
        }
        _ => {}
    }
}

/// git takes any beginning of a long option that fits no other.
fn spelled_out(argv: &[Arg]) -> Vec<Arg> {
    const LONG: &[&str] = &["--hard", "--force", "--delete", "--mirror", "--discard-changes"];
    const SHORTEST: usize = 4;
    let full = |text: &str| LONG.iter().find(|long| text.len() >= SHORTEST && long.starts_with(text));
    let spell = |arg: &Arg| match full(&arg.text) {
        Some(long) => Arg { text: (*long).to_owned(), ..arg.clone() },
        None => arg.clone(),
    };
    argv.iter().map(spell).collect()
}

/// `git -c clean.requireForce=false`: the option that is asked for otherwise is not needed.
fn unguarded(before: &[Arg]) -> bool {
    before.iter().any(|arg| arg.text.eq_ignore_ascii_case("clean.requireForce=false"))
}

fn checkout(argv: &[Arg], words: &[&Arg], hit: &mut impl FnMut(&'static str, &str, &str)) {
    let separated = argv.iter().position(|arg| arg.text == "--").filter(|at| at + 1 < argv.len());
    // `git checkout main file`: a tree and paths. With a new branch's options the second word is its start.
    let tree_and_paths = words.len() >= 2 && !has(argv, &["-b", "-B", "--orphan", "-t", "--track", "-p", "--patch"]);
    let paths = tree_and_paths
        || words.iter().any(|arg| matches!(arg.text.as_str(), "." | "./" | "*" | ":/") || arg.text.starts_with("./"));
    if has(argv, &["-f", "--force", "-B"]) {
        hit("vcs.discard", "repository", "the working tree");
    } else if separated.is_some() || paths || has(argv, &["--ours", "--theirs", "--pathspec-from-file"]) {
        hit("vcs.discard", "file", &words.iter().map(|arg| arg.text.as_str()).collect::<Vec<_>>().join(" "));
    }
}

fn push(argv: &[Arg], words: &[&Arg], hit: &mut impl FnMut(&'static str, &str, &str)) {
    let target = words.iter().map(|arg| arg.text.as_str()).collect::<Vec<_>>().join(" ");
    let refs = words.iter().skip(1).map(|arg| arg.text.as_str());
    if has(argv, &["-d", "--delete", "--mirror", "--prune"]) || refs.clone().any(|name| name.starts_with(':') && name.len() > 1) {
        hit("vcs.delete", "branch", &target);
    } else if has(argv, &["-f", "--force", "--force-with-lease", "--force-if-includes"])
        || refs.clone().any(|name| name.starts_with('+'))
    {
        hit("vcs.history", "branch", &target);
    }
}
