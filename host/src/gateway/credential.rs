//! The upstream's credential: read anew for each request, so that a rotated one is used at once. Never logged.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::Instant;

use super::forwarded::Forwarded;
use crate::id::TaskId;

/// A credential has at most this many bytes.
const MAX_BYTES: usize = 64 << 10;

/// Where the upstream's bearer token comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Credential {
    /// An environment variable of the server.
    Env(String),
    /// A file; white space around its content is cut.
    File(PathBuf),
    /// A program and its arguments; its standard output is the token.
    Command(Vec<String>),
    /// The submitter's own, as it came with the task.
    Forwarded,
}

/// Why there is no credential.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::gateway) enum Lack {
    /// Its source fails; says which, never a value.
    Broken(String),
    /// It came with the task, and is not there any more.
    Gone,
}

/// A credential with what was read of it last.
#[derive(Debug)]
pub(in crate::gateway) struct Source {
    credential: Credential,
    task: TaskId,
    forwarded: Forwarded,
    // An async mutex: it is held while the command runs, so that requests side by side run it once.
    cached: Mutex<Option<(Instant, String)>>,
}

impl Source {
    pub(in crate::gateway) fn new(credential: Credential, task: TaskId, forwarded: Forwarded) -> Self {
        Self { credential, task, forwarded, cached: Mutex::new(None) }
    }

    /// The upstream takes this token for none. Whether it was the submitter's, and there is no newer one.
    pub(in crate::gateway) fn is_gone_after(&self, refused: &str) -> bool {
        self.credential == Credential::Forwarded && self.forwarded.refused(&self.task, refused)
    }

    /// The token now.
    pub(in crate::gateway) async fn token(&self, cache: Duration, timeout: Duration) -> Result<String, Lack> {
        if self.credential == Credential::Forwarded {
            return self.forwarded.of(&self.task).map(|token| token.reveal().to_owned()).ok_or(Lack::Gone);
        }
        self.own_token(cache, timeout).await.map_err(Lack::Broken)
    }

    /// A credential of the server's. `Err` names the source, never the value.
    async fn own_token(&self, cache: Duration, timeout: Duration) -> Result<String, String> {
        let token = match &self.credential {
            // INVARIANT: `token` answered for it; nothing of the server's ever stands in.
            Credential::Forwarded => return Err("the submitter's token is no credential of the server's".into()),
            Credential::Env(name) => std::env::var(name).map_err(|_| format!("environment variable {name} is not set"))?,
            Credential::File(path) => tokio::fs::read_to_string(path)
                .await
                .map_err(|e| format!("credential file {} cannot be read: {e}", path.display()))?,
            Credential::Command(words) => {
                let mut cached = self.cached.lock().await;
                if let Some((at, token)) = &*cached
                    && at.elapsed() < cache
                {
                    return Ok(token.clone());
                }
                let token = checked(run(words, timeout).await?)?;
                *cached = Some((Instant::now(), token.clone()));
                return Ok(token);
            }
        };
        checked(token)
    }
}

fn checked(token: String) -> Result<String, String> {
    let token = token.trim();
    if token.is_empty() {
        return Err("the upstream's credential is empty".into());
    }
    if token.len() > MAX_BYTES || token.bytes().any(|b| b < 0x20 || b == 0x7f) {
        return Err(format!("the upstream's credential is no single line of at most {MAX_BYTES} bytes"));
    }
    Ok(token.to_owned())
}

async fn run(words: &[String], timeout: Duration) -> Result<String, String> {
    let (program, arguments) = words.split_first().ok_or("the credential command is empty")?;
    let mut command = tokio::process::Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
    let output = tokio::time::timeout(timeout, command.output())
        .await
        .map_err(|_| format!("credential command {program} took longer than {} s", timeout.as_secs()))?
        .map_err(|e| format!("credential command {program} does not start: {e}"))?;
    if !output.status.success() {
        return Err(format!("credential command {program} failed ({})", output.status));
    }
    String::from_utf8(output.stdout).map_err(|_| format!("credential command {program} answered no text"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn a_file_is_read_anew_and_a_command_is_cached() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("token");
        let command = vec!["cat".to_owned(), file.display().to_string()];
        let source = |credential| Source::new(credential, TaskId::new(), Forwarded::default());
        let (by_file, by_command) = (source(Credential::File(file.clone())), source(Credential::Command(command)));
        std::fs::write(&file, "one\n").expect("written");
        assert_eq!(by_file.token(LONG, LONG).await, Ok("one".into()));
        assert_eq!(by_command.token(LONG, LONG).await, Ok("one".into()));
        std::fs::write(&file, "two\n").expect("written");
        assert_eq!(by_file.token(LONG, LONG).await, Ok("two".into()));
        assert_eq!(by_command.token(LONG, LONG).await, Ok("one".into()), "from the cache");
        assert_eq!(by_command.token(Duration::ZERO, LONG).await, Ok("two".into()), "the cache is over");
    }

    #[tokio::test]
    async fn what_is_no_credential_is_an_error_that_names_the_source() {
        for (credential, names) in [
            (Credential::Env("CODA_NO_SUCH_VARIABLE".into()), "CODA_NO_SUCH_VARIABLE"),
            (Credential::File("/nonexistent/token".into()), "/nonexistent/token"),
            (Credential::Command(vec!["false".into()]), "false"),
            (Credential::Command(vec!["true".into()]), "empty"),
            (Credential::Command(vec![]), "empty"),
        ] {
            let error = Source::new(credential, TaskId::new(), Forwarded::default()).token(LONG, LONG).await;
            assert!(matches!(&error, Err(Lack::Broken(why)) if why.contains(names)), "{error:?}");
        }
    }
}
