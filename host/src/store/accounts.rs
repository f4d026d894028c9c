//! Tokens, logins and one-time login links. Secrets are looked up by their SHA-256; the secrets themselves are never
//! stored. Whether a stored role still holds is `web::accounts`' question, not this file's.

use rusqlite::{OptionalExtension as _, Row, params};

use super::{Store, StoreError};
use crate::env::Millis;
use crate::id::{LoginId, TokenId};

/// A stored API token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenRecord {
    /// Id.
    pub id: TokenId,
    /// Tenant.
    pub tenant: String,
    /// Whose rights it carries.
    pub principal: String,
    /// What it is for, in its creator's words.
    pub name: String,
    /// Role names that it may use, as far as the principal holds them.
    pub roles: Vec<String>,
    /// Created at.
    pub created_ms: Millis,
    /// Useless from.
    pub expires_ms: Millis,
    /// Last seen at, to the minute.
    pub last_used_ms: Option<Millis>,
    /// Revoked at.
    pub revoked_ms: Option<Millis>,
}

/// A stored login.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoginRecord {
    /// Id.
    pub id: LoginId,
    /// Tenant.
    pub tenant: String,
    /// Who.
    pub principal: String,
    /// `browser` or `terminal`.
    pub kind: String,
    /// Created at.
    pub created_ms: Millis,
    /// Useless from.
    pub expires_ms: Millis,
    /// Ended at.
    pub ended_ms: Option<Millis>,
}

const TOKEN_COLUMNS: &str = "id, tenant, principal, name, roles, created_ms, expires_ms, last_used_ms, revoked_ms";
const LOGIN_COLUMNS: &str = "id, tenant, principal, kind, created_ms, expires_ms, ended_ms";

impl Store {
    /// Keeps a new token.
    pub fn insert_token(&self, token: &TokenRecord, secret_sha256: &str) -> Result<(), StoreError> {
        self.write(|tx| {
            tx.execute(
                "INSERT INTO token (id, tenant, principal, name, roles, secret_sha256, created_ms, expires_ms, created_by)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?3)",
                params![
                    token.id.as_str(),
                    token.tenant,
                    token.principal,
                    token.name,
                    token.roles.join(" "),
                    secret_sha256,
                    token.created_ms as i64,
                    token.expires_ms as i64
                ],
            )?;
            Ok(())
        })
    }

    /// The token with this secret, whatever its state.
    pub fn token_by_secret(&self, secret_sha256: &str) -> Result<Option<TokenRecord>, StoreError> {
        let sql = format!("SELECT {TOKEN_COLUMNS} FROM token WHERE secret_sha256 = ?1");
        self.read(|tx| Ok(tx.query_row(&sql, [secret_sha256], read_token).optional()?))?.transpose()
    }

    /// The token with this id, whatever its state.
    pub fn token(&self, id: &TokenId) -> Result<Option<TokenRecord>, StoreError> {
        let sql = format!("SELECT {TOKEN_COLUMNS} FROM token WHERE id = ?1");
        self.read(|tx| Ok(tx.query_row(&sql, [id.as_str()], read_token).optional()?))?.transpose()
    }

    /// Tokens of a tenant, newest first; of one principal, where one is named. At most `limit`.
    pub fn tokens(&self, tenant: &str, principal: Option<&str>, limit: u32) -> Result<Vec<TokenRecord>, StoreError> {
        let sql = format!(
            "SELECT {TOKEN_COLUMNS} FROM token WHERE tenant = ?1 AND (?2 IS NULL OR principal = ?2) ORDER BY created_ms DESC, id LIMIT ?3"
        );
        self.read(|tx| {
            let mut statement = tx.prepare(&sql)?;
            let rows = statement.query_map(params![tenant, principal, limit], read_token)?;
            rows.map(|row| row?).collect()
        })
    }

    /// How many tokens of a principal could still be used.
    pub fn count_usable_tokens(&self, tenant: &str, principal: &str, now: Millis) -> Result<u32, StoreError> {
        self.read(|tx| {
            Ok(tx.query_row(
                "SELECT count(*) FROM token WHERE tenant = ?1 AND principal = ?2 AND revoked_ms IS NULL AND expires_ms > ?3",
                params![tenant, principal, now as i64],
                |row| row.get(0),
            )?)
        })
    }

    /// Notes that a token was used.
    pub fn touch_token(&self, id: &TokenId, now: Millis) -> Result<(), StoreError> {
        self.write(|tx| {
            tx.execute("UPDATE token SET last_used_ms = ?2 WHERE id = ?1", params![id.as_str(), now as i64])?;
            Ok(())
        })
    }

    /// Makes a token useless. Revoking twice keeps the first time.
    pub fn revoke_token(&self, id: &TokenId, now: Millis) -> Result<(), StoreError> {
        self.write(|tx| {
            tx.execute(
                "UPDATE token SET revoked_ms = ?2 WHERE id = ?1 AND revoked_ms IS NULL",
                params![id.as_str(), now as i64],
            )?;
            Ok(())
        })
    }

    /// Keeps a new login.
    pub fn insert_login(&self, login: &LoginRecord, secret_sha256: &str) -> Result<(), StoreError> {
        self.write(|tx| {
            tx.execute(
                "INSERT INTO login (id, tenant, principal, secret_sha256, created_ms, expires_ms, kind)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
                params![
                    login.id.as_str(),
                    login.tenant,
                    login.principal,
                    secret_sha256,
                    login.created_ms as i64,
                    login.expires_ms as i64,
                    login.kind
                ],
            )?;
            Ok(())
        })
    }

    /// The login with this secret, whatever its state.
    pub fn login_by_secret(&self, secret_sha256: &str) -> Result<Option<LoginRecord>, StoreError> {
        let sql = format!("SELECT {LOGIN_COLUMNS} FROM login WHERE secret_sha256 = ?1");
        self.read(|tx| Ok(tx.query_row(&sql, [secret_sha256], read_login).optional()?))?.transpose()
    }

    /// The login with this id, whatever its state.
    pub fn login(&self, id: &LoginId) -> Result<Option<LoginRecord>, StoreError> {
        let sql = format!("SELECT {LOGIN_COLUMNS} FROM login WHERE id = ?1");
        self.read(|tx| Ok(tx.query_row(&sql, [id.as_str()], read_login).optional()?))?.transpose()
    }

    /// Logs out.
    pub fn end_login(&self, id: &LoginId, now: Millis) -> Result<(), StoreError> {
        self.write(|tx| {
            tx.execute("UPDATE login SET ended_ms = ?2 WHERE id = ?1 AND ended_ms IS NULL", params![id.as_str(), now as i64])?;
            Ok(())
        })
    }

    /// Keeps a new one-time link.
    pub fn insert_login_link(
        &self,
        secret_sha256: &str,
        tenant: &str,
        principal: &str,
        expires: Millis,
    ) -> Result<(), StoreError> {
        self.write(|tx| {
            tx.execute(
                "INSERT INTO login_link (secret_sha256, principal, tenant, expires_ms) VALUES (?1, ?2, ?3, ?4)",
                params![secret_sha256, principal, tenant, expires as i64],
            )?;
            Ok(())
        })
    }

    /// Uses a one-time link up: who it was for, the first time and before it expires; nothing otherwise.
    pub fn use_login_link(&self, secret_sha256: &str, now: Millis) -> Result<Option<String>, StoreError> {
        self.write(|tx| {
            Ok(tx
                .query_row(
                    "UPDATE login_link SET used_ms = ?2 WHERE secret_sha256 = ?1 AND used_ms IS NULL AND expires_ms > ?2
                     RETURNING principal",
                    params![secret_sha256, now as i64],
                    |row| row.get(0),
                )
                .optional()?)
        })
    }

    /// Drops logins and links that were useless before `before`. Tokens stay: the list of tokens is a record.
    pub fn purge_logins(&self, before: Millis) -> Result<(), StoreError> {
        self.write(|tx| {
            tx.execute("DELETE FROM login WHERE min(expires_ms, coalesce(ended_ms, expires_ms)) < ?1", [before as i64])?;
            tx.execute("DELETE FROM login_link WHERE expires_ms < ?1", [before as i64])?;
            Ok(())
        })
    }
}

type Read<T> = rusqlite::Result<Result<T, StoreError>>;

fn read_token(row: &Row<'_>) -> Read<TokenRecord> {
    let (id, roles): (String, String) = (row.get(0)?, row.get(4)?);
    let id = match TokenId::parse(&id) {
        Ok(id) => id,
        Err(e) => return Ok(Err(StoreError::Corrupt { what: "token".into(), why: e.to_string() })),
    };
    Ok(Ok(TokenRecord {
        id,
        tenant: row.get(1)?,
        principal: row.get(2)?,
        name: row.get(3)?,
        roles: roles.split_whitespace().map(str::to_owned).collect(),
        created_ms: millis(row.get(5)?),
        expires_ms: millis(row.get(6)?),
        last_used_ms: row.get::<_, Option<i64>>(7)?.map(millis),
        revoked_ms: row.get::<_, Option<i64>>(8)?.map(millis),
    }))
}

fn read_login(row: &Row<'_>) -> Read<LoginRecord> {
    let id: String = row.get(0)?;
    let id = match LoginId::parse(&id) {
        Ok(id) => id,
        Err(e) => return Ok(Err(StoreError::Corrupt { what: "login".into(), why: e.to_string() })),
    };
    Ok(Ok(LoginRecord {
        id,
        tenant: row.get(1)?,
        principal: row.get(2)?,
        kind: row.get(3)?,
        created_ms: millis(row.get(4)?),
        expires_ms: millis(row.get(5)?),
        ended_ms: row.get::<_, Option<i64>>(6)?.map(millis),
    }))
}

/// A time that reads as negative was never written by this file; it counts as long ago, so that nothing outlives it.
fn millis(stored: i64) -> Millis {
    u64::try_from(stored).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_works_once_and_not_after_it_expired() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("coda.db")).unwrap();
        store.insert_login_link("a", "default", "ann", 1_000).unwrap();
        store.insert_login_link("b", "default", "ann", 1_000).unwrap();
        assert_eq!(store.use_login_link("a", 999).unwrap().as_deref(), Some("ann"));
        assert_eq!(store.use_login_link("a", 999).unwrap(), None);
        assert_eq!(store.use_login_link("b", 1_000).unwrap(), None);
        assert_eq!(store.use_login_link("c", 1).unwrap(), None);
    }

    #[test]
    fn purging_keeps_what_can_still_be_used() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("coda.db")).unwrap();
        for (secret, expires_ms) in [("old", 10), ("new", 1_000)] {
            let login = LoginRecord {
                id: LoginId::new(),
                tenant: "default".into(),
                principal: "ann".into(),
                kind: "browser".into(),
                created_ms: 1,
                expires_ms,
                ended_ms: None,
            };
            store.insert_login(&login, secret).unwrap();
        }
        store.purge_logins(500).unwrap();
        assert_eq!(store.login_by_secret("old").unwrap(), None);
        assert!(store.login_by_secret("new").unwrap().is_some());
    }
}
