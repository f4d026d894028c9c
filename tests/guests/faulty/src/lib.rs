//! A policy that does what its settings say, good or bad: `{"do": WHAT, "in": ROLE, "word": TEXT}`.
//!
//! `do` names the behaviour, `in` the function that shows it (`configure`, `filter`, `guard`, `shape`; default `guard`),
//! `word` what to look for, `only` what the judged text must say for any of it, `seq` at which event of an attempt, from 0. Everything else it does well: allow, unchanged, the answer as it is. With `"do": "as-told"` the
//! judged text says in the same form what to do, so that one set can be asked for one fault after another.

#![allow(clippy::all, reason = "it misbehaves on purpose")]

use std::io::Read as _;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

wit_bindgen::generate!({ path: "../../../wit/0.1", world: "full-policy", additional_derives: [Clone] });

use coda::policy::types::*;
use exports::coda::policy::{about, filter, guard, shape};

struct Faulty;
export!(Faulty);

static SETTINGS: Mutex<String> = Mutex::new(String::new());
static FILES: Mutex<Vec<(String, usize)>> = Mutex::new(Vec::new());
static CONFIGURED: AtomicU32 = AtomicU32::new(0);
static CALLS: AtomicU32 = AtomicU32::new(0);

const CODES: [&str; 5] = ["test.note", "test.deny", "test.ask", "test.mask", "test.mark"];

/// Enough for settings as the host writes them.
fn setting(key: &str) -> String {
    value_of(&SETTINGS.lock().unwrap(), key)
}

fn value_of(json: &str, key: &str) -> String {
    let start = format!("\"{key}\":\"");
    match json.split_once(&start).and_then(|(_, rest)| rest.split_once('"')) {
        Some((value, _)) => value.to_owned(),
        None => String::new(),
    }
}

fn behaviour(role: &str) -> String {
    in_role(&SETTINGS.lock().unwrap(), role)
}

fn in_role(json: &str, role: &str) -> String {
    let wanted = value_of(json, "in");
    let wanted = if wanted.is_empty() { "guard".to_owned() } else { wanted };
    if wanted == role { value_of(json, "do") } else { String::new() }
}

/// The behaviour that the settings name, or the judged text where they leave it to that.
fn behaviour_at(role: &str, event: &Event) -> String {
    if !content(event).contains(&setting("only")) {
        return String::new();
    }
    // The upper half is the attempt's number.
    let seq = setting("seq");
    if !seq.is_empty() && seq != (event.seq & 0xffff_ffff).to_string() {
        return String::new();
    }
    if setting("do") == "as-told" { in_role(content(event), role) } else { behaviour(role) }
}

fn finding(code: &str, message: String) -> Finding {
    Finding {
        code: code.into(),
        severity: Severity::High,
        effect: Effect::Delete,
        resource: Some(Resource { kind: "file".into(), name: "x".into(), environment: String::new() }),
        reversible: Reversible::No,
        coverage: Coverage::Full,
        message,
        spans: vec![],
        annotations: vec![],
        marks: vec![],
    }
}

fn content(event: &Event) -> &str {
    match &event.subject {
        Subject::Prompt(p) => &p.text,
        Subject::ToolCall(c) => &c.arguments,
        Subject::ToolResult(r) => &r.content,
        Subject::Output(o) => &o.content,
    }
}

/// Keeps nothing in linear memory, so that it is the engine's stack that ends.
#[inline(never)]
fn recurse(depth: u64) -> u64 {
    if depth == u64::MAX { 0 } else { recurse(depth + 1).wrapping_mul(3) ^ depth }
}

/// Behaviours that never give a good answer, in any role. Returns the text of a finding where one comes back.
fn misbehave(what: &str) -> Option<String> {
    match what {
        "loop" => {
            let mut n = 0_u64;
            loop {
                n = std::hint::black_box(n.wrapping_add(1));
            }
        }
        "trap" => panic!("on purpose"),
        "exit" => std::process::exit(0),
        "alloc" => {
            let mut kept = Vec::new();
            loop {
                // Not written to: it is the memory that ends, and not the fuel.
                kept.push(std::hint::black_box(Vec::<u8>::with_capacity(1 << 20)));
            }
        }
        "recurse" => Some(recurse(std::hint::black_box(0)).to_string()),
        "100-mb" => {
            let mut bytes = Vec::with_capacity(100 << 20);
            // SAFETY: new memory of WebAssembly is zero; writing it would cost more fuel than there is. Zeros are UTF-8.
            Some(unsafe {
                bytes.set_len(100 << 20);
                String::from_utf8_unchecked(bytes)
            })
        }
        // SAFETY: there is none; that the host copes is what is tested.
        "not-utf-8" => Some(unsafe { String::from_utf8_unchecked(vec![b'a', 0xff, 0xc0, b'z']) }),
        "sleep-until" => {
            let until = std::time::SystemTime::now() + std::time::Duration::from_secs(3_600);
            while std::time::SystemTime::now() < until {
                std::thread::sleep(std::time::Duration::from_secs(60));
            }
            Some("an hour later".into())
        }
        "poll" => loop {
            std::thread::sleep(std::time::Duration::from_nanos(1));
        },
        "stdin-wait" => {
            let mut line = String::new();
            while std::io::stdin().read_line(&mut line).unwrap_or(0) == 0 {}
            Some(line)
        }
        "sleep" => {
            std::thread::sleep(std::time::Duration::from_secs(3_600));
            Some("slept".into())
        }
        "stdin" => {
            let mut text = String::new();
            let read = std::io::stdin().read_to_string(&mut text);
            Some(format!("stdin {:?} {}", read.ok(), text.len()))
        }
        "print" => {
            println!("to nobody");
            eprintln!("to nobody");
            Some("printed".into())
        }
        "file" => Some(format!("file {}", std::fs::read("/etc/passwd").is_ok())),
        "environment" => Some(format!("environment {} {}", std::env::vars().count(), std::env::args().count())),
        "clock" => {
            let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
            Some(format!("clock {}", now.as_millis()))
        }
        "random" => {
            use std::hash::{BuildHasher as _, RandomState};
            Some(format!("random {}", RandomState::new().hash_one(1)))
        }
        _ => None,
    }
}

impl about::Guest for Faulty {
    fn describe() -> about::Description {
        about::Description {
            name: "faulty".into(),
            version: "0.1.0".into(),
            rules: CODES
                .iter()
                .map(|code| about::Rule {
                    code: (*code).into(),
                    severity: Severity::High,
                    effect: Effect::Delete,
                    summary: "a test".into(),
                })
                .collect(),
            gates: vec![Gate::Prompt, Gate::ToolCall, Gate::ToolResult, Gate::Output],
            settings_schema: "{}".into(),
        }
    }

    fn configure(settings: String, files: Vec<about::GrantedFile>) -> Result<(), PolicyError> {
        *SETTINGS.lock().unwrap() = settings;
        *FILES.lock().unwrap() = files.into_iter().map(|f| (f.path, f.content.len())).collect();
        CONFIGURED.fetch_add(1, Ordering::Relaxed);
        let what = behaviour("configure");
        if what == "fill-memory" {
            // Kept, so that what is snapshotted is at the limit.
            let mut kept: Vec<Vec<u8>> = Vec::new();
            for size in [1 << 20, 64 << 10, 4 << 10] {
                let mut more = Vec::new();
                while more.try_reserve_exact(size).is_ok() {
                    more.resize(size, 1);
                    if kept.try_reserve(1).is_err() {
                        break;
                    }
                    kept.push(std::mem::take(&mut more));
                }
            }
            std::mem::forget(kept);
            return Ok(());
        }
        if setting("hold") == "yes" {
            // A stream that stays open: a handle, so that each instance must be configured.
            println!("to nobody");
        }
        if what == "refuse" {
            return Err(PolicyError::InvalidSettings("the word is not one I know".into()));
        }
        if what == "work" {
            // About as much as building a few hundred regular expressions.
            let mut n = 1_u64;
            for _ in 0..100_000_000_u64 {
                n = std::hint::black_box(n.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1));
            }
        }
        misbehave(&what);
        Ok(())
    }
}

impl guard::Guest for Faulty {
    fn review(event: Event, earlier: Vec<Finding>) -> Result<Verdict, PolicyError> {
        let call = CALLS.fetch_add(1, Ordering::Relaxed) + 1;
        let what = behaviour_at("guard", &event);
        if let Some(message) = misbehave(&what) {
            return Ok(Verdict::Allow(vec![finding("test.note", message)]));
        }
        let with = |change: fn(&mut Finding)| {
            let mut one = finding("test.note", "a note".into());
            change(&mut one);
            one
        };
        Ok(match what.as_str() {
            "deny" => Verdict::Deny(vec![finding("test.deny", "no".into())]),
            "deny-if" if content(&event).contains(&setting("word")) => Verdict::Deny(vec![finding("test.deny", "no".into())]),
            "ask" => Verdict::NeedsApproval(Demand {
                findings: vec![finding("test.ask", "may it?".into())],
                approvals: vec![Requirement { role: setting("word"), count: 2 }],
                allow_requester: true,
                expires_after_s: 60,
                reason: "because".into(),
            }),
            "ask-nobody" => Verdict::NeedsApproval(Demand {
                findings: vec![finding("test.ask", "may it?".into())],
                approvals: vec![Requirement { role: "approver".into(), count: 0 }],
                allow_requester: true,
                expires_after_s: 0,
                reason: String::new(),
            }),
            "undecided" => return Err(PolicyError::Failed("could not".into())),
            "empty-deny" => Verdict::Deny(vec![]),
            "undeclared" => Verdict::Allow(vec![finding("test.unheard-of", "x".into())]),
            "undeclared-deny" => Verdict::Deny(vec![finding("test.unheard-of", "x".into())]),
            "span" => Verdict::Allow(vec![with(|f| f.spans = vec![Span { start: 0, end: 1_000_000 }])]),
            "span-backwards" => Verdict::Allow(vec![with(|f| f.spans = vec![Span { start: 2, end: 1 }])]),
            "long-message" => Verdict::Allow(vec![with(|f| f.message = "x".repeat(100_000))]),
            "big" => Verdict::Allow(vec![with(|f| f.message = "x".repeat(30 << 20))]),
            "many" => Verdict::Allow(vec![finding("test.note", "x".into()); 1_000]),
            "mark" => Verdict::Allow(vec![with(|f| f.marks = vec![Mark { name: "tainted".into(), value: "yes".into() }])]),
            "bad-mark" => Verdict::Allow(vec![with(|f| f.marks = vec![Mark { name: String::new(), value: "yes".into() }])]),
            "many-marks" => Verdict::Allow(vec![with(|f| {
                f.marks = (0..40).map(|n| Mark { name: format!("m{n}"), value: "yes".into() }).collect();
            })]),
            "report" => {
                let marks: Vec<_> = event.task.marks.iter().map(|m| format!("{}={}", m.name, m.value)).collect();
                let codes: Vec<_> = earlier.iter().map(|f| f.code.clone()).collect();
                let message = format!(
                    "content {}; call {call}; configured {}; earlier {}; marks {}; files {:?}",
                    content(&event),
                    CONFIGURED.load(Ordering::Relaxed),
                    codes.join(","),
                    marks.join(","),
                    FILES.lock().unwrap()
                );
                Verdict::Allow(vec![finding("test.note", message)])
            }
            _ => Verdict::Allow(vec![]),
        })
    }
}

impl filter::Guest for Faulty {
    fn apply(event: Event) -> Result<filter::Filtered, PolicyError> {
        let what = behaviour_at("filter", &event);
        if let Some(message) = misbehave(&what) {
            return Ok(filter::Filtered::Unchanged(vec![finding("test.note", message)]));
        }
        let word = setting("word");
        let replaced = |content: String| {
            filter::Filtered::Replaced(filter::Replacement { content, findings: vec![finding("test.mask", "masked".into())] })
        };
        Ok(match what.as_str() {
            "mask" if content(&event).contains(&word) => replaced(content(&event).replace(&word, "****")),
            "withhold" => filter::Filtered::Withhold(vec![finding("test.deny", "withheld".into())]),
            "withhold-empty" => filter::Filtered::Withhold(vec![]),
            "not-json" => replaced("not json".into()),
            "undecided" => return Err(PolicyError::Unsupported("not me".into())),
            _ => filter::Filtered::Unchanged(vec![]),
        })
    }
}

impl shape::Guest for Faulty {
    fn shape_output(_client: shape::Client, _tool: String, output: String) -> Result<shape::Shaped, PolicyError> {
        let what = behaviour("shape");
        misbehave(&what);
        Ok(match what.as_str() {
            "drop" => shape::Shaped { text: "nothing".into(), structured: Some("{}".into()) },
            _ => shape::Shaped { text: format!("shaped {output}"), structured: Some(output) },
        })
    }

    fn shape_tools(_client: shape::Client, tools: String) -> Result<String, PolicyError> {
        let what = behaviour("shape");
        misbehave(&what);
        Ok(if what == "drop" { "[]".into() } else { tools })
    }
}
