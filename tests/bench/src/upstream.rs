//! A scripted model of the benchmark's own, which takes no time: what it answers is said by a word in the question.
//!
//! Some questions are only there so that an agent, whose network leads nowhere else, can wait for the benchmark: they are
//! handed over as `Turn`s, and answered when those are dropped.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{OnceLock, mpsc};

use anyhow::Context as _;
use serde_json::{Value, json};

use crate::commands::COMMANDS;

/// A short text, at once.
pub(crate) const TEXT: &str = "BENCH-TEXT";
/// A call of a tool, at once.
pub(crate) const CALL: &str = "BENCH-CALL";
/// A long text; then a turn; then a call.
pub(crate) const LONG: &str = "BENCH-LONG";
/// Nothing before a turn is over.
pub(crate) const WAIT: &str = "BENCH-WAIT";

/// Of a long text.
pub(crate) const LONG_PIECES: usize = 256;
/// Characters of one of them.
const PIECE: usize = 64;
/// Of a short text, after the first one.
const SHORT_PIECES: usize = 20;
/// Of these, the bundled policies let all run: the first of those that are judged elsewhere.
const HARMLESS: usize = 4;

/// Somebody waits for the benchmark, until this is dropped.
pub(crate) struct Turn {
    /// The word that it asked with.
    pub(crate) word: &'static str,
    _over: mpsc::Sender<()>,
}

/// The model.
pub(crate) struct Upstream {
    /// `http://HOST:PORT/v1`.
    pub(crate) url: String,
    /// Who waits.
    pub(crate) turns: mpsc::Receiver<Turn>,
}

impl Upstream {
    /// Starts it, for as long as the process runs.
    pub(crate) fn start() -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").context("cannot listen on loopback")?;
        let url = format!("http://{}/v1", listener.local_addr()?);
        let (waits, turns) = mpsc::channel();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let waits = waits.clone();
                // A client that has gone away is no mishap of the model.
                std::thread::spawn(move || serve(stream, &waits));
            }
        });
        Ok(Self { url, turns })
    }
}

/// The command that is called for with this number.
pub(crate) fn command(number: usize) -> &'static str {
    COMMANDS[number % HARMLESS]
}

/// What a long text says.
pub(crate) fn long_text() -> String {
    "words ".repeat(PIECE * LONG_PIECES / 6 + 1)[..PIECE * LONG_PIECES].to_owned()
}

/// Answers on one connection until it ends.
fn serve(stream: TcpStream, waits: &mpsc::Sender<Turn>) -> anyhow::Result<()> {
    stream.set_nodelay(true)?;
    let mut stream = BufReader::new(stream);
    loop {
        let mut length = 0;
        loop {
            let mut line = String::new();
            if stream.read_line(&mut line)? == 0 {
                return Ok(());
            }
            match line.trim_end().split_once(':') {
                Some((name, value)) if name.eq_ignore_ascii_case("content-length") => length = value.trim().parse()?,
                None if line.trim_end().is_empty() => break,
                _ => {}
            }
        }
        let mut body = vec![0; length];
        stream.read_exact(&mut body)?;
        answer(stream.get_mut(), &String::from_utf8(body)?, waits)?;
    }
}

fn answer(stream: &mut TcpStream, question: &str, waits: &mpsc::Sender<Turn>) -> anyhow::Result<()> {
    let asked = |word: &str| question.split_once(word).map(|(_, rest)| number(rest));
    let mut out = Vec::from("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n");
    event(&mut out, json!({"role": "assistant", "content": ""}), Value::Null);
    if let Some(n) = asked(LONG) {
        let text = long_text();
        for at in (0..text.len()).step_by(PIECE) {
            event(&mut out, json!({"content": text[at..at + PIECE]}), Value::Null);
            flush(stream, &mut out)?;
        }
        wait(LONG, waits);
        call(&mut out, n);
    } else if let Some(n) = asked(CALL) {
        call(&mut out, n);
    } else {
        if asked(WAIT).is_some() {
            wait(WAIT, waits);
        }
        event(&mut out, json!({"content": "Here "}), Value::Null);
        flush(stream, &mut out)?;
        (0..SHORT_PIECES).for_each(|_| event(&mut out, json!({"content": "it is. "}), Value::Null));
        event(&mut out, json!({}), "stop".into());
    }
    chunk(&mut out, "data: [DONE]\n\n");
    out.extend_from_slice(b"0\r\n\r\n");
    flush(stream, &mut out)
}

fn number(rest: &str) -> usize {
    let digits: String = rest.chars().skip(1).take_while(char::is_ascii_digit).collect();
    digits.parse().unwrap_or(0)
}

fn wait(word: &'static str, waits: &mpsc::Sender<Turn>) {
    let (over, ended) = mpsc::channel();
    if waits.send(Turn { word, _over: over }).is_ok() {
        // Dropped, which is an error here, is what is waited for.
        let _ = ended.recv();
    }
}

/// A call in pieces.
fn call(out: &mut Vec<u8>, n: usize) {
    // As every id of a model: another one each time.
    static RUN: OnceLock<u32> = OnceLock::new();
    let id = format!("call_{}_{n}", RUN.get_or_init(std::process::id));
    let begin = json!({"index": 0, "id": id, "type": "function", "function": {"name": "terminal", "arguments": ""}});
    event(out, json!({"tool_calls": [begin]}), Value::Null);
    let arguments: Vec<char> = json!({"command": command(n)}).to_string().chars().collect();
    for piece in arguments.chunks(16) {
        let piece: String = piece.iter().collect();
        event(out, json!({"tool_calls": [{"index": 0, "function": {"arguments": piece}}]}), Value::Null);
    }
    event(out, json!({}), "tool_calls".into());
}

fn event(out: &mut Vec<u8>, delta: Value, finish: Value) {
    let value = json!({"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1_700_000_000, "model": "bench",
                       "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]});
    chunk(out, &format!("data: {value}\n\n"));
}

fn chunk(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(format!("{:x}\r\n{text}\r\n", text.len()).as_bytes());
}

fn flush(stream: &mut TcpStream, out: &mut Vec<u8>) -> anyhow::Result<()> {
    stream.write_all(out)?;
    out.clear();
    Ok(())
}
