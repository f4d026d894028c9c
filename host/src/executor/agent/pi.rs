//! Pi 0.73 in its one-shot form: `pi --print WORDS`, with an agent folder of its own, and the gateway as its only provider.
//!
//! Pi asks nobody for permission; coda's gates decide. What lies in the workspace is text to it and nothing that runs:
//! extensions, skills and prompt templates of the workspace are not loaded.

use serde_json::json;

use super::hook::{Hook, plugin};
use super::kept::{Kept, Part};
use super::{Fitted, Profile, in_home, json_file, model_url, variables};
use crate::executor::Launch;
use crate::task::conversation::Conversation;

/// Where coda's gate lies, below the home.
const EXTENSION: &str = ".pi/agent/coda.ts";

/// One file for each conversation, in a folder for each workspace. It goes on in the last one.
pub(super) const KEPT: Kept = Kept { folder: ".pi/agent/sessions", depth: 1, part: lines, database: None };

fn lines(name: &str, _: &str) -> Part {
    if name.ends_with(".jsonl") { Part::Conversation } else { Part::Nothing }
}

pub(super) fn fit(launch: &Launch, profile: &Profile, hook: &Hook) -> Fitted {
    let model = profile.model_name();
    let flags = ["--no-extensions", "--no-skills", "--no-prompt-templates", "--no-themes", "--offline"];
    let words = ["--provider", "coda", "--model", model].map(str::to_owned);
    let conversation = match launch.conversation {
        Conversation::New => None,
        Conversation::Resumed => Some("--continue".to_owned()),
    };
    let prompt = ["--print".to_owned(), launch.stand_in()];
    // The only extension: `--no-extensions` leaves those alone that are named.
    let extension = ["--extension".to_owned(), in_home(launch, EXTENSION)];
    let models = json!({"providers": {"coda": {
        "baseUrl": model_url(launch, "v1"),
        "api": "openai-completions",
        "apiKey": launch.gateway_token,
        "models": [{"id": model}],
    }}});
    let settings = json!({
        "defaultProvider": "coda",
        "defaultModel": model,
        "quietStartup": true,
        "enableInstallTelemetry": false,
    });
    Fitted {
        arguments: flags
            .into_iter()
            .map(str::to_owned)
            .chain(extension)
            .chain(words)
            .chain(conversation)
            .chain(prompt)
            .map(Into::into)
            .collect(),
        environment: variables([
            ("PI_CODING_AGENT_DIR", in_home(launch, ".pi/agent")),
            ("PI_OFFLINE", "1".to_owned()),
            ("PI_TELEMETRY", "0".to_owned()),
            hook.wait(),
        ]),
        files: vec![
            json_file(".pi/agent/models.json", &models),
            json_file(".pi/agent/settings.json", &settings),
            plugin(EXTENSION, include_str!("plugin/pi.ts")),
        ],
    }
}

#[cfg(test)]
mod tests {
    use crate::executor::agent::Kind;
    use crate::executor::agent::tests::{call_of, json_of, resumed_call_of};
    use crate::task::envelope::STAND_IN;

    #[test]
    fn it_prints_the_answer_to_the_stand_in_and_knows_one_provider() {
        let (fitted, _) = call_of(Kind::Pi);
        assert_eq!(fitted.arguments[fitted.arguments.len() - 2..], ["--print", STAND_IN]);
        let models = json_of(&fitted, ".pi/agent/models.json");
        assert_eq!(models["providers"]["coda"]["baseUrl"], "http://127.0.0.1:9/model/v1");
        assert_eq!(models["providers"]["coda"]["models"][0]["id"], "big-model");
    }

    #[test]
    fn it_goes_on_in_the_only_conversation_of_its_home() {
        let (fitted, launch) = resumed_call_of(Kind::Pi);
        assert_eq!(fitted.arguments[fitted.arguments.len() - 3..], ["--continue", "--print", &launch.stand_in()]);
    }
}
