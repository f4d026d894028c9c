//! Shell text to the commands that would run: compounds flattened, substitutions and payloads followed, words resolved.
//!
//! It judges nothing; what it cannot resolve it reports as a gap, and a gap is asked about.

mod nesting;
mod output;
mod payload;
mod walk;
mod word;
mod wrappers;

pub(crate) use payload::encoded;
pub(crate) use walk::{Command, Gap, GapKind, RedirectKind, Stdin, Walk, walk};
pub(crate) use word::Arg;
