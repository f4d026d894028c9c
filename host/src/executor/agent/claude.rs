//! Claude Code 2.1 in its one-shot form: `claude --print WORDS`, with a configuration folder of its own, and the gateway as
//! its only API, in the dialect Anthropic Messages.
//!
//! Its own permissions are bypassed: nobody could answer them, and coda's gates decide. What the workspace says of hooks,
//! permissions and MCP servers is not read (`--setting-sources user`).

use serde_json::json;

use super::hook::Hook;
use super::kept::{Kept, lines_of};
use super::{AtProvider, Fitted, Kind, Profile, in_home, json_file, model_url, variables};
use crate::executor::Launch;
use crate::task::conversation::{Conversation, session_id};

/// Its search at the provider.
const SEARCH: &str = "WebSearch";
/// Tools that fetch by themselves, work later, or in sessions that nobody watches.
const WITHOUT: &str = "WebFetch,Monitor,Workflow,ScheduleWakeup,CronCreate,CronDelete,CronList,EnterWorktree,\
    ExitWorktree,SendMessage,ListAgents,TaskStop";

/// One file for each conversation, in a folder for each workspace. What it remembers beside them is not kept.
pub(super) const KEPT: Kept = Kept { folder: ".claude/projects", depth: 1, part: lines_of, database: None };

pub(super) fn fit(launch: &Launch, profile: &Profile, hook: &Hook) -> Fitted {
    let flags = ["--dangerously-skip-permissions", "--strict-mcp-config", "--setting-sources", "user"];
    let id = session_id(&launch.task);
    let conversation = match launch.conversation {
        Conversation::New => vec!["--session-id", &id],
        // Its system prompt is that of the program, and not what stands in the conversation, which the agent could change.
        Conversation::Resumed => vec!["--system-prompt-snapshot", "off", "--resume", &id],
    };
    let words = conversation.into_iter().chain(["--print"]).map(str::to_owned);
    let words = std::iter::once(without(profile.at_provider)).chain(words).chain([launch.stand_in()]);
    let model = || profile.model_name().to_owned();
    let on = || "1".to_owned();
    let settings = json!({
        "hooks": {"PreToolUse": hook.entry(Kind::Claude, "*", hook.limit_s)},
        "skipDangerousModePermissionPrompt": true,
        "includeCoAuthoredBy": false,
    });
    let workspace = launch.workspace.display().to_string();
    // What its first start asks a person.
    let answered = json!({
        "hasCompletedOnboarding": true,
        "bypassPermissionsModeAccepted": true,
        "projects": {workspace: {"hasTrustDialogAccepted": true}},
    });
    Fitted {
        arguments: flags.map(str::to_owned).into_iter().chain(words).map(Into::into).collect(),
        environment: variables([
            ("CLAUDE_CONFIG_DIR", in_home(launch, ".claude")),
            ("ANTHROPIC_BASE_URL", model_url(launch, "anthropic")),
            ("ANTHROPIC_AUTH_TOKEN", launch.gateway_token.clone()),
            ("ANTHROPIC_MODEL", model()),
            ("ANTHROPIC_SMALL_FAST_MODEL", model()),
            ("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", on()),
            ("DISABLE_AUTOUPDATER", on()),
            ("DISABLE_TELEMETRY", on()),
            ("DISABLE_ERROR_REPORTING", on()),
            // It refuses to bypass its permissions for root elsewhere.
            ("IS_SANDBOX", on()),
        ]),
        files: vec![json_file(".claude/settings.json", &settings), json_file(".claude/.claude.json", &answered)],
    }
}

/// In one word: the list takes all words after it.
fn without(at_provider: AtProvider) -> String {
    match at_provider {
        AtProvider::Nothing => format!("--disallowedTools={SEARCH},{WITHOUT}"),
        AtProvider::Search => format!("--disallowedTools={WITHOUT}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::executor::agent::tests::{call_of, fitted, json_of, resumed_call_of};
    use crate::task::envelope::STAND_IN;

    #[test]
    fn it_searches_at_the_provider_only_where_that_is_listed() {
        let without = |at_provider| {
            let (fitted, _) = fitted(Profile { kind: Kind::Claude, at_provider, ..Profile::default() });
            let words: Vec<_> = fitted.arguments.iter().map(|w| w.to_string_lossy().into_owned()).collect();
            words.into_iter().find(|word| word.starts_with("--disallowedTools=")).expect("said")
        };
        assert!(without(AtProvider::Nothing).contains("=WebSearch,WebFetch,"));
        assert!(without(AtProvider::Search).contains("=WebFetch,"));
    }

    #[test]
    fn the_prompt_follows_its_flag_and_the_workspace_configures_nothing() {
        let (fitted, launch) = call_of(Kind::Claude);
        let words: Vec<_> = fitted.arguments.iter().map(|w| w.to_string_lossy()).collect();
        assert_eq!(words[words.len() - 2..], ["--print", STAND_IN]);
        assert!(words.windows(2).any(|pair| pair == ["--setting-sources", "user"]), "{words:?}");
        assert_eq!(fitted.environment["ANTHROPIC_BASE_URL"], "http://127.0.0.1:9/model/anthropic");
        assert!(words.windows(2).any(|pair| pair == ["--session-id", &session_id(&launch.task)]), "{words:?}");
        let answered = json_of(&fitted, ".claude/.claude.json");
        assert_eq!(answered["projects"][launch.workspace.display().to_string()]["hasTrustDialogAccepted"], true);
    }

    #[test]
    fn it_goes_on_in_the_conversation_whose_id_the_host_chose() {
        let (fitted, launch) = resumed_call_of(Kind::Claude);
        let words: Vec<_> = fitted.arguments.iter().map(|w| w.to_string_lossy()).collect();
        assert!(words.windows(2).any(|pair| pair == ["--system-prompt-snapshot", "off"]), "{words:?}");
        let end = ["--resume", &session_id(&launch.task), "--print", &launch.stand_in()];
        assert_eq!(words[words.len() - 4..], end);
        assert!(!words.iter().any(|word| word == "--session-id"), "{words:?}");
    }
}
