//! Hermes Agent 0.19 in its one-shot form: `hermes chat -q=TEXT`, with a home and a configuration of its own, and the
//! gateway as its only model endpoint.
//!
//! Hermes' own questions are off in either permission: nobody can answer them in the one-shot form, so a call that people
//! approved at coda's gate would be refused by Hermes after its own minute. The gates decide, and only they.
//! Tools whose calls do not pass the model are off: `execute_code` runs a program that calls tools by itself.

use std::collections::BTreeMap;
use std::ffi::OsString;

use serde_json::json;

use super::{ARGUMENT_BYTES, NeededFile, Profile};
use crate::executor::Launch;

/// Tool sets whose every call passes the model, and so the gateway.
const TOOLS: &str = "terminal,file,todo,memory";

/// One argument item `-q=…`: an envelope that begins with dashes can't be read as a flag.
pub(super) fn arguments(launch: &Launch) -> Vec<OsString> {
    let envelope = launch.envelope.get();
    let prompt = if envelope.len() <= ARGUMENT_BYTES {
        envelope.clone()
    } else {
        let file = launch.task_dir.join("io/prompt.txt");
        format!("Read the file {} completely. It is your task: do exactly what it says.", file.display())
    };
    let mut arguments = vec![OsString::from("chat"), "-t".into(), TOOLS.into()];
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
        "approvals": {"mode": "off", "cron_mode": "deny"},
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
        assert_eq!(arguments(&launch), ["chat", "-t", TOOLS, "-q=---CODA-TASK---\nTASK"]);
        launch.yolo = true;
        assert_eq!(arguments(&launch)[3], "--yolo");
        stage.prompt = "x".repeat(ARGUMENT_BYTES + 1);
        let long = arguments(&stage.launch());
        assert!(long[3].len() < 1000 && long[3].to_string_lossy().contains("/io/prompt.txt"), "{long:?}");
        let config: serde_json::Value =
            serde_json::from_slice(&config(&stage.launch(), &Profile::default()).content).expect("JSON");
        assert_eq!(config["model"]["base_url"], "http://127.0.0.1:9/model/v1");
        assert_eq!(
            (&config["model"]["api_key"], &config["security"]["allow_lazy_installs"]),
            (&"the-task-token".into(), &false.into())
        );
    }
}
