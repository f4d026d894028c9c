//! An MCP client with one connection that does nothing but send a call and wait: what it takes is the server's time.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};

const WAIT: Duration = Duration::from_secs(60);

/// The client.
pub(crate) struct Client {
    stream: BufReader<TcpStream>,
    head: String,
}

impl Client {
    /// Connects.
    pub(crate) fn connect(address: &str, token: &str) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(WAIT))?;
        let head = format!(
            "POST /mcp HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {token}\r\nuser-agent: coda-bench/1\r\n\
             content-type: application/json\r\naccept: application/json, text/event-stream\r\n\
             mcp-protocol-version: 2025-11-25\r\n"
        );
        Ok(Self { stream: BufReader::new(stream), head })
    }

    /// Connects as a person of whom a proxy in front of coda says who it is.
    pub(crate) fn person(address: &str, name: &str, secret: &str) -> anyhow::Result<Self> {
        let mut client = Self::connect(address, "")?;
        client.head = format!(
            "HTTP/1.1\r\nhost: {address}\r\nx-forwarded-email: {name}\r\nx-proxy-secret: {secret}\r\n\
             origin: http://{address}\r\ncontent-type: application/json\r\n"
        );
        Ok(client)
    }

    /// Asks as a person: the status, the body, and the milliseconds.
    pub(crate) fn ask(&mut self, method: &str, path: &str, body: &str) -> anyhow::Result<(u16, Value, f64)> {
        let request = format!("{method} {path} {}content-length: {}\r\n\r\n{body}", self.head, body.len());
        let begun = Instant::now();
        self.stream.get_mut().write_all(request.as_bytes())?;
        let (status, answer) = self.answer()?;
        let time = begun.elapsed().as_secs_f64() * 1e3;
        Ok((status, serde_json::from_slice(&answer).unwrap_or_default(), time))
    }

    /// Calls a tool: its structured answer, and the milliseconds from the first byte sent to the last one read.
    pub(crate) fn call(&mut self, tool: &str, arguments: &Value) -> anyhow::Result<(Value, f64)> {
        let message =
            json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": { "name": tool, "arguments": arguments } });
        let body = message.to_string();
        let request = format!("{}content-length: {}\r\n\r\n{body}", self.head, body.len());
        let begun = Instant::now();
        self.stream.get_mut().write_all(request.as_bytes())?;
        let (status, answer) = self.answer()?;
        let time = begun.elapsed().as_secs_f64() * 1e3;
        ensure!(status == 200, "the server answered {status}");
        let answer: Value = serde_json::from_slice(&answer)?;
        let result = &answer["result"];
        ensure!(result["isError"] == false, "{tool} failed: {answer}");
        Ok((result["structuredContent"].clone(), time))
    }

    /// Hands a task to the runbook agent: its status, and the milliseconds.
    pub(crate) fn submit(&mut self, command: &str) -> anyhow::Result<(String, f64)> {
        let prompt = format!("Run this:\n\n```sh\n{command}\n```\n");
        let (answer, time) = self.call("coda_run", &json!({ "prompt": prompt, "agent": "runbook" }))?;
        Ok((answer["status"].as_str().context("no status")?.to_owned(), time))
    }

    fn answer(&mut self) -> anyhow::Result<(u16, Vec<u8>)> {
        let mut line = String::new();
        self.stream.read_line(&mut line)?;
        let status = line.split(' ').nth(1).and_then(|word| word.parse().ok());
        let status = status.with_context(|| format!("the server answered {line:?}"))?;
        let mut length = None;
        loop {
            line.clear();
            self.stream.read_line(&mut line)?;
            let Some((name, value)) = line.trim_end().split_once(':') else { break };
            if name.eq_ignore_ascii_case("content-length") {
                length = Some(value.trim().parse()?);
            }
        }
        let mut body = vec![0; length.context("an answer without content-length")?];
        self.stream.read_exact(&mut body)?;
        Ok((status, body))
    }
}
