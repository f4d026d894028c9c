//! What the gateway adds: a real agent's task, in its sandbox, asks a model through it; in turn, the same questions are
//! asked of the same model over a direct connection, and through another gateway where that is there.

use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use serde_json::{Value, json};

use crate::agent::{MEASURED, Measured, SAMPLES, STREAMS, a_call, first_text};
use crate::figure::{Figure, Goal, Section, Target, median};
use crate::litellm::LiteLlm;
use crate::memory::resident;
use crate::place::Place;
use crate::server::{Server, pause};
use crate::talk::Talk;
use crate::upstream::{LONG_PIECES, Turn, Upstream, WAIT, long_text};

const WARM_UP: usize = 50;
const ROUNDS: usize = 1_000;
/// Of the other gateway.
const OTHER_ROUNDS: usize = 300;
/// Each with as many streams as the others, below what a task may have at once.
const TASKS: usize = 8;
const AT_ONCE: usize = 200;
const TEXT_MS: f64 = 1.0;
const CALL_MS: f64 = 2.0;
const STREAM_MB: f64 = 1.0;
/// The longest that nothing happens.
const PATIENCE: Duration = Duration::from_secs(180);
/// How often the tasks are looked at while nothing happens.
const LOOK: Duration = Duration::from_secs(5);
const SETTLE: Duration = Duration::from_secs(3);

/// The times of all rounds, in milliseconds.
#[derive(Default)]
struct Direct {
    text: Vec<f64>,
    call: Vec<f64>,
}

/// Runs it.
pub(crate) fn run(place: &Place) -> anyhow::Result<Section> {
    let upstream = Upstream::start()?;
    let stand = Stand::start(place, upstream)?;
    let mut direct = Talk::connect(&stand.upstream.url, "none")?;
    let bytes = direct.question_bytes();
    let task = stand.submit(&format!("{SAMPLES} {}", WARM_UP + ROUNDS))?;
    let mut times = Direct::default();
    for n in 0..WARM_UP + ROUNDS {
        let turn = stand.turn(std::slice::from_ref(&task))?;
        times.text.push(first_text(&mut direct, n)?);
        times.call.push(a_call(&mut direct, n)?);
        drop(turn);
    }
    let end = stand.turn(std::slice::from_ref(&task))?;
    let through = stand.measured(&task)?;
    drop(end);
    let sandbox = stand.sandbox(&task)?;
    let mut section = Section {
        title: "Gateway",
        how: format!(
            "Questions of {bytes} bytes in Chat Completions to a model that takes no time, as streams, over connections that are \
             kept: by an agent through coda's gateway ({sandbox}), and in turn without anything between. Text is passed on \
             at once; a call is judged by the bundled policies, recorded and released. *Added* is taken pair by pair. Then \
             {AT_ONCE} streams of {TASKS} tasks at once, each with {} KB of text in {LONG_PIECES} events and then a call: the \
             server's resident memory, once all text is there and no call is.",
            long_text().len() / 1000
        ),
        figures: Vec::new(),
        targets: Vec::new(),
    };
    let measured = |values: &[f64]| values[WARM_UP..].to_vec();
    let (text, call) = (measured(&times.text), measured(&times.call));
    section.figures.push(Figure::of("first text, direct", "ms", &text));
    let added_text = added(&mut section, "first text, coda's gateway", &measured(&through.text), &text);
    section.figures.push(Figure::of("a whole call, direct", "ms", &call));
    let added_call = added(&mut section, "a whole call, coda's gateway", &measured(&through.call), &call);
    section.targets.push(Target::new("gateway, added to the first text, p50", added_text, "ms", Goal::AtMost(TEXT_MS)));
    section.targets.push(Target::new("gateway, added to a gated call, p50", added_call, "ms", Goal::AtMost(CALL_MS)));
    at_once(&stand, &mut section)?;
    other(place, &stand.upstream, &mut section)?;
    Ok(section)
}

/// The figures of a way beside those of the direct one; the median of what it adds.
fn added(section: &mut Section, way: &str, above: &[f64], direct: &[f64]) -> f64 {
    let each = || above.iter().zip(direct);
    let added: Vec<f64> = each().map(|(a, b)| a - b).collect();
    let ratios: Vec<f64> = each().map(|(a, b)| a / b).collect();
    section.figures.extend([
        Figure::of(way, "ms", above),
        Figure::of(format!("{way}, added"), "ms", &added),
        Figure::of(format!("{way}, to direct"), "×", &ratios),
    ]);
    median(&added)
}

/// Another gateway before the same model, by itself: what it does after its answer is not to be in the way of ours.
fn other(place: &Place, upstream: &Upstream, section: &mut Section) -> anyhow::Result<()> {
    let Some(folder) = &place.litellm else {
        section.how.push_str(" LiteLLM's proxy was not there to be measured.");
        return Ok(());
    };
    let proxy = LiteLlm::start(folder, place, &upstream.url)?;
    let release = folder.file_name().unwrap_or_default().to_string_lossy();
    section.how.push_str(&format!(" At the end LiteLLM's proxy ({release}), with one worker, which only passes on."));
    let (mut beside, mut direct) = (proxy.talk()?, Talk::connect(&upstream.url, "none")?);
    let (mut above, mut below) = (Vec::new(), Vec::new());
    for n in 0..WARM_UP + OTHER_ROUNDS {
        below.push(first_text(&mut direct, n)?);
        above.push(first_text(&mut beside, n)?);
    }
    section.figures.push(Figure::of("first text, direct, in turn with LiteLLM's proxy", "ms", &below[WARM_UP..]));
    added(section, "first text, LiteLLM's proxy", &above[WARM_UP..], &below[WARM_UP..]);
    Ok(())
}

/// Many streams, and what each of them takes of the server's memory.
fn at_once(stand: &Stand, section: &mut Section) -> anyhow::Result<()> {
    let each = AT_ONCE / TASKS;
    let tasks = (0..TASKS).map(|_| stand.submit(&format!("{STREAMS} {each}"))).collect::<Result<Vec<_>, _>>()?;
    let ready = stand.turns(TASKS, &tasks)?;
    pause(SETTLE);
    let before = resident(stand.server.pid())?;
    drop(ready);
    let open = stand.turns(AT_ONCE, &tasks)?;
    ensure!(open.iter().all(|turn| turn.word != WAIT), "a task ended before its streams were open");
    pause(SETTLE);
    let with = resident(stand.server.pid())?;
    drop(open);
    let ended = stand.turns(TASKS, &tasks)?;
    let measured = tasks.iter().map(|task| stand.read(task)).collect::<Result<Vec<_>, _>>()?;
    drop(ended);
    let broken: Vec<&String> = measured.iter().flat_map(|m| &m.broken).collect();
    if let Some(first) = broken.first() {
        eprintln!("bench: {} streams broke, the first: {first}", broken.len());
    }
    let whole: usize = measured.iter().map(|m| m.whole).sum();
    let stream = (with - before) / AT_ONCE as f64;
    section.figures.extend([
        Figure::of(format!("server, {TASKS} tasks, no stream"), "MB", &[before]),
        Figure::of(format!("server, {AT_ONCE} streams"), "MB", &[with]),
        Figure::of("server, for each stream", "MB", &[stream]),
    ]);
    let broken = (AT_ONCE - whole) as f64;
    section.targets.push(Target::new(format!("gateway, for each of {AT_ONCE} streams"), stream, "MB", Goal::AtMost(STREAM_MB)));
    section.targets.push(Target::new(format!("gateway, of {AT_ONCE} streams, broken"), broken, "streams", Goal::AtMost(0.0)));
    Ok(())
}

/// A server whose only agent is this program.
struct Stand {
    server: Server,
    upstream: Upstream,
    /// Holds what the model would take for a key.
    _key: tempfile::TempDir,
}

/// A task, by its ids.
struct Task {
    id: String,
    session: String,
}

impl Stand {
    fn start(place: &Place, upstream: Upstream) -> anyhow::Result<Self> {
        let program = std::env::current_exe()?;
        let program = program.to_str().context("the path of this program is no text")?;
        let folder = place.folder()?;
        let key = folder.path().join("model.key");
        std::fs::write(&key, "none\n")?;
        let config = format!(
            "[tasks]\nmax_concurrent = {}\n[models.bench]\nbase_url = \"{}\"\nmodel = \"bench\"\ncredential = {{ file = {key:?} }}\n\
             [agents.bench]\nkind = \"custom\"\nmodel = \"bench\"\ncommand = {program:?}\narguments = [\"--agent\"]\n",
            TASKS + 1,
            upstream.url
        );
        Ok(Self { server: Server::start(place, &config)?, upstream, _key: folder })
    }

    fn submit(&self, prompt: &str) -> anyhow::Result<Task> {
        let (answer, _) = self.server.client()?.call("coda_run", &json!({"prompt": prompt, "agent": "bench"}))?;
        let id = |name: &str| answer[name].as_str().map(str::to_owned).with_context(|| format!("no {name} in {answer}"));
        Ok(Task { id: id("task_id")?, session: id("session_id")? })
    }

    /// The next who waits.
    fn turn(&self, tasks: &[Task]) -> anyhow::Result<Turn> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.upstream.turns.recv_timeout(LOOK) {
                Ok(turn) => return Ok(turn),
                Err(RecvTimeoutError::Disconnected) => bail!("the model has ended"),
                Err(RecvTimeoutError::Timeout) => {}
            }
            for task in tasks {
                let state = self.state(task)?;
                let works = matches!(state["status"].as_str(), Some("queued" | "running"));
                ensure!(works && Instant::now() < deadline, self.gone(task, &state));
            }
        }
    }

    /// Why an agent says nothing any more.
    fn gone(&self, task: &Task, state: &Value) -> String {
        format!("an agent does not ask any more: {state}\n{:?}\n{}", self.read(task), self.server.log())
    }

    fn turns(&self, count: usize, tasks: &[Task]) -> anyhow::Result<Vec<Turn>> {
        (0..count).map(|_| self.turn(tasks)).collect()
    }

    fn state(&self, task: &Task) -> anyhow::Result<Value> {
        let ids = json!({"task_id": task.id, "session_id": task.session});
        Ok(self.server.client()?.call("coda_get_result", &ids)?.0)
    }

    /// What confines the agent, as the task's record words it.
    fn sandbox(&self, task: &Task) -> anyhow::Result<String> {
        let state = self.state(task)?;
        Ok(state["sandbox"].as_str().unwrap_or("sandbox unknown").to_owned())
    }

    /// What a task left in its workspace.
    fn read(&self, task: &Task) -> anyhow::Result<Measured> {
        let file = self.server.home().join("workspaces").join(&task.session).join(MEASURED);
        let text = std::fs::read(&file).with_context(|| format!("the agent left no {MEASURED}"))?;
        Ok(serde_json::from_slice(&text)?)
    }

    /// The same, where nothing may be broken.
    fn measured(&self, task: &Task) -> anyhow::Result<Measured> {
        let measured = self.read(task)?;
        ensure!(measured.broken.is_empty(), "the agent failed: {:?}", measured.broken);
        Ok(measured)
    }
}
