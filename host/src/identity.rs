//! Who asks: principals, their roles, and the client they came through. Identity comes from the transport (a login,
//! a trusted proxy's header, a token), never from a tool argument. How it is proven is `web`'s business.

use std::collections::BTreeMap;

use crate::id::{LoginId, TokenId};

/// The tenant of an installation that has one.
pub const DEFAULT_TENANT: &str = "default";

/// A role's name. Four are built in, others come from the mapping file.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct Role(pub String);

impl Role {
    /// May read.
    pub const VIEWER: &str = "viewer";
    /// May hand tasks over and read and steer its own.
    pub const SUBMITTER: &str = "submitter";
    /// May decide what waits for approval.
    pub const APPROVER: &str = "approver";
    /// May change policies, read all tasks, and see the audit log.
    pub const OPERATOR: &str = "operator";
}

impl std::fmt::Display for Role {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// A role that a principal holds, for tasks that carry all of `labels` (for every task, where there are none).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoleGrant {
    /// Which role.
    pub role: Role,
    /// Only for tasks with these labels.
    pub labels: BTreeMap<String, String>,
}

/// How a principal proved who it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Proof {
    /// A person logged in, in a browser or a terminal. The only proof that allows a decision.
    Login(LoginId),
    /// The identity-aware proxy in front of coda named the person on this request; a person's browser.
    Proxy,
    /// An API token: MCP clients, CI.
    Token(TokenId),
    /// coda itself, at start-up and by its own clocks.
    System,
}

/// A person's own access token, as the proxy in front of coda forwards it. It stays in memory, and nothing shows it.
#[derive(Clone, PartialEq, Eq)]
pub struct AccessToken(String);

/// A token has at most this many bytes.
const MAX_TOKEN_BYTES: usize = 16 << 10;

impl AccessToken {
    /// A text that can be one: of visible ASCII, without spaces.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let fits = !text.is_empty() && text.len() <= MAX_TOKEN_BYTES && text.bytes().all(|b| b.is_ascii_graphic());
        fits.then(|| Self(text.to_owned()))
    }

    /// The secret itself, for whoever sends or masks it.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for AccessToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("AccessToken")
    }
}

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    /// Tenant.
    pub tenant: String,
    /// Name, lower-case: an e-mail address, or a user name.
    pub name: String,
    /// Roles at this moment.
    pub grants: Vec<RoleGrant>,
    /// How we know.
    pub proof: Proof,
    /// Their own access token, where this very request carried it.
    pub access: Option<AccessToken>,
}

impl Principal {
    /// coda itself.
    #[must_use]
    pub fn system() -> Self {
        Self { tenant: DEFAULT_TENANT.into(), name: "system".into(), grants: Vec::new(), proof: Proof::System, access: None }
    }

    /// Whether it holds `role` for a task with `labels`.
    #[must_use]
    pub fn has_role(&self, role: &str, labels: &BTreeMap<String, String>) -> bool {
        self.grants.iter().any(|g| g.role.0 == role && g.labels.iter().all(|(name, value)| labels.get(name) == Some(value)))
    }

    /// Whether it holds `role` for anything at all.
    #[must_use]
    pub fn has_role_somewhere(&self, role: &str) -> bool {
        self.grants.iter().any(|g| g.role.0 == role)
    }

    /// The roles it holds for a task with `labels`, sorted, each once.
    #[must_use]
    pub fn roles_for(&self, labels: &BTreeMap<String, String>) -> Vec<Role> {
        let mut roles: Vec<Role> = self.grants.iter().map(|g| g.role.clone()).filter(|r| self.has_role(&r.0, labels)).collect();
        roles.sort();
        roles.dedup();
        roles
    }

    /// Whether this is a person who logged in, so that a decision may be taken.
    #[must_use]
    pub fn is_interactive(&self) -> bool {
        matches!(self.proof, Proof::Login(_) | Proof::Proxy)
    }
}

/// The program that a request came through, as it says itself. Good for wording answers, never for rights.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ClientInfo {
    /// Shape that it was recognised as, such as `genie-code`; `generic` where none fits.
    pub shape: String,
    /// Self-given name.
    pub name: String,
    /// Self-given version.
    pub version: String,
}
