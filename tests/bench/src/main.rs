//! The benchmarks: figures of coda as people run it, next to what the same machine can do at that moment.
//!
//! Everything that is compared is measured in one run and in turn, so that a ratio means something on a machine that
//! also does other things. Figures are told as they came; a goal that is missed is said, and is no failure of the run.
//! `scripts/bench.sh` builds what this needs and calls it.

mod accept;
mod agent;
mod chain;
mod client;
mod commands;
mod engine;
mod figure;
mod fresh;
mod gateway;
mod inbox;
mod litellm;
mod machine;
mod memory;
mod native;
mod place;
mod report;
mod secrecy;
mod server;
mod talk;
mod terminal;
mod upstream;

use std::path::PathBuf;

use anyhow::{Context as _, bail};

use crate::figure::Section;
use crate::machine::Machine;
use crate::place::Place;
use crate::report::Report;

const USAGE: &str = "usage: coda-bench --coda PROGRAM --rules PROGRAM --guests FOLDER --work FOLDER [--litellm FOLDER] [--markdown] [--json FILE] [SUBJECT…]\n\
                     subjects: chain fresh accept inbox secrecy gateway terminal memory; all of them where none is named";
const SUBJECTS: [&str; 8] = ["chain", "fresh", "accept", "inbox", "secrecy", "gateway", "terminal", "memory"];

/// What the command line says.
#[derive(Default)]
struct Options {
    coda: PathBuf,
    rules: PathBuf,
    guests: PathBuf,
    work: PathBuf,
    litellm: Option<PathBuf>,
    form: Form,
    json: Option<PathBuf>,
    subjects: Vec<String>,
}

#[derive(Default)]
enum Form {
    #[default]
    People,
    Markdown,
}

impl Options {
    fn read(mut words: impl Iterator<Item = String>) -> anyhow::Result<Self> {
        let mut options = Self::default();
        while let Some(word) = words.next() {
            let mut path = || words.next().map(PathBuf::from).with_context(|| format!("{word} needs a path\n{USAGE}"));
            match word.as_str() {
                "--coda" => options.coda = path()?,
                "--rules" => options.rules = path()?,
                "--guests" => options.guests = path()?,
                "--work" => options.work = path()?,
                "--litellm" => options.litellm = Some(path()?),
                "--json" => options.json = Some(path()?),
                "--markdown" => options.form = Form::Markdown,
                subject if SUBJECTS.contains(&subject) => options.subjects.push(word),
                _ => bail!("'{word}' is not known\n{USAGE}"),
            }
        }
        if options.subjects.is_empty() {
            options.subjects = SUBJECTS.map(str::to_owned).to_vec();
        }
        Ok(options)
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    if std::env::args().nth(1).as_deref() == Some("--agent") {
        return agent::run();
    }
    let options = Options::read(std::env::args().skip(1))?;
    let place = Place::new(options.coda, options.rules, options.guests, options.work, options.litellm)?;
    let mut report = Report { machine: Machine::here(), sections: Vec::new() };
    for subject in &options.subjects {
        eprintln!("bench: {subject}");
        report.sections.push(measure(subject, &place).await.with_context(|| format!("the benchmark '{subject}'"))?);
    }
    if let Some(path) = options.json {
        std::fs::write(&path, report.json()?).with_context(|| format!("cannot write {}", path.display()))?;
    }
    match options.form {
        Form::People => print!("{}", report.for_people()),
        Form::Markdown => print!("{}", report.markdown()),
    }
    Ok(())
}

async fn measure(subject: &str, place: &Place) -> anyhow::Result<Section> {
    match subject {
        "chain" => chain::run(place).await,
        "fresh" => fresh::run(place).await,
        "terminal" => terminal::run(place).await,
        blocking => {
            let (subject, place) = (blocking.to_owned(), place.clone());
            let run = move || match subject.as_str() {
                "accept" => accept::run(&place),
                "inbox" => inbox::run(&place),
                "secrecy" => secrecy::run(&place),
                "gateway" => gateway::run(&place),
                _ => memory::run(&place),
            };
            tokio::task::spawn_blocking(run).await?
        }
    }
}
