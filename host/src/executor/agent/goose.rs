//! Goose 1.52 in its one-shot form: `goose run --text WORDS`, everything else in its environment.
//!
//! `auto` is its mode without questions: nobody could answer them, and coda's gates decide. It gets its developer tools
//! and no others: its extensions run programs and sub-agents of their own.

use serde_json::json;

use super::hook::Hook;
use super::kept::{Database, Kept, database};
use super::{Fitted, Kind, Profile, in_home, json_file, variables};
use crate::executor::Launch;
use crate::store::foreign::Stays;
use crate::task::conversation::Conversation;

/// What its conversation is called.
const NAME: &str = "coda";

/// What Goose notes of the extensions that coda gives it. It starts those that are noted.
const EXTENSIONS: &str = r#"{"enabled_extensions.v0":{"extensions":[{"type":"platform","name":"developer","description":"developer","display_name":null,"bundled":null}]}}"#;

/// One database, with extensions, recipes, provider and mode beside each conversation.
pub(super) const KEPT: Kept = Kept {
    folder: ".local/share/goose/sessions",
    depth: 0,
    part: |name, _| database(name, "sessions.db"),
    database: Some(Database {
        file: "sessions.db",
        stays: Stays {
            tables: &["schema_version", "sessions", "messages", "usage_ledger"],
            columns: &[
                ("sessions", "extension_data", Some(EXTENSIONS)),
                ("sessions", "goose_mode", Some("auto")),
                ("sessions", "provider_name", None),
                ("sessions", "model_config_json", None),
                ("sessions", "recipe_json", None),
                ("sessions", "user_recipe_values_json", None),
                ("sessions", "schedule_id", None),
            ],
        },
    }),
};

/// Goose has no flag in its configuration for the key of a provider but the environment, which only this user reads.
pub(super) fn fit(launch: &Launch, profile: &Profile, hook: &Hook) -> Fitted {
    let words = ["run", "--name", NAME, "--no-profile", "--with-builtin", "developer"];
    let mut arguments: Vec<_> = words.into_iter().map(Into::into).collect();
    if launch.conversation == Conversation::Resumed {
        arguments.push("--resume".into());
    }
    arguments.push(format!("--text={}", launch.stand_in()).into());
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
    use crate::executor::agent::tests::{call_of, resumed_call_of};
    use crate::task::envelope::STAND_IN;

    #[test]
    fn the_prompt_is_one_word_and_the_gateway_its_only_model() {
        let (fitted, _) = call_of(Kind::Goose);
        assert_eq!(fitted.arguments.last(), Some(&format!("--text={STAND_IN}").into()));
        assert_eq!(fitted.environment["OPENAI_HOST"], "http://127.0.0.1:9");
        assert_eq!(fitted.environment["OPENAI_BASE_PATH"], "model/v1/chat/completions");
        assert_eq!(fitted.environment["GOOSE_MODE"], "auto");
    }

    #[test]
    fn it_goes_on_in_the_conversation_that_coda_named() {
        let (fitted, launch) = resumed_call_of(Kind::Goose);
        let text = format!("--text={}", launch.stand_in());
        assert_eq!(fitted.arguments[fitted.arguments.len() - 2..], ["--resume", &text]);
        assert_eq!(fitted.arguments[1..3], ["--name", NAME]);
    }
}
