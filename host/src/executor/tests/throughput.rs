//! How fast a terminal's bytes go through, beside a bare reader of the same terminal. `CODA_FLOOD_BYTES` sets how many:
//! `CODA_FLOOD_BYTES=200000000 cargo test --release -p coda --lib executor::tests::throughput -- --nocapture`

use std::time::Instant;

use super::harness::{Stage, soon};
use crate::executor::{How, pty};

const FEW: u64 = 2_000_000;

fn script(bytes: u64) -> String {
    format!("yes 'all work and no play makes a dull terminal, and so on, line after line' | head -c {bytes}")
}

#[tokio::test]
async fn a_flood_goes_through_whole() {
    let bytes = std::env::var("CODA_FLOOD_BYTES").ok().and_then(|b| b.parse().ok()).unwrap_or(FEW);
    let mut command = tokio::process::Command::new("bash");
    command.args(["-c", &script(bytes)]);
    let began = Instant::now();
    let (mut terminal, mut child) = pty::start(command, std::process::Stdio::piped(), 120, 40).expect("starts");
    let mut buffer = vec![0; 64 * 1024];
    let mut bare = 0;
    soon("a bare reader", async {
        while let Ok(n @ 1..) = terminal.reader.read(&mut buffer).await {
            bare += n as u64;
        }
        child.wait().await.expect("ended");
    })
    .await;
    let bare_s = began.elapsed().as_secs_f64();
    let stage = Stage::with(&script(bytes));
    let began = Instant::now();
    let ended = stage.run().await;
    let whole_s = began.elapsed().as_secs_f64();
    assert_eq!(ended.how, How::Exited { code: 0 });
    assert!(ended.output_bytes >= bare && bare >= bytes, "{} and {bare} of {bytes}", ended.output_bytes);
    let mb = |s: f64| bare as f64 / 1e6 / s;
    println!("bare reader {:.1} MB/s; masked, modelled, recorded {:.1} MB/s; {bare} bytes", mb(bare_s), mb(whole_s));
}
