//! Accounts: who is behind a request, and with which roles, at this moment.
//!
//! ```text
//! Authorization: Bearer coda_tok_…   ─► token   ─► its principal's roles now, of those that the token names
//! Authorization: Bearer coda_login_… ─► login   ─► the local principal (mode local)
//! Cookie: coda_login=…               ─► login   ─► the local principal (mode local)
//! identity headers                   ─► proxy   ─► the person named (mode proxy, from a trusted peer)
//! ```
//! A presented secret that does not hold is an error, never a reason to look further. INVARIANT: nothing that an agent
//! can read authenticates here: not its gateway token (another form), not the address it calls from. Roles are looked up
//! on every use, so that taking one away takes it from logins and tokens as well.

pub mod logins;
pub mod proxy;
pub mod roles;
pub mod secret;
pub mod tokens;

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::future::BoxFuture;
use http::HeaderMap;
use serde_json::{Value, json};

use crate::env::{self, Millis};
use crate::identity::{DEFAULT_TENANT, Principal, Proof, Role, RoleGrant};
use crate::store::{Store, StoreError};

/// Name of the login cookie.
pub const COOKIE: &str = "coda_login";
const BUILT_IN_ROLES: [&str; 4] = [Role::VIEWER, Role::SUBMITTER, Role::APPROVER, Role::OPERATOR];
/// Logins that ended this long ago are forgotten.
const KEEP_LOGINS_MS: Millis = 30 * 24 * 3_600_000;

/// Who identifies people.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Mode {
    /// coda itself, for the one person of this machine.
    #[default]
    Local,
    /// An identity-aware proxy in front of coda.
    Proxy,
}

impl Mode {
    /// The word used everywhere.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Mode::Local => "local",
            Mode::Proxy => "proxy",
        }
    }
}

/// How people and programs are identified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Who identifies people.
    pub mode: Mode,
    /// Name of the local principal; `None` = the operating system's user name, or `local@localhost`.
    pub local_name: Option<String>,
    /// The mapping file; relative to CODA_HOME.
    pub roles_file: PathBuf,
    /// Roles of everybody whom the proxy names, without a mapping.
    pub default_roles: Vec<String>,
    /// Which proxy is believed.
    pub proxy: proxy::Settings,
    /// How long a login holds, in seconds.
    pub login_ttl_s: u64,
    /// How long a one-time login link holds, in seconds.
    pub login_link_ttl_s: u64,
    /// How long a token holds that names no time, in seconds.
    pub token_ttl_s: u64,
    /// How long a token may hold at most, in seconds.
    pub token_ttl_max_s: u64,
    /// Usable tokens that one principal may have.
    pub max_tokens: u32,
    /// Failed attempts per minute that are answered as such and recorded; the rest is only turned away.
    pub failed_logins_per_minute: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            mode: Mode::Local,
            local_name: None,
            roles_file: "roles.toml".into(),
            default_roles: Vec::new(),
            proxy: proxy::Settings::default(),
            login_ttl_s: 12 * 3_600,
            login_link_ttl_s: 600,
            token_ttl_s: 30 * 86_400,
            token_ttl_max_s: 365 * 86_400,
            max_tokens: 100,
            failed_logins_per_minute: 30,
        }
    }
}

/// Why somebody is not identified, or may not do what they ask.
#[derive(Debug, thiserror::Error)]
pub enum AccountError {
    /// The settings, or a file they name, are off.
    #[error("{0}")]
    Settings(String),
    /// Nobody whom coda knows, and what would help.
    #[error("{0}")]
    Unauthenticated(String),
    /// Too many failures in this minute.
    #[error("too many failed logins; try again in a minute")]
    TooManyFailures,
    /// Known, but lacks the right.
    #[error("{0}")]
    Forbidden(String),
    /// Not well formed.
    #[error("{0}")]
    Invalid(String),
    /// No such record for this principal.
    #[error("{0} not found")]
    NotFound(String),
    /// The store fails.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What must be on record cannot be recorded.
    #[error("cannot record this in the audit log: {0}")]
    Unrecorded(String),
}

/// What accounts put on record.
#[derive(Debug, Clone, PartialEq)]
pub struct AccountEvent {
    /// `login`, `login-failed`, `logout`, `login-link`, `token-created`, `token-revoked`, `roles-changed`, `roles-refused`.
    pub kind: &'static str,
    /// Who did it; `system` for coda itself, `unknown` for a failed attempt.
    pub actor: String,
    /// Tenant.
    pub tenant: String,
    /// More, by kind; never a secret.
    pub body: Value,
}

/// Where account events go: the audit log. An error refuses what was to be recorded.
pub type Recorder = Arc<dyn Fn(AccountEvent) -> BoxFuture<'static, Result<(), String>> + Send + Sync>;

/// By which way an identity came with a request; some ways are sent by browsers unasked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Carrier {
    /// The Authorization header: never sent unasked.
    Header,
    /// The login cookie.
    Cookie,
    /// The proxy's headers.
    Proxy,
}

/// Accounts of one installation. A handle; clones share everything.
#[derive(Clone)]
pub struct Accounts(Arc<Inner>);

struct Inner {
    settings: Settings,
    store: Store,
    roles: roles::RolesFile,
    proxy: proxy::Proxy,
    local_name: String,
    local_key: Option<String>,
    recorder: Recorder,
    // A std mutex: held to count, never across an await.
    failures: Mutex<secret::FailureLimit>,
}

impl Accounts {
    /// Reads the mapping file and keys/local.key below `home` (the key is made where it is missing).
    pub fn open(settings: Settings, home: &Path, store: Store, recorder: Recorder) -> Result<Self, AccountError> {
        let roles =
            roles::RolesFile::open(&home.join(&settings.roles_file)).map_err(|e| AccountError::Settings(e.to_string()))?;
        let proxy = proxy::Proxy::new(&settings.proxy).map_err(AccountError::Settings)?;
        let local_key = match settings.mode {
            Mode::Local => Some(logins::local_key(&home.join("keys"))?),
            Mode::Proxy => None,
        };
        let local_name = settings.local_name.clone().or_else(os_user).unwrap_or_else(|| "local@localhost".into()).to_lowercase();
        store.purge_logins(env::now_ms().saturating_sub(KEEP_LOGINS_MS))?;
        let failures = Mutex::new(secret::FailureLimit::new(settings.failed_logins_per_minute));
        Ok(Self(Arc::new(Inner { settings, store, roles, proxy, local_name, local_key, recorder, failures })))
    }

    /// Who identifies people here.
    #[must_use]
    pub fn mode(&self) -> Mode {
        self.0.settings.mode
    }

    /// What is wrong with roles.toml as it is now, while an older mapping still holds.
    #[must_use]
    pub fn roles_error(&self) -> Option<String> {
        self.0.roles.error().map(|e| e.to_string())
    }

    /// Whether a connection is the configured proxy's, so that what it forwards about the request may be believed.
    #[must_use]
    pub fn trusts_peer(&self, peer: Option<IpAddr>, headers: &HeaderMap) -> bool {
        self.mode() == Mode::Proxy && self.0.proxy.trusts(peer, headers)
    }

    /// Who is behind a request; `None` where it carries nothing that says so.
    pub async fn identify(
        &self,
        peer: Option<IpAddr>,
        headers: &HeaderMap,
    ) -> Result<Option<(Principal, Carrier)>, AccountError> {
        let proxied = self.trusts_peer(peer, headers);
        if let Some(bearer) = bearer(headers)? {
            match secret::Kind::of(&bearer) {
                Some(secret::Kind::Token) => return Ok(Some((self.by_token(&bearer).await?, Carrier::Header))),
                Some(secret::Kind::Login) => return Ok(Some((self.by_login(&bearer).await?, Carrier::Header))),
                // The proxy consumed this credential itself, and says below whom it stands for.
                Some(secret::Kind::Link) | None if proxied => {}
                Some(secret::Kind::Link) | None => {
                    return Err(self
                        .failed("a bearer credential of unknown form", "use a token made with `coda token create`")
                        .await);
                }
            }
        }
        match self.mode() {
            Mode::Proxy if proxied => match self.0.proxy.person(headers) {
                Some(person) => {
                    let principal = self.principal(person, Proof::Proxy).await;
                    let access = self.0.proxy.access_token(headers);
                    Ok(Some((Principal { access, ..principal }, Carrier::Proxy)))
                }
                None => Ok(None),
            },
            Mode::Proxy => Ok(None),
            Mode::Local => match cookie(headers) {
                Some(secret) => Ok(self.by_login(&secret).await.map(|p| Some((p, Carrier::Cookie)))?),
                None => Ok(None),
            },
        }
    }

    /// The same principal with its roles as they are now; `None` once the login ended or the token was revoked.
    /// For what outlives a request, such as a viewer.
    pub async fn refresh(&self, who: &Principal) -> Result<Option<Principal>, AccountError> {
        let now = env::now_ms();
        match who.proof.clone() {
            Proof::Login(id) => {
                let login = self.0.store.call(move |s| s.login(&id)).await?;
                let Some(login) = login.filter(|l| logins::holds(l, now)) else { return Ok(None) };
                Ok(Some(self.principal(login.principal, who.proof.clone()).await))
            }
            Proof::Token(id) => {
                let token = self.0.store.call(move |s| s.token(&id)).await?;
                let Some(token) = token.filter(|t| tokens::holds(t, now)) else { return Ok(None) };
                Ok(Some(self.token_principal(token).await))
            }
            Proof::Proxy => Ok(Some(self.principal(who.name.clone(), Proof::Proxy).await)),
            Proof::System => Ok(Some(who.clone())),
        }
    }

    /// The roles of a named person now, as far as this installation knows: the same that a request of theirs would have.
    pub async fn grants(&self, name: &str) -> Vec<RoleGrant> {
        let (mapping, reloaded) = self.0.roles.look();
        if let Some(reloaded) = reloaded {
            self.note_reload(reloaded).await;
        }
        let everywhere = |role: &str| RoleGrant { role: Role(role.to_owned()), labels: Default::default() };
        let mut grants: Vec<RoleGrant> = match self.mode() {
            Mode::Local if name == self.0.local_name => BUILT_IN_ROLES.iter().map(|r| everywhere(r)).collect(),
            Mode::Local => Vec::new(),
            Mode::Proxy => self.0.settings.default_roles.iter().map(|r| everywhere(r)).collect(),
        };
        grants.extend(mapping.grants(name));
        grants
    }

    async fn principal(&self, name: String, proof: Proof) -> Principal {
        let grants = self.grants(&name).await;
        Principal { tenant: DEFAULT_TENANT.into(), name, grants, proof, access: None }
    }

    async fn note_reload(&self, reloaded: roles::Reloaded) {
        let (kind, body) = match reloaded {
            roles::Reloaded::Taken => {
                tracing::info!("roles.toml was read again and holds from now on");
                ("roles-changed", json!({}))
            }
            roles::Reloaded::Refused(error) => {
                tracing::warn!(error = %error, "roles.toml has an error; the roles stay as they were");
                ("roles-refused", json!({ "error": error.to_string() }))
            }
        };
        // A change that cannot be recorded still holds: it may be the one that takes rights away.
        if let Err(error) = self.record(kind, "system", body).await {
            tracing::error!(error = %error, "a change of roles is not on record");
        }
    }

    async fn record(&self, kind: &'static str, actor: &str, body: Value) -> Result<(), AccountError> {
        let event = AccountEvent { kind, actor: actor.to_owned(), tenant: DEFAULT_TENANT.into(), body };
        (self.0.recorder)(event).await.map_err(AccountError::Unrecorded)
    }

    /// Counts and records a failed attempt; `what` is for the record, `help` for the caller.
    async fn failed(&self, what: &str, help: &str) -> AccountError {
        let admitted = self.0.failures.lock().unwrap_or_else(PoisonError::into_inner).admit(env::now_ms());
        if !admitted {
            return AccountError::TooManyFailures;
        }
        tracing::warn!(attempt = what, "a login failed");
        if let Err(error) = self.record("login-failed", "unknown", json!({ "attempt": what })).await {
            tracing::error!(error = %error, "a failed login is not on record");
        }
        AccountError::Unauthenticated(format!("{what}: {help}"))
    }
}

/// The bearer credential, where the request has one. Another scheme, or two of them, is nothing to guess about.
fn bearer(headers: &HeaderMap) -> Result<Option<String>, AccountError> {
    let mut values = headers.get_all(http::header::AUTHORIZATION).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let wrong = || AccountError::Unauthenticated("send one header `Authorization: Bearer TOKEN`".into());
    if values.next().is_some() {
        return Err(wrong());
    }
    let (scheme, secret) = value.to_str().ok().and_then(|v| v.split_once(' ')).ok_or_else(wrong)?;
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(wrong());
    }
    Ok(Some(secret.trim().to_owned()))
}

/// The login secret in the cookie. Cookies of other sites on this host name are none of ours, and so is a second one
/// of our name.
fn cookie(headers: &HeaderMap) -> Option<String> {
    let ours = |pair: &str| pair.trim().split_once('=').filter(|(name, _)| *name == COOKIE).map(|(_, value)| value.to_owned());
    let values = headers.get_all(http::header::COOKIE).iter().filter_map(|v| v.to_str().ok());
    let mut found = values.flat_map(|v| v.split(';')).filter_map(ours);
    let first = found.next()?;
    found.next().is_none().then_some(first).filter(|secret| secret::Kind::of(secret) == Some(secret::Kind::Login))
}

/// The operating system's name of the user that coda runs as.
fn os_user() -> Option<String> {
    let uid = rustix::process::getuid().as_raw().to_string();
    let passwd = std::fs::read_to_string("/etc/passwd").ok()?;
    let name = passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)? == uid).then(|| name.to_owned())
    })?;
    (!name.is_empty()).then_some(name)
}

#[cfg(test)]
mod tests;
