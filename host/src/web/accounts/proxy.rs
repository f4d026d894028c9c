//! Identity headers of a proxy that has authenticated the person, such as the one in front of a Databricks App.
//!
//! INVARIANT: they count only on a connection from a configured peer. An agent runs on this machine and can open
//! connections to coda, so an address of this machine is never such a peer, unless a shared secret tells the proxy from
//! everybody else here. A header given twice, or nonsense in it, is no identity.

use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;

use http::HeaderMap;
use http::header::HeaderName;

use super::secret;
use crate::identity::AccessToken;

const MAX_NAME_BYTES: usize = 254;
const MIN_SECRET_BYTES: usize = 16;
/// Names that coda uses for itself in its records.
const RESERVED: [&str; 2] = ["system", "*"];

/// Which proxy is believed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settings {
    /// Addresses or networks (`10.0.0.0/8`) whose connections may carry identity headers.
    pub trusted_peers: Vec<String>,
    /// Header names; the first that is present names the person. Empty = as the preset `databricks-apps`.
    pub identity_headers: Vec<String>,
    /// Header in which it forwards the person's own access token.
    pub access_token_header: Option<String>,
    /// Header in which the proxy presents the shared secret.
    pub secret_header: Option<String>,
    /// File with the shared secret; agents must not be able to read it.
    pub secret_file: Option<PathBuf>,
}

impl Settings {
    /// Headers that Databricks Apps adds.
    #[must_use]
    pub fn databricks_apps() -> Self {
        let headers = ["x-forwarded-email", "x-forwarded-preferred-username", "x-forwarded-user"];
        Self {
            identity_headers: headers.map(str::to_owned).to_vec(),
            access_token_header: Some("x-forwarded-access-token".into()),
            ..Self::default()
        }
    }
}

/// The settings, parsed.
#[derive(Debug)]
pub struct Proxy {
    peers: Vec<Network>,
    headers: Vec<HeaderName>,
    access_token: Option<HeaderName>,
    secret: Option<(HeaderName, String)>,
}

impl Proxy {
    /// Reads the settings; says what is wrong with them.
    pub fn new(settings: &Settings) -> Result<Self, String> {
        let peers: Vec<Network> = settings.trusted_peers.iter().map(|text| text.parse()).collect::<Result<_, _>>()?;
        let preset = Settings::databricks_apps().identity_headers;
        let names = if settings.identity_headers.is_empty() { &preset } else { &settings.identity_headers };
        let headers = names.iter().map(|name| header_name(name)).collect::<Result<_, _>>()?;
        let access_token = settings.access_token_header.as_deref().map(header_name).transpose()?;
        let secret = match (&settings.secret_header, &settings.secret_file) {
            (None, None) => None,
            (Some(header), Some(file)) => {
                let secret = std::fs::read_to_string(file).map_err(|e| format!("cannot read {}: {e}", file.display()))?;
                let secret = secret.trim().to_owned();
                if secret.len() < MIN_SECRET_BYTES {
                    return Err(format!("the secret in {} must have at least {MIN_SECRET_BYTES} characters", file.display()));
                }
                Some((header_name(header)?, secret))
            }
            (Some(_), None) | (None, Some(_)) => return Err("a shared secret needs both a header name and a file".into()),
        };
        Ok(Self { peers, headers, access_token, secret })
    }

    /// Whether this connection is the proxy's, by its address and, where one is configured, the shared secret.
    #[must_use]
    pub fn trusts(&self, peer: Option<IpAddr>, headers: &HeaderMap) -> bool {
        let Some(peer) = peer.map(|p| p.to_canonical()) else { return false };
        if !self.peers.iter().any(|network| network.contains(peer)) {
            return false;
        }
        match &self.secret {
            Some((name, expected)) => single(headers, name).is_some_and(|given| secret::same(given, expected)),
            None => !is_this_machine(peer),
        }
    }

    /// The person that the proxy names. To be asked only after `trusts`.
    #[must_use]
    pub fn person(&self, headers: &HeaderMap) -> Option<String> {
        let name = self.headers.iter().find(|name| headers.contains_key(*name))?;
        let person = single(headers, name)?.trim().to_lowercase();
        let fits = !person.is_empty() && person.len() <= MAX_NAME_BYTES && !RESERVED.contains(&person.as_str());
        (fits && person.chars().all(|c| !c.is_control() && !c.is_whitespace())).then_some(person)
    }

    /// The access token of that person, where the proxy forwards one. To be asked only after `trusts`.
    #[must_use]
    pub fn access_token(&self, headers: &HeaderMap) -> Option<AccessToken> {
        AccessToken::parse(single(headers, self.access_token.as_ref()?)?.trim())
    }
}

/// A header that is there exactly once.
fn single<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?;
    values.next().is_none().then(|| value.to_str().ok()).flatten()
}

fn header_name(text: &str) -> Result<HeaderName, String> {
    HeaderName::from_str(text).map_err(|_| format!("'{}' is not a header name", text.escape_default()))
}

/// Whether an address belongs to this machine: only then can a socket be bound to it.
fn is_this_machine(address: IpAddr) -> bool {
    address.is_loopback() || address.is_unspecified() || std::net::UdpSocket::bind((address, 0)).is_ok()
}

#[derive(Debug, Clone, Copy)]
struct Network {
    address: IpAddr,
    bits: u32,
}

impl Network {
    fn contains(self, peer: IpAddr) -> bool {
        match (self.address, peer) {
            (IpAddr::V4(net), IpAddr::V4(peer)) => (net.to_bits() ^ peer.to_bits()).checked_shr(32 - self.bits).unwrap_or(0) == 0,
            (IpAddr::V6(net), IpAddr::V6(peer)) => {
                (net.to_bits() ^ peer.to_bits()).checked_shr(128 - self.bits).unwrap_or(0) == 0
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }
}

impl FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("'{}' is not an address or a network such as 10.0.0.0/8", text.escape_default());
        let (address, bits) = text.split_once('/').map_or((text, None), |(address, bits)| (address, Some(bits)));
        let address = address.parse::<IpAddr>().map_err(|_| wrong())?.to_canonical();
        let most = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.map_or(Ok(most), |bits| bits.parse::<u32>().map_err(|_| wrong()))?;
        if bits > most {
            return Err(wrong());
        }
        Ok(Self { address, bits })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxy(peers: &[&str]) -> Proxy {
        Proxy::new(&Settings { trusted_peers: peers.iter().map(|p| (*p).to_owned()).collect(), ..Settings::default() }).unwrap()
    }

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in pairs {
            map.append(*name, value.parse().unwrap());
        }
        map
    }

    fn ip(text: &str) -> Option<IpAddr> {
        Some(text.parse().unwrap())
    }

    #[test]
    fn only_configured_peers_are_trusted() {
        let proxy = proxy(&["203.0.113.0/24", "2001:db8::/32", "198.51.100.7"]);
        let none = HeaderMap::new();
        for yes in ["203.0.113.9", "::ffff:203.0.113.9", "2001:db8:1::1", "198.51.100.7"] {
            assert!(proxy.trusts(ip(yes), &none), "{yes}");
        }
        for no in ["203.0.114.9", "2001:db9::1", "198.51.100.8", "127.0.0.1", "::1"] {
            assert!(!proxy.trusts(ip(no), &none), "{no}");
        }
        assert!(!proxy.trusts(None, &none));
    }

    #[test]
    fn this_machine_is_never_trusted_without_the_secret() {
        let open = proxy(&["0.0.0.0/0", "::/0"]);
        for own in ["127.0.0.1", "127.8.8.8", "::1", "::ffff:127.0.0.1", "0.0.0.0"] {
            assert!(!open.trusts(ip(own), &HeaderMap::new()), "{own}");
        }
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("secret");
        std::fs::write(&file, "a-long-enough-secret\n").unwrap();
        let with_secret = Proxy::new(&Settings {
            trusted_peers: vec!["127.0.0.1".into()],
            secret_header: Some("x-proxy-secret".into()),
            secret_file: Some(file),
            ..Settings::default()
        })
        .unwrap();
        assert!(with_secret.trusts(ip("127.0.0.1"), &headers(&[("x-proxy-secret", "a-long-enough-secret")])));
        for bad in [
            headers(&[]),
            headers(&[("x-proxy-secret", "wrong")]),
            headers(&[("x-proxy-secret", "a-long-enough-secret"), ("x-proxy-secret", "x")]),
        ] {
            assert!(!with_secret.trusts(ip("127.0.0.1"), &bad));
        }
        assert!(!with_secret.trusts(ip("203.0.113.1"), &headers(&[("x-proxy-secret", "a-long-enough-secret")])));
    }

    #[test]
    fn a_person_is_one_clean_value_of_the_first_header_present() {
        let proxy = proxy(&[]);
        assert_eq!(
            proxy.person(&headers(&[("x-forwarded-email", "Ann@Example.com"), ("x-forwarded-user", "1@2")])).as_deref(),
            Some("ann@example.com")
        );
        assert_eq!(proxy.person(&headers(&[("x-forwarded-user", "1@2")])).as_deref(), Some("1@2"));
        for bad in [
            headers(&[]),
            headers(&[("x-forwarded-email", "")]),
            headers(&[("x-forwarded-email", ""), ("x-forwarded-user", "ben")]),
            headers(&[("x-forwarded-email", "ann"), ("x-forwarded-email", "ben")]),
            headers(&[("x-forwarded-email", "ann, ben")]),
            headers(&[("x-forwarded-email", "system")]),
        ] {
            assert_eq!(proxy.person(&bad), None, "{bad:?}");
        }
    }

    #[test]
    fn networks_with_a_mistake_are_refused() {
        for bad in ["", "10.0.0.0/33", "10.0.0/8", "example.com", "::/129", "10.0.0.0/-1"] {
            assert!(bad.parse::<Network>().is_err(), "{bad}");
        }
    }
}
