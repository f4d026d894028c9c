//! OpenCode 1.18 in its one-shot form: `opencode run WORDS`, with a home and a configuration of its own, and the gateway
//! as its only provider.
//!
//! Its own permissions allow everything: nobody can answer them here, and coda's gates decide. Configuration that lies in
//! the workspace is not read: it could name another provider. OpenCode installs its plugin kit from npm into each of its
//! configuration folders; a lock file that names the kit makes it believe that it has done so.

use serde_json::json;

use super::hook::{Hook, plugin};
use super::kept::{Database, Kept, database};
use super::{Fitted, NeededFile, Profile, in_home, json_file, model_url, variables};
use crate::executor::Launch;
use crate::store::foreign::Stays;
use crate::task::conversation::Conversation;

/// Tools that talk to services other than the model.
const WITHOUT: [&str; 2] = ["websearch", "codesearch"];

/// What OpenCode notes of a conversation that nobody can be asked in.
const ASKS_NOBODY: &str = r#"[{"permission":"question","pattern":"*","action":"deny"},{"permission":"plan_enter","pattern":"*","action":"deny"},{"permission":"plan_exit","pattern":"*","action":"deny"}]"#;

/// One database, with accounts beside the conversations, whose settings and plugins OpenCode loads, credentials, shares and
/// permissions. It goes on in the last conversation.
pub(super) const KEPT: Kept = Kept {
    folder: ".local/share/opencode",
    depth: 0,
    part: |name, _| database(name, "opencode.db"),
    database: Some(Database {
        file: "opencode.db",
        stays: Stays {
            tables: &[
                "migration",
                "data_migration",
                "project",
                "session",
                "session_message",
                "session_input",
                "session_context_epoch",
                "message",
                "part",
                "todo",
                "event",
                "event_sequence",
            ],
            columns: &[
                ("project", "commands", None),
                ("session", "permission", Some(ASKS_NOBODY)),
                ("session", "share_url", None),
                ("session", "workspace_id", None),
            ],
        },
    }),
};

/// Each word is an argument of its own: OpenCode puts an argument with blanks between quotation marks. `--` ends the flags.
pub(super) fn fit(launch: &Launch, profile: &Profile, hook: &Hook) -> Fitted {
    let mut arguments = match launch.conversation {
        Conversation::New => vec!["run".into(), "--".into()],
        Conversation::Resumed => vec!["run".into(), "--continue".into(), "--".into()],
    };
    arguments.extend(launch.stand_in().split(' ').map(Into::into));
    let model = profile.model_name();
    let mut permission = json!({"*": "allow"});
    for tool in WITHOUT {
        permission[tool] = "deny".into();
    }
    let config = json!({
        "$schema": "https://opencode.ai/config.json",
        "model": format!("coda/{model}"),
        "small_model": format!("coda/{model}"),
        "enabled_providers": ["coda"],
        "provider": {"coda": {
            "npm": "@ai-sdk/openai-compatible",
            "name": "coda",
            "options": {"baseURL": model_url(launch, "v1"), "apiKey": launch.gateway_token},
            "models": {model: {"name": model, "tool_call": true}},
        }},
        "permission": permission,
        "autoupdate": false,
        "share": "disabled",
        // Copies of the workspace that nobody looks at; coda keeps what changed by itself.
        "snapshot": false,
        // A title of its session would cost a request to the model and is shown nowhere.
        "agent": {"title": {"disable": true}},
    });
    let kit = json!({"dependencies": {"@opencode-ai/plugin": "*"}});
    let lock = json!({"name": "opencode", "lockfileVersion": 3, "packages": {"": kit}});
    let on = || "1".to_owned();
    Fitted {
        arguments,
        environment: variables([
            ("XDG_CONFIG_HOME", in_home(launch, ".config")),
            ("XDG_DATA_HOME", in_home(launch, ".local/share")),
            ("XDG_STATE_HOME", in_home(launch, ".local/state")),
            ("XDG_CACHE_HOME", in_home(launch, ".cache")),
            ("OPENCODE_DISABLE_PROJECT_CONFIG", on()),
            ("OPENCODE_DISABLE_AUTOUPDATE", on()),
            ("OPENCODE_DISABLE_MODELS_FETCH", on()),
            ("OPENCODE_DISABLE_LSP_DOWNLOAD", on()),
            ("OPENCODE_DISABLE_DEFAULT_PLUGINS", on()),
            ("OPENCODE_DISABLE_CLAUDE_CODE", on()),
            ("OPENCODE_DISABLE_SHARE", on()),
            hook.wait(),
        ]),
        files: vec![
            json_file(".config/opencode/opencode.json", &config),
            json_file(".config/opencode/package.json", &kit),
            json_file(".config/opencode/package-lock.json", &lock),
            plugin(".config/opencode/plugin/coda.js", include_str!("plugin/opencode.js")),
            NeededFile { place: "home", path: ".config/opencode/node_modules/.coda", content: Vec::new() },
        ],
    }
}

#[cfg(test)]
mod tests {
    use crate::executor::agent::Kind;
    use crate::executor::agent::tests::{call_of, json_of, resumed_call_of};

    #[test]
    fn flags_end_before_the_prompt_and_the_gateway_is_the_only_provider() {
        let (fitted, _) = call_of(Kind::OpenCode);
        assert_eq!(fitted.arguments[..3], ["run", "--", "(coda"]);
        assert!(fitted.arguments.iter().all(|word| !word.to_string_lossy().contains(' ')), "{:?}", fitted.arguments);
        let config = json_of(&fitted, ".config/opencode/opencode.json");
        assert_eq!((&config["model"], &config["enabled_providers"]), (&"coda/big-model".into(), &serde_json::json!(["coda"])));
        assert_eq!(config["provider"]["coda"]["options"]["baseURL"], "http://127.0.0.1:9/model/v1");
        assert_eq!((&config["permission"]["*"], &config["permission"]["websearch"]), (&"allow".into(), &"deny".into()));
    }

    #[test]
    fn it_goes_on_in_the_only_conversation_of_its_home() {
        let (fitted, launch) = resumed_call_of(Kind::OpenCode);
        let words: Vec<_> = fitted.arguments.iter().map(|word| word.to_string_lossy()).collect();
        assert_eq!(words.join(" "), format!("run --continue -- {}", launch.stand_in()));
    }
}
