//! The upstream's credential: read anew for each request, so that a rotated one is used at once. Never logged.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::Instant;

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
}

/// A credential with what was read of it last.
#[derive(Debug)]
pub(in crate::gateway) struct Source {
    credential: Credential,
    // An async mutex: it is held while the command runs, so that requests side by side run it once.
    cached: Mutex<Option<(Instant, String)>>,
}

impl Source {
    pub(in crate::gateway) fn new(credential: Credential) -> Self {
        Self { credential, cached: Mutex::new(None) }
    }

    /// The token now. `Err` names the source, never the value.
    pub(in crate::gateway) async fn token(&self, cache: Duration, timeout: Duration) -> Result<String, String> {
        let token = match &self.credential {
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
        let (by_file, by_command) = (Source::new(Credential::File(file.clone())), Source::new(Credential::Command(command)));
        std::fs::write(&file, "one\n").expect("written");
        assert_eq!(by_file.token(LONG, LONG).await.as_deref(), Ok("one"));
        assert_eq!(by_command.token(LONG, LONG).await.as_deref(), Ok("one"));
        std::fs::write(&file, "two\n").expect("written");
        assert_eq!(by_file.token(LONG, LONG).await.as_deref(), Ok("two"));
        assert_eq!(by_command.token(LONG, LONG).await.as_deref(), Ok("one"), "from the cache");
        assert_eq!(by_command.token(Duration::ZERO, LONG).await.as_deref(), Ok("two"), "the cache is over");
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
            let error = Source::new(credential).token(LONG, LONG).await.expect_err("no credential");
            assert!(error.contains(names), "{error}");
        }
    }
}
