//! How upstreams are connected to: in which HTTP, within which bounds, trusting whom; and what it means when that fails.
//!
//! Over TLS the upstream says by ALPN whether it speaks HTTP/2; without TLS it is asked over HTTP/1.1. One HTTP/2 connection
//! carries the streams of many tasks, each request with its own credential. Connections are kept by scheme, host and port:
//! names that share a certificate share no connection. There is no cookie jar, and the client library repeats nothing that
//! was sent: repeating is `upstream`'s matter, so that `gateway.retries` counts all of it.
//!
//! What reqwest 0.13 does not let us set stays at the bounds of hyper 1 and h2 0.4: no pushed streams; 100 open streams
//! until the upstream has said how many it takes, then as many as that, and who comes later waits; 50 streams that we reset,
//! remembered for 1 s; a connection is closed with the 1025th stream that breaks the protocol, with more header bytes than
//! four times the bound below, and with small DATA frames that wait to be read and would take more than half the connection's
//! window to keep track of; 4 KiB of header compression; 1 MiB of a request under way per stream.

use std::error::Error;
use std::io::Read as _;
use std::path::Path;
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use super::Settings;

/// What an upstream may send on one stream before the gateway has read it. At 100 ms to the upstream and back 2.5 MB/s.
pub(in crate::gateway) const STREAM_WINDOW_BYTES: u32 = 256 << 10;
/// The same for all streams of a connection together: 32 that nobody reads leave nothing for others. Turns read always.
pub(in crate::gateway) const CONNECTION_WINDOW_BYTES: u32 = 8 << 20;
/// Largest frame of an upstream: the smallest bound that HTTP/2 has.
const MAX_FRAME_BYTES: u32 = 16 << 10;
/// Names and values of an answer's head, and 32 bytes for each of them, as HTTP/2 counts.
pub(in crate::gateway) const MAX_HEADER_LIST_BYTES: u32 = 32 << 10;
/// A connection without requests is closed after this time.
const IDLE_CONNECTION: Duration = Duration::from_secs(90);
/// Connections without requests that are kept for one upstream; HTTP/2 needs one.
const MAX_IDLE_CONNECTIONS: usize = 32;
/// A file of CAs has at most this many bytes; what systems trust has about 230 KB.
const MAX_CA_BYTES: u64 = 1 << 20;
/// What libraries say of an error is logged up to this length: an upstream may have a part in it.
const MAX_DETAIL_CHARS: usize = 500;

/// Over which HTTP upstreams are asked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum HttpVersion {
    /// HTTP/2 where TLS finds that the upstream offers it, else HTTP/1.1.
    #[default]
    Negotiated,
    /// HTTP/1.1: each request has a connection to itself.
    Http1,
}

/// The HTTP client. Follows no redirect and no proxy of the environment: both would carry the credential away.
pub(in crate::gateway) fn client(settings: &Settings) -> Result<reqwest::Client, String> {
    // Fails only if another part of the program was first, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let ping = (settings.ping_s > 0).then(|| Duration::from_secs(settings.ping_s));
    let trusted = settings.ca_file.as_deref().map(authorities).transpose()?.unwrap_or_default();
    let builder = reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .connect_timeout(Duration::from_secs(settings.connect_timeout_s))
        .user_agent(concat!("coda/", env!("CARGO_PKG_VERSION")))
        .tls_certs_merge(trusted)
        .pool_idle_timeout(IDLE_CONNECTION)
        .pool_max_idle_per_host(MAX_IDLE_CONNECTIONS)
        .http2_initial_stream_window_size(STREAM_WINDOW_BYTES)
        .http2_initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .http2_max_frame_size(MAX_FRAME_BYTES)
        .http2_max_header_list_size(MAX_HEADER_LIST_BYTES)
        .http2_keep_alive_interval(ping)
        .http2_keep_alive_timeout(ping.unwrap_or_default());
    let builder = match settings.http_version {
        HttpVersion::Negotiated => builder,
        HttpVersion::Http1 => builder.http1_only(),
    };
    builder.build().map_err(|e| chain(&e))
}

/// The certificates of a PEM file. They are trusted besides the system's.
pub(in crate::gateway) fn authorities(path: &Path) -> Result<Vec<reqwest::Certificate>, String> {
    let wrong = |why: String| format!("gateway.ca_file {} {why}", path.display());
    let unread = |e: std::io::Error| wrong(format!("cannot be read: {e}"));
    let mut text = Vec::new();
    let file = std::fs::File::open(path).map_err(unread)?;
    file.take(MAX_CA_BYTES + 1).read_to_end(&mut text).map_err(unread)?;
    if text.len() as u64 > MAX_CA_BYTES {
        return Err(wrong(format!("is longer than {MAX_CA_BYTES} bytes: list only the CAs of your own upstreams")));
    }
    let mut store = rustls::RootCertStore::empty();
    let mut found = Vec::new();
    for certificate in CertificateDer::pem_slice_iter(&text) {
        let unfit = |why: String| wrong(format!("has an unusable certificate, number {}: {why}", found.len() + 1));
        let certificate = certificate.map_err(|e| unfit(e.to_string()))?;
        store.add(certificate.clone()).map_err(|e| unfit(e.to_string()))?;
        found.push(reqwest::Certificate::from_der(&certificate).map_err(|e| unfit(chain(&e)))?);
    }
    if found.is_empty() {
        return Err(wrong("has no certificate: PEM is expected, from -----BEGIN CERTIFICATE----- on".into()));
    }
    Ok(found)
}

/// Whether a request that failed may be sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::gateway) enum Again {
    /// Nothing of an answer has come.
    May,
    /// Something of an answer has come, or it would come to the same.
    MustNot,
}

/// What a failed request comes to.
#[derive(Debug)]
pub(in crate::gateway) struct Break {
    /// For the agent, after "the upstream model".
    pub(in crate::gateway) words: String,
    pub(in crate::gateway) again: Again,
    /// For the log.
    pub(in crate::gateway) detail: String,
}

impl Break {
    /// Of a request that got no head of an answer.
    pub(in crate::gateway) fn of(error: reqwest::Error) -> Self {
        let error = error.without_url();
        let (words, again) = match (cause::<rustls::Error>(&error), cause::<h2::Error>(&error)) {
            (Some(tls), _) if error.is_connect() => untrusted(tls),
            (_, Some(http2)) => unanswered(http2),
            _ if error.is_connect() => ("cannot be reached".into(), Again::May),
            _ => (BROKE_OFF.into(), Again::May),
        };
        Self { words, again, detail: chain(&error) }
    }
}

const BROKE_OFF: &str = "broke off before its answer";

fn untrusted(error: &rustls::Error) -> (String, Again) {
    use rustls::CertificateError as Why;
    let rustls::Error::InvalidCertificate(why) = error else {
        return ("cannot be reached over TLS; coda's log says why".into(), Again::May);
    };
    let words = match why {
        Why::UnknownIssuer => "is of a CA that coda does not trust; gateway.ca_file adds one",
        Why::NotValidForName | Why::NotValidForNameContext { .. } => "is for another name",
        Why::Expired | Why::ExpiredContext { .. } => "has expired",
        _ => "is not accepted; coda's log says why",
    };
    (format!("cannot be reached: its certificate {words}"), Again::MustNot)
}

/// A stream that was refused, or came after the last one of a connection that ends, was not looked at. Of others nobody
/// knows, as of any connection that breaks.
fn unanswered(error: &h2::Error) -> (String, Again) {
    if error.is_reset() && error.is_library() {
        let bound = MAX_HEADER_LIST_BYTES;
        return (
            format!("began its answer in a form that HTTP/2 forbids, or with more than {bound} bytes of headers"),
            Again::MustNot,
        );
    }
    match error.reason() {
        Some(h2::Reason::HTTP_1_1_REQUIRED) => {
            ("takes this over HTTP/1.1 only: gateway.http_version = \"1.1\" asks so".into(), Again::MustNot)
        }
        _ => (BROKE_OFF.into(), Again::May),
    }
}

/// The first error of this type that is behind another.
fn cause<'a, T: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a T> {
    behind(error).find_map(|error| error.downcast_ref())
}

/// An error and those behind it. One of IO names by `source` what is behind the error that it wraps, and not that error.
fn behind<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |error| {
        let error: &'a (dyn Error + 'static) = *error;
        let wrapped = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        wrapped.map(|inner| inner as &(dyn Error + 'static)).or_else(|| error.source())
    })
}

/// What an error says, and those behind it, each once.
pub(in crate::gateway) fn chain(error: &(dyn Error + 'static)) -> String {
    let mut all = String::new();
    for text in behind(error).map(ToString::to_string).filter(|text| !text.is_empty()) {
        if !all.ends_with(&text) {
            all.push_str(if all.is_empty() { "" } else { ": " });
            all.push_str(&text);
        }
    }
    all.chars().take(MAX_DETAIL_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_with_a_certificate_is_said_and_not_tried_again() {
        use rustls::CertificateError as Why;
        for (why, words) in [
            (Why::UnknownIssuer, "gateway.ca_file"),
            (Why::NotValidForName, "is for another name"),
            (Why::Expired, "has expired"),
            (Why::BadSignature, "is not accepted; coda's log says why"),
        ] {
            let (said, again) = untrusted(&rustls::Error::InvalidCertificate(why));
            assert!(said.contains(words) && again == Again::MustNot, "{said}");
        }
        assert_eq!(untrusted(&rustls::Error::DecryptError).1, Again::May);
    }

    #[test]
    fn an_error_is_logged_with_what_is_behind_it_and_no_longer_than_fits() {
        let tls = rustls::Error::InvalidCertificate(rustls::CertificateError::Expired);
        let error = std::io::Error::new(std::io::ErrorKind::InvalidData, tls);
        assert!(chain(&error).contains("Expired"), "{}", chain(&error));
        assert!(matches!(cause::<rustls::Error>(&error), Some(rustls::Error::InvalidCertificate(_))));
        assert_eq!(chain(&std::io::Error::other("x".repeat(1000))).len(), MAX_DETAIL_CHARS);
    }
}
