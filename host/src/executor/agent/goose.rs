//! Goose 1.52 in its one-shot form: `goose run --no-session --text WORDS`, everything else in its environment.
//!
//! `auto` is its mode without questions: nobody could answer them, and coda's gates decide. It gets its developer tools
//! and no others: its extensions run programs and sub-agents of their own.

use serde_json::json;

use super::hook::Hook;
use super::{Fitted, Kind, Profile, in_home, json_file, variables};
use crate::executor::Launch;
use crate::task::envelope::STAND_IN;

/// Goose has no flag in its configuration for the key of a provider but the environment, which only this user reads.
pub(super) fn fit(launch: &Launch, profile: &Profile, hook: &Hook) -> Fitted {
    let words = ["run", "--no-session", "--no-profile", "--with-builtin", "developer"];
    let mut arguments: Vec<_> = words.into_iter().map(Into::into).collect();
    arguments.push(format!("--text={STAND_IN}").into());
    let environment = variables([
        ("XDG_CONFIG_HOME", in_home(launch, ".config")),
        ("XDG_DATA_HOME", in_home(launch, ".local/share")),
        ("XDG_STATE_HOME", in_home(launch, ".local/state")),
        ("GOOSE_PROVIDER", "openai".to_owned()),
        ("GOOSE_MODEL", profile.model_name().to_owned()),
        ("GOOSE_MODE", "auto".to_owned()),
        ("OPENAI_HOST", launch.gateway_url.trim_end_matches('/').to_owned()),
        ("OPENAI_BASE_PATH", "model/v1/chat/completions".to_owned()),
        ("OPENAI_API_KEY", launch.gateway_token.clone()),
        ("GOOSE_DISABLE_KEYRING", "1".to_owned()),
        // A name of its session would cost a request to the model and is shown nowhere.
        ("GOOSE_DISABLE_SESSION_NAMING", "true".to_owned()),
        ("GOOSE_TELEMETRY_OFF", "1".to_owned()),
        ("GOOSE_TELEMETRY_ENABLED", "false".to_owned()),
    ]);
    let about = json!({"name": "coda", "version": "1.0.0", "description": "coda's gates"});
    let hooks = json!({"hooks": {"PreToolUse": hook.entry(Kind::Goose, ".*", hook.limit_s)}});
    let files =
        vec![json_file(".agents/plugins/coda/plugin.json", &about), json_file(".agents/plugins/coda/hooks/hooks.json", &hooks)];
    Fitted { arguments, environment, files }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::executor::agent::tests::call_of;

    #[test]
    fn the_prompt_is_one_word_and_the_gateway_its_only_model() {
        let (fitted, _) = call_of(Kind::Goose);
        assert_eq!(fitted.arguments.last(), Some(&format!("--text={STAND_IN}").into()));
        assert_eq!(fitted.environment["OPENAI_HOST"], "http://127.0.0.1:9");
        assert_eq!(fitted.environment["OPENAI_BASE_PATH"], "model/v1/chat/completions");
        assert_eq!(fitted.environment["GOOSE_MODE"], "auto");
    }
}
