//! Egress: what an agent may reach besides its model, and the way there. The list stands in its profile (`allow_hosts`);
//! the gateway's listener answers `CONNECT` for what is on it and for nothing else.
//!
//! ```text
//! CONNECT host:port ─► whose token? ─► on the list? ─► look up, once ─► addresses that may be reached ─► connect to one of those
//!                                                                                                           │
//! the task's record ◄─ opened, refused, closed                    bytes both ways ◄─ TLS for that name? ◄───┘
//! ```
//! It does not look into what a tunnel carries, but for the name at its beginning: an allowed host is a way out for data.

pub(in crate::gateway) mod address;
pub(in crate::gateway) mod hello;
mod pump;
pub(in crate::gateway) mod tunnel;
pub(in crate::gateway) mod way;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Where nothing else is said.
const DEFAULT_PORT: u16 = 443;
/// Longest name of a host, and of one of its labels.
const MAX_NAME: usize = 253;
const MAX_LABEL: usize = 63;

/// Bounds of the tunnels of one task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bounds {
    /// Open at a time.
    pub max_tunnels: usize,
    /// Opened in all by one attempt: each is on record.
    pub max_tunnels_per_attempt: u64,
    /// Bytes of all tunnels of one attempt, both ways together.
    pub max_tunnel_bytes: u64,
    /// A tunnel that carries nothing for this long is closed.
    pub tunnel_idle_s: u64,
    /// Time to look a host up and to connect to it; and, after that, until TLS begins.
    pub tunnel_connect_timeout_s: u64,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            max_tunnels: 32,
            max_tunnels_per_attempt: 5_000,
            max_tunnel_bytes: 4 << 30,
            tunnel_idle_s: 300,
            tunnel_connect_timeout_s: 10,
        }
    }
}

/// Whether names on the list may lead to addresses of private networks and of this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Private {
    /// They may not.
    #[default]
    Refused,
    /// They may; never to link-local ones, such as a cloud's metadata.
    Allowed,
}

/// What the agents of one profile may reach. Nothing, unless it is on the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Egress {
    /// The profile.
    agent: String,
    rules: Vec<Rule>,
    private: Private,
}

/// One entry of the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::gateway) struct Rule {
    /// As the operator wrote it.
    pub(in crate::gateway) written: String,
    place: Place,
    port: u16,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    /// This name.
    Name(String),
    /// Every name that ends so; it begins with a dot.
    Below(String),
    /// This address.
    Address(IpAddr),
}

/// What a client asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::gateway) struct Destination {
    pub(in crate::gateway) host: Host,
    pub(in crate::gateway) port: u16,
}

/// A host, in one form: names are in lower case and without a dot at the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::gateway) enum Host {
    Name(String),
    Address(IpAddr),
}

/// An entry or a destination that can't be read, and what to write.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum EgressError {
    /// It has a scheme, a path, a user, or a character that no host has.
    #[error("only a host and a port belong there, such as \"pypi.org\" or \"git.example.com:8443\"")]
    Form,
    /// Outside of ASCII.
    #[error("a name with other letters than ASCII is written in its form for machines, which begins with \"xn--\"")]
    International,
    /// A port that is none.
    #[error("a port is a number from 1 to 65535")]
    Port,
    /// No port where one must be.
    #[error("a port must be named, such as \"pypi.org:443\"")]
    NoPort,
    /// A wildcard that is none.
    #[error("a wildcard stands for whole labels at the beginning, with two or more after it, such as \"*.example.org\"")]
    Wildcard,
    /// An address in a form that systems read differently.
    #[error("an address is written in full, such as \"192.0.2.7\" or \"[2001:db8::7]:8443\"")]
    Address,
    /// An address that is nobody's.
    #[error("no single host has this address")]
    Nobody,
}

impl Egress {
    /// Reads the list of a profile. The error names the entry.
    pub fn parse(agent: &str, hosts: &[String], private: Private) -> Result<Self, (String, EgressError)> {
        let rule = |written: &String| Rule::parse(written).map_err(|e| (written.clone(), e));
        let rules = hosts.iter().map(rule).collect::<Result<_, _>>()?;
        Ok(Self { agent: agent.to_owned(), rules, private })
    }

    /// Whether nothing is allowed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// The entry that allows it.
    pub(in crate::gateway) fn rule_for(&self, wanted: &Destination) -> Option<&Rule> {
        self.rules.iter().find(|rule| rule.port == wanted.port && rule.place.holds(&wanted.host))
    }

    /// Where an allowed name may lead to.
    pub(in crate::gateway) fn may_reach(&self, address: IpAddr) -> bool {
        match address::reach(address) {
            address::Reach::Public => true,
            address::Reach::Private => self.private == Private::Allowed,
            address::Reach::Closed => false,
        }
    }

    /// What an operator would change.
    pub(in crate::gateway) fn setting(&self, key: &str) -> String {
        format!("{key} of [agents.{}]", self.agent)
    }
}

impl Rule {
    fn parse(written: &str) -> Result<Self, EgressError> {
        let (host, port) = split(written)?;
        let place = match host.strip_prefix("*.") {
            Some(rest) if rest.contains('.') && !rest.contains('*') => match read_host(rest)? {
                Host::Name(name) => Place::Below(format!(".{name}")),
                Host::Address(_) => return Err(EgressError::Wildcard),
            },
            None if !host.contains('*') => match read_host(host)? {
                Host::Name(name) => Place::Name(name),
                Host::Address(address) if address.is_unspecified() || address.is_multicast() => return Err(EgressError::Nobody),
                Host::Address(IpAddr::V4(Ipv4Addr::BROADCAST)) => return Err(EgressError::Nobody),
                Host::Address(address) => Place::Address(address),
            },
            Some(_) | None => return Err(EgressError::Wildcard),
        };
        Ok(Self { written: written.to_owned(), place, port: port.unwrap_or(DEFAULT_PORT) })
    }
}

impl Place {
    fn holds(&self, host: &Host) -> bool {
        match (self, host) {
            (Place::Name(allowed), Host::Name(name)) => allowed == name,
            (Place::Below(end), Host::Name(name)) => name.ends_with(end.as_str()) && name.len() > end.len(),
            (Place::Address(allowed), Host::Address(address)) => allowed == address,
            (Place::Name(_) | Place::Below(_), Host::Address(_)) | (Place::Address(_), Host::Name(_)) => false,
        }
    }
}

impl Destination {
    /// Reads the target of a `CONNECT`.
    pub(in crate::gateway) fn parse(authority: &str) -> Result<Self, EgressError> {
        let (host, port) = split(authority)?;
        Ok(Self { host: read_host(host)?, port: port.ok_or(EgressError::NoPort)? })
    }
}

impl std::fmt::Display for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Host::Name(name) => f.write_str(name),
            Host::Address(address) => write!(f, "{address}"),
        }
    }
}

/// Host and port of `host`, `host:port`, `[address]` or `[address]:port`. The brackets stay.
fn split(text: &str) -> Result<(&str, Option<u16>), EgressError> {
    let (host, port) = match text.strip_prefix('[').and_then(|_| text.find(']')) {
        Some(end) => match text[end + 1..].strip_prefix(':') {
            Some(port) => (&text[..=end], Some(port)),
            None if text.len() == end + 1 => (text, None),
            None => return Err(EgressError::Form),
        },
        None => match text.split_once(':') {
            // Such as an address without brackets, or one with a scheme.
            Some((_, rest)) if rest.contains(':') => return Err(EgressError::Address),
            Some((_, rest)) if rest.starts_with('/') => return Err(EgressError::Form),
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    let number = |port: &str| {
        let digits = !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
        port.parse::<u16>().ok().filter(|port| digits && *port != 0).ok_or(EgressError::Port)
    };
    Ok((host, port.map(number).transpose()?))
}

fn read_host(text: &str) -> Result<Host, EgressError> {
    if !text.is_ascii() {
        return Err(EgressError::International);
    }
    if let Some(inside) = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        let address: Ipv6Addr = inside.parse().map_err(|_| EgressError::Address)?;
        // The same host would have two forms.
        let plain = address.to_ipv4_mapped().is_none();
        return if plain { Ok(Host::Address(address.into())) } else { Err(EgressError::Address) };
    }
    if let Ok(address) = text.parse::<Ipv4Addr>() {
        return Ok(Host::Address(address.into()));
    }
    let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
    let is_label = |label: &str| {
        let inner = label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
        inner && !label.is_empty() && label.len() <= MAX_LABEL && !label.starts_with('-') && !label.ends_with('-')
    };
    if name.len() > MAX_NAME || !name.split('.').all(is_label) {
        return Err(EgressError::Form);
    }
    // "127.1", "0x7f.1" and "2130706433" are addresses to the system's look-up, whatever they look like.
    let last = name.rsplit('.').next().unwrap_or_default();
    let is_number = last.bytes().all(|b| b.is_ascii_digit()) || last.strip_prefix("0x").is_some_and(is_hexadecimal);
    if is_number { Err(EgressError::Address) } else { Ok(Host::Name(name)) }
}

fn is_hexadecimal(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(hosts: &[&str]) -> Egress {
        let hosts: Vec<String> = hosts.iter().map(|host| (*host).to_owned()).collect();
        Egress::parse("a", &hosts, Private::Refused).expect("a list")
    }

    fn allows(list: &Egress, target: &str) -> bool {
        Destination::parse(target).is_ok_and(|wanted| list.rule_for(&wanted).is_some())
    }

    #[test]
    fn what_is_listed_is_allowed_in_every_way_of_writing_it_and_nothing_beside_it() {
        let list = list(&[
            "pypi.org",
            "*.npmjs.org",
            "Git.Example.COM:8443",
            "192.0.2.7",
            "[2001:db8::7]:9000",
            "xn--bcher-kva.example",
        ]);
        for target in [
            "pypi.org:443",
            "PyPI.org:443",
            "pypi.org.:443",
            "registry.npmjs.org:443",
            "a.b.npmjs.org:443",
            "git.example.com:8443",
            "192.0.2.7:443",
            "[2001:db8::7]:9000",
            "[2001:DB8:0:0::7]:9000",
            "XN--BCHER-KVA.example:443",
        ] {
            assert!(allows(&list, target), "{target}");
        }
        for target in [
            "pypi.org:80",
            "pypi.org",
            "evil.org:443",
            "notpypi.org:443",
            "pypi.org.evil.org:443",
            "files.pypi.org:443",
            "npmjs.org:443",
            ".npmjs.org:443",
            "evilnpmjs.org:443",
            "git.example.com:443",
            "192.0.2.8:443",
            "[2001:db8::7]:443",
            "[::ffff:192.0.2.7]:443",
            "pypi.org..:443",
            "b\u{fc}cher.example:443",
        ] {
            assert!(!allows(&list, target), "{target}");
        }
        assert!(!allows(&super::tests::list(&[]), "pypi.org:443"), "nothing is allowed by itself");
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_no_destination() {
        for target in [
            "pypi.org@evil.org:443",
            "user:password@pypi.org:443",
            "pypi.org:443@evil.org:443",
            "http://pypi.org:443",
            "pypi.org:443/path",
            "pypi.org:0443x",
            "pypi.org:+443",
            "pypi.org:0",
            "pypi.org:65536",
            "pypi.org:",
            ":443",
            "",
            "pypi.org evil.org:443",
            "pypi.org\r\nx:443",
            "pypi.org%2eevil.org:443",
            "pypi.org#:443",
            "::1:443",
            "[::1",
            "[::1]443",
            "[fe80::1%eth0]:443",
            "127.1:443",
            "0x7f.1:443",
            "0x7f000001:443",
            "2130706433:443",
            "0177.0.0.1:443",
            "1.2.3.4.5:443",
            "-x.org:443",
        ] {
            assert!(Destination::parse(target).is_err(), "{target}");
        }
    }

    #[test]
    fn an_entry_that_means_nothing_or_too_much_is_refused_with_the_way_out() {
        let wrong = |entry: &str| Rule::parse(entry).expect_err(entry);
        for entry in ["*", "*.org", "*.", "a.*.org", "*a.example.org", "*.*.org", "*.1.2.3.4", "*.0.2.7"] {
            let error = wrong(entry);
            assert!(matches!(error, EgressError::Wildcard | EgressError::Address), "{entry}: {error}");
        }
        assert_eq!(wrong("https://pypi.org"), EgressError::Form);
        assert_eq!(wrong("pypi.org/simple"), EgressError::Form);
        assert_eq!(wrong("b\u{fc}cher.example"), EgressError::International);
        assert_eq!(wrong("::1"), EgressError::Address);
        assert_eq!(wrong("[::ffff:10.0.0.1]"), EgressError::Address);
        assert_eq!(wrong("0.0.0.0"), EgressError::Nobody);
        assert_eq!(wrong("224.0.0.1"), EgressError::Nobody);
        assert_eq!(wrong("pypi.org:https"), EgressError::Port);
    }
}
