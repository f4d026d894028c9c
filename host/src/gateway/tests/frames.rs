//! An upstream that speaks HTTP/2 frame by frame, as well or as badly as a test wants.

use std::collections::BTreeMap;

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::stand::DEADLINE;

pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
pub(super) const RESET: u8 = 3;
pub(super) const SETTINGS: u8 = 4;
pub(super) const PING: u8 = 6;
pub(super) const GO_AWAY: u8 = 7;
pub(super) const WINDOW_UPDATE: u8 = 8;

/// Of DATA and HEADERS.
const END_STREAM: u8 = 1;
/// Of HEADERS.
const END_HEADERS: u8 = 4;
/// Of SETTINGS and PING.
const ACK: u8 = 1;

pub(super) const NO_ERROR: u32 = 0;
pub(super) const FLOW_CONTROL_ERROR: u32 = 3;
pub(super) const REFUSED_STREAM: u32 = 7;
pub(super) const CANCEL: u32 = 8;
pub(super) const ENHANCE_YOUR_CALM: u32 = 11;
pub(super) const HTTP_1_1_REQUIRED: u32 = 13;

/// `:status: 200`, from HPACK's table.
pub(super) const STATUS_OK: u8 = 0x88;
/// `content-type`, its name from the table, its value not to be remembered.
const EVENT_STREAM: &[u8] = b"\x0f\x10\x11text/event-stream";

/// The upstream.
pub(super) struct Peer {
    listener: TcpListener,
    acceptor: TlsAcceptor,
    pub(super) base_url: String,
}

/// One connection to it.
pub(super) struct Wire {
    stream: TlsStream<TcpStream>,
    /// What may be sent on a new stream.
    initial: i64,
    /// What may be sent on all streams.
    window: i64,
    windows: BTreeMap<u32, i64>,
}

#[derive(Debug)]
pub(super) struct Frame {
    pub(super) kind: u8,
    flags: u8,
    pub(super) stream: u32,
    payload: Vec<u8>,
}

impl Frame {
    /// The error code of a RESET or GO_AWAY.
    pub(super) fn code(&self) -> u32 {
        let at = if self.kind == GO_AWAY { 4 } else { 0 };
        u32::from_be_bytes(self.payload[at..at + 4].try_into().expect("four bytes"))
    }
}

impl Peer {
    pub(super) async fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let base_url = format!("https://{}/v1", listener.local_addr().expect("bound"));
        Self { listener, acceptor: super::tls::acceptor(&["h2"]), base_url }
    }

    /// The next connection, when its client has said that it speaks HTTP/2.
    pub(super) async fn connection(&self) -> Wire {
        let begun = async {
            let (stream, _) = self.listener.accept().await.expect("a connection");
            let mut stream = self.acceptor.accept(stream).await.expect("TLS");
            let mut preface = [0; 24];
            stream.read_exact(&mut preface).await.expect("a preface");
            assert_eq!(&preface, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
            stream
        };
        let stream = tokio::time::timeout(DEADLINE, begun).await.expect("in time");
        let mut wire = Wire { stream, initial: 65_535, window: 65_535, windows: BTreeMap::new() };
        wire.send(SETTINGS, 0, 0, &[]).await;
        wire
    }
}

impl Wire {
    pub(super) async fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        let mut frame = u32::try_from(payload.len()).expect("short").to_be_bytes()[1..].to_vec();
        frame.extend([kind, flags]);
        frame.extend(stream.to_be_bytes());
        frame.extend(payload);
        self.write(&frame).await;
    }

    /// Bytes as they are.
    pub(super) async fn write(&mut self, bytes: &[u8]) {
        let written = async {
            self.stream.write_all(bytes).await?;
            self.stream.flush().await
        };
        tokio::time::timeout(DEADLINE, written).await.expect("in time").expect("written");
    }

    /// The next frame that is no matter of course; `None` at the end.
    pub(super) async fn next(&mut self) -> Option<Frame> {
        loop {
            let frame = tokio::time::timeout(DEADLINE, self.read()).await.expect("in time").ok()?;
            let number = |bytes: &[u8]| i64::from(u32::from_be_bytes(bytes.try_into().expect("four bytes")));
            match frame.kind {
                SETTINGS if frame.flags & ACK == 0 => {
                    for setting in frame.payload.chunks(6).filter(|setting| setting[..2] == [0, 4]) {
                        self.initial = number(&setting[2..]);
                    }
                    self.send(SETTINGS, ACK, 0, &[]).await;
                }
                SETTINGS => {}
                WINDOW_UPDATE if frame.stream == 0 => self.window += number(&frame.payload),
                WINDOW_UPDATE => *self.windows.entry(frame.stream).or_insert(self.initial) += number(&frame.payload),
                _ => return Some(frame),
            }
        }
    }

    async fn read(&mut self) -> std::io::Result<Frame> {
        let mut head = [0; 9];
        self.stream.read_exact(&mut head).await?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; usize::try_from(length).expect("short")];
        self.stream.read_exact(&mut payload).await?;
        let stream = u32::from_be_bytes([head[5] & 0x7f, head[6], head[7], head[8]]);
        Ok(Frame { kind: head[3], flags: head[4], stream, payload })
    }

    /// The next request, which must be the one that says this.
    pub(super) async fn request(&mut self, word: &str) -> u32 {
        let mut body = Vec::new();
        loop {
            let frame = self.next().await.expect("a request");
            assert!(matches!(frame.kind, HEADERS | DATA), "{frame:?}");
            if frame.kind == DATA {
                body.extend_from_slice(&frame.payload);
            }
            if frame.flags & END_STREAM != 0 {
                let body: Value = serde_json::from_slice(&body).expect("JSON");
                assert_eq!(body["word"], word);
                self.windows.insert(frame.stream, self.initial);
                return frame.stream;
            }
        }
    }

    /// Begins an answer as a stream of events.
    pub(super) async fn head(&mut self, stream: u32) {
        self.fields(stream, &[&[STATUS_OK], EVENT_STREAM].concat()).await;
    }

    /// Begins an answer with these fields, as HPACK writes them.
    pub(super) async fn fields(&mut self, stream: u32, fields: &[u8]) {
        self.send(HEADERS, END_HEADERS, stream, fields).await;
    }

    pub(super) async fn data(&mut self, stream: u32, bytes: &[u8]) {
        self.send(DATA, 0, stream, bytes).await;
    }

    pub(super) async fn end(&mut self, stream: u32) {
        self.send(DATA, END_STREAM, stream, &[]).await;
    }

    pub(super) async fn reset(&mut self, stream: u32, code: u32) {
        self.send(RESET, 0, stream, &code.to_be_bytes()).await;
    }

    pub(super) async fn go_away(&mut self, last: u32, code: u32) {
        self.send(GO_AWAY, 0, 0, &[last.to_be_bytes(), code.to_be_bytes()].concat()).await;
    }

    /// When all that was sent before has been seen, and what was sent because of it has been read.
    pub(super) async fn settle(&mut self) {
        self.send(PING, 0, 0, b"settled?").await;
        let frame = self.next().await.expect("a frame");
        assert!(frame.kind == PING && frame.flags == ACK, "{frame:?}");
    }

    /// What may be sent on a stream now.
    pub(super) fn room(&self, stream: u32) -> usize {
        usize::try_from(self.window.min(self.windows[&stream])).unwrap_or(0)
    }

    /// Sends what a stream takes until it takes no more; gives how much that was.
    pub(super) async fn flood(&mut self, stream: u32) -> usize {
        let mut sent = 0;
        loop {
            let size = self.room(stream).min(16 << 10);
            self.data(stream, &vec![b'x'; size]).await;
            sent += size;
            let used = i64::try_from(size).expect("small");
            self.window -= used;
            *self.windows.get_mut(&stream).expect("open") -= used;
            if self.room(stream) == 0 {
                self.settle().await;
                if self.room(stream) == 0 {
                    return sent;
                }
            }
        }
    }
}
