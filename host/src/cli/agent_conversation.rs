//! `coda agent-conversation`, hidden: inside a task's sandbox, before an agent that goes on in its conversation.

use std::ffi::OsString;
use std::process::ExitCode;

/// Runs it, and becomes the agent. `words` are the arguments after `agent-conversation`.
#[must_use]
pub fn run(words: &[OsString]) -> ExitCode {
    ExitCode::from(crate::executor::agent_conversation(words))
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use crate::cli::{Cli, Command};

    #[test]
    fn the_words_of_the_agent_are_nobody_elses() {
        let words = ["opencode", "--", "/bin/opencode", "run", "--continue", "--", "--help", "--home", "--", "x"];
        let read = Cli::try_parse_from(["coda", "agent-conversation"].into_iter().chain(words)).expect("read");
        assert!(matches!(read.command, Command::AgentConversation { words: read } if read == words));
    }
}
