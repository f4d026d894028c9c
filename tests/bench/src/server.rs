//! A server of one benchmark: the release program, its own CODA_HOME, ended with its value.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};

use crate::client::Client;
use crate::place::Place;

const START: Duration = Duration::from_secs(120);
const END: Duration = Duration::from_secs(30);

/// A running server.
pub(crate) struct Server {
    home: tempfile::TempDir,
    coda: std::path::PathBuf,
    child: Child,
    /// `127.0.0.1:PORT`.
    pub(crate) address: String,
    token: String,
}

impl Server {
    /// Starts one with this coda.toml and makes a token for its client.
    pub(crate) fn start(place: &Place, config: &str) -> anyhow::Result<Self> {
        let mut server = Self::launch(place, config, |_| Ok(()))?;
        let create = ["token", "create", "--role", "submitter", "--secret-only"];
        let token = Command::new(&server.coda).args(create).env("CODA_HOME", server.home.path()).output()?;
        ensure!(token.status.success(), "coda token create: {}", String::from_utf8_lossy(&token.stderr));
        String::from_utf8(token.stdout)?.trim().clone_into(&mut server.token);
        Ok(server)
    }

    /// Starts one with this coda.toml and whatever else `prepare` puts into its CODA_HOME.
    pub(crate) fn launch(
        place: &Place,
        config: &str,
        prepare: impl FnOnce(&Path) -> std::io::Result<()>,
    ) -> anyhow::Result<Self> {
        let home = place.folder()?;
        let init = command(place, home.path()).arg("init").stdout(Stdio::null()).status()?;
        ensure!(init.success(), "coda init: {init}");
        std::fs::write(home.path().join("coda.toml"), config)?;
        prepare(home.path())?;
        let log = std::fs::File::create(home.path().join("server.log"))?;
        let mut child = command(place, home.path()).arg("serve").stdout(Stdio::piped()).stderr(log).spawn()?;
        let lines = BufReader::new(child.stdout.take().expect("standard output is a pipe")).lines();
        let (said, heard) = mpsc::channel();
        std::thread::spawn(move || lines.map_while(Result::ok).try_for_each(|line| said.send(line)));
        let mut server = Self { home, coda: place.coda.clone(), child, address: String::new(), token: String::new() };
        let deadline = Instant::now() + START;
        while server.address.is_empty() {
            match heard.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => {
                    line.strip_prefix("coda listens on http://").unwrap_or_default().clone_into(&mut server.address);
                }
                Err(_) => bail!("coda serve did not say where it listens:\n{}", server.log()),
            }
        }
        Ok(server)
    }

    /// A connection of its own.
    pub(crate) fn client(&self) -> anyhow::Result<Client> {
        Client::connect(&self.address, &self.token)
    }

    /// The server's process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its CODA_HOME.
    pub(crate) fn home(&self) -> &Path {
        self.home.path()
    }

    /// What it has logged so far.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.home.path().join("server.log")).unwrap_or_default()
    }

    fn end(&mut self) -> anyhow::Result<()> {
        // TERM, so that it ends its agents too.
        Command::new("kill").arg("-TERM").arg(self.child.id().to_string()).status()?;
        let deadline = Instant::now() + END;
        while Instant::now() < deadline {
            if self.child.try_wait()?.is_some() {
                return Ok(());
            }
            pause(Duration::from_millis(20));
        }
        self.child.kill().context("kill")?;
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Err(error) = self.end() {
            eprintln!("bench: a server was not ended: {error:#}");
        }
    }
}

fn command(place: &Place, home: &Path) -> Command {
    let mut command = Command::new(&place.coda);
    // A user's own settings stay out of it.
    let own = std::env::vars_os().map(|(name, _)| name).filter(|name| name.to_string_lossy().starts_with("CODA_"));
    for name in own {
        command.env_remove(name);
    }
    command
        .env("CODA_HOME", home)
        .env("CODA_SERVER_LISTEN", "127.0.0.1:0")
        .env("CODA_POLICY_CACHE", place.policy_cache())
        .stdin(Stdio::null());
    command
}

/// Lets time pass between two looks at another process, which tells nobody when it is ready.
#[expect(clippy::disallowed_methods, reason = "a figure of another process can only be looked at")]
pub(crate) fn pause(time: Duration) {
    std::thread::sleep(time);
}
