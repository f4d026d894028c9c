//! One connection for the streams of many: what it holds back, what ends it, and what then becomes of whom.

use axum::body::Bytes;
use serde_json::{Map, json};

use super::frames::{self, Peer, Wire};
use super::stand::DEADLINE;
use super::tls::trusting;
use crate::gateway::chat::Request;
use crate::gateway::failure::Failure;
use crate::gateway::forwarded::Forwarded;
use crate::gateway::outbound::{Form, Outbound};
use crate::gateway::transport::{CONNECTION_WINDOW_BYTES, MAX_HEADER_LIST_BYTES, STREAM_WINDOW_BYTES};
use crate::gateway::upstream::{Client, Line, Reply};
use crate::gateway::{Repairs, Settings, Upstream};
use crate::id::TaskId;
use crate::policy::{Exempt, Reason};

/// One who asks the peer.
struct Asker {
    client: Client,
    line: Line,
}

impl Asker {
    fn new(peer: &Peer, settings: &Settings) -> Self {
        let upstream = Upstream { base_url: peer.base_url.clone(), ..Upstream::default() };
        let line = Line::new(&TaskId::new(), upstream, Vec::new(), &Forwarded::default());
        Self { client: Client::new(settings).expect("a client"), line }
    }

    async fn ask(&self, word: &str) -> Result<Reply, Failure> {
        let question = Request::parse(json!({"messages": [], "stream": true}), &Repairs::default()).expect("a request");
        let frame = Map::from_iter([("word".to_owned(), word.into())]);
        let form = Form { messages: "messages", model: None };
        let outbound = Outbound::new(Exempt::because(Reason::SystemPrompt, frame), form);
        let asked = self.client.send(&self.line, &question, &outbound);
        tokio::time::timeout(DEADLINE, asked).await.expect("in time")
    }

    /// Asks over this connection, up to the head of the answer.
    async fn begin(&self, wire: &mut Wire, word: &str) -> (Reply, u32) {
        let served = async {
            let stream = wire.request(word).await;
            wire.head(stream).await;
            stream
        };
        let (reply, stream) = tokio::join!(self.ask(word), served);
        (reply.expect("a head"), stream)
    }
}

/// With the first connection and the first answer on it.
async fn begun(settings: Settings) -> (Asker, Peer, Wire, Reply, u32) {
    let peer = Peer::new().await;
    let asker = Asker::new(&peer, &settings);
    let served = async {
        let mut wire = peer.connection().await;
        let stream = wire.request("first").await;
        wire.head(stream).await;
        (wire, stream)
    };
    let (reply, (wire, stream)) = tokio::join!(asker.ask("first"), served);
    (asker, peer, wire, reply.expect("a head"), stream)
}

async fn next(reply: &mut Reply) -> Result<Option<Bytes>, String> {
    tokio::time::timeout(DEADLINE, reply.next()).await.expect("in time").map_err(|failure| failure.message)
}

const BROKEN: &str = "the upstream model broke off its answer";

/// Until the answer breaks off.
async fn broken(reply: &mut Reply) {
    loop {
        match next(reply).await {
            Ok(Some(_)) => {}
            other => return assert_eq!(other, Err(BROKEN.into())),
        }
    }
}

/// Text goes from the peer to this reader.
async fn goes_on(wire: &mut Wire, reply: &mut Reply, stream: u32) {
    wire.data(stream, b"more").await;
    assert_eq!(next(reply).await, Ok(Some("more".into())));
}

#[tokio::test]
async fn a_flood_is_held_by_the_window_of_its_stream_and_holds_nobody_else() {
    let (asker, _peer, mut wire, mut slow, first) = begun(trusting()).await;
    assert_eq!(wire.flood(first).await, STREAM_WINDOW_BYTES as usize);
    let (mut other, second) = asker.begin(&mut wire, "second").await;
    goes_on(&mut wire, &mut other, second).await;
    let mut read = 0;
    while read < STREAM_WINDOW_BYTES as usize {
        read += next(&mut slow).await.expect("intact").expect("more").len();
    }
    let more = async {
        while wire.room(first) == 0 {
            wire.settle().await;
        }
    };
    tokio::time::timeout(DEADLINE, more).await.expect("who reads is sent more");
    // Who sends more than it may loses the stream and nothing else.
    assert!(wire.flood(first).await > 0);
    wire.data(first, b"x").await;
    let frame = wire.next().await.expect("a frame");
    assert_eq!((frame.kind, frame.stream, frame.code()), (frames::RESET, first, frames::FLOW_CONTROL_ERROR));
    broken(&mut slow).await;
    goes_on(&mut wire, &mut other, second).await;
}

#[tokio::test]
async fn small_frames_that_nobody_reads_end_the_connection_before_they_fill_the_memory() {
    let (_asker, _peer, mut wire, mut slow, first) = begun(trusting()).await;
    // Each counts as 256 bytes; half the connection's window is what they may take.
    let frames = CONNECTION_WINDOW_BYTES / 2 / 255 + 2;
    assert!(frames < STREAM_WINDOW_BYTES, "the window alone would let them pass");
    let frame = [&[0, 0, 1, frames::DATA, 0], &first.to_be_bytes()[..], b"x"].concat();
    wire.write(&frame.repeat(frames as usize)).await;
    let frame = wire.next().await.expect("a frame");
    assert_eq!((frame.kind, frame.code()), (frames::GO_AWAY, frames::ENHANCE_YOUR_CALM));
    broken(&mut slow).await;
}

#[tokio::test]
async fn who_stops_listening_ends_one_stream() {
    let (asker, _peer, mut wire, mut stays, first) = begun(trusting()).await;
    let (reply, second) = asker.begin(&mut wire, "second").await;
    drop(reply);
    let frame = wire.next().await.expect("a frame");
    assert_eq!((frame.kind, frame.stream, frame.code()), (frames::RESET, second, frames::CANCEL));
    // The same before there is an answer.
    tokio::select! {
        _ = asker.ask("third") => panic!("nobody answers"),
        third = wire.request("third") => assert!(third > second),
    }
    let frame = wire.next().await.expect("a frame");
    assert_eq!((frame.kind, frame.code()), (frames::RESET, frames::CANCEL));
    goes_on(&mut wire, &mut stays, first).await;
}

#[tokio::test]
async fn a_refused_stream_is_asked_again_as_often_as_is_set() {
    for retries in [0, 2] {
        let (asker, _peer, mut wire, mut stays, first) = begun(Settings { retries, ..trusting() }).await;
        let refused = async {
            for _ in 0..=retries {
                let stream = wire.request("second").await;
                wire.reset(stream, frames::REFUSED_STREAM).await;
            }
        };
        let (reply, ()) = tokio::join!(asker.ask("second"), refused);
        assert_eq!(reply.err().expect("refused").message, "the upstream model broke off before its answer");
        // What comes next is something else.
        asker.begin(&mut wire, "third").await;
        goes_on(&mut wire, &mut stays, first).await;
    }
}

#[tokio::test]
async fn a_stream_under_way_outlives_the_word_that_the_connection_ends() {
    let (asker, peer, mut wire, mut stays, first) = begun(trusting()).await;
    let served = async {
        // Too late for this connection: repeated on another, once.
        wire.request("second").await;
        wire.go_away(first, frames::NO_ERROR).await;
        let mut wire = peer.connection().await;
        let second = wire.request("second").await;
        wire.head(second).await;
        (wire, second)
    };
    let (reply, (mut newer, second)) = tokio::join!(asker.ask("second"), served);
    let mut reply = reply.expect("an answer");
    goes_on(&mut newer, &mut reply, second).await;
    goes_on(&mut wire, &mut stays, first).await;
    wire.end(first).await;
    while let Some(bytes) = next(&mut stays).await.expect("a whole answer") {
        assert!(bytes.is_empty(), "{bytes:?}");
    }
    asker.begin(&mut newer, "third").await;
}

#[tokio::test]
async fn where_nothing_may_be_repeated_nothing_is() {
    let (asker, peer, mut wire, mut stays, first) = begun(Settings { retries: 0, ..trusting() }).await;
    let served = async {
        wire.request("second").await;
        wire.go_away(first, frames::NO_ERROR).await;
    };
    let (reply, ()) = tokio::join!(asker.ask("second"), served);
    assert!(reply.is_err());
    goes_on(&mut wire, &mut stays, first).await;
    let served = async {
        let mut wire = peer.connection().await;
        wire.request("third").await;
        wire
    };
    tokio::select! {
        _ = asker.ask("third") => panic!("nobody answers"),
        _wire = served => {}
    }
}

#[tokio::test]
async fn a_lost_connection_ends_each_of_its_streams() {
    let (asker, peer, mut wire, mut one, first) = begun(trusting()).await;
    let (mut other, _) = asker.begin(&mut wire, "second").await;
    goes_on(&mut wire, &mut one, first).await;
    drop(wire);
    broken(&mut one).await;
    broken(&mut other).await;
    let served = async {
        let mut wire = peer.connection().await;
        let third = wire.request("third").await;
        wire.head(third).await;
        (wire, third)
    };
    let (reply, (mut wire, third)) = tokio::join!(asker.ask("third"), served);
    goes_on(&mut wire, &mut reply.expect("an answer"), third).await;
}

#[tokio::test]
async fn a_connection_that_gives_no_sign_of_life_is_given_up() {
    let settings = Settings { ping_s: 1, idle_timeout_s: 3600, ..trusting() };
    let (_asker, _peer, mut wire, mut reply, _) = begun(settings).await;
    let asked = async { wire.next().await.expect("a frame").kind };
    let (broken, kind) = tokio::join!(next(&mut reply), asked);
    assert_eq!((broken, kind), (Err(BROKEN.into()), frames::PING));
}

/// `:status: 200` and a field of 4038 bytes, so many times.
fn long(times: usize) -> Vec<u8> {
    let once = [&[frames::STATUS_OK, 0x40, 6][..], b"x-long", &[0x7f, 0xa1, 0x1e], &[b'x'; 4000]].concat();
    // From then on it stands in the table.
    [once, vec![0xbe; times - 1]].concat()
}

#[tokio::test]
async fn an_answer_with_too_long_a_head_is_an_error_that_says_so_and_is_not_asked_for_again() {
    let (asker, _peer, mut wire, mut stays, first) = begun(trusting()).await;
    let fits = MAX_HEADER_LIST_BYTES as usize / 4038;
    for times in [fits, fits + 1] {
        let served = async {
            let second = wire.request("second").await;
            wire.fields(second, &long(times)).await;
        };
        let (reply, ()) = tokio::join!(asker.ask("second"), served);
        let message = reply.err().map(|failure| failure.message).unwrap_or_default();
        assert_eq!(message.contains("more than 32768 bytes of headers"), times > fits, "{message}");
        assert_eq!(wire.next().await.expect("a frame").kind, frames::RESET);
    }
    asker.begin(&mut wire, "third").await;
    goes_on(&mut wire, &mut stays, first).await;
}

#[tokio::test]
async fn an_upstream_that_wants_another_http_is_told_of_with_the_way_out() {
    let (asker, _peer, mut wire, _stays, _) = begun(trusting()).await;
    let served = async {
        let second = wire.request("second").await;
        wire.reset(second, frames::HTTP_1_1_REQUIRED).await;
    };
    let (reply, ()) = tokio::join!(asker.ask("second"), served);
    let message = reply.err().expect("refused").message;
    assert!(message.contains("gateway.http_version = \"1.1\""), "{message}");
    asker.begin(&mut wire, "third").await;
}
