//! coda's hidden command between the sandbox and an agent that goes on: takes out of the database of its conversations
//! what is none, and becomes the agent.

use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::path::Path;

use super::Kind;
use super::kept::{Database, Kept};
use crate::store::foreign::strip;

/// Name of the hidden command.
pub(in crate::executor) const COMMAND: &str = "agent-conversation";
/// What it ends with where the agent cannot go on: nothing was said to its model then.
const CANNOT: u8 = 65;

/// What comes before the program and its arguments.
pub(super) fn first(kind: Kind, own_program: &[OsString]) -> Vec<OsString> {
    own_program.iter().cloned().chain([COMMAND.into(), kind.name().into(), "--".into()]).collect()
}

/// Runs it: `words` are the agent's kind, `--`, its program and its arguments. Comes back where that cannot be.
pub(in crate::executor) fn main(words: &[OsString]) -> u8 {
    let failed = |why: &str| {
        eprintln!("{COMMAND}: {why}");
        CANNOT
    };
    let [kind, _, program, arguments @ ..] = words else { return failed("this is coda's own and takes an agent's call") };
    let kept = kind.to_str().and_then(Kind::named).and_then(Kind::kept);
    let Some(Kept { folder, database: Some(Database { file, stays }), .. }) = kept else {
        return failed("such an agent keeps no database");
    };
    let Some(home) = std::env::var_os("HOME") else { return failed("HOME is not set") };
    // No link may lead to the file; the way to the home is the host's own.
    let path = match Path::new(&home).canonicalize() {
        Ok(home) => home.join(folder).join(file),
        Err(e) => return failed(&format!("the agent's home: {e}")),
    };
    if let Err(e) = strip(&path, &stays) {
        return failed(&e.to_string());
    }
    failed(&std::process::Command::new(program).args(arguments).exec().to_string())
}
