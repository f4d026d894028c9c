//! Identifiers: a typed prefix and 128 random bits. Unguessable, and authorization is checked all the same.

use crate::env;

/// A text that is not an identifier of the expected kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{given}' is not {expected}: expected '{prefix}' and 32 hexadecimal digits")]
pub struct InvalidId {
    given: String,
    expected: &'static str,
    prefix: &'static str,
}

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident = $prefix:literal, $noun:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// A new random one.
            #[must_use]
            #[expect(clippy::new_without_default, reason = "a default would suggest a fixed value")]
            pub fn new() -> Self {
                Self(format!("{}{}", $prefix, env::hex(&env::random_bytes::<16>())))
            }

            /// Reads one that came from outside; never lets through what could be a path.
            pub fn parse(text: &str) -> Result<Self, InvalidId> {
                let digits = text.strip_prefix($prefix).unwrap_or_default();
                let well_formed = digits.len() == 32
                    && digits.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
                if well_formed {
                    return Ok(Self(text.to_owned()));
                }
                let given = text.chars().take(80).flat_map(char::escape_default).collect();
                Err(InvalidId { given, expected: $noun, prefix: $prefix })
            }

            /// As text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl std::str::FromStr for $name {
            type Err = InvalidId;
            fn from_str(text: &str) -> Result<Self, InvalidId> {
                Self::parse(text)
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidId;
            fn try_from(text: String) -> Result<Self, InvalidId> {
                Self::parse(&text)
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.0
            }
        }
    )*};
}

ids! {
    /// A task: one prompt, one result, one or more attempts.
    TaskId = "task_", "a task id";
    /// What a client chains tasks by; each task has one.
    SessionId = "sess_", "a session id";
    /// A request for approval.
    ApprovalId = "appr_", "an approval id";
    /// One judgment of one chain.
    DecisionId = "dec_", "a decision id";
    /// An API token (its id, not its secret).
    TokenId = "tok_", "a token id";
    /// A browser or terminal login.
    LoginId = "login_", "a login id";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_id_reads_back_and_nothing_else_does() {
        let id = TaskId::new();
        assert_eq!(TaskId::parse(id.as_str()), Ok(id.clone()));
        for bad in [
            "",
            "task_",
            "task_../../etc/passwd",
            "sess_00112233445566778899aabbccddeeff",
            "task_00112233445566778899AABBCCDDEEFF",
        ] {
            assert!(TaskId::parse(bad).is_err(), "{bad}");
        }
        assert!(SessionId::parse(id.as_str()).is_err());
    }
}
