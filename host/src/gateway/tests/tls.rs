//! TLS before the tests' upstreams. Their certificate is for `localhost` and 127.0.0.1, holds until 2120, and comes from a CA
//! whose key nobody has any more.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::service::TowerToHyperService;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::stand::{Script, Stand};
use crate::gateway::{Dialect, Settings};

/// Requests that an upstream takes at once over HTTP/2.
pub(super) const MAX_STREAMS: u32 = 4;

/// The file with the CA.
pub(super) fn ca() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src/gateway/tests/tls/ca.pem")
}

/// What trusts it. No pings, which a test that reads frames would have to expect.
pub(super) fn trusting() -> Settings {
    Settings { ca_file: Some(ca()), retries: 1, ping_s: 0, ..Settings::default() }
}

/// An upstream's side of TLS, which offers these protocols.
pub(super) fn acceptor(protocols: &[&str]) -> TlsAcceptor {
    let chain = CertificateDer::pem_slice_iter(include_bytes!("tls/server.pem")).collect::<Result<Vec<_>, _>>().expect("PEM");
    let key = PrivateKeyDer::from_pem_slice(include_bytes!("tls/server.key")).expect("PEM");
    let builder = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().expect("versions");
    let mut config = builder.with_no_client_auth().with_single_cert(chain, key).expect("a certificate and its key");
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
    TlsAcceptor::from(Arc::new(config))
}

/// A stand whose upstream is behind TLS.
pub(super) struct Secure {
    pub(super) stand: Stand,
    pub(super) port: u16,
    connections: Arc<AtomicUsize>,
}

impl Secure {
    pub(super) async fn new(protocols: &[&str], settings: Settings) -> Self {
        let (script, connections) = (Arc::new(Script::default()), Arc::new(AtomicUsize::new(0)));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("bound").port();
        tokio::spawn(serve(listener, acceptor(protocols), Arc::clone(&script), Arc::clone(&connections)));
        let stand = Stand::before(script, format!("https://127.0.0.1:{port}/v1"), Dialect::Chat, settings);
        Self { stand, port, connections }
    }

    /// How many connections there were.
    pub(super) fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }
}

async fn serve(listener: TcpListener, acceptor: TlsAcceptor, script: Arc<Script>, connections: Arc<AtomicUsize>) {
    while let Ok((stream, _)) = listener.accept().await {
        connections.fetch_add(1, Ordering::Relaxed);
        let (acceptor, service) = (acceptor.clone(), TowerToHyperService::new(script.router()));
        tokio::spawn(async move {
            let Ok(stream) = acceptor.accept(stream).await else { return };
            let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
            let stream = TokioIo::new(stream);
            // It ends with its client.
            let _ = match is_http2 {
                true => {
                    let mut server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                    server.max_concurrent_streams(MAX_STREAMS).serve_connection(stream, service).await
                }
                false => hyper::server::conn::http1::Builder::new().serve_connection(stream, service).await,
            };
        });
    }
}
