//! The bundled policies. (Under construction: read from the folder that `CODA_GUESTS` names.)

use std::borrow::Cow;
use std::io;
use std::path::Path;

/// The suite of a bundled policy.
#[must_use]
pub fn bundled_suite(_name: &str) -> Option<&'static str> {
    None
}

/// The component of a bundled policy, or the file `NAME.wasm` of `overrides`.
pub fn component(name: &str, overrides: Option<&Path>) -> io::Result<Option<Cow<'static, [u8]>>> {
    match overrides {
        None => Ok(None),
        Some(dir) => std::fs::read(dir.join(format!("{name}.wasm"))).map(|bytes| Some(Cow::Owned(bytes))),
    }
}
