//! Reads the supervisor's reports: bounded lines of JSON from its standard error, which is a socket, so that a descriptor
//! may come along with a line.

use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::process::Stdio;
use std::task::{Context, Poll, ready};

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, BufReader, Interest, ReadBuf};
use tokio::net::UnixStream;

use super::supervisor::{REPORT_BYTES, Report};

/// The reports of one supervisor.
#[derive(Debug)]
pub(super) struct Reports<R> {
    lines: BufReader<R>,
    partial: Vec<u8>,
}

impl<R: AsyncRead + Unpin> Reports<R> {
    pub(super) fn new(from: R) -> Self {
        Self { lines: BufReader::new(from), partial: Vec::new() }
    }

    /// The next report; `None` once the supervisor is gone. Safe to drop while it waits: a half line is kept.
    pub(super) async fn next(&mut self) -> Option<Report> {
        loop {
            let room = REPORT_BYTES.saturating_sub(self.partial.len() as u64);
            let read = (&mut self.lines).take(room).read_until(b'\n', &mut self.partial).await;
            if !matches!(read, Ok(n) if n > 0) {
                return None;
            }
            if !self.partial.ends_with(b"\n") {
                continue;
            }
            let line = std::mem::take(&mut self.partial);
            // Other lines are the runtime's own, such as a panic: for the log.
            match serde_json::from_slice(&line) {
                Ok(report) => return Some(report),
                Err(_) => tracing::warn!(line = %String::from_utf8_lossy(&line).trim_end(), "an agent's supervisor says"),
            }
        }
    }
}

impl Reports<Channel> {
    /// What came along so far, if it is a listener on this port of the loopback interface.
    pub(super) fn take_listener(&mut self, port: u16) -> Option<TcpListener> {
        let descriptor = self.lines.get_mut().along.take()?;
        if !rustix::net::sockopt::socket_acceptconn(&descriptor).is_ok_and(|listens| listens) {
            return None;
        }
        let listener = TcpListener::from(descriptor);
        let address = listener.local_addr().ok()?;
        (address.ip().is_loopback() && address.port() == port && listener.set_nonblocking(true).is_ok()).then_some(listener)
    }

    /// Forgets what came along.
    pub(super) fn discard(&mut self) {
        self.lines.get_mut().along = None;
    }
}

/// Our end of the socket that the reports come through.
#[derive(Debug)]
pub(super) struct Channel {
    stream: UnixStream,
    /// The last descriptor that came along.
    along: Option<OwnedFd>,
}

impl Channel {
    /// A channel and the end that the supervisor gets.
    pub(super) fn open() -> std::io::Result<(Self, Stdio)> {
        let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        Ok((Self { stream: UnixStream::from_std(ours)?, along: None }, Stdio::from(OwnedFd::from(theirs))))
    }

    fn receive(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let Self { stream, along } = self;
        stream.try_io(Interest::READABLE, || {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
            let mut control = RecvAncillaryBuffer::new(&mut space);
            let got = recvmsg(&*stream, &mut [IoSliceMut::new(buffer)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
            for message in control.drain() {
                if let RecvAncillaryMessage::ScmRights(descriptors) = message {
                    *along = descriptors.last();
                }
            }
            Ok(got.bytes)
        })
    }
}

impl AsyncRead for Channel {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        let this = self.get_mut();
        loop {
            ready!(this.stream.poll_read_ready(context))?;
            match this.receive(buffer.initialize_unfilled()) {
                Ok(bytes) => {
                    buffer.advance(bytes);
                    return Poll::Ready(Ok(()));
                }
                Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => {}
                // The other end is gone.
                Err(e) if e.kind() == std::io::ErrorKind::ConnectionReset => return Poll::Ready(Ok(())),
                Err(e) => return Poll::Ready(Err(e)),
            }
        }
    }
}
