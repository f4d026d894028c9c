//! The layering rules of docs/ARCHITECTURE.md, held to by reading the sources.
//!
//! A rule names a word and the files that may use it. Comments and literals are left out before words are looked for, so
//! that saying "rusqlite" in a sentence breaks nothing.

use std::path::{Path, PathBuf};

/// A word of the source text, and who may use it.
struct Rule {
    name: &'static str,
    word: &'static str,
    allowed: &'static [&'static str],
}

const RULES: &[Rule] = &[
    Rule { name: "only mcp names rmcp", word: "rmcp", allowed: &["mcp"] },
    Rule { name: "only policy names wasmtime", word: "wasmtime", allowed: &["policy"] },
    Rule { name: "only policy names wasmtime_wizer", word: "wasmtime_wizer", allowed: &["policy"] },
    Rule { name: "only store names the database", word: "rusqlite", allowed: &["store"] },
    // The cache reads back machine code that this server compiled and authenticated; wasmtime calls that unsafe, rightly.
    // The heap is one call with two numbers.
    Rule {
        name: "unsafe code lives in pty, sandbox, cache and heap",
        word: "unsafe",
        allowed: &["executor/pty", "executor/sandbox", "policy/cache", "heap"],
    },
    Rule { name: "nobody imports app but the command that serves", word: "app", allowed: &["app", "cli/serve"] },
];

/// Modules that compute and do no IO, and the words that would be IO.
const PURE: &[&str] = &["task", "event", "policy/verdict", "executor/screen"];
const IO: &[&str] =
    &["std::fs", "std::net", "std::process", "std::env", "tokio", "reqwest", "axum", "File", "crate::store", "crate::web"];

#[test]
fn the_layers_hold() {
    let violations: Vec<String> = sources().iter().flat_map(|(path, text)| violations(path, text)).collect();
    assert!(violations.is_empty(), "\n{}", violations.join("\n"));
}

#[test]
fn a_violation_would_be_seen() {
    let seen = |path: &str, text: &str| violations(Path::new(path), text).len();
    assert_eq!(seen("service.rs", "use rusqlite::Connection;"), 1);
    assert_eq!(seen("web/api.rs", "fn f() { unsafe { g() } }"), 1);
    assert_eq!(seen("gateway.rs", "use crate::{app, env};"), 1);
    assert_eq!(seen("task/state.rs", "let text = std::fs::read(path);"), 1);
    assert_eq!(seen("task.rs", "pub async fn f() { tokio::time::sleep(x).await }"), 1);
    assert_eq!(seen("event.rs", "use crate::store::Store;"), 1);
    // What may be, and what only looks like it.
    assert_eq!(seen("store/tasks.rs", "use rusqlite::Row;"), 0);
    assert_eq!(seen("policy/engine.rs", "use wasmtime::Engine;"), 0);
    assert_eq!(seen("executor/sandbox/seccomp.rs", "unsafe { x() }"), 0);
    assert_eq!(seen("service.rs", "// rusqlite is not named here\nlet s = \"unsafe rusqlite app\";"), 0);
    assert_eq!(seen("service.rs", "#![deny(unsafe_code)] fn apply(approval: App) {}"), 0);
    assert_eq!(seen("web.rs", "let c = '\"'; use rmcp::x; let d = \"\";"), 1);
}

#[test]
fn every_source_file_says_what_it_is_and_stays_readable() {
    const MAX_LINES: usize = 400;
    let mut wrong = Vec::new();
    for (path, text) in sources().into_iter().chain(guest_sources()) {
        let tests = path.file_stem().is_some_and(|s| s == "tests") || path.components().any(|c| c.as_os_str() == "tests");
        if !tests && !text.starts_with("//!") {
            wrong.push(format!("{}: begins without //!", path.display()));
        }
        let own = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
        if own.lines().count() > MAX_LINES && !tests {
            wrong.push(format!("{}: more than {MAX_LINES} lines", path.display()));
        }
        if path.file_name().is_some_and(|n| n == "mod.rs") {
            wrong.push(format!("{}: write foo.rs beside foo/", path.display()));
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

/// What the build of the browser side does with the rest needs its tools: `npm run check` in host/web.
#[test]
fn browser_files_that_are_only_copied_are_those_of_the_sources() {
    let web = Path::new(env!("CARGO_MANIFEST_DIR")).join("web");
    let mut seen = 0;
    for entry in std::fs::read_dir(web.join("public")).expect("host/web/public is there") {
        let source = entry.expect("it can be listed").path();
        let copy = web.join("dist").join(source.file_name().expect("a file"));
        let same = std::fs::read(&source).expect("it reads") == std::fs::read(&copy).unwrap_or_default();
        assert!(same, "{} is not what its source is: run `npm run build` in host/web", copy.display());
        seen += 1;
    }
    assert!(seen > 0, "nothing was compared");
}

/// All sources of the host, by path below src.
fn sources() -> Vec<(PathBuf, String)> {
    let found = sources_below(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"));
    assert!(found.len() > 20, "only {} sources were found", found.len());
    found
}

/// All sources of what compiles to WASM.
fn guest_sources() -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../guest-policy");
    let crates = ["sdk", "destructive-ops", "content-filter", "client-shapes"];
    crates.iter().flat_map(|name| sources_below(&root.join(name).join("src"))).collect()
}

fn sources_below(root: &Path) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut open = vec![root.to_owned()];
    while let Some(directory) = open.pop() {
        for entry in std::fs::read_dir(directory).expect("a directory of sources") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let text = std::fs::read_to_string(&path).expect("a source file");
                found.push((path.strip_prefix(root).expect("below src").to_owned(), text));
            }
        }
    }
    found.sort();
    found
}

fn violations(path: &Path, text: &str) -> Vec<String> {
    let code = code_of(text);
    let mut found = Vec::new();
    for rule in RULES.iter().filter(|r| !r.allowed.iter().any(|a| belongs(path, a))) {
        let used = if rule.word == "app" { names_app(&code) } else { names(&code, rule.word) };
        if used {
            found.push(format!("{}: {}", path.display(), rule.name));
        }
    }
    let tests = path.file_stem().is_some_and(|s| s == "tests");
    if !tests && PURE.iter().any(|p| belongs(path, p)) {
        for word in IO.iter().filter(|w| names(&code, w)) {
            found.push(format!("{}: does no IO, but names {word}", path.display()));
        }
    }
    found
}

/// Whether a file is `module.rs` or lies below `module/`.
fn belongs(path: &Path, module: &str) -> bool {
    path.with_extension("") == Path::new(module) || path.starts_with(module)
}

/// Whether `word` stands in the code as a whole word.
fn names(code: &str, word: &str) -> bool {
    let part = |c: char| c.is_alphanumeric() || c == '_';
    code.match_indices(word).any(|(at, _)| {
        let before = code[..at].chars().next_back().is_none_or(|c| !part(c));
        before && code[at + word.len()..].chars().next().is_none_or(|c| !part(c))
    })
}

/// Whether the module `app` is imported or called: `crate::app`, `super::app`, or in a group of crate imports.
fn names_app(code: &str) -> bool {
    let grouped = code.split("crate::{").skip(1).any(|rest| {
        let group = rest.split('}').next().unwrap_or_default();
        group.split(',').any(|item| item.trim() == "app" || item.trim().starts_with("app::"))
    });
    grouped || names(code, "crate::app") || names(code, "super::app")
}

/// The code without comments, texts and characters.
fn code_of(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let skipped = match c {
            '/' if rest.starts_with("//") => rest.find('\n').unwrap_or(rest.len()),
            '/' if rest.starts_with("/*") => rest.find("*/").map_or(rest.len(), |at| at + 2),
            '"' => string_end(rest),
            'r' if raw_hashes(rest).is_some() && begins_word(&code) => raw_end(rest),
            '\'' => char_end(rest),
            _ => 0,
        };
        if skipped == 0 {
            code.push(c);
            rest = &rest[c.len_utf8()..];
        } else {
            code.push(' ');
            rest = &rest[skipped..];
        }
    }
    code
}

fn string_end(rest: &str) -> usize {
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    rest.len()
}

/// Whether what comes next is not the end of a name; the `b` of a byte string is none.
fn begins_word(code: &str) -> bool {
    let part = |c: char| c.is_alphanumeric() || c == '_';
    let before = code.strip_suffix('b').filter(|rest| !rest.ends_with(part)).unwrap_or(code);
    !before.ends_with(part)
}

fn raw_hashes(rest: &str) -> Option<usize> {
    let hashes = rest[1..].chars().take_while(|c| *c == '#').count();
    rest[1 + hashes..].starts_with('"').then_some(hashes)
}

fn raw_end(rest: &str) -> usize {
    let hashes = raw_hashes(rest).unwrap_or_default();
    let close = format!("\"{}", "#".repeat(hashes));
    let begin = 2 + hashes;
    rest[begin..].find(&close).map_or(rest.len(), |at| begin + at + close.len())
}

/// A character literal's length; 0 for a lifetime.
fn char_end(rest: &str) -> usize {
    let mut chars = rest.char_indices().skip(1);
    match chars.next() {
        Some((_, '\\')) => rest[2..].find('\'').map_or(0, |at| if at == 0 { 4 } else { at + 3 }),
        Some((at, c)) => {
            let after = at + c.len_utf8();
            if rest[after..].starts_with('\'') { after + 1 } else { 0 }
        }
        None => 0,
    }
}
