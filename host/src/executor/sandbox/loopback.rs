//! The network of a task in tier A: a loopback interface, and on it a listener that the server gets.

use std::net::{Ipv4Addr, TcpListener};

use super::SandboxError;

/// Name of the interface, as the kernel wants it.
const NAME: &[u8] = b"lo";

/// Brings the interface up and takes the gateway's port on it. To be called inside.
pub(in crate::executor) fn listen(port: u16) -> Result<TcpListener, SandboxError> {
    let failed = |what: &'static str| move |source| SandboxError::Namespaces { what: what.into(), source };
    up().map_err(failed("the loopback interface does not come up"))?;
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).map_err(failed("the gateway's port inside"))
}

fn up() -> std::io::Result<()> {
    use std::os::fd::AsRawFd as _;
    // Any socket will do to name an interface through.
    let socket = std::net::UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    #[expect(unsafe_code, reason = "no safe interface sets an interface's flags")]
    // SAFETY: an all-zero ifreq is a valid one; it outlives the call, which reads name and flags.
    let done = unsafe {
        let mut request: libc::ifreq = std::mem::zeroed();
        for (to, from) in request.ifr_name.iter_mut().zip(NAME) {
            *to = libc::c_char::from_ne_bytes([*from]);
        }
        request.ifr_ifru.ifru_flags = libc::c_short::try_from(libc::IFF_UP | libc::IFF_RUNNING).unwrap_or(libc::c_short::MAX);
        libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request)
    };
    if done == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
}
