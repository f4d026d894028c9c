//! The kinds of agents: what each is called, where its program is looked for, and which locks it has.

use std::path::Path;

use super::Profile;
use super::tested::{self, Tested};

/// How an agent is called.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Kind {
    /// coda's own: runs the shell block of a task step by step.
    Runbook,
    /// Hermes Agent in its one-shot form.
    Hermes,
    /// OpenCode: `opencode run`.
    OpenCode,
    /// Goose: `goose run`.
    Goose,
    /// Pi: `pi --print`.
    Pi,
    /// Qwen Code in its one-shot form.
    Qwen,
    /// Claude Code: `claude --print`.
    Claude,
    /// Codex: `codex exec`.
    Codex,
    /// Gemini CLI in its one-shot form.
    Gemini,
    /// A program that reads `$CODA_TASK_DIR/prompt.txt`, or is told `envelope::STAND_IN` by its arguments, and writes `result.json` beside it.
    #[default]
    Custom,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Runbook,
        Self::Hermes,
        Self::OpenCode,
        Self::Goose,
        Self::Pi,
        Self::Qwen,
        Self::Claude,
        Self::Codex,
        Self::Gemini,
        Self::Custom,
    ];

    /// Its word in coda.toml; for all but `custom` also the name of its program.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Runbook => "runbook",
            Self::Hermes => "hermes",
            Self::OpenCode => "opencode",
            Self::Goose => "goose",
            Self::Pi => "pi",
            Self::Qwen => "qwen",
            Self::Claude => "claude",
            Self::Codex => "codex",
            Self::Gemini => "gemini",
            Self::Custom => "custom",
        }
    }

    /// The kind of that word.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// The kinds that stand for a program of somebody else's that coda knows.
    pub fn known() -> impl Iterator<Item = Self> {
        Self::ALL.into_iter().filter(|kind| !matches!(kind, Self::Runbook | Self::Custom))
    }

    /// The dialect that it speaks with its model, as `[models.NAME] dialect` words it; `None` = any.
    #[must_use]
    pub fn dialect(self) -> Option<&'static str> {
        match self {
            Self::Runbook | Self::Custom => None,
            Self::Hermes | Self::OpenCode | Self::Goose | Self::Pi | Self::Qwen => Some("chat"),
            Self::Claude => Some("messages"),
            Self::Codex => Some("responses"),
            Self::Gemini => Some("gemini"),
        }
    }

    /// Which releases coda is tested with.
    #[must_use]
    pub fn tested(self) -> Option<&'static Tested> {
        tested::of(self.name())
    }

    /// What stands between its calls and their effects, besides the sandbox. The gateway sees every call that its model
    /// makes; the hook those too that it makes by itself.
    #[must_use]
    pub fn layers(self) -> &'static [&'static str] {
        match self {
            Self::Runbook => &["asks the gates itself"],
            Self::Hermes | Self::OpenCode | Self::Goose | Self::Pi | Self::Qwen | Self::Claude | Self::Codex | Self::Gemini => {
                &["gateway", "hook"]
            }
            Self::Custom => &["gateway"],
        }
    }

    /// The program that a profile names, or the kind's own.
    pub(super) fn command(self, profile: &Profile) -> &Path {
        let own = Self::known().any(|known| known == self) && profile.command.as_os_str().is_empty();
        if own { Path::new(self.name()) } else { &profile.command }
    }

    /// What to do where the program of the agent `name` is missing.
    #[must_use]
    pub fn hint(self, name: &str) -> String {
        match (self, self.tested()) {
            (Self::Runbook, _) => "it is part of coda".into(),
            (_, Some(tested)) => {
                format!("{}; then put `{}` on PATH or its path in [agents.{name}] command", tested.install(), self.name())
            }
            (_, None) => format!("set its path in [agents.{name}] command"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_is_found_by_its_word_and_each_known_one_has_tested_releases() {
        for kind in Kind::ALL {
            assert_eq!(Kind::named(kind.name()), Some(kind));
        }
        assert_eq!(Kind::named("Hermes"), None);
        assert!(Kind::known().all(|kind| kind.tested().is_some()));
        assert!(Kind::OpenCode.hint("oc").contains("npm install -g"), "{}", Kind::OpenCode.hint("oc"));
    }
}
