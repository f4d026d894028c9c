//! The prompt gate: an explicit order against a named production resource asks; vaguer words only leave a mark. Fenced
//! code is not read here: each of its commands is judged when it is to run.

use crate::hit::Hit;
use crate::settings::Settings;

/// Verbs of destruction.
const VERBS: &[&str] = &[
    "delete",
    "drop",
    "destroy",
    "wipe",
    "erase",
    "purge",
    "truncate",
    "nuke",
    "terminate",
    "remove",
    "obliterate",
    "clear",
    "shred",
    "decommission",
    "overwrite",
    "revoke",
    "uninstall",
    "reset",
    "kill",
    "empty",
    "flush",
    "deprovision",
    "unpublish",
    "rm",
    "format",
];
/// Verbs that need an object of weight: people remove spaces and reset styles.
const WEAK: &[&str] =
    &["remove", "clear", "reset", "empty", "kill", "overwrite", "format", "flush", "revoke", "uninstall", "drop", "terminate"];
/// What can be lost.
const NOUNS: &[&str] = &[
    "table",
    "tables",
    "schema",
    "schemas",
    "catalog",
    "catalogs",
    "database",
    "databases",
    "bucket",
    "buckets",
    "cluster",
    "clusters",
    "job",
    "jobs",
    "warehouse",
    "warehouses",
    "namespace",
    "namespaces",
    "volume",
    "volumes",
    "branch",
    "branches",
    "repo",
    "repository",
    "repositories",
    "instance",
    "instances",
    "server",
    "servers",
    "vm",
    "vms",
    "backup",
    "backups",
    "snapshot",
    "snapshots",
    "account",
    "accounts",
    "user",
    "users",
    "secret",
    "secrets",
    "workspace",
    "workspaces",
    "index",
    "indices",
    "topic",
    "topics",
    "queue",
    "queues",
    "stack",
    "stacks",
    "deployment",
    "deployments",
    "pod",
    "pods",
    "disk",
    "disks",
    "partition",
    "partitions",
    "dataset",
    "datasets",
    "data",
    "records",
    "rows",
    "files",
    "directory",
    "folder",
    "environment",
    "infrastructure",
    "collection",
    "collections",
    "logs",
    "history",
    "pipeline",
    "pipelines",
    "resource",
    "resources",
    "group",
    "groups",
    "key",
    "keys",
    "db",
    "everything",
    "container",
    "containers",
    "image",
    "images",
    "system",
    "drive",
    "file",
    "home",
    "node",
    "nodes",
    "service",
    "dashboard",
    "dashboards",
    "model",
    "models",
    "endpoint",
    "endpoints",
    "commits",
    "permissions",
    "access",
];
/// Words that turn an order into something else.
const HARMLESS: &[&str] = &[
    "don't",
    "dont",
    "not",
    "never",
    "without",
    "avoid",
    "how",
    "why",
    "what",
    "when",
    "whether",
    "explain",
    "describe",
    "document",
    "documentation",
    "prevent",
    "restore",
    "recover",
    "undo",
    "test",
    "tests",
    "unit",
    "function",
    "method",
    "button",
    "endpoint",
    "feature",
    "implement",
    "example",
    "cannot",
    "can't",
    "unused",
    "implementation",
    "who",
    "which",
    "list",
    "show",
    "find",
    "warning",
    "error",
    "review",
    "refactor",
    "class",
    "component",
    "parameter",
    "import",
    "comment",
    "comments",
    "whitespace",
    "duplicates",
    "duplicate",
    "column",
    "nulls",
    "soft-delete",
    "was",
    "were",
    "been",
    "had",
    "write",
    "handler",
    "api",
    "add",
    "create",
    "if",
    "before",
    "instead",
];

/// Words of making a text, which is harmless until the text is run.
const MAKES: &[&str] = &["create", "write", "implement", "add", "function", "method"];

/// What a prompt orders.
pub(crate) fn judge(settings: &Settings, text: &str) -> Vec<Hit> {
    sentences(text).into_iter().filter_map(|(start, sentence)| order(settings, start, sentence)).collect()
}

fn order(settings: &Settings, start: usize, sentence: &str) -> Option<Hit> {
    let lower = sentence.to_lowercase();
    let words: Vec<&str> = lower
        .split(|c: char| c.is_whitespace() || matches!(c, ',' | '(' | ')' | ':' | '"' | '!' | '?'))
        .map(|w| w.trim_matches(['.', '\'', '*']))
        .filter(|w| !w.is_empty())
        .collect();
    let at = words.iter().position(|word| verb(word).is_some())?;
    let verb = verb(words[at])?;
    // "Write a script that removes x" makes a text; "write and run" it removes x.
    let runs = words[..at].iter().any(|word| matches!(*word, "execute" | "run" | "runs" | "executes" | "perform"));
    let harmless = |word: &&str| HARMLESS.contains(word) && !(runs && MAKES.contains(word));
    if words.iter().any(|word| word.starts_with("soft-")) || words[..at].iter().any(harmless) {
        return None;
    }
    let noun = words[at + 1..].iter().find(|word| is_noun(word));
    let named = words[at + 1..].iter().find(|word| {
        word.matches('.').count() >= 2 && !word.contains('/')
            || word.contains('`')
            || word.starts_with("s3://")
            || word.starts_with("gs://")
            || word.starts_with(['/', '~'])
    });
    let weak = WEAK.contains(&verb);
    if noun.is_none() && (named.is_none() || weak) && !(named.is_some() && verb == "drop") {
        return None;
    }
    let imperative = at <= 2
        || matches!(
            words[at - 1],
            "and" | "then" | "please" | "to" | "must" | "should" | "now" | "just" | "will" | "go" | "also" | "finally"
        );
    let production = words
        .iter()
        .any(|word| word.split(|c: char| !c.is_alphanumeric()).any(|part| settings.production.iter().any(|name| part == name)));
    let target = named.or(noun).map_or("something", |word| word.trim_matches('`'));
    let code = if imperative && production { "prompt.order" } else { "prompt.intent" };
    let kind = noun.map_or("object", |noun| *noun);
    Some(Hit { span: (start, start + sentence.len()), ..Hit::new(code, kind, target) })
}

/// The verb that a word is a form of: `deletes`, `deleting` and `deleted` tell of deleting, too.
fn verb(word: &str) -> Option<&'static str> {
    VERBS.iter().copied().find(|verb| {
        let stem = verb.strip_suffix('e').unwrap_or(verb);
        match word.strip_prefix(stem) {
            Some("") => stem == *verb,
            Some("e") => stem != *verb,
            Some("s" | "es" | "ing") => true,
            Some(_) | None => false,
        }
    })
}

fn is_noun(word: &str) -> bool {
    let one = word.strip_suffix("ies").map(|stem| format!("{stem}y"));
    NOUNS.contains(&word)
        || one.is_some_and(|one| NOUNS.contains(&one.as_str()))
        || word.strip_suffix('s').is_some_and(|stem| NOUNS.contains(&stem))
}

/// Sentences outside fenced code, with their position.
fn sentences(text: &str) -> Vec<(usize, &str)> {
    let mut out = Vec::new();
    let mut fenced = false;
    let mut position = 0;
    for line in text.split_inclusive('\n') {
        let start = position;
        position += line.len();
        if line.trim_start().starts_with("```") || line.trim_start().starts_with("~~~") {
            fenced = !fenced;
            continue;
        }
        if fenced {
            continue;
        }
        let mut from = 0;
        let bytes = line.as_bytes();
        for at in 0..bytes.len() {
            let ends = matches!(bytes[at], b';' | b'\n')
                || matches!(bytes[at], b'.' | b'!' | b'?') && bytes.get(at + 1).is_none_or(u8::is_ascii_whitespace);
            if ends {
                out.push((start + from, &line[from..at]));
                from = at + 1;
            }
        }
        out.push((start + from, &line[from..]));
    }
    out.retain(|(_, sentence)| !sentence.trim().is_empty());
    out
}
