//! The same rules native: a program of their own (`tests/bench/rules`), so that nothing of it gets near the server's build.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context as _, ensure};
use serde_json::json;

use crate::commands::COMMANDS;
use crate::place::Place;

/// The program, ready to judge the commands by their number.
pub(crate) struct Rules {
    child: Child,
    questions: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Rules {
    /// Starts it with the settings that a `policies.toml` gives its policies.
    pub(crate) fn start(place: &Place, policies: &str) -> anyhow::Result<Self> {
        let set: toml::Table = toml::from_str(policies)?;
        let mut child = Command::new(&place.rules).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let questions = child.stdin.take().expect("standard input is a pipe");
        let answers = BufReader::new(child.stdout.take().expect("standard output is a pipe"));
        let mut rules = Self { child, questions, answers };
        writeln!(rules.questions, "{}", json!({ "policies": set["policy"], "commands": COMMANDS }))?;
        Ok(rules)
    }

    /// Microseconds of the three policies for a command.
    pub(crate) fn judge_us(&mut self, command: usize) -> anyhow::Result<f64> {
        writeln!(self.questions, "{command}")?;
        let mut line = String::new();
        ensure!(self.answers.read_line(&mut line)? > 0, "the native rules ended; what they said is above");
        let nanoseconds: f64 = line.trim().parse().context("the native rules answered no number")?;
        Ok(nanoseconds / 1e3)
    }
}

impl Drop for Rules {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
