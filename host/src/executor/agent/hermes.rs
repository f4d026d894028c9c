//! Hermes Agent 0.19 in its one-shot form: `hermes chat -q=TEXT`, with a home and a configuration of its own, and the
//! gateway as its only model endpoint.

use std::collections::BTreeMap;
use std::ffi::OsString;

use serde_json::json;

use super::{ARGUMENT_BYTES, NeededFile, Profile};
use crate::executor::Launch;

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
    });
    NeededFile { place: "home", path: ".hermes/config.yaml", content: format!("{config:#}\n").into_bytes() }
}
