//! Which releases of other people's agents coda is tested with. One list, `tested.toml`: the end-to-end tests install from
//! it, and `coda doctor` warns by it.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use serde::Deserialize;

const LIST: &str = include_str!("tested.toml");

/// One agent's releases.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tested {
    /// The release that the end-to-end tests run.
    pub version: String,
    /// The first one of those that are taken to be like it.
    pub from: String,
    /// The first one that is not any more.
    pub below: String,
    npm: Option<String>,
    pip: Option<String>,
    /// Only the tests need it: where the program lies below node_modules.
    #[serde(rename = "program")]
    _program: Option<String>,
    /// As its package says.
    pub licence: String,
    /// How long a call may be held: measured on that release, less a margin.
    pub max_hold_s: u64,
}

impl Tested {
    /// The line that installs it.
    #[must_use]
    pub fn install(&self) -> String {
        let arch = if cfg!(target_arch = "aarch64") { "arm64" } else { "x64" };
        match (&self.npm, &self.pip) {
            (Some(package), _) => format!("npm install -g {}@{}", package.replace("{arch}", arch), self.version),
            (None, Some(package)) => format!("pip install {package}=={}", self.version),
            (None, None) => format!("install {}", self.version),
        }
    }

    /// Whether what a program says of itself names a release of the range.
    #[must_use]
    pub fn covers(&self, said: &str) -> bool {
        let (Some(version), Some(from), Some(below)) = (numbers(said), numbers(&self.from), numbers(&self.below)) else {
            return false;
        };
        from <= version && version < below
    }
}

/// By the agent's word in coda.toml.
pub(super) fn of(name: &str) -> Option<&'static Tested> {
    static PARSED: OnceLock<BTreeMap<String, Tested>> = OnceLock::new();
    PARSED.get_or_init(|| toml::from_str(LIST).expect("tested.toml is right: a test reads it")).get(name)
}

/// The release that a program names when it is asked for one, such as `2.1.329` in `2.1.329 (Claude Code)`.
#[must_use]
pub fn version_in(said: &str) -> Option<&str> {
    let word =
        |w: &&str| w.contains('.') && w.split('.').all(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit()));
    let apart = |c: char| !c.is_ascii_digit() && c != '.';
    said.split(apart).map(|w| w.trim_matches('.')).find(word)
}

fn numbers(text: &str) -> Option<Vec<u64>> {
    version_in(text)?.split('.').map(|part| part.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_is_found_in_whatever_a_program_says() {
        assert_eq!(version_in("Hermes Agent v0.19.0 (2026.7.20)"), Some("0.19.0"));
        assert_eq!(version_in(" 1.52.0"), Some("1.52.0"));
        assert_eq!(version_in("codex-cli 0.169.0"), Some("0.169.0"));
        assert_eq!(version_in("2.1.329 (Claude Code)"), Some("2.1.329"));
        assert_eq!(version_in("no version at all. 7"), None);
    }

    #[test]
    fn the_range_begins_with_from_and_ends_before_below() {
        let goose = of("goose").expect("listed");
        assert!(goose.covers(" 1.52.0") && goose.covers("1.52.9"));
        assert!(!goose.covers("1.51.9") && !goose.covers("1.53.0") && !goose.covers("dev"));
    }

    #[test]
    fn what_the_tests_run_is_in_the_range() {
        let listed: BTreeMap<String, Tested> = toml::from_str(LIST).expect("right");
        for (name, tested) in listed {
            assert!(tested.covers(&tested.version), "{name}");
            assert!(tested.npm.is_some() != tested.pip.is_some(), "{name} comes from one registry");
            assert!(super::super::Kind::named(&name).is_some(), "{name} is a kind");
        }
    }
}
