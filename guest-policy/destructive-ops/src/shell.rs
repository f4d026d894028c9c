//! Shell text to the commands that would run: compounds flattened, substitutions and payloads followed, words resolved.
//!
//! It judges nothing; what it cannot resolve it reports as a gap, and a gap is asked about.

mod command;
mod compound;
mod nesting;
mod output;
mod payload;
mod simple;
mod variable;
mod walk;
mod word;
mod wrappers;

pub(crate) use command::{Command, Gap, GapKind, RedirectKind, Stdin, Walk};
pub(crate) use payload::encoded;
pub(crate) use walk::walk;
pub(crate) use word::Arg;
