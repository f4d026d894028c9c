//! Origins and hosts in one normal form, so that they compare exactly: lower case, no default port, no trailing slash.

use http::uri::Authority;

/// A configured origin or host that is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSetting {
    /// Not an origin.
    #[error("'{0}' is not an origin: expected scheme, host and optional port, such as https://example.com")]
    Origin(String),
    /// Not a host.
    #[error("'{0}' is not a host: expected a name with an optional port, such as coda.example.com, or * for any")]
    Host(String),
}

/// Reads an origin as a person writes it; a missing scheme means https (as DATABRICKS_HOST may have it).
pub fn configured_origin(text: &str) -> Result<String, InvalidSetting> {
    let with_scheme = if text.contains("://") { text.to_owned() } else { format!("https://{text}") };
    sent_origin(with_scheme.trim_end_matches('/')).ok_or_else(|| InvalidSetting::Origin(text.to_owned()))
}

/// Reads an origin as a browser sends it. `null`, wildcards and anything with a path are none.
pub(super) fn sent_origin(text: &str) -> Option<String> {
    let (scheme, rest) = text.split_once("://")?;
    let default_port = match scheme.to_ascii_lowercase().as_str() {
        "https" => 443,
        "http" => 80,
        _ => return None,
    };
    let authority = host_and_port(rest)?;
    let host = authority.host().to_ascii_lowercase();
    let scheme = scheme.to_ascii_lowercase();
    Some(match authority.port_u16() {
        Some(port) if port != default_port => format!("{scheme}://{host}:{port}"),
        Some(_) | None => format!("{scheme}://{host}"),
    })
}

fn host_and_port(text: &str) -> Option<Authority> {
    let authority: Authority = text.parse().ok()?;
    let port_reads = authority.port_u16().is_some() || !authority.as_str().ends_with(':') && authority.port().is_none();
    let plain = !authority.as_str().contains(['@', '*']) && !authority.host().is_empty() && port_reads;
    plain.then_some(authority)
}

/// A host that is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum AllowedHost {
    Any,
    Name { host: String, port: Option<u16> },
}

impl AllowedHost {
    pub(super) fn parse(text: &str) -> Result<Self, InvalidSetting> {
        if text == "*" {
            return Ok(Self::Any);
        }
        let authority = host_and_port(text).ok_or_else(|| InvalidSetting::Host(text.to_owned()))?;
        Ok(Self::Name { host: authority.host().to_ascii_lowercase(), port: authority.port_u16() })
    }

    /// The names of this machine for itself.
    pub(super) fn loopback() -> Vec<Self> {
        ["localhost", "127.0.0.1", "[::1]"].map(|host| Self::Name { host: host.to_owned(), port: None }).into()
    }

    /// Whether a `Host` header names it.
    pub(super) fn admits(&self, sent: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Name { host, port } => host_and_port(sent).is_some_and(|authority| {
                authority.host().eq_ignore_ascii_case(host) && (port.is_none() || authority.port_u16() == *port)
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_has_one_form() {
        for (given, normal) in [
            ("https://WS.example.com", Some("https://ws.example.com")),
            ("https://ws.example.com:443", Some("https://ws.example.com")),
            ("http://localhost:5173", Some("http://localhost:5173")),
            ("http://[::1]:80", Some("http://[::1]")),
            ("null", None),
            ("*", None),
            ("https://*.example.com", None),
            ("https://ws.example.com/path", None),
            ("https://user@ws.example.com", None),
            ("https://ws.example.com:", None),
            ("file://", None),
        ] {
            assert_eq!(sent_origin(given).as_deref(), normal, "{given}");
        }
        assert_eq!(configured_origin("ws.example.com/"), Ok("https://ws.example.com".into()));
        assert!(configured_origin("*").is_err());
    }

    #[test]
    fn a_host_is_compared_by_name_and_where_configured_by_port() {
        let any_port = AllowedHost::parse("coda.example.com").expect("a host");
        let one_port = AllowedHost::parse("coda.example.com:8484").expect("a host");
        for (sent, by_name, by_port) in [
            ("coda.example.com", true, false),
            ("CODA.example.com:8484", true, true),
            ("coda.example.com:1", true, false),
            ("coda.example.com.evil.com", false, false),
            ("evil.com", false, false),
            ("coda.example.com@evil.com", false, false),
        ] {
            assert_eq!((any_port.admits(sent), one_port.admits(sent)), (by_name, by_port), "{sent}");
        }
        assert!(AllowedHost::loopback().iter().any(|h| h.admits("[::1]:8484")));
        assert!(AllowedHost::parse("not a host").is_err());
    }
}
