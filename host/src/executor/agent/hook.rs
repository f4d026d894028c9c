//! How agents are told of coda's hook: the command line of `coda hook`, and how long they wait for it.

use std::ffi::OsString;

use serde_json::{Value, json};

use super::{Kind, NeededFile};

/// Of the limit: how long a plugin lets people take, in percent. `coda hook` has the same share.
const PEOPLE: u64 = 60;

/// What the hooks of one server have in common.
#[derive(Debug, Clone, Default)]
pub(super) struct Hook {
    /// How coda's own commands are called.
    pub(super) own_program: Vec<OsString>,
    /// How long an agent waits for its hook, in seconds.
    pub(super) limit_s: u64,
}

impl Hook {
    /// The command line, for a shell.
    pub(super) fn command(&self, kind: Kind) -> String {
        let mut words: Vec<String> = self.own_program.iter().map(|word| quoted(&word.to_string_lossy())).collect();
        words.push(format!("hook --agent {} --limit-s {}", kind.name(), self.limit_s));
        words.join(" ")
    }

    /// One entry of a table of hooks, as Claude Code has them and others took over: for every tool, with the limit in
    /// that agent's unit.
    pub(super) fn entry(&self, kind: Kind, every: &str, limit: u64) -> Value {
        json!([{"matcher": every, "hooks": [{"type": "command", "command": self.command(kind), "timeout": limit}]}])
    }

    /// How long a plugin waits for people: in its environment.
    pub(super) fn wait(&self) -> (&'static str, String) {
        ("CODA_HOOK_WAIT_S", (self.limit_s * PEOPLE / 100).to_string())
    }
}

/// A plugin's source, below the agent's home.
pub(super) fn plugin(path: &'static str, source: &str) -> NeededFile {
    NeededFile { place: "home", path, content: source.as_bytes().to_vec() }
}

fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_with_blanks_and_quotes_stays_one_word() {
        let hook = Hook { own_program: vec!["/opt/my coda's/coda".into()], limit_s: 60 };
        assert_eq!(hook.command(Kind::Goose), r"'/opt/my coda'\''s/coda' hook --agent goose --limit-s 60");
        assert_eq!(hook.wait(), ("CODA_HOOK_WAIT_S", "36".to_owned()));
    }
}
