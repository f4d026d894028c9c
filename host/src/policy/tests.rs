//! The engine with a real guest: one that does, good or bad, what its settings say (`tests/guests/faulty`).

mod chains;
mod faults;
mod matrix;
mod sets;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, OnceLock};

use super::contract::{Caller, Event, Gate, Subject, TaskFacts, ToolCallSubject};
use super::{Hooks, Judgment, Policies, PolicyError, Settings};
use crate::store::Store;

fn target() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/guests")
}

/// The misbehaving guest, built once; in a target folder of its own, because cargo would wait for itself.
fn faulty() -> &'static [u8] {
    static BUILT: OnceLock<Vec<u8>> = OnceLock::new();
    BUILT.get_or_init(|| {
        let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/guests/faulty/Cargo.toml");
        let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or("cargo".into()));
        cargo.args(["build", "--quiet", "--release", "--target", "wasm32-wasip2", "--manifest-path"]).arg(manifest);
        cargo.arg("--target-dir").arg(target());
        cargo.envs([
            ("CARGO_PROFILE_RELEASE_DEBUG", "0"),
            ("CARGO_PROFILE_RELEASE_STRIP", "symbols"),
            ("CARGO_PROFILE_RELEASE_LTO", "off"),
        ]);
        for outer in ["RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "RUSTC_WORKSPACE_WRAPPER", "CARGO_TARGET_DIR", "CARGO_BUILD_TARGET"]
        {
            cargo.env_remove(outer);
        }
        assert!(cargo.status().unwrap().success(), "the guest does not build");
        std::fs::read(target().join("wasm32-wasip2/release/coda_faulty.wasm")).unwrap()
    })
}

/// A CODA_HOME with policies in it.
struct Home {
    dir: tempfile::TempDir,
}

impl Home {
    fn new(policies: &str) -> Self {
        let home = Self { dir: tempfile::tempdir().unwrap() };
        std::fs::create_dir_all(home.folder().join("tests")).unwrap();
        // Compiled forms are shared by the tests: they are named by what they were made of.
        let cache = target().join("cache");
        std::fs::create_dir_all(&cache).unwrap();
        std::os::unix::fs::symlink(cache.canonicalize().unwrap(), home.dir.path().join("cache")).unwrap();
        std::fs::write(home.folder().join("faulty.wasm"), faulty()).unwrap();
        home.write(policies);
        home
    }

    fn folder(&self) -> PathBuf {
        self.dir.path().join("policies")
    }

    fn write(&self, policies: &str) {
        std::fs::write(self.folder().join("policies.toml"), policies).unwrap();
    }

    /// An engine that has not started.
    fn open_with(&self, settings: Settings) -> Policies {
        let store = Store::open(&self.dir.path().join("coda.db")).unwrap();
        Policies::open(settings, store, self.dir.path(), Hooks::default()).unwrap()
    }

    fn open(&self) -> Policies {
        self.open_with(Settings { epoch_tick_ms: 1, ..Settings::default() })
    }

    async fn start(&self) -> Policies {
        let policies = self.open();
        policies.start().await.unwrap();
        policies
    }

    /// What the audit log holds of changes, committed with them.
    fn change_kinds(&self) -> Vec<String> {
        let store = Store::open(&self.dir.path().join("coda.db")).unwrap();
        let query = crate::store::audit::AuditQuery { after: Some(0), limit: 100, ..Default::default() };
        let (records, _) = store.audit_page(&query).unwrap();
        records.into_iter().map(|r| r.kind).filter(|kind| kind.starts_with("policy.")).collect()
    }
}

/// One entry of policies.toml with the misbehaving guest, at every gate unless `rest` (more lines) says where.
fn entry(name: &str, settings: &str, rest: &str) -> String {
    let everywhere =
        if rest.contains("gates") { "" } else { "gates = [\"prompt\", \"tool-call\", \"tool-result\", \"output\"]\n" };
    format!("[[policy]]\nname = \"{name}\"\ncomponent = \"faulty.wasm\"\nsettings = {{ {settings} }}\n{everywhere}{rest}\n")
}

async fn started(policies: &str) -> (Home, Policies) {
    let home = Home::new(policies);
    let engine = home.start().await;
    (home, engine)
}

async fn refused_start(home: &Home) -> PolicyError {
    let engine = home.open();
    let error = engine.start().await.unwrap_err();
    assert!(engine.ready().is_err());
    error
}

fn event_at(gate: Gate, content: &str) -> Event {
    let content = content.to_owned();
    Event {
        id: "event".into(),
        time_ms: 1_767_225_600_123,
        seed: 7,
        seq: 0,
        tenant: "default".into(),
        caller: Caller::default(),
        task: TaskFacts::default(),
        subject: match gate {
            Gate::Prompt => Subject::Prompt { text: content, context: String::new() },
            Gate::ToolCall => {
                Subject::ToolCall(ToolCallSubject { tool: "shell".into(), arguments: content, ..Default::default() })
            }
            Gate::ToolResult => Subject::ToolResult { call_id: "c".into(), tool: "shell".into(), content },
            Gate::Output => Subject::Output { content },
        },
    }
}

fn codes(judgment: &Judgment) -> Vec<&str> {
    judgment.findings.iter().map(|finding| finding.code.as_str()).collect()
}
