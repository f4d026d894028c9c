//! API tokens for MCP clients and CI: made by a person who is logged in, with some of that person's roles, for a time.
//!
//! A token acts as its creator, so that handing a task over by token does not make the creator somebody else when it comes
//! to approving it. INVARIANT: a token never decides and never makes tokens; both need an interactive login.

use serde_json::json;

use super::{AccountError, Accounts, secret};
use crate::env::{self, Millis};
use crate::id::TokenId;
use crate::identity::{Principal, Proof, Role};
use crate::store::accounts::TokenRecord;

const MAX_NAME_CHARS: usize = 100;
const MAX_ROLES: usize = 32;
const LIST_LIMIT: u32 = 1_000;
/// Use is noted at most this often, so that it does not cost a write for each request.
const TOUCH_EVERY_MS: Millis = 60_000;

/// A token as its creator asks for it.
#[derive(Debug, Clone, Default)]
pub struct TokenRequest {
    /// What it is for.
    pub name: String,
    /// Roles that it may use.
    pub roles: Vec<String>,
    /// Seconds from now; `None` = the configured default.
    pub expires_s: Option<u64>,
}

impl Accounts {
    /// Makes a token; the secret is in the answer and nowhere else.
    pub async fn create_token(&self, who: &Principal, request: TokenRequest) -> Result<(String, TokenRecord), AccountError> {
        if !who.is_interactive() {
            return Err(AccountError::Forbidden("tokens are made by a person who is logged in, not with a token".into()));
        }
        let now = env::now_ms();
        let record = self.new_record(who, request, now)?;
        let (tenant, name) = (who.tenant.clone(), who.name.clone());
        let usable = self.0.store.call(move |s| s.count_usable_tokens(&tenant, &name, now)).await?;
        if usable >= self.0.settings.max_tokens {
            let most = self.0.settings.max_tokens;
            return Err(AccountError::Forbidden(format!("you have {usable} tokens, at most {most} are allowed: revoke some")));
        }
        let (secret, digest) = secret::new(secret::Kind::Token);
        let body = json!({ "token": record.id.as_str(), "roles": record.roles, "expires_ms": record.expires_ms });
        self.record("token-created", &who.name, body).await?;
        let stored = record.clone();
        self.0.store.call(move |s| s.insert_token(&stored, &digest)).await?;
        Ok((secret, record))
    }

    fn new_record(&self, who: &Principal, request: TokenRequest, now: Millis) -> Result<TokenRecord, AccountError> {
        let name = request.name.trim();
        if name.chars().count() > MAX_NAME_CHARS || name.chars().any(char::is_control) {
            return Err(AccountError::Invalid(format!("name must have at most {MAX_NAME_CHARS} printable characters")));
        }
        let mut roles = request.roles;
        roles.sort();
        roles.dedup();
        if roles.is_empty() || roles.len() > MAX_ROLES {
            return Err(AccountError::Invalid(format!("roles must name 1 to {MAX_ROLES} of your roles")));
        }
        if let Some(foreign) = roles.iter().find(|role| !who.has_role_somewhere(role)) {
            return Err(AccountError::Forbidden(format!("you do not hold the role '{}' yourself", foreign.escape_default())));
        }
        let most = self.0.settings.token_ttl_max_s;
        let ttl = request.expires_s.unwrap_or(self.0.settings.token_ttl_s.min(most));
        if ttl == 0 || ttl > most {
            return Err(AccountError::Invalid(format!("expires_s must be 1 to {most}")));
        }
        Ok(TokenRecord {
            id: TokenId::new(),
            tenant: who.tenant.clone(),
            principal: who.name.clone(),
            name: name.to_owned(),
            roles,
            created_ms: now,
            expires_ms: now.saturating_add(ttl.saturating_mul(1_000)),
            last_used_ms: None,
            revoked_ms: None,
        })
    }

    /// The principal's tokens; an operator sees those of the tenant.
    pub async fn tokens(&self, who: &Principal) -> Result<Vec<TokenRecord>, AccountError> {
        let (tenant, name) = (who.tenant.clone(), who.name.clone());
        let all = who.has_role_somewhere(Role::OPERATOR);
        Ok(self.0.store.call(move |s| s.tokens(&tenant, (!all).then_some(name.as_str()), LIST_LIMIT)).await?)
    }

    /// Makes a token useless: one's own, or, for an operator, any of the tenant.
    pub async fn revoke_token(&self, who: &Principal, id: &TokenId) -> Result<TokenRecord, AccountError> {
        if !who.is_interactive() {
            return Err(AccountError::Forbidden("tokens are revoked by a person who is logged in, not with a token".into()));
        }
        let wanted = id.clone();
        let token = self.0.store.call(move |s| s.token(&wanted)).await?;
        let operator = who.has_role_somewhere(Role::OPERATOR);
        let token = token
            .filter(|t| t.tenant == who.tenant && (operator || t.principal == who.name))
            .ok_or_else(|| AccountError::NotFound(format!("token {id}")))?;
        if token.revoked_ms.is_some() {
            return Ok(token);
        }
        self.record("token-revoked", &who.name, json!({ "token": id.as_str(), "principal": token.principal })).await?;
        let (id, now) = (id.clone(), env::now_ms());
        self.0.store.call(move |s| s.revoke_token(&id, now)).await?;
        Ok(TokenRecord { revoked_ms: Some(now), ..token })
    }

    pub(super) async fn by_token(&self, secret: &str) -> Result<Principal, AccountError> {
        let digest = env::sha256_hex(secret.as_bytes());
        let found = self.0.store.call(move |s| s.token_by_secret(&digest)).await?;
        let Some(token) = found else {
            return Err(self.failed("unknown token", "use one made with `coda token create`").await);
        };
        let now = env::now_ms();
        if !holds(&token, now) {
            return Err(AccountError::Unauthenticated(
                "this token was revoked or has expired: make a new one with `coda token create`".into(),
            ));
        }
        if token.last_used_ms.is_none_or(|last| now.saturating_sub(last) >= TOUCH_EVERY_MS) {
            let id = token.id.clone();
            self.0.store.call(move |s| s.touch_token(&id, now)).await?;
        }
        Ok(self.token_principal(token).await)
    }

    /// What the creator holds now, of what the token names.
    pub(super) async fn token_principal(&self, token: TokenRecord) -> Principal {
        let mut principal = self.principal(token.principal, Proof::Token(token.id)).await;
        principal.grants.retain(|grant| token.roles.contains(&grant.role.0));
        principal
    }
}

/// Whether a token can be used.
pub(super) fn holds(token: &TokenRecord, now: Millis) -> bool {
    token.revoked_ms.is_none() && now < token.expires_ms
}
