//! The bundled policies: components that host/build.rs made, the folder that `coda init` writes, and each policy's own
//! suite. They are bytes here; they are loaded, checked and judged like anybody's policy.

use std::borrow::Cow;
use std::io;
use std::path::Path;

/// A bundled policy.
struct Bundled {
    name: &'static str,
    component: &'static [u8],
    suite: &'static str,
}

macro_rules! bundled {
    ($($name:literal),+) => {
        &[$(Bundled {
            name: $name,
            component: include_bytes!(concat!(env!("OUT_DIR"), "/", $name, ".wasm")),
            suite: include_str!(concat!("../../../guest-policy/", $name, "/tests/", $name, ".yaml")),
        }),+]
    };
}

static BUNDLED: &[Bundled] = bundled!["content-filter", "destructive-ops", "client-shapes"];

/// The policies.toml that `coda init` writes, and that a folder without one starts from.
pub const DEFAULT_POLICIES: &str = include_str!("../../../guest-policy/policies.toml");

/// The component of a bundled policy.
#[must_use]
pub fn bundled(name: &str) -> Option<&'static [u8]> {
    BUNDLED.iter().find(|policy| policy.name == name).map(|policy| policy.component)
}

/// The names of all bundled policies.
pub fn bundled_names() -> impl Iterator<Item = &'static str> {
    BUNDLED.iter().map(|policy| policy.name)
}

/// The suite of a bundled policy: YAML, as in the policy folder's `tests/NAME.yaml`.
#[must_use]
pub fn bundled_suite(name: &str) -> Option<&'static str> {
    BUNDLED.iter().find(|policy| policy.name == name).map(|policy| policy.suite)
}

/// The component of a bundled policy, or the file `NAME.wasm` of `overrides` where that folder is set (`CODA_GUESTS`).
/// A folder that is set and lacks the file is an error: nothing else may stand in for it.
pub fn component(name: &str, overrides: Option<&Path>) -> io::Result<Option<Cow<'static, [u8]>>> {
    match (bundled(name), overrides) {
        (None, _) => Ok(None),
        (Some(component), None) => Ok(Some(Cow::Borrowed(component))),
        (Some(_), Some(dir)) => std::fs::read(dir.join(format!("{name}.wasm"))).map(|bytes| Some(Cow::Owned(bytes))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bundled_policy_is_a_component_with_a_suite() {
        for name in bundled_names() {
            let bytes = bundled(name).expect("it is listed");
            // The preamble of a component: magic number, version 13, layer 1.
            assert_eq!(&bytes[..8], b"\0asm\x0d\0\x01\0", "{name}");
            assert!(bundled_suite(name).is_some_and(|suite| suite.contains("name:")), "{name}");
            assert!(DEFAULT_POLICIES.contains(name), "{name}");
        }
        assert!(bundled("other").is_none());
    }

    #[test]
    fn a_folder_of_overrides_counts_and_must_be_complete() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        std::fs::write(dir.path().join("client-shapes.wasm"), b"other").expect("it is writable");
        assert_eq!(component("client-shapes", Some(dir.path())).expect("it is there").as_deref(), Some(&b"other"[..]));
        assert!(component("content-filter", Some(dir.path())).is_err());
        assert!(component("unknown", Some(dir.path())).expect("nothing is read").is_none());
    }
}
