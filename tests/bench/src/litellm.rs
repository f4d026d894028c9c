//! LiteLLM's proxy, where it could be installed: another gateway between agents and models, beside ours. No part of coda.

use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

use crate::place::Place;
use crate::server::pause;
use crate::talk::Talk;

const START: Duration = Duration::from_secs(180);
const LOOK: Duration = Duration::from_millis(200);

/// A running proxy.
pub(crate) struct LiteLlm {
    child: Child,
    url: String,
    folder: tempfile::TempDir,
}

impl LiteLlm {
    /// Starts the one that is installed in this folder, in front of that model.
    pub(crate) fn start(installed: &Path, place: &Place, upstream: &str) -> anyhow::Result<Self> {
        let folder = place.folder()?;
        let config = folder.path().join("config.yaml");
        std::fs::write(
            &config,
            format!(
                "model_list:\n  - model_name: main\n    litellm_params:\n      model: openai/bench\n      api_base: {upstream}\n      \
                 api_key: none\n"
            ),
        )?;
        // It can't say which port it took; this one was free a moment ago.
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let log = std::fs::File::create(folder.path().join("log"))?;
        let child = Command::new(installed.join("bin/litellm"))
            .args(["--host", "127.0.0.1", "--num_workers", "1", "--port", &address.port().to_string(), "--config"])
            .arg(&config)
            // Prices of models are of no interest, and nothing is fetched for them.
            .env("LITELLM_LOCAL_MODEL_COST_MAP", "True")
            .env("HOME", folder.path())
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("cannot start LiteLLM in {}", installed.display()))?;
        let mut proxy = Self { child, url: format!("http://{address}/v1"), folder };
        let deadline = Instant::now() + START;
        while TcpStream::connect(address).is_err() {
            if proxy.child.try_wait()?.is_some() || Instant::now() > deadline {
                bail!("LiteLLM's proxy does not listen:\n{}", proxy.log());
            }
            pause(LOOK);
        }
        Ok(proxy)
    }

    /// A connection to it.
    pub(crate) fn talk(&self) -> anyhow::Result<Talk> {
        Talk::connect(&self.url, "none")
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

impl Drop for LiteLlm {
    fn drop(&mut self) {
        let ended = self.child.kill().and_then(|()| self.child.wait());
        if let Err(error) = ended {
            eprintln!("bench: LiteLLM's proxy was not ended: {error}");
        }
    }
}
