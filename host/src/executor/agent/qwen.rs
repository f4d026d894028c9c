//! Qwen Code 0.15 in its one-shot form: `qwen --prompt=WORDS`, with a home and settings of its own, and the gateway as its
//! only model.
//!
//! `--yolo` switches its own questions off in either permission: nobody could answer them, and coda's gates decide.

use serde_json::json;

use super::hook::Hook;
use super::kept::{Kept, lines_of};
use super::{Fitted, Kind, Profile, json_file, model_url, variables};
use crate::executor::Launch;
use crate::task::conversation::{Conversation, session_id};

/// Tools that run on after their call was answered, fetch by themselves, or hand work to agents in the background.
const WITHOUT: [&str; 5] = ["monitor", "agent", "send_message", "task_stop", "web_fetch"];

/// One file for each conversation, in a folder for each workspace.
pub(super) const KEPT: Kept = Kept { folder: ".qwen/projects", depth: 2, part: lines_of, database: None };

pub(super) fn fit(launch: &Launch, profile: &Profile, hook: &Hook) -> Fitted {
    let settings = json!({
        "security": {"auth": {"selectedType": "openai"}, "folderTrust": {"enabled": false}},
        "permissions": {"deny": WITHOUT},
        // Qwen counts in milliseconds.
        "hooks": {"PreToolUse": hook.entry(Kind::Qwen, "*", hook.limit_s * 1000)},
        "privacy": {"usageStatisticsEnabled": false},
        "telemetry": {"enabled": false},
        "general": {"enableAutoUpdate": false, "disableAutoUpdate": true, "disableUpdateNag": true},
    });
    let id = session_id(&launch.task);
    let conversation = match launch.conversation {
        Conversation::New => format!("--session-id={id}"),
        Conversation::Resumed => format!("--resume={id}"),
    };
    Fitted {
        arguments: vec!["--yolo".into(), conversation.into(), format!("--prompt={}", launch.stand_in()).into()],
        environment: variables([
            ("OPENAI_BASE_URL", model_url(launch, "v1")),
            ("OPENAI_API_KEY", launch.gateway_token.clone()),
            ("OPENAI_MODEL", profile.model_name().to_owned()),
        ]),
        files: vec![json_file(".qwen/settings.json", &settings)],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::executor::agent::tests::{call_of, json_of, resumed_call_of};
    use crate::task::envelope::STAND_IN;

    #[test]
    fn the_prompt_is_one_word_and_nothing_is_sent_home() {
        let (fitted, launch) = call_of(Kind::Qwen);
        let id = session_id(&launch.task);
        assert_eq!(fitted.arguments, ["--yolo", &format!("--session-id={id}"), &format!("--prompt={STAND_IN}")]);
        let (resumed, launch) = resumed_call_of(Kind::Qwen);
        let (id, prompt) = (format!("--resume={}", session_id(&launch.task)), format!("--prompt={}", launch.stand_in()));
        assert_eq!(resumed.arguments, ["--yolo", &id, &prompt]);
        let settings = json_of(&fitted, ".qwen/settings.json");
        assert_eq!(settings["privacy"]["usageStatisticsEnabled"], false);
        assert_eq!(fitted.environment["OPENAI_BASE_URL"], "http://127.0.0.1:9/model/v1");
    }
}
