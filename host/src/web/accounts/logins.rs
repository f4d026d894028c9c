//! Logins of the local mode: one-time links for the browser, the key file for the command line.
//!
//! The key file `keys/local.key` is what makes the owner of this machine's account the local principal. It is readable by
//! that account only, and hidden from agents.

use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use serde_json::json;

use super::{AccountError, Accounts, Mode, secret};
use crate::env::{self, Millis};
use crate::id::LoginId;
use crate::identity::{DEFAULT_TENANT, Principal, Proof};
use crate::store::accounts::LoginRecord;

const KEY_FILE: &str = "local.key";
const KEY_HELP: &str = "`coda login` prints a new login link; the content of CODA_HOME/keys/local.key works too";

/// Where a login is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// In a browser, by cookie.
    Browser,
    /// On the command line, by header.
    Terminal,
}

impl Place {
    fn as_str(self) -> &'static str {
        match self {
            Place::Browser => "browser",
            Place::Terminal => "terminal",
        }
    }
}

/// A login just made; the secret exists here and at its owner's only.
#[derive(Debug, Clone)]
pub struct NewLogin {
    /// To present.
    pub secret: String,
    /// Id.
    pub id: LoginId,
    /// Who.
    pub principal: String,
    /// Useless from.
    pub expires_ms: Millis,
}

impl Accounts {
    /// The path with a one-time login code, to be printed or opened: `/login?code=…`.
    pub async fn login_link(&self) -> Result<String, AccountError> {
        self.require_local()?;
        let (code, digest) = secret::new(secret::Kind::Link);
        let expires = env::now_ms().saturating_add(self.0.settings.login_link_ttl_s.saturating_mul(1_000));
        let principal = self.0.local_name.clone();
        self.record("login-link", &principal, json!({ "expires_ms": expires })).await?;
        self.0.store.call(move |s| s.insert_login_link(&digest, DEFAULT_TENANT, &principal, expires)).await?;
        Ok(format!("/login?code={code}"))
    }

    /// Logs in with a one-time code, or with the content of the key file. A link's code is used up by this.
    pub async fn log_in(&self, code: &str, place: Place) -> Result<NewLogin, AccountError> {
        self.require_local()?;
        let code = code.trim();
        if self.0.local_key.as_deref().is_some_and(|key| secret::same(code, key)) {
            return self.new_login(self.0.local_name.clone(), place).await;
        }
        if secret::Kind::of(code) != Some(secret::Kind::Link) {
            return Err(self.failed("this is no login code", KEY_HELP).await);
        }
        let digest = env::sha256_hex(code.as_bytes());
        let now = env::now_ms();
        match self.0.store.call(move |s| s.use_login_link(&digest, now)).await? {
            Some(principal) => self.new_login(principal, place).await,
            None => Err(self.failed("this login link was used already or has expired", KEY_HELP).await),
        }
    }

    /// Ends the login of a principal; nothing for one who did not log in here.
    pub async fn log_out(&self, who: &Principal) -> Result<(), AccountError> {
        let Proof::Login(id) = who.proof.clone() else { return Ok(()) };
        self.record("logout", &who.name, json!({ "login": id.as_str() })).await?;
        let now = env::now_ms();
        Ok(self.0.store.call(move |s| s.end_login(&id, now)).await?)
    }

    async fn new_login(&self, principal: String, place: Place) -> Result<NewLogin, AccountError> {
        let (secret, digest) = secret::new(secret::Kind::Login);
        let now = env::now_ms();
        let expires_ms = now.saturating_add(self.0.settings.login_ttl_s.saturating_mul(1_000));
        let id = LoginId::new();
        self.record("login", &principal, json!({ "login": id.as_str(), "place": place.as_str(), "expires_ms": expires_ms }))
            .await?;
        let record = LoginRecord {
            id: id.clone(),
            tenant: DEFAULT_TENANT.into(),
            principal: principal.clone(),
            kind: place.as_str().into(),
            created_ms: now,
            expires_ms,
            ended_ms: None,
        };
        self.0.store.call(move |s| s.insert_login(&record, &digest)).await?;
        Ok(NewLogin { secret, id, principal, expires_ms })
    }

    pub(super) async fn by_login(&self, secret: &str) -> Result<Principal, AccountError> {
        // A login of the local mode says nothing where a proxy identifies people.
        self.require_local()?;
        let digest = env::sha256_hex(secret.as_bytes());
        let login = self.0.store.call(move |s| s.login_by_secret(&digest)).await?;
        match login {
            Some(login) if holds(&login, env::now_ms()) => Ok(self.principal(login.principal, Proof::Login(login.id)).await),
            Some(_) => Err(AccountError::Unauthenticated(format!("this login has ended: log in again; {KEY_HELP}"))),
            None => Err(self.failed("unknown login", KEY_HELP).await),
        }
    }

    fn require_local(&self) -> Result<(), AccountError> {
        match self.mode() {
            Mode::Local => Ok(()),
            Mode::Proxy => {
                Err(AccountError::Unauthenticated("people are identified by the proxy in front of coda; log in there".into()))
            }
        }
    }
}

/// Whether a login can be used.
pub(super) fn holds(login: &LoginRecord, now: Millis) -> bool {
    login.ended_ms.is_none() && now < login.expires_ms
}

/// Reads the key file, or makes it. A file that others may read is made private again, and its key replaced.
pub(super) fn local_key(folder: &Path) -> Result<String, AccountError> {
    let path = folder.join(KEY_FILE);
    let failed = |e: std::io::Error| AccountError::Settings(format!("{}: {e}", path.display()));
    match std::fs::metadata(&path) {
        Ok(found) if found.permissions().mode() & 0o077 == 0 => {
            let key = std::fs::read_to_string(&path).map_err(failed)?.trim().to_owned();
            if key.len() >= 32 {
                return Ok(key);
            }
            tracing::warn!(path = %path.display(), "the local key is too short; a new one is written");
        }
        Ok(_) => tracing::warn!(path = %path.display(), "the local key could be read by others; a new one is written"),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
        Err(e) => return Err(failed(e)),
    }
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed)?;
    let key = env::hex(&env::random_bytes::<32>());
    let new = folder.join(format!("{KEY_FILE}.{}", env::hex(&env::random_bytes::<4>())));
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new).map_err(failed)?;
    file.write_all(key.as_bytes()).and_then(|()| file.sync_all()).map_err(failed)?;
    std::fs::rename(&new, &path).map_err(failed)?;
    Ok(key)
}
