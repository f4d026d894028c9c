//! Secrets that people and programs present: made, recognised by prefix, compared without telling how much was right.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};

use crate::env;

const RANDOM_BYTES: usize = 32;
/// 32 bytes in base64url without padding.
const RANDOM_CHARS: usize = 43;

/// What a secret is for. The prefix tells a leaked one apart in a log or a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// An API token.
    Token,
    /// A login.
    Login,
    /// A one-time login link.
    Link,
}

impl Kind {
    const fn prefix(self) -> &'static str {
        match self {
            Kind::Token => "coda_tok_",
            Kind::Login => "coda_login_",
            Kind::Link => "coda_link_",
        }
    }

    /// Which kind a text has the form of.
    #[must_use]
    pub fn of(text: &str) -> Option<Kind> {
        [Kind::Token, Kind::Login, Kind::Link].into_iter().find(|kind| {
            text.strip_prefix(kind.prefix()).is_some_and(|r| {
                r.len() == RANDOM_CHARS && r.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
            })
        })
    }
}

/// A new secret, to be shown once, and its SHA-256, to be stored.
#[must_use]
pub fn new(kind: Kind) -> (String, String) {
    let secret = format!("{}{}", kind.prefix(), URL_SAFE_NO_PAD.encode(env::random_bytes::<RANDOM_BYTES>()));
    let digest = env::sha256_hex(secret.as_bytes());
    (secret, digest)
}

/// Whether two secrets are the same, in a time that tells nothing: their digests are compared, and a digest tells nothing
/// about how close a guess was.
#[must_use]
pub fn same(given: &str, expected: &str) -> bool {
    Sha256::digest(given.as_bytes()) == Sha256::digest(expected.as_bytes())
}

/// Bounds what failed attempts may cost: log lines and audit records. It never stands between a right secret and its
/// owner, or a program on this machine could lock people out by failing on purpose; 256 random bits need no such help.
#[derive(Debug)]
pub struct FailureLimit {
    per_minute: u32,
    minute: u64,
    used: u32,
}

impl FailureLimit {
    /// At most `per_minute` failures count in a minute of the wall clock.
    #[must_use]
    pub fn new(per_minute: u32) -> Self {
        Self { per_minute, minute: 0, used: 0 }
    }

    /// Counts one failure; false if it is beyond the limit.
    pub fn admit(&mut self, now: env::Millis) -> bool {
        let minute = now / 60_000;
        if minute != self.minute {
            (self.minute, self.used) = (minute, 0);
        }
        self.used = self.used.saturating_add(1);
        self.used <= self.per_minute
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_told_by_form() {
        for kind in [Kind::Token, Kind::Login, Kind::Link] {
            let (secret, digest) = new(kind);
            assert_eq!(Kind::of(&secret), Some(kind));
            assert_eq!(digest.len(), 64);
        }
        for bad in
            ["", "coda_tok_", "coda_tok_short", &format!("coda_task_{}", "a".repeat(43)), &format!("coda_tok_{}", "/".repeat(43))]
        {
            assert_eq!(Kind::of(bad), None, "{bad}");
        }
    }

    #[test]
    fn failures_are_bounded_per_minute() {
        let mut limit = FailureLimit::new(2);
        assert_eq!(
            [limit.admit(60_000), limit.admit(60_001), limit.admit(60_002), limit.admit(120_000)],
            [true, true, false, true]
        );
    }
}
