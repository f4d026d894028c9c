//! Accounts without the site: how long credentials hold, and whose rights they carry.

use std::sync::{Arc, Mutex};

use super::logins::Place;
use super::tokens::TokenRequest;
use super::*;
use crate::id::TokenId;
use crate::store::accounts::{LoginRecord, TokenRecord};

type Records = Arc<Mutex<Vec<AccountEvent>>>;

fn open(settings: Settings) -> (Accounts, Store, Records, tempfile::TempDir) {
    let home = tempfile::tempdir().unwrap();
    let store = Store::open(&home.path().join("coda.db")).unwrap();
    let records = Records::default();
    let kept = records.clone();
    let recorder: Recorder = Arc::new(move |event| {
        kept.lock().unwrap().push(event);
        Box::pin(async { Ok(()) })
    });
    let settings = Settings { local_name: settings.local_name.clone().or(Some("ann".into())), ..settings };
    (Accounts::open(settings, home.path(), store.clone(), recorder).unwrap(), store, records, home)
}

fn headers(bearer: &str) -> HeaderMap {
    [(http::header::AUTHORIZATION, format!("Bearer {bearer}").parse().unwrap())].into_iter().collect()
}

async fn person(accounts: &Accounts) -> Principal {
    let link = accounts.login_link().await.unwrap();
    let login = accounts.log_in(link.strip_prefix("/login?code=").unwrap(), Place::Terminal).await.unwrap();
    accounts.identify(None, &headers(&login.secret)).await.unwrap().unwrap().0
}

fn asked(roles: &[&str]) -> TokenRequest {
    TokenRequest { name: "ci".into(), roles: roles.iter().map(|r| (*r).to_owned()).collect(), expires_s: Some(60) }
}

#[tokio::test]
async fn expired_and_revoked_credentials_do_not_hold() {
    let (accounts, store, _, _home) = open(Settings::default());
    let who = person(&accounts).await;
    let (secret, token) = accounts.create_token(&who, asked(&["submitter"])).await.unwrap();
    assert!(accounts.identify(None, &headers(&secret)).await.is_ok());
    accounts.revoke_token(&who, &token.id).await.unwrap();
    assert!(matches!(accounts.identify(None, &headers(&secret)).await, Err(AccountError::Unauthenticated(_))));

    let (secret, digest) = secret::new(secret::Kind::Token);
    let old = TokenRecord { id: TokenId::new(), expires_ms: env::now_ms(), revoked_ms: None, ..token };
    store.insert_token(&old, &digest).unwrap();
    assert!(matches!(accounts.identify(None, &headers(&secret)).await, Err(AccountError::Unauthenticated(_))));

    let (secret, digest) = secret::new(secret::Kind::Login);
    let old = LoginRecord {
        id: crate::id::LoginId::new(),
        tenant: DEFAULT_TENANT.into(),
        principal: "ann".into(),
        kind: "browser".into(),
        created_ms: 0,
        expires_ms: env::now_ms(),
        ended_ms: None,
    };
    store.insert_login(&old, &digest).unwrap();
    assert!(matches!(accounts.identify(None, &headers(&secret)).await, Err(AccountError::Unauthenticated(_))));
}

#[tokio::test]
async fn tokens_have_some_of_their_makers_roles_and_are_made_by_people() {
    let (accounts, _, records, _home) = open(Settings { max_tokens: 1, ..Settings::default() });
    let who = person(&accounts).await;
    for bad in [&[][..], &["prod-data"]] {
        assert!(accounts.create_token(&who, asked(bad)).await.is_err(), "{bad:?}");
    }
    let long = TokenRequest { expires_s: Some(u64::MAX), ..asked(&["viewer"]) };
    assert!(matches!(accounts.create_token(&who, long).await, Err(AccountError::Invalid(_))));
    let (secret, token) = accounts.create_token(&who, asked(&["viewer", "viewer"])).await.unwrap();
    let (by_token, _) = accounts.identify(None, &headers(&secret)).await.unwrap().unwrap();
    let roles: Vec<_> = by_token.grants.iter().map(|g| g.role.0.as_str()).collect();
    assert_eq!((by_token.name.as_str(), roles.as_slice(), by_token.is_interactive()), ("ann", &["viewer"][..], false));
    for refused in [
        accounts.create_token(&by_token, asked(&["viewer"])).await.err(),
        accounts.revoke_token(&by_token, &token.id).await.err(),
    ] {
        assert!(matches!(refused, Some(AccountError::Forbidden(_))));
    }
    assert!(matches!(accounts.create_token(&who, asked(&["viewer"])).await, Err(AccountError::Forbidden(_))), "one is the limit");
    let kinds: Vec<_> = records.lock().unwrap().iter().map(|e| e.kind).collect();
    assert_eq!(kinds, ["login-link", "login", "token-created"]);
    assert!(!format!("{:?}", records.lock().unwrap()).contains("coda_tok_"), "no secret is recorded");
}

#[tokio::test]
async fn ids_of_others_do_not_exist() {
    let settings = Settings { mode: Mode::Proxy, default_roles: vec!["viewer".into()], ..Settings::default() };
    let (accounts, _, _, _home) = open(settings);
    let ann = accounts.principal("ann@x".into(), Proof::Proxy).await;
    let ben = accounts.principal("ben@x".into(), Proof::Proxy).await;
    let (_, token) = accounts.create_token(&ann, asked(&["viewer"])).await.unwrap();
    assert!(matches!(accounts.revoke_token(&ben, &token.id).await, Err(AccountError::NotFound(_))));
    assert_eq!(accounts.tokens(&ben).await.unwrap(), []);
    assert_eq!(accounts.tokens(&ann).await.unwrap().len(), 1);
}

#[tokio::test]
async fn taking_a_role_away_takes_it_from_tokens_too() {
    let (accounts, _, records, home) = open(Settings { mode: Mode::Proxy, ..Settings::default() });
    let path = home.path().join("roles.toml");
    std::fs::write(&path, "[[role]]\nname = 'submitter'\nprincipals = ['ann@x']\n").unwrap();
    let ann = accounts.principal("ann@x".into(), Proof::Proxy).await;
    let (secret, _) = accounts.create_token(&ann, asked(&["submitter"])).await.unwrap();
    let (by_token, _) = accounts.identify(None, &headers(&secret)).await.unwrap().unwrap();
    assert!(by_token.has_role_somewhere("submitter"));
    std::fs::write(&path, "[[role]]\nname = 'submitter'\nprincipals = ['ben@x']\n# longer\n").unwrap();
    let (by_token, _) = accounts.identify(None, &headers(&secret)).await.unwrap().unwrap();
    assert!(!by_token.has_role_somewhere("submitter"));
    std::fs::write(&path, "rubbish").unwrap();
    assert!(accounts.grants("ben@x").await.iter().any(|g| g.role.0 == "submitter"), "the last good mapping stays");
    assert!(accounts.roles_error().is_some());
    let kinds: Vec<_> = records.lock().unwrap().iter().map(|e| e.kind).collect();
    assert_eq!(kinds, ["roles-changed", "token-created", "roles-changed", "roles-refused"]);
}

#[tokio::test]
async fn what_cannot_be_recorded_does_not_happen() {
    let home = tempfile::tempdir().unwrap();
    let store = Store::open(&home.path().join("coda.db")).unwrap();
    let recorder: Recorder = Arc::new(|_| Box::pin(async { Err("disk full".into()) }));
    let accounts = Accounts::open(Settings::default(), home.path(), store, recorder).unwrap();
    let key = std::fs::read_to_string(home.path().join("keys/local.key")).unwrap();
    assert!(matches!(accounts.log_in(&key, Place::Browser).await, Err(AccountError::Unrecorded(_))));
}

#[tokio::test]
async fn failures_are_bounded_and_never_lock_the_owner_out() {
    let (accounts, _, records, home) = open(Settings { failed_logins_per_minute: 2, ..Settings::default() });
    for _ in 0..50 {
        assert!(accounts.log_in("guess", Place::Browser).await.is_err());
    }
    // The wall clock may enter the next minute while this runs, and with it the next allowance.
    assert!((2..=4).contains(&records.lock().unwrap().len()));
    let key = std::fs::read_to_string(home.path().join("keys/local.key")).unwrap();
    assert!(accounts.log_in(&key, Place::Browser).await.is_ok());
}

#[test]
fn a_key_file_that_others_can_read_is_replaced() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("local.key");
    let first = logins::local_key(folder.path()).unwrap();
    assert_eq!(logins::local_key(folder.path()).unwrap(), first);
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    let second = logins::local_key(folder.path()).unwrap();
    assert_ne!(first, second);
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
}
