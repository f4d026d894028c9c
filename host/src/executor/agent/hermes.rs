//! Hermes Agent 0.19 in its one-shot form: `hermes chat -q=TEXT`, with a home and a configuration of its own, and the
//! gateway as its only model endpoint.
//!
//! Hermes' own questions are off in either permission: nobody can answer them in the one-shot form, so a call that people
//! approved at coda's gate would be refused by Hermes after its own minute. The gates decide, and only they.
//! Tools whose calls do not pass the model are off: `execute_code` runs a program that calls tools by itself.

use std::collections::BTreeMap;
use std::ffi::OsString;

use serde_json::json;

use super::{NeededFile, Profile};
use crate::executor::Launch;
use crate::task::envelope::STAND_IN;

/// Tool sets whose every call passes the model, and so the gateway.
const TOOLS: &str = "terminal,file,todo,memory";

/// The task never stands on the command line, which every process of the same user can read, another task's too: Hermes is
/// told the stand-in, for which the gateway puts the envelope. So Hermes does not expand what the submitter wrote either:
/// `@file:NAME` and `@url:ADDRESS` in a prompt would be read and fetched before any gate. One item `-q=…` is never a flag.
pub(super) fn arguments(launch: &Launch) -> Vec<OsString> {
    let mut arguments = vec![OsString::from("chat"), "-t".into(), TOOLS.into()];
    if launch.yolo {
        arguments.push("--yolo".into());
    }
    arguments.push(format!("-q={STAND_IN}").into());
    arguments
}

pub(super) fn environment(launch: &Launch) -> BTreeMap<String, String> {
    let home = launch.task_dir.join("home/.hermes");
    BTreeMap::from([("HERMES_HOME".to_owned(), home.display().to_string())])
}

/// JSON is YAML, so nothing needs a second way of quoting.
pub(super) fn config(launch: &Launch, profile: &Profile) -> NeededFile {
    let model = if profile.model.is_empty() { "default" } else { &profile.model };
    let config = json!({
        "model": {
            "default": model,
            "provider": "custom",
            "base_url": format!("{}/model/v1", launch.gateway_url.trim_end_matches('/')),
            "api_key": launch.gateway_token,
        },
        "security": {"allow_lazy_installs": false},
        "approvals": {"mode": "off", "cron_mode": "deny"},
        // A title of its session, from the stand-in, would cost a request to the model and is shown nowhere.
        "auxiliary": {"title_generation": {"enabled": false}},
    });
    NeededFile { place: "home", path: ".hermes/config.yaml", content: format!("{config:#}\n").into_bytes() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::executor::tests::harness::Stage;

    #[test]
    fn the_command_line_holds_nothing_of_the_task() {
        let mut stage = Stage::with("");
        stage.prompt = "---CODA-TASK---\nMY-WORDS".into();
        let mut launch = stage.launch();
        assert_eq!(arguments(&launch), ["chat", "-t", TOOLS, &format!("-q={STAND_IN}")]);
        launch.yolo = true;
        assert_eq!(arguments(&launch)[3], "--yolo");
    }

    #[test]
    fn the_gateway_is_its_only_model() {
        let launch = Stage::with("").launch();
        let config: serde_json::Value = serde_json::from_slice(&config(&launch, &Profile::default()).content).expect("JSON");
        assert_eq!(config["model"]["base_url"], "http://127.0.0.1:9/model/v1");
        assert_eq!(
            (&config["model"]["api_key"], &config["security"]["allow_lazy_installs"]),
            (&"the-task-token".into(), &false.into())
        );
    }
}
