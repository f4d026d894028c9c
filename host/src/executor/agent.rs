//! The agents: how each program is called, and what it needs to find. One file per supported agent; any other program
//! that keeps to the folder protocol (`io/prompt.txt` in, `io/result.json` out) works as a custom one.

mod claude;
mod codex;
mod gemini;
mod goose;
mod hermes;
mod hook;
mod kept;
mod kind;
mod opencode;
pub mod patience;
mod pi;
mod qwen;
pub mod release;
mod runbook;
pub(super) mod strip;
pub mod tested;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use hook::Hook;
pub(super) use kept::{Keeping, Kept, Part};
pub use kind::Kind;
use release::Releases;

use super::{Launch, StartError};
use crate::task::conversation::{Conversation, session_id};

/// One `[agents.NAME]`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Profile {
    /// How it is called.
    pub kind: Kind,
    /// The program: an absolute path, or a name looked up in the agent's PATH. Empty: the kind's own.
    pub command: PathBuf,
    /// More arguments, before those of the kind.
    pub arguments: Vec<String>,
    /// Those in their place where a custom agent goes on in its conversation; `None` = it begins a new one in each attempt.
    pub resume: Option<Vec<String>>,
    /// More environment.
    pub environment: BTreeMap<String, String>,
    /// Model that the agent asks for by name; empty: `default`.
    pub model: String,
    /// When it is taken for stuck, in seconds; `None` = as all.
    pub idle_s: Option<u64>,
    /// How long its calls may be held, in seconds; `None` = as it was measured.
    pub max_hold_s: Option<u64>,
    /// What it is not told to leave alone.
    pub at_provider: AtProvider,
}

/// What a known kind may ask its model's provider for. The gateway lets through what policies allow, whatever is said here.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum AtProvider {
    /// Nothing.
    #[default]
    Nothing,
    /// To search the web.
    Search,
}

/// An agent as it is listed.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct AgentInfo {
    /// Name that tasks choose it by.
    pub name: String,
    /// Where its program was found; `None` where it is missing.
    pub program: Option<PathBuf>,
    /// What to do where it is missing.
    pub hint: String,
}

/// A file that an agent needs to find, below `io` or `home`.
#[derive(Debug, Clone)]
pub(super) struct NeededFile {
    /// `io` or `home`.
    pub(super) place: &'static str,
    /// Relative path.
    pub(super) path: &'static str,
    /// Its content; written with mode 0600.
    pub(super) content: Vec<u8>,
}

/// What a kind adds to the call of its program.
#[derive(Debug, Default)]
pub(super) struct Fitted {
    pub(super) arguments: Vec<OsString>,
    pub(super) environment: BTreeMap<String, String>,
    pub(super) files: Vec<NeededFile>,
}

/// A call of an agent.
#[derive(Debug)]
pub(super) struct Call {
    /// What comes before the program: another one that becomes it.
    pub(super) first: Vec<OsString>,
    pub(super) program: PathBuf,
    pub(super) arguments: Vec<OsString>,
    pub(super) environment: BTreeMap<String, String>,
    pub(super) files: Vec<NeededFile>,
}

/// The agents that tasks may choose.
#[derive(Debug, Clone)]
pub struct Agents {
    profiles: BTreeMap<String, Profile>,
    /// How coda's own hidden commands are called, the hooks of agents among them.
    hook: Hook,
    releases: Releases,
}

impl Agents {
    /// The built-in ones, and those of the configuration (which may replace `hermes`, never `runbook`).
    #[must_use]
    pub fn new(configured: BTreeMap<String, Profile>, own_program: Vec<OsString>, hook_limit_s: u64) -> Self {
        let built_in = |kind| Profile { kind, ..Profile::default() };
        let mut profiles = BTreeMap::from([("hermes".to_owned(), built_in(Kind::Hermes))]);
        profiles.extend(configured);
        profiles.insert("runbook".to_owned(), built_in(Kind::Runbook));
        if let Some(hermes) = profiles.get_mut("hermes")
            && hermes.kind == Kind::Custom
        {
            hermes.kind = Kind::Hermes;
        }
        Self { profiles, hook: Hook { own_program, limit_s: hook_limit_s }, releases: Releases::default() }
    }

    /// What of an agent's home the next attempt finds. A name that nobody knows keeps nothing: it does not start.
    pub(super) fn keeping(&self, name: &str) -> Keeping {
        let Some(profile) = self.profiles.get(name) else { return Keeping::Conversation(None) };
        match profile.kind {
            Kind::Custom if profile.resume.is_some() => Keeping::Home(Conversation::Resumed),
            Kind::Runbook | Kind::Custom => Keeping::Home(Conversation::New),
            kind @ (Kind::Hermes
            | Kind::OpenCode
            | Kind::Goose
            | Kind::Pi
            | Kind::Qwen
            | Kind::Claude
            | Kind::Codex
            | Kind::Gemini) => Keeping::Conversation(kind.kept()),
        }
    }

    /// An agent's own idle rule.
    pub(super) fn idle_s(&self, name: &str) -> Option<u64> {
        self.profiles.get(name)?.idle_s
    }

    /// How long a call of an agent may be held, in seconds; `None` = as long as it takes. Where that depends on the release
    /// that is installed, its program is asked for it.
    pub async fn max_hold_s(&self, name: &str) -> Option<u64> {
        let Some(profile) = self.profiles.get(name) else { return Some(patience::UNMEASURED_HOLD_S) };
        let (kind, own) = (profile.kind, profile.max_hold_s);
        let tested = match self.program(profile, &search_path()) {
            Some(program) if own.is_none() => self.releases.of(kind, &program).await.tested,
            _ => None,
        };
        patience::max_hold_s(kind, own, tested)
    }

    /// Whether tasks may choose this name.
    #[must_use]
    pub fn knows(&self, name: &str) -> bool {
        self.profiles.contains_key(name)
    }

    /// All of them, by name, and whether their programs are there.
    #[must_use]
    pub fn list(&self) -> Vec<AgentInfo> {
        let path = search_path();
        let info = |(name, profile): (&String, &Profile)| AgentInfo {
            name: name.clone(),
            program: self.program(profile, &path),
            hint: profile.kind.hint(name),
        };
        self.profiles.iter().map(info).collect()
    }

    fn program(&self, profile: &Profile, path: &str) -> Option<PathBuf> {
        if profile.kind == Kind::Runbook {
            return self.hook.own_program.first().map(PathBuf::from);
        }
        resolve(profile.kind.command(profile), path)
    }

    /// How this launch's agent is called, in an environment with this `PATH`.
    pub(super) fn prepare(&self, launch: &Launch, path: &str) -> Result<Call, StartError> {
        let Some(profile) = self.profiles.get(&launch.agent) else {
            let known = self.profiles.keys().cloned().collect::<Vec<_>>().join(", ");
            return Err(StartError::UnknownAgent { agent: launch.agent.clone(), known });
        };
        let program = self.program(profile, path).ok_or_else(|| StartError::NotInstalled {
            agent: launch.agent.clone(),
            program: profile.kind.command(profile).display().to_string(),
            hint: profile.kind.hint(&launch.agent),
        })?;
        let mut arguments = profile.words(launch);
        let mut environment = profile.environment.clone();
        let mut files = vec![NeededFile { place: "io", path: "prompt.txt", content: launch.envelope.get().clone().into_bytes() }];
        let fitted = match profile.kind {
            Kind::Runbook => Fitted { arguments: runbook::arguments(&self.hook.own_program), ..Fitted::default() },
            Kind::Hermes => hermes::fit(launch, profile, &self.hook),
            Kind::OpenCode => opencode::fit(launch, profile, &self.hook),
            Kind::Goose => goose::fit(launch, profile, &self.hook),
            Kind::Pi => pi::fit(launch, profile, &self.hook),
            Kind::Qwen => qwen::fit(launch, profile, &self.hook),
            Kind::Claude => claude::fit(launch, profile, &self.hook),
            Kind::Codex => codex::fit(launch, profile, &self.hook),
            Kind::Gemini => gemini::fit(launch, profile, &self.hook),
            Kind::Custom => Fitted::default(),
        };
        arguments.extend(fitted.arguments);
        environment.extend(fitted.environment);
        files.extend(fitted.files);
        let is_stripped =
            launch.conversation == Conversation::Resumed && profile.kind.kept().is_some_and(|kept| kept.database.is_some());
        let first = if is_stripped { strip::first(profile.kind, &self.hook.own_program) } else { Vec::new() };
        Ok(Call { first, program, arguments, environment, files })
    }
}

impl Profile {
    /// Its own arguments. The host's id of the conversation stands in them for an agent that can go on in one.
    fn words(&self, launch: &Launch) -> Vec<OsString> {
        let Some(resume) = &self.resume else { return self.arguments.iter().map(OsString::from).collect() };
        let words = match launch.conversation {
            Conversation::New => &self.arguments,
            Conversation::Resumed => resume,
        };
        let id = session_id(&launch.task);
        words.iter().map(|word| word.replace("{session_id}", &id).into()).collect()
    }

    /// The name that the agent asks for its model by. The gateway puts the real one in its place.
    pub(super) fn model_name(&self) -> &str {
        if self.model.is_empty() { "default" } else { &self.model }
    }
}

/// An agent's model endpoint below the gateway: `route` is the dialect's, such as `v1`.
pub(super) fn model_url(launch: &Launch, route: &str) -> String {
    format!("{}/model/{route}", launch.gateway_url.trim_end_matches('/'))
}

/// A file of the agent's home, absolute.
pub(super) fn in_home(launch: &Launch, path: &str) -> String {
    launch.task_dir.join("home").join(path).display().to_string()
}

/// A configuration file of the agent's home. JSON is YAML too, so nothing needs a second way of quoting.
pub(super) fn json_file(path: &'static str, content: &serde_json::Value) -> NeededFile {
    NeededFile { place: "home", path, content: format!("{content:#}\n").into_bytes() }
}

/// Environment of literal names.
pub(super) fn variables<const N: usize>(pairs: [(&str, String); N]) -> BTreeMap<String, String> {
    pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// The server's own PATH.
fn search_path() -> String {
    std::env::var_os("PATH").unwrap_or_default().to_string_lossy().into_owned()
}

/// Finds a program as a shell would, but never in the current directory.
fn resolve(command: &Path, path: &str) -> Option<PathBuf> {
    let is_program = |p: &PathBuf| {
        p.is_absolute() && std::fs::metadata(p).is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
    };
    if command.components().count() != 1 || command.is_absolute() {
        return Some(command.to_owned()).filter(is_program);
    }
    std::env::split_paths(path).map(|dir| dir.join(command)).find(is_program)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    #[test]
    fn programs_are_found_on_the_path_and_nowhere_else() {
        assert!(resolve(Path::new("sh"), "/nowhere:/bin").is_some());
        assert!(resolve(Path::new("sh"), "").is_none());
        assert!(resolve(Path::new("./sh"), "/bin").is_none());
        assert!(resolve(Path::new("/bin/sh"), "").is_some());
        assert!(resolve(Path::new("/etc/passwd"), "").is_none(), "not executable");
        assert!(resolve(Path::new(""), "/bin").is_none());
    }

    /// The call of a kind, for a task whose prompt could be taken for much.
    pub(super) fn call_of(kind: Kind) -> (Fitted, Launch) {
        fitted(Profile { kind, ..Profile::default() })
    }

    /// The same for its second attempt, which goes on.
    pub(super) fn resumed_call_of(kind: Kind) -> (Fitted, Launch) {
        call(Profile { kind, ..Profile::default() }, Conversation::Resumed)
    }

    /// The same for a profile that says more.
    pub(super) fn fitted(profile: Profile) -> (Fitted, Launch) {
        call(profile, Conversation::New)
    }

    fn call(profile: Profile, conversation: Conversation) -> (Fitted, Launch) {
        let mut stage = crate::executor::tests::harness::Stage::with("");
        stage.prompt = "---CODA-TASK---\n--help $(MY-WORDS) @file".into();
        let attempt = if conversation == Conversation::New { 1 } else { 2 };
        let launch = Launch { conversation, attempt, ..stage.launch() };
        let hook = Hook { own_program: vec!["/opt/coda".into()], limit_s: 60 };
        let profile = Profile { model: "big-model".into(), ..profile };
        let fitted = match profile.kind {
            Kind::Runbook | Kind::Custom => Fitted::default(),
            Kind::Hermes => hermes::fit(&launch, &profile, &hook),
            Kind::OpenCode => opencode::fit(&launch, &profile, &hook),
            Kind::Goose => goose::fit(&launch, &profile, &hook),
            Kind::Pi => pi::fit(&launch, &profile, &hook),
            Kind::Qwen => qwen::fit(&launch, &profile, &hook),
            Kind::Claude => claude::fit(&launch, &profile, &hook),
            Kind::Codex => codex::fit(&launch, &profile, &hook),
            Kind::Gemini => gemini::fit(&launch, &profile, &hook),
        };
        (fitted, launch)
    }

    /// One of its files, as JSON.
    pub(super) fn json_of(fitted: &Fitted, path: &str) -> serde_json::Value {
        let file = fitted.files.iter().find(|f| f.path == path).expect("it needs this file");
        assert_eq!(file.place, "home");
        serde_json::from_slice(&file.content).expect("JSON")
    }

    #[test]
    fn an_agent_of_ones_own_gets_the_id_where_it_can_go_on() {
        let stage = crate::executor::tests::harness::Stage::with("");
        let words = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect::<Vec<_>>();
        let own = Profile { arguments: words(&["--new={session_id}"]), ..Profile::default() };
        let launch = stage.launch();
        let id = session_id(&launch.task);
        assert_eq!(own.words(&launch), ["--new={session_id}"], "it says nothing of conversations");
        let own = Profile { resume: Some(words(&["--resume", "{session_id}"])), ..own };
        assert_eq!(own.words(&launch), [format!("--new={id}").as_str()]);
        let launch = Launch { attempt: 2, conversation: Conversation::Resumed, ..launch };
        assert_eq!(own.words(&launch), ["--resume", &id]);
    }

    #[test]
    fn nothing_of_a_task_stands_on_a_command_line_or_in_an_environment() {
        for kind in Kind::known() {
            let (fitted, launch) = call_of(kind);
            let words = fitted.arguments.iter().map(|w| w.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ");
            assert!(words.contains(crate::task::envelope::STAND_IN), "{kind:?} is told nothing: {words}");
            let seen = format!("{words} {:?}", fitted.environment);
            assert!(!seen.contains("MY-WORDS") && !words.contains("the-task-token"), "{kind:?}: {seen}");
            assert!(fitted.files.iter().all(|f| !String::from_utf8_lossy(&f.content).contains("MY-WORDS")), "{kind:?}");
            assert!(!words.contains(&launch.gateway_token), "{kind:?}");
        }
    }

    #[test]
    fn every_known_agent_is_told_of_its_hook() {
        for kind in Kind::known() {
            let (fitted, _) = call_of(kind);
            let files: String = fitted.files.iter().map(|f| String::from_utf8_lossy(&f.content).into_owned()).collect();
            let by_command = files.contains(&format!("'/opt/coda' hook --agent {} --limit-s 60", kind.name()));
            let by_plugin =
                files.contains("/agent/hook") && fitted.environment.get("CODA_HOOK_WAIT_S").is_some_and(|s| s == "36");
            assert!(by_command != by_plugin, "{kind:?}: {files}");
            assert!(kind.layers().contains(&"hook"), "{kind:?}");
        }
    }

    #[test]
    fn every_known_agent_has_the_gateway_as_its_model() {
        for kind in Kind::known() {
            let (fitted, launch) = call_of(kind);
            let files: String = fitted.files.iter().map(|f| String::from_utf8_lossy(&f.content).into_owned()).collect();
            let all = format!("{files} {:?}", fitted.environment);
            assert!(all.contains(&launch.gateway_url) && all.contains("model/"), "{kind:?}: {all}");
            // Codex reads it from coda's own variable.
            let has_token = all.contains(&launch.gateway_token) || all.contains("CODA_GATEWAY_TOKEN");
            let words = format!("{all} {:?}", fitted.arguments);
            assert!(has_token && words.contains("big-model"), "{kind:?}: {words}");
        }
    }
}
