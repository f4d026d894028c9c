//! Codex 0.169 in its one-shot form: `codex exec WORDS`, with a home of its own, and the gateway as its only provider, in the
//! dialect OpenAI Responses.
//!
//! Its own approvals and sandbox are bypassed: nobody could answer the one, coda brings the other. It still refuses what it
//! takes for dangerous, such as `rm -f`, where no rule of its own allows that: an approved call would not run. Without the
//! flag about trust it would skip the hooks without a word.

use serde_json::json;

use super::hook::Hook;
use super::kept::{Kept, Part};
use super::{AtProvider, Fitted, Kind, NeededFile, Profile, in_home, json_file, model_url, variables};
use crate::executor::Launch;
use crate::task::conversation::Conversation;

/// Codex asks about the shell that it starts, and about each command that it can read in what the shell is told.
const RULES: &str = "\
prefix_rule(pattern = [[\"/bin/bash\", \"/bin/sh\", \"bash\", \"sh\", \"zsh\"]], decision = \"allow\")
prefix_rule(pattern = [[\"rm\", \"sudo\"]], decision = \"allow\")
";

/// One file for each conversation, in folders by date. Its name holds an id of Codex's own choice, so it goes on in the
/// last one; its databases list them, and are made anew.
pub(super) const KEPT: Kept = Kept { folder: ".codex/sessions", depth: 3, part: rollout, database: None };

fn rollout(name: &str, _: &str) -> Part {
    if name.starts_with("rollout-") && name.ends_with(".jsonl") { Part::Conversation } else { Part::Nothing }
}

/// `--` ends the flags.
pub(super) fn fit(launch: &Launch, profile: &Profile, hook: &Hook) -> Fitted {
    let (command, last): (&[&str], &[&str]) = match launch.conversation {
        Conversation::New => (&["exec"], &[]),
        Conversation::Resumed => (&["exec", "resume"], &["--last"]),
    };
    let flags = ["--dangerously-bypass-approvals-and-sandbox", "--dangerously-bypass-hook-trust", "--skip-git-repo-check"];
    let words = [command, &flags, last, &["--"]].concat().into_iter().map(str::to_owned);
    let workspace = launch.workspace.display().to_string();
    let config = json!({
        "model": profile.model_name(),
        "model_provider": "coda",
        "approval_policy": "never",
        "sandbox_mode": "danger-full-access",
        "check_for_update_on_startup": false,
        // It would run at the provider.
        "web_search": match profile.at_provider {
            AtProvider::Nothing => "disabled",
            AtProvider::Search => "live",
        },
        "features": {"multi_agent": false},
        "analytics": {"enabled": false},
        "model_providers": {"coda": {
            "name": "coda",
            "base_url": model_url(launch, "v1"),
            "env_key": "CODA_GATEWAY_TOKEN",
            "wire_api": "responses",
        }},
        "projects": {workspace: {"trust_level": "trusted"}},
    });
    let config = toml::to_string(&config).expect("a table of texts and switches is TOML");
    let hooks = json!({"hooks": {"PreToolUse": hook.entry(Kind::Codex, ".*", hook.limit_s)}});
    Fitted {
        arguments: words.chain([launch.stand_in()]).map(Into::into).collect(),
        environment: variables([("CODEX_HOME", in_home(launch, ".codex"))]),
        files: vec![
            NeededFile { place: "home", path: ".codex/config.toml", content: config.into_bytes() },
            json_file(".codex/hooks.json", &hooks),
            NeededFile { place: "home", path: ".codex/rules/coda.rules", content: RULES.as_bytes().to_vec() },
        ],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::executor::agent::tests::{call_of, fitted, resumed_call_of};
    use crate::task::envelope::STAND_IN;

    #[test]
    fn it_searches_at_the_provider_only_where_that_is_listed() {
        for (at_provider, said) in [(AtProvider::Nothing, "disabled"), (AtProvider::Search, "live")] {
            let (fitted, _) = fitted(Profile { kind: Kind::Codex, at_provider, ..Profile::default() });
            let config: toml::Table = String::from_utf8_lossy(&fitted.files[0].content).parse().expect("TOML");
            assert_eq!(config["web_search"].as_str(), Some(said));
        }
    }

    #[test]
    fn flags_end_before_the_prompt_and_the_gateway_is_the_only_provider() {
        let (fitted, launch) = call_of(Kind::Codex);
        assert_eq!(fitted.arguments[fitted.arguments.len() - 2..], ["--", STAND_IN]);
        assert!(fitted.arguments.contains(&"--dangerously-bypass-hook-trust".into()), "its hooks would be skipped");
        let config: toml::Table = String::from_utf8_lossy(&fitted.files[0].content).parse().expect("TOML");
        assert_eq!(config["model_providers"]["coda"]["base_url"].as_str(), Some("http://127.0.0.1:9/model/v1"));
        assert_eq!(config["model"].as_str(), Some("big-model"));
        let workspace = launch.workspace.display().to_string();
        assert_eq!(config["projects"][workspace.as_str()]["trust_level"].as_str(), Some("trusted"));
    }

    #[test]
    fn it_goes_on_in_the_only_conversation_of_its_home() {
        let (fitted, launch) = resumed_call_of(Kind::Codex);
        assert_eq!(fitted.arguments[..2], ["exec", "resume"]);
        assert_eq!(fitted.arguments[fitted.arguments.len() - 3..], ["--last", "--", &launch.stand_in()]);
        assert!(fitted.arguments.contains(&"--dangerously-bypass-hook-trust".into()), "its hooks would be skipped");
    }
}
