//! Runs one step in a bash of its own. Only the working directory carries over. What it prints goes to the terminal as
//! it comes, and is kept up to a bound: its begin and its end.

use std::collections::VecDeque;
use std::io::Write as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncReadExt as _;
use tokio::net::unix::pipe;
use tokio::process::Command;
use tokio::time::{Instant, sleep_until};

/// Kept of the begin of an output.
const HEAD_BYTES: usize = 192 * 1024;
/// Kept of its end.
const TAIL_BYTES: usize = 64 * 1024;
/// A child in the background may hold the pipe: the step is over all the same.
const DRAIN: Duration = Duration::from_millis(250);

/// A step that ran.
#[derive(Debug)]
pub(super) struct Ran {
    pub(super) exit_code: i32,
    /// Standard output and error as they came.
    pub(super) output: String,
    /// Where it ended.
    pub(super) cwd: PathBuf,
}

pub(super) async fn run(command: &str, cwd: &Path) -> std::io::Result<Ran> {
    let (reader, writer) = std::io::pipe()?;
    let place = std::env::temp_dir().join(format!("coda-step-{}", crate::env::hex(&crate::env::random_bytes::<8>())));
    // On the command's own line, so that bash's line numbers are the step's.
    let script = format!("trap 'pwd -P > \"$CODA_STEP_PLACE\"' EXIT; {command}");
    let mut bash = Command::new("bash");
    bash.args(["--noprofile", "--norc", "-c", &script]).current_dir(cwd);
    bash.env_remove("CODA_GATEWAY_TOKEN").env_remove("CODA_GATEWAY_URL").env_remove("BASH_ENV");
    bash.env("CODA_STEP_PLACE", &place).stdin(Stdio::null());
    bash.stdout(writer.try_clone()?).stderr(writer).kill_on_drop(true);
    let mut child = bash.spawn()?;
    // Holds our copies of the pipe's writing end.
    drop(bash);
    let mut output = pipe::Receiver::from_owned_fd(reader.into())?;
    let mut kept = Bounded::default();
    let mut buffer = vec![0; 16 * 1024];
    let mut status = None;
    let mut until = None;
    let mut open = true;
    while status.is_none() || open {
        tokio::select! {
            read = output.read(&mut buffer), if open => match read {
                Ok(0) | Err(_) => open = false,
                Ok(n) => {
                    show(&buffer[..n]);
                    kept.take(&buffer[..n]);
                }
            },
            ended = child.wait(), if status.is_none() => {
                status = Some(ended?);
                until = Some(Instant::now() + DRAIN);
            }
            () = sleep_until(until.unwrap_or_else(Instant::now)), if until.is_some() => break,
        }
    }
    let status = status.expect("the loop ends after the child");
    let end = std::fs::read_to_string(&place).unwrap_or_default();
    let _ = std::fs::remove_file(&place);
    let end = PathBuf::from(end.trim_end_matches('\n'));
    let cwd = if end.is_dir() { end } else { cwd.to_owned() };
    let exit_code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
    Ok(Ran { exit_code, output: kept.text(), cwd })
}

fn show(bytes: &[u8]) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(bytes);
    let _ = out.flush();
}

/// The begin and the end of an output.
#[derive(Debug, Default)]
struct Bounded {
    head: Vec<u8>,
    tail: VecDeque<u8>,
    cut: u64,
}

impl Bounded {
    fn take(&mut self, bytes: &[u8]) {
        let room = HEAD_BYTES - self.head.len();
        let (head, rest) = bytes.split_at(room.min(bytes.len()));
        self.head.extend_from_slice(head);
        self.tail.extend(rest);
        let over = self.tail.len().saturating_sub(TAIL_BYTES);
        self.tail.drain(..over);
        self.cut += over as u64;
    }

    fn text(self) -> String {
        let head = String::from_utf8_lossy(&self.head).into_owned();
        let tail: Vec<u8> = self.tail.into();
        let tail = String::from_utf8_lossy(&tail).into_owned();
        match self.cut {
            0 => head + &tail,
            cut => format!("{head}\n[{cut} bytes are left out here]\n{tail}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn ran(command: &str) -> Ran {
        run(command, Path::new("/usr")).await.expect("runs")
    }

    #[tokio::test]
    async fn only_the_directory_carries_over() {
        let step = ran("echo out; echo err >&2; cd bin; exit 3").await;
        assert_eq!((step.exit_code, step.output.as_str()), (3, "out\nerr\n"));
        assert!(step.cwd.ends_with("bin"), "{:?}", step.cwd);
        assert_eq!(ran("exec true").await.cwd, Path::new("/usr"));
        assert_eq!(ran("kill -9 $$").await.exit_code, 137);
        assert_eq!(ran("cat <<EOF\nhere\nEOF").await.output, "here\n");
        assert_eq!(ran("read -r x || echo nothing to read # comment").await.exit_code, 0);
    }

    #[tokio::test]
    async fn a_child_in_the_background_does_not_hold_the_step() {
        let began = std::time::Instant::now();
        let step = ran("sleep 100 & echo $!").await;
        assert!(began.elapsed() < Duration::from_secs(30));
        let pid: i32 = step.output.trim().parse().expect("a pid");
        let pid = rustix::process::Pid::from_raw(pid).expect("not 0");
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("it ran on");
    }

    #[tokio::test]
    async fn a_long_output_keeps_begin_and_end() {
        let step = ran("echo begin; head -c 1000000 /dev/zero | tr '\\0' x; echo; echo end").await;
        assert!(step.output.starts_with("begin\n") && step.output.ends_with("\nend\n"));
        assert!(step.output.len() < HEAD_BYTES + TAIL_BYTES + 100 && step.output.contains("bytes are left out"));
    }
}
