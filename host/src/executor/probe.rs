//! What tier this machine gives: tried, with a program that does nothing, because no single setting of a kernel tells.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

use super::sandbox::{self, Mode};
use super::{Settings, handshake, reports, supervisor};
use crate::id::TaskId;

/// How long the program that does nothing may take to end.
const END: Duration = Duration::from_secs(5);
/// Inside, every port is free.
const ADDRESS: &str = "http://127.0.0.1:9";

/// What confines an agent here, in the words of a task's record; as an error, why no agent would start.
pub async fn sandbox(mode: Mode, coda_home: &Path) -> Result<String, String> {
    let Settings { own_program, sandbox: settings, .. } = Settings::default();
    let [own, before @ ..] = own_program.as_slice() else { return Err("coda's own program is not named".into()) };
    let server_home = std::env::var_os("HOME").map(std::path::PathBuf::from);
    let places = sandbox::Places {
        coda_home,
        writable: &[],
        programs: &[Path::new(own)],
        server_home: server_home.as_deref(),
        gateway_url: ADDRESS,
    };
    let spec = supervisor::Spec {
        task: TaskId::new(),
        own_program: own_program.clone(),
        program: own.into(),
        arguments: before.iter().cloned().chain(["--version".into()]).collect(),
        environment: BTreeMap::new(),
        working_directory: "/".into(),
        borders: sandbox::borders(&sandbox::Settings { mode, ..settings }, &places),
    };
    let (channel, errors) = reports::Channel::open().map_err(|e| format!("no socket: {e}"))?;
    let mut command = Command::new(own);
    command.args(before).arg(supervisor::COMMAND).env_clear().current_dir("/").kill_on_drop(true);
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(errors);
    let mut child = command.spawn().map_err(|e| format!("{} does not start: {e}", own.display()))?;
    // What it was given to keep its end open would keep ours open too.
    drop(command);
    let said = handshake(&mut child, channel, &spec).await.map(|started| started.sandbox);
    let _ = tokio::time::timeout(END, child.wait()).await;
    said
}
