//! The benchmark as an agent of coda: in a task, in its sandbox, with the gateway as its only way out. Its prompt says what to
//! do; what it measured lies in its workspace before it waits for the last time.

use anyhow::{Context as _, ensure};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::talk::{Answer, Talk};
use crate::upstream::{CALL, LONG, TEXT, WAIT, command, long_text};

/// Questions one after the other, so many times.
pub(crate) const SAMPLES: &str = "BENCH-SAMPLES";
/// So many streams at once.
pub(crate) const STREAMS: &str = "BENCH-STREAMS";
/// Its file in the workspace.
pub(crate) const MEASURED: &str = "measured.json";

/// What it found.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Measured {
    /// Milliseconds until the first text, of each sample.
    pub(crate) text: Vec<f64>,
    /// Milliseconds until the end of an answer with a call, of each sample.
    pub(crate) call: Vec<f64>,
    /// Streams that came as they were sent, with their call.
    pub(crate) whole: usize,
    /// What was wrong with the others, or with everything.
    pub(crate) broken: Vec<String>,
}

/// Does what the prompt of its task says.
pub(crate) fn run() -> anyhow::Result<()> {
    let prompt = std::fs::read_to_string(in_task("prompt.txt")?)?;
    let asked = |word: &str| -> Option<usize> { prompt.split_once(word)?.1.split_whitespace().next()?.parse().ok() };
    let measured = match (asked(SAMPLES), asked(STREAMS)) {
        (Some(count), _) => samples(count),
        (None, Some(count)) => streams(count),
        (None, None) => Err(anyhow::anyhow!("the prompt asks for nothing that is known")),
    };
    let measured = measured.unwrap_or_else(|error| Measured { broken: vec![format!("{error:#}")], ..Measured::default() });
    println!("{} samples, {} streams, broken: {:?}", measured.text.len(), measured.whole, measured.broken);
    std::fs::write(MEASURED, serde_json::to_vec(&measured)?)?;
    talk()?.ask(&format!("{WAIT} 0"))?;
    let result = json!({"status": "completed", "summary": "measured", "files_changed": [], "artifacts": {}, "errors": []});
    std::fs::write(in_task("result.new")?, result.to_string())?;
    Ok(std::fs::rename(in_task("result.new")?, in_task("result.json")?)?)
}

fn samples(count: usize) -> anyhow::Result<Measured> {
    let mut talk = talk()?;
    let mut measured = Measured::default();
    for n in 0..count {
        talk.ask(&format!("{WAIT} {n}"))?;
        measured.text.push(first_text(&mut talk, n)?);
        measured.call.push(a_call(&mut talk, n)?);
    }
    Ok(measured)
}

/// One sample: the milliseconds until the first text.
pub(crate) fn first_text(talk: &mut Talk, n: usize) -> anyhow::Result<f64> {
    let answer = talk.ask(&format!("{TEXT} {n}"))?;
    ensure!(answer.whole, "the answer broke off: {answer:?}");
    answer.first_text.context("an answer without text")
}

/// One sample: the milliseconds until a call is there as a whole.
pub(crate) fn a_call(talk: &mut Talk, n: usize) -> anyhow::Result<f64> {
    let answer = talk.ask(&format!("{CALL} {n}"))?;
    is_called(&answer, n)?;
    Ok(answer.end)
}

fn is_called(answer: &Answer, n: usize) -> anyhow::Result<()> {
    let is = serde_json::from_str::<Value>(&answer.arguments).is_ok_and(|made| made == json!({"command": command(n)}));
    ensure!(answer.whole && is, "it is not the call that the model made: {answer:?}");
    Ok(())
}

fn streams(count: usize) -> anyhow::Result<Measured> {
    let mut talks = (0..count).map(|_| talk()).collect::<Result<Vec<_>, _>>()?;
    talks.first_mut().context("no stream is wanted")?.ask(&format!("{WAIT} 1"))?;
    let text = long_text();
    let one = |n: usize, talk: &mut Talk| -> anyhow::Result<()> {
        let answer = talk.ask(&format!("{LONG} {n}"))?;
        ensure!(answer.text == text, "the text has {} characters of {}", answer.text.len(), text.len());
        is_called(&answer, n)
    };
    let outcomes: Vec<anyhow::Result<()>> = std::thread::scope(|scope| {
        let threads: Vec<_> = talks.iter_mut().enumerate().map(|(n, talk)| scope.spawn(move || one(n, talk))).collect();
        threads.into_iter().map(|thread| thread.join().expect("a client does not panic")).collect()
    });
    let broken: Vec<String> = outcomes.iter().filter_map(|o| o.as_ref().err().map(|error| format!("{error:#}"))).collect();
    Ok(Measured { whole: outcomes.len() - broken.len(), broken, ..Measured::default() })
}

fn talk() -> anyhow::Result<Talk> {
    let url = variable("CODA_GATEWAY_URL")?;
    Talk::connect(&format!("{}/model/v1", url.trim_end_matches('/')), &variable("CODA_GATEWAY_TOKEN")?)
}

fn in_task(name: &str) -> anyhow::Result<std::path::PathBuf> {
    Ok(std::path::Path::new(&variable("CODA_TASK_DIR")?).join(name))
}

fn variable(name: &str) -> anyhow::Result<String> {
    std::env::var(name).with_context(|| format!("{name} is not set: this is an agent of coda"))
}
