//! A client of Chat Completions with one connection, which it keeps: asks for a stream and takes the times of its answer.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use serde_json::{Value, json};

/// As long as people may take to start so many streams on a busy machine.
const WAIT: Duration = Duration::from_secs(120);
/// What an agent says of itself and its tools with each request.
const INSTRUCTIONS: &str = "You work in a folder with a program in it. Read before you write, say what you did, and ask where \
                            something is not clear. Names of files are seen from the folder.\n";
const INSTRUCTIONS_TIMES: usize = 50;

/// The client.
pub(crate) struct Talk {
    stream: BufReader<TcpStream>,
    head: String,
    instructions: String,
}

/// An answer, and when it came, in milliseconds since its question began to leave.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    /// The first text.
    pub(crate) first_text: Option<f64>,
    /// Its end.
    pub(crate) end: f64,
    /// All of its text.
    pub(crate) text: String,
    /// The arguments of its call.
    pub(crate) arguments: String,
    /// Whether it ended as such answers do.
    pub(crate) whole: bool,
}

impl Talk {
    /// Connects to `http://HOST:PORT/PATH`, below which `/chat/completions` lies.
    pub(crate) fn connect(url: &str, token: &str) -> anyhow::Result<Self> {
        let (address, path) = url.strip_prefix("http://").and_then(|rest| rest.split_once('/')).context("no address")?;
        let stream = TcpStream::connect(address).with_context(|| format!("cannot connect to {address}"))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(WAIT))?;
        let head = format!(
            "POST /{path}/chat/completions HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {token}\r\n\
             user-agent: coda-bench/1\r\ncontent-type: application/json\r\naccept: text/event-stream\r\n"
        );
        Ok(Self { stream: BufReader::new(stream), head, instructions: INSTRUCTIONS.repeat(INSTRUCTIONS_TIMES) })
    }

    /// How long a question is, in bytes.
    pub(crate) fn question_bytes(&self) -> usize {
        self.question("").len()
    }

    fn question(&self, words: &str) -> String {
        let tool = json!({"type": "function", "function": {"name": "terminal", "description": "Runs a command.", "parameters": {
            "type": "object", "properties": {"command": {"type": "string"}}, "required": ["command"]}}});
        let messages = json!([{"role": "system", "content": self.instructions}, {"role": "user", "content": words}]);
        json!({"model": "main", "stream": true, "messages": messages, "tools": [tool]}).to_string()
    }

    /// Asks, and reads to the end.
    pub(crate) fn ask(&mut self, words: &str) -> anyhow::Result<Answer> {
        let body = self.question(words);
        let request = format!("{}content-length: {}\r\n\r\n{body}", self.head, body.len());
        let begun = Instant::now();
        self.stream.get_mut().write_all(request.as_bytes())?;
        self.head_of_answer()?;
        let (mut answer, mut seen, mut at) = (Answer::default(), Vec::new(), 0);
        while self.chunk(&mut seen)? {
            while let Some(length) = seen[at..].iter().position(|byte| *byte == b'\n') {
                answer.line(&seen[at..at + length], begun)?;
                at += length + 1;
            }
        }
        answer.end = milliseconds(begun);
        Ok(answer)
    }

    fn head_of_answer(&mut self) -> anyhow::Result<()> {
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            ensure!(self.stream.read_line(&mut line)? > 0, "the connection ended before an answer");
            let line = line.trim_end().to_ascii_lowercase();
            if line.is_empty() {
                break;
            }
            lines.push(line);
        }
        let is_good = lines.first().is_some_and(|status| status.starts_with("http/1.1 200"));
        let in_chunks = lines.iter().any(|line| line == "transfer-encoding: chunked");
        if is_good && in_chunks {
            return Ok(());
        }
        let length = lines.iter().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok()).unwrap_or(0);
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body)?;
        bail!("no stream, but {lines:?} {}", String::from_utf8_lossy(&body))
    }

    /// Adds the next chunk of the body; false at its end.
    fn chunk(&mut self, seen: &mut Vec<u8>) -> anyhow::Result<bool> {
        let mut line = String::new();
        self.stream.read_line(&mut line)?;
        let size = usize::from_str_radix(line.trim(), 16).with_context(|| format!("no size of a chunk: {line:?}"))?;
        let before = seen.len();
        seen.resize(before + size, 0);
        self.stream.read_exact(&mut seen[before..])?;
        self.stream.read_exact(&mut [0; 2])?;
        Ok(size > 0)
    }
}

impl Answer {
    fn line(&mut self, line: &[u8], begun: Instant) -> anyhow::Result<()> {
        let Some(data) = line.strip_prefix(b"data: ") else { return Ok(()) };
        if data.trim_ascii() == b"[DONE]" {
            self.whole = true;
            return Ok(());
        }
        let event: Value = serde_json::from_slice(data)?;
        ensure!(event.get("error").is_none_or(Value::is_null), "the stream broke off: {event}");
        let delta = &event["choices"][0]["delta"];
        if let Some(text) = delta["content"].as_str().filter(|text| !text.is_empty()) {
            self.first_text.get_or_insert_with(|| milliseconds(begun));
            self.text.push_str(text);
        }
        if let Some(part) = delta["tool_calls"][0]["function"]["arguments"].as_str() {
            self.arguments.push_str(part);
        }
        Ok(())
    }
}

fn milliseconds(begun: Instant) -> f64 {
    begun.elapsed().as_secs_f64() * 1e3
}
