//! The real engine, in this process, with policies of the caller's choice.

use std::path::PathBuf;
use std::time::Duration;

use coda::policy::contract::{Caller, Event, TaskFacts, ToolCallSubject};
use coda::policy::{Hooks, Policies, Settings, Subject};
use coda::store::Store;
use tokio::time::Instant;

use crate::place::Place;

/// An engine with a live set, and the folder that it came from.
pub(crate) struct Engine {
    _home: tempfile::TempDir,
    /// What judges.
    pub(crate) policies: Policies,
    /// How long it took until the set was live.
    pub(crate) loading: Duration,
}

impl Engine {
    /// Starts one on a `policies.toml` and the components that it names. Compiled forms are kept in `cache`.
    pub(crate) async fn start(place: &Place, policies: &str, components: &[&str], cache: PathBuf) -> anyhow::Result<Self> {
        let home = place.folder()?;
        let folder = home.path().join("policies");
        std::fs::create_dir_all(&folder)?;
        std::fs::write(folder.join("policies.toml"), policies)?;
        for name in components {
            std::fs::write(folder.join(format!("{name}.wasm")), place.guest(name)?)?;
        }
        let store = Store::open(&home.path().join("coda.db"))?;
        let settings = Settings { cache, ..Settings::default() };
        let engine = Policies::open(settings, store, home.path(), Hooks::default())?;
        let begun = Instant::now();
        engine.start().await?;
        Ok(Self { _home: home, policies: engine, loading: begun.elapsed() })
    }
}

/// A shell command as it stands at the gate `tool-call`.
pub(crate) fn shell_event(command: &str) -> Event {
    Event {
        id: "dec_00000000000000000000000000000001".into(),
        time_ms: 1_767_225_600_000,
        seed: 1,
        seq: 0,
        tenant: "default".into(),
        caller: Caller {
            client: "bench".into(),
            client_version: "1".into(),
            principal: "ann@example.com".into(),
            roles: vec!["submitter".into()],
        },
        task: TaskFacts {
            id: "task_00000000000000000000000000000001".into(),
            session_id: "sess_00000000000000000000000000000001".into(),
            agent: "runbook".into(),
            working_directory: "/srv/task".into(),
            attempt: 1,
            ..TaskFacts::default()
        },
        subject: Subject::ToolCall(ToolCallSubject {
            id: "call_1".into(),
            tool: "shell".into(),
            arguments: serde_json::json!({ "command": command }).to_string(),
            shell: Some(command.to_owned()),
            ..ToolCallSubject::default()
        }),
    }
}

/// An entry of policies.toml for a component of the benchmarks' own, at the gate `tool-call`.
pub(crate) fn entry(name: &str, component: &str, settings: &str) -> String {
    format!(
        "[[policy]]\nname = \"{name}\"\ncomponent = \"{component}.wasm\"\ngates = [\"tool-call\"]\nsettings = {{ {settings} }}\n"
    )
}
