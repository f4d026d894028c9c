//! The beginning of a tunnel to a name: it must be TLS, and ask for that name. Many names share an address; without this,
//! one that is allowed would open all that lie behind the same address.

use rustls::server::Acceptor;

/// A client's first message has far less; one that does not end is none.
pub(in crate::gateway) const MAX_HELLO_BYTES: usize = 32 << 10;

/// What a tunnel begins with.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::gateway) enum Beginning {
    /// Not all of it has come.
    Unfinished,
    /// TLS that asks for this name, in lower case; `None` where it names none.
    Tls(Option<String>),
    /// Something else, or more than a client says first.
    Other,
}

/// Reads what has come so far.
pub(in crate::gateway) fn read(bytes: &[u8]) -> Beginning {
    let mut acceptor = Acceptor::default();
    let mut rest = bytes;
    while !rest.is_empty() {
        if acceptor.read_tls(&mut rest).is_err() {
            return Beginning::Other;
        }
        match acceptor.accept() {
            Ok(Some(accepted)) => {
                return Beginning::Tls(accepted.client_hello().server_name().map(str::to_ascii_lowercase));
            }
            Ok(None) => {}
            Err(_) => return Beginning::Other,
        }
    }
    if bytes.len() < MAX_HELLO_BYTES { Beginning::Unfinished } else { Beginning::Other }
}

#[cfg(test)]
pub(in crate::gateway) mod tests {
    use std::sync::Arc;

    use super::*;

    /// What a client says first that wants this name.
    pub(in crate::gateway) fn hello(name: &'static str) -> Vec<u8> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let versions =
            rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().expect("versions");
        let config = versions.with_root_certificates(rustls::RootCertStore::empty()).with_no_client_auth();
        let mut client = rustls::ClientConnection::new(Arc::new(config), name.try_into().expect("a name")).expect("a client");
        let mut bytes = Vec::new();
        client.write_tls(&mut bytes).expect("writes");
        bytes
    }

    #[test]
    fn the_name_is_read_however_the_bytes_come() {
        let bytes = hello("Files.Example.org");
        for end in 0..bytes.len() {
            assert_eq!(read(&bytes[..end]), Beginning::Unfinished, "{end} of {}", bytes.len());
        }
        let named = Beginning::Tls(Some("files.example.org".into()));
        assert_eq!(read(&bytes), named);
        assert_eq!(read(&[bytes.as_slice(), b"early data"].concat()), named);
        assert_eq!(read(&hello("192.0.2.7")), Beginning::Tls(None));
    }

    #[test]
    fn what_is_no_tls_is_told_from_what_is_unfinished() {
        assert_eq!(read(b"GET / HTTP/1.1\r\nHost: allowed.example\r\n\r\n"), Beginning::Other);
        assert_eq!(read(b"SSH-2.0-OpenSSH_9.9\r\n"), Beginning::Other);
        assert_eq!(read(b""), Beginning::Unfinished);
        // A message that says it goes on for ever.
        let endless = [&[22, 3, 1, 0x40, 0, 1, 0, 0xff, 0xff][..], &[0; MAX_HELLO_BYTES]].concat();
        assert_eq!(read(&endless), Beginning::Other);
    }
}
