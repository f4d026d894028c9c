//! Hermes Agent 0.19 in its one-shot form: `hermes chat -q=TEXT`, with a home and a configuration of its own, and the
//! gateway as its only model endpoint.
//!
//! Without `yolo` Hermes asks on its terminal before a command that it takes for dangerous. Nobody can answer there, so
//! the question counts as refused after a few seconds instead of Hermes' own minute; the model is told.

use std::collections::BTreeMap;
use std::ffi::OsString;

use serde_json::json;

use super::{ARGUMENT_BYTES, NeededFile, Profile};
use crate::executor::Launch;

/// How long Hermes waits for an answer that nobody gives.
const UNANSWERED_S: u64 = 3;

/// One argument item `-q=…`: an envelope that begins with dashes can't be read as a flag.
pub(super) fn arguments(launch: &Launch) -> Vec<OsString> {
    let envelope = launch.envelope.get();
    let prompt = if envelope.len() <= ARGUMENT_BYTES {
        envelope.clone()
    } else {
        let file = launch.task_dir.join("io/prompt.txt");
        format!("Read the file {} completely. It is your task: do exactly what it says.", file.display())
    };
    let mut arguments = vec![OsString::from("chat")];
    if launch.yolo {
        arguments.push("--yolo".into());
    }
    arguments.push(format!("-q={prompt}").into());
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
        "approvals": {"mode": "manual", "timeout": UNANSWERED_S, "cron_mode": "deny"},
    });
    NeededFile { place: "home", path: ".hermes/config.yaml", content: format!("{config:#}\n").into_bytes() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::executor::tests::harness::Stage;

    #[test]
    fn an_envelope_is_never_a_flag_and_a_long_one_is_a_file() {
        let mut stage = Stage::with("");
        stage.prompt = "---CODA-TASK---\nTASK".into();
        let mut launch = stage.launch();
        assert_eq!(arguments(&launch), ["chat", "-q=---CODA-TASK---\nTASK"]);
        launch.yolo = true;
        assert_eq!(arguments(&launch)[1], "--yolo");
        stage.prompt = "x".repeat(ARGUMENT_BYTES + 1);
        let long = arguments(&stage.launch());
        assert!(long[1].len() < 1000 && long[1].to_string_lossy().contains("/io/prompt.txt"), "{long:?}");
        let config: serde_json::Value =
            serde_json::from_slice(&config(&stage.launch(), &Profile::default()).content).expect("JSON");
        assert_eq!(config["model"]["base_url"], "http://127.0.0.1:9/model/v1");
        assert_eq!(
            (&config["model"]["api_key"], &config["security"]["allow_lazy_installs"]),
            (&"the-task-token".into(), &false.into())
        );
    }
}
