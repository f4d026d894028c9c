//! What an agent has of its conversation on the disk: the files that are kept when its home is made anew for the next
//! attempt. Nothing that configures it may be among them: the agent of the attempt before could have written it.

use super::Kind;
use crate::store::foreign::Stays;
use crate::task::conversation::Conversation;

/// Where an agent keeps its conversations, below its home.
#[derive(Debug, Clone, Copy)]
pub(in crate::executor) struct Kept {
    /// The folder.
    pub(in crate::executor) folder: &'static str,
    /// Folders below that one, at most.
    pub(in crate::executor) depth: usize,
    /// What a file there is, by its name and the id that the host chose.
    pub(in crate::executor) part: fn(&str, &str) -> Part,
    /// Where that is a database with settings beside the conversation.
    pub(in crate::executor) database: Option<Database>,
}

/// A database in which an agent keeps its conversations and more. What is no conversation is taken out of it, in the
/// sandbox, before the agent is executed.
#[derive(Debug, Clone, Copy)]
pub(in crate::executor) struct Database {
    /// Its name, in the folder.
    pub(in crate::executor) file: &'static str,
    /// What stays.
    pub(in crate::executor) stays: Stays,
}

/// What a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::executor) enum Part {
    /// A conversation.
    Conversation,
    /// What belongs to one, and is none by itself.
    Beside,
    /// Neither: it is not kept.
    Nothing,
}

/// What of an agent's home the next attempt finds.
#[derive(Debug, Clone, Copy)]
pub(in crate::executor) enum Keeping {
    /// All of it: coda configures nothing there. With how the attempt's conversation begins where it may go on.
    Home(Conversation),
    /// Its conversation, where it can go on in one; nothing else.
    Conversation(Option<Kept>),
}

impl Kind {
    /// Where it keeps its conversations; `None` where it cannot go on in one, or must not.
    pub(in crate::executor) fn kept(self) -> Option<Kept> {
        match self {
            Self::Hermes => Some(super::hermes::KEPT),
            Self::Claude => Some(super::claude::KEPT),
            Self::Codex => Some(super::codex::KEPT),
            Self::Pi => Some(super::pi::KEPT),
            Self::Qwen => Some(super::qwen::KEPT),
            Self::Goose => Some(super::goose::KEPT),
            Self::OpenCode => Some(super::opencode::KEPT),
            // It loses the signatures of its model's calls, and tells each result twice.
            Self::Gemini => None,
            Self::Runbook | Self::Custom => None,
        }
    }

    /// Whether its next attempt goes on in the conversation of the one before.
    #[must_use]
    pub fn resumes(self) -> bool {
        self.kept().is_some()
    }
}

/// A database of SQLite and its log, which holds what was written last.
pub(super) fn database(name: &str, file: &str) -> Part {
    match name.strip_prefix(file) {
        Some("") => Part::Conversation,
        Some("-wal") => Part::Beside,
        Some(_) | None => Part::Nothing,
    }
}

/// A file of JSON lines whose name is the id.
pub(super) fn lines_of(name: &str, id: &str) -> Part {
    if name.strip_suffix(".jsonl") == Some(id) { Part::Conversation } else { Part::Nothing }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_conversation_is_known_by_its_name() {
        let check = |kind: Kind, name: &str, part: Part| {
            let kept = kind.kept().expect("it keeps one");
            assert_eq!((kept.part)(name, "the-id"), part, "{kind:?} {name}");
        };
        check(Kind::Claude, "the-id.jsonl", Part::Conversation);
        check(Kind::Claude, "another.jsonl", Part::Nothing);
        check(Kind::Claude, "settings.json", Part::Nothing);
        check(Kind::Qwen, "the-id.jsonl", Part::Conversation);
        check(Kind::Codex, "rollout-2026-11-21T18-52-54-01a1ff74.jsonl", Part::Conversation);
        check(Kind::Codex, "hooks.json", Part::Nothing);
        check(Kind::Hermes, "state.db", Part::Conversation);
        check(Kind::Hermes, "state.db-wal", Part::Beside);
        check(Kind::Hermes, "config.yaml", Part::Nothing);
        check(Kind::OpenCode, "opencode.db", Part::Conversation);
        check(Kind::OpenCode, "auth.json", Part::Nothing);
        check(Kind::Goose, "sessions.db-wal", Part::Beside);
        check(Kind::Goose, "sessions.db-shm", Part::Nothing);
        check(Kind::Pi, "2026-11-21T18-53-34-359Z_01a1ff74.jsonl", Part::Conversation);
        check(Kind::Pi, "settings.json", Part::Nothing);
    }

    #[test]
    fn nothing_that_coda_writes_for_an_agent_is_kept_of_what_lies_in_its_home() {
        use crate::executor::agent::tests::call_of;
        for kind in Kind::known() {
            let Some(kept) = kind.kept() else { continue };
            for file in call_of(kind).0.files {
                let (folder, name) = file.path.rsplit_once('/').expect("it lies in a folder");
                let is_there = std::path::Path::new(folder).starts_with(kept.folder);
                assert!(!is_there || (kept.part)(name, "the-id") == Part::Nothing, "{kind:?} keeps {}", file.path);
            }
        }
    }
}
