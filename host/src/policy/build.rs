//! A policy is compiled in a process of its own: the hidden command `policy-build`.
//!
//! ```text
//! server ── order: component, settings, files ──► policy-build ── compiled form ──► cache ──► server
//! ```
//! Compiling takes some hundred megabytes for seconds, which a process that goes on would keep; and a component that is
//! made to use up a compiler's memory or time takes that process with it, not the server. The child writes the compiled
//! form under the cache's own rules, and the server reads it back under them.

use std::ffi::OsString;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process, set_parent_process_death_signal};
use serde::{Deserialize, Serialize};

use super::cache::Cache;
use super::compile;
use super::engine::{Limits, Runtime};
use super::guest::{Configuration, GrantedFile};
use super::settings::Settings;

/// Name of the hidden command.
const COMMAND: &str = "policy-build";
/// Longest head of an order.
const MAX_HEAD_BYTES: usize = 16 << 20;
/// Longest answer: configure's own words are bounded, and this is more.
const MAX_ANSWER_BYTES: u64 = 1 << 20;

/// What is to be built.
pub(super) struct Order<'a> {
    pub(super) component: &'a [u8],
    pub(super) configuration: &'a Configuration,
    pub(super) limits: Limits,
    /// Name of the compiled form in the cache.
    pub(super) key: &'a str,
}

/// How it went.
#[derive(Debug)]
pub(super) enum Built {
    /// It lies in the cache, unless that cannot be written.
    Done {
        /// What `configure` and the snapshot took.
        configure_us: u64,
    },
    /// No process could be started for it.
    NotStarted(std::io::Error),
}

/// Goes before the bytes of component and files.
#[derive(Serialize, Deserialize)]
struct Head {
    settings: Settings,
    cache: PathBuf,
    key: String,
    limits: Limits,
    policy_settings: String,
    component_bytes: u64,
    files: Vec<(String, u64)>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Answer {
    Done { configure_us: u64 },
    Refused { problem: String },
}

/// Has it built by `program`. `Err` says what is wrong with the policy, or how the process ended.
pub(super) fn apart(program: &[OsString], settings: &Settings, cache: &Path, order: &Order<'_>) -> Result<Built, String> {
    let Some((program, arguments)) = program.split_first() else {
        return Ok(Built::NotStarted(std::io::ErrorKind::NotFound.into()));
    };
    let mut command = Command::new(program);
    command.args(arguments).arg(COMMAND).env_clear().current_dir("/");
    let mut child = match command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn() {
        Ok(child) => child,
        Err(error) => return Ok(Built::NotStarted(error)),
    };
    let limit = Duration::from_secs(settings.build_timeout_s);
    let (said, in_time) = within(limit, Pid::from_child(&child), || converse(&mut child, settings, cache, order));
    let status = child.wait().map_err(|error| format!("the process that compiled it is lost: {error}"))?;
    match serde_json::from_slice(&said) {
        Ok(Answer::Done { configure_us }) if status.success() => Ok(Built::Done { configure_us }),
        Ok(Answer::Refused { problem }) => Err(problem),
        _ if !in_time => Err(format!("it was not compiled within {} s (policy.build_timeout_s)", limit.as_secs())),
        _ => Err(format!("the process that compiled it ended without an answer ({status}); is there enough memory?")),
    }
}

/// Hands the order over and takes the answer; what breaks off on the way shows in the answer.
fn converse(child: &mut Child, settings: &Settings, cache: &Path, order: &Order<'_>) -> Vec<u8> {
    let (input, output) = (child.stdin.take(), child.stdout.take());
    let (Some(mut input), Some(output)) = (input, output) else { return Vec::new() };
    let head = Head {
        settings: settings.clone(),
        cache: cache.to_owned(),
        key: order.key.to_owned(),
        limits: order.limits,
        policy_settings: order.configuration.settings.clone(),
        component_bytes: order.component.len() as u64,
        files: order.configuration.files.iter().map(|file| (file.path.clone(), file.content.len() as u64)).collect(),
    };
    let head = serde_json::to_vec(&head).expect("a head is JSON");
    let length = u32::try_from(head.len()).unwrap_or(u32::MAX).to_le_bytes();
    let files = order.configuration.files.iter().map(|file| file.content.as_slice());
    let parts = [&length[..], &head, order.component].into_iter().chain(files);
    // A child that is gone reads no more, and says nothing.
    let _ = parts.map(|part| input.write_all(part)).find(Result::is_err);
    drop(input);
    let mut said = Vec::new();
    let _ = output.take(MAX_ANSWER_BYTES).read_to_end(&mut said);
    said
}

/// Does `work` and kills `pid` where it takes longer than `limit`. Whoever calls has not waited for the child yet, so its
/// pid is still its own.
fn within<T>(limit: Duration, pid: Pid, work: impl FnOnce() -> T) -> (T, bool) {
    let (done, over) = channel::<()>();
    std::thread::scope(|scope| {
        let watch = scope.spawn(move || {
            let in_time = !matches!(over.recv_timeout(limit), Err(RecvTimeoutError::Timeout));
            if !in_time {
                let _ = kill_process(pid, Signal::KILL);
            }
            in_time
        });
        let value = work();
        drop(done);
        (value, watch.join().unwrap_or(false))
    })
}

/// The hidden command.
pub(crate) fn main() -> u8 {
    // Where the server dies, nobody waits for this.
    let _ = set_parent_process_death_signal(Some(Signal::KILL));
    let answer =
        match read_order(&mut std::io::stdin().lock()).and_then(|(head, component, files)| build(head, &component, files)) {
            Ok(configure_us) => Answer::Done { configure_us },
            Err(problem) => Answer::Refused { problem },
        };
    let text = serde_json::to_string(&answer).expect("an answer is JSON");
    u8::from(writeln!(std::io::stdout(), "{text}").is_err())
}

type Parts = (Head, Vec<u8>, Vec<GrantedFile>);

fn read_order(from: &mut impl std::io::Read) -> Result<Parts, String> {
    let lost = |e: std::io::Error| format!("policy-build is coda's own command, and its order broke off: {e}");
    let mut length = [0; 4];
    from.read_exact(&mut length).map_err(lost)?;
    let length = u32::from_le_bytes(length) as usize;
    if length > MAX_HEAD_BYTES {
        return Err(format!("the order's head has {length} bytes, {MAX_HEAD_BYTES} is the most: shorten its settings"));
    }
    let mut bytes = |length: u64| -> Result<Vec<u8>, String> {
        let mut bytes = Vec::new();
        let read = from.by_ref().take(length).read_to_end(&mut bytes).map_err(lost)?;
        if read as u64 == length { Ok(bytes) } else { Err(lost(std::io::ErrorKind::UnexpectedEof.into())) }
    };
    let head: Head = serde_json::from_slice(&bytes(length as u64)?).map_err(|e| format!("the order is unreadable: {e}"))?;
    let component = bytes(head.component_bytes)?;
    let files = head.files.iter().map(|(path, length)| Ok(GrantedFile { path: path.clone(), content: bytes(*length)? }));
    let files = files.collect::<Result<_, String>>()?;
    Ok((head, component, files))
}

fn build(head: Head, component: &[u8], files: Vec<GrantedFile>) -> Result<u64, String> {
    let runtime = Runtime::new(&head.settings).map_err(|error| format!("the policy engine does not start: {error:#}"))?;
    let configuration = Configuration { settings: head.policy_settings, files };
    let (built, configure_us) = compile::build(&runtime, component, &configuration, head.limits)?;
    Cache::open(head.cache).save(runtime.engine(), &head.key, &built);
    Ok(configure_us)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(program: &[&str], limit_s: u64) -> Result<Built, String> {
        let program: Vec<OsString> = program.iter().map(OsString::from).collect();
        let settings = Settings { build_timeout_s: limit_s, ..Settings::default() };
        let configuration = Configuration { settings: "{}".into(), files: Vec::new() };
        let limits = Limits { fuel: 1, timeout_ms: 1, memory_bytes: 1 };
        let order = Order { component: &vec![0; 1 << 20], configuration: &configuration, limits, key: "k" };
        apart(&program, &settings, Path::new("/nowhere"), &order)
    }

    #[test]
    fn a_process_that_does_not_do_it_is_an_error_that_says_so() {
        let shell = |script| order(&["/bin/sh", "-c", script], 60).expect_err("no policy").to_string();
        assert!(shell("exit 0").contains("without an answer (exit status: 0)"));
        assert!(shell("cat > /dev/null; kill -9 $$").contains("signal: 9"));
        assert!(
            shell("cat > /dev/null; echo '{\"refused\":{\"problem\":\"it is no component\"}}'").contains("it is no component")
        );
        assert!(shell("cat > /dev/null; echo '{\"done\":{\"configure_us\":7}}'; exit 3").contains("exit status: 3"));
        assert!(matches!(order(&["/nowhere/coda"], 60), Ok(Built::NotStarted(_))));
        assert!(matches!(order(&[], 60), Ok(Built::NotStarted(_))));
    }

    #[test]
    fn one_that_never_ends_is_ended() {
        let error = order(&["/bin/sh", "-c", "cat > /dev/null; exec sleep 1000"], 1).expect_err("no policy");
        assert!(error.contains("within 1 s (policy.build_timeout_s)"), "{error}");
    }

    #[test]
    fn an_order_that_breaks_off_is_no_order() {
        for order in [&b""[..], &[0xff; 4], &[2, 0, 0, 0, b'{', b'}'], &[9, 0, 0, 0, b'{']] {
            assert!(read_order(&mut &order[..]).is_err(), "{order:?}");
        }
    }
}
