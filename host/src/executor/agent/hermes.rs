//! Hermes Agent 0.19 in its one-shot form: `hermes chat -q=TEXT`, with a home and a configuration of its own, and the
//! gateway as its only model endpoint.
//!
//! Hermes' own questions are off in either permission: nobody can answer them in the one-shot form, so a call that people
//! approved at coda's gate would be refused by Hermes after its own minute. The gates decide, and only they.
//! Tools whose calls do not pass the model are off: `execute_code` runs a program that calls tools by itself.

use serde_json::json;

use super::hook::{Hook, plugin};
use super::kept::{Kept, database};
use super::{Fitted, Profile, in_home, json_file, model_url, variables};
use crate::executor::Launch;
use crate::task::conversation::Conversation;

/// Tool sets whose every call passes the model, and so the gateway.
const TOOLS: &str = "terminal,file,todo,memory";

/// Its database holds the conversations, counts, and nothing that configures it. It goes on in the last one.
pub(super) const KEPT: Kept = Kept { folder: ".hermes", depth: 0, part: |name, _| database(name, "state.db"), database: None };

/// The task never stands on the command line, which every process of the same user can read, another task's too: Hermes is
/// told the stand-in, for which the gateway puts the envelope. So Hermes does not expand what the submitter wrote either:
/// `@file:NAME` and `@url:ADDRESS` in a prompt would be read and fetched before any gate. One item `-q=…` is never a flag.
pub(super) fn fit(launch: &Launch, profile: &Profile, hook: &Hook) -> Fitted {
    let mut arguments = vec!["chat".into(), "-t".into(), TOOLS.into()];
    if launch.yolo {
        arguments.push("--yolo".into());
    }
    if launch.conversation == Conversation::Resumed {
        // In the workspace as the host names it, not where the conversation says that it was.
        arguments.extend(["--no-restore-cwd".into(), "--continue".into()]);
    }
    arguments.push(format!("-q={}", launch.stand_in()).into());
    let config = json!({
        "model": {
            "default": profile.model_name(),
            "provider": "custom",
            "base_url": model_url(launch, "v1"),
            "api_key": launch.gateway_token,
        },
        "plugins": {"enabled": ["coda"]},
        "security": {"allow_lazy_installs": false},
        "approvals": {"mode": "off", "cron_mode": "deny"},
        // A title of its session, from the stand-in, would cost a request to the model and is shown nowhere.
        "auxiliary": {"title_generation": {"enabled": false}},
    });
    Fitted {
        arguments,
        environment: variables([("HERMES_HOME", in_home(launch, ".hermes")), hook.wait()]),
        files: vec![
            json_file(".hermes/config.yaml", &config),
            json_file(
                ".hermes/plugins/coda/plugin.yaml",
                &json!({"name": "coda", "version": "1", "description": "coda's gates"}),
            ),
            plugin(".hermes/plugins/coda/__init__.py", include_str!("plugin/hermes.py")),
        ],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::executor::agent::Kind;
    use crate::executor::agent::tests::{call_of, json_of, resumed_call_of};
    use crate::task::envelope::STAND_IN;

    #[test]
    fn the_prompt_is_one_word_that_no_parser_takes_for_a_flag() {
        let (fitted, mut launch) = call_of(Kind::Hermes);
        assert_eq!(fitted.arguments, ["chat", "-t", TOOLS, &format!("-q={STAND_IN}")]);
        launch.yolo = true;
        assert_eq!(fit(&launch, &Profile::default(), &Hook::default()).arguments[3], "--yolo");
    }

    #[test]
    fn it_goes_on_in_the_only_conversation_of_its_home() {
        let (fitted, launch) = resumed_call_of(Kind::Hermes);
        let prompt = format!("-q={}", launch.stand_in());
        assert_eq!(fitted.arguments, ["chat", "-t", TOOLS, "--no-restore-cwd", "--continue", &prompt]);
    }

    #[test]
    fn the_gateway_is_its_only_model_and_nothing_is_installed_meanwhile() {
        let config = json_of(&call_of(Kind::Hermes).0, ".hermes/config.yaml");
        assert_eq!(config["model"]["base_url"], "http://127.0.0.1:9/model/v1");
        assert_eq!(
            (&config["model"]["api_key"], &config["security"]["allow_lazy_installs"]),
            (&"the-task-token".into(), &false.into())
        );
    }
}
