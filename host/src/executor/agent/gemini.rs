//! Gemini CLI 0.61 in its one-shot form: `gemini --prompt=WORDS`, with a home and settings of its own, and the gateway as its
//! only API, in the dialect generateContent.
//!
//! `--yolo` switches its own questions off in either permission: nobody could answer them, and coda's gates decide.

use serde_json::json;

use super::hook::Hook;
use super::{AtProvider, Fitted, Kind, Profile, json_file, model_url, variables};
use crate::executor::Launch;

/// Tools that search at the provider, and fetch there or by themselves.
const WITHOUT: [&str; 2] = ["google_web_search", "web_fetch"];

pub(super) fn fit(launch: &Launch, profile: &Profile, hook: &Hook) -> Fitted {
    let without = match profile.at_provider {
        AtProvider::Nothing => &WITHOUT[..],
        AtProvider::Search => &WITHOUT[1..],
    };
    let settings = json!({
        "security": {"auth": {"selectedType": "gemini-api-key"}, "folderTrust": {"enabled": false}},
        "tools": {"exclude": without},
        // Its file tools write nowhere else but in the workspace, and the result lies elsewhere.
        "context": {"includeDirectories": [launch.task_dir.join("io")]},
        // Gemini counts in milliseconds.
        "hooks": {"BeforeTool": hook.entry(Kind::Gemini, "*", hook.limit_s * 1000)},
        "privacy": {"usageStatisticsEnabled": false},
        "telemetry": {"enabled": false},
        "general": {"enableAutoUpdate": false, "enableAutoUpdateNotification": false},
    });
    let model = format!("--model={}", profile.model_name());
    Fitted {
        arguments: vec!["--yolo".into(), model.into(), format!("--prompt={}", launch.stand_in()).into()],
        environment: variables([
            ("GOOGLE_GEMINI_BASE_URL", model_url(launch, "gemini")),
            ("GEMINI_API_KEY", launch.gateway_token.clone()),
            ("GEMINI_CLI_TRUST_WORKSPACE", "true".to_owned()),
        ]),
        files: vec![json_file(".gemini/settings.json", &settings)],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::executor::agent::tests::{call_of, fitted, json_of};
    use crate::task::envelope::STAND_IN;

    #[test]
    fn it_searches_at_the_provider_only_where_that_is_listed() {
        let (fitted, _) = fitted(Profile { kind: Kind::Gemini, at_provider: AtProvider::Search, ..Profile::default() });
        assert_eq!(json_of(&fitted, ".gemini/settings.json")["tools"]["exclude"], json!(["web_fetch"]));
    }

    #[test]
    fn the_prompt_is_one_word_and_nothing_is_searched_at_the_provider() {
        let (fitted, _) = call_of(Kind::Gemini);
        assert_eq!(fitted.arguments, ["--yolo", "--model=big-model", &format!("--prompt={STAND_IN}")]);
        assert_eq!(fitted.environment["GOOGLE_GEMINI_BASE_URL"], "http://127.0.0.1:9/model/gemini");
        assert_eq!(json_of(&fitted, ".gemini/settings.json")["tools"]["exclude"][0], "google_web_search");
    }
}
