//! The layers that a value can come from, highest first: flag, environment, file, default.

use std::collections::BTreeMap;

use super::settings;
use super::value::SettingValue;

/// Names that the original CoDA used, and what they set today.
const OLD_NAMES: [(&str, &str, &str); 2] =
    [("CODA_MAX_CONCURRENT", "tasks", "max_concurrent"), ("CODA_APP_URL", "server", "public_url")];
/// Short names for what is often set.
const SHORT_NAMES: [(&str, &str, &str); 2] = [("CODA_LOG", "log", "filter"), ("CODA_GUESTS", "policy", "guests")];
/// Hours that finished tasks stay in the inbox.
const OLD_INBOX_HOURS: &str = "CODA_TASK_TTL";

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Nobody set it.
    Default,
    /// coda.toml.
    File,
    /// This environment variable.
    Environment(String),
    /// This flag.
    Flag(String),
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Origin::Default => f.write_str("default"),
            Origin::File => f.write_str("coda.toml"),
            Origin::Environment(name) => write!(f, "environment {name}"),
            Origin::Flag(name) => write!(f, "flag {name}"),
        }
    }
}

/// A decided value, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    /// `section.key`.
    pub key: String,
    /// As TOML; empty where it is unset.
    pub value: String,
    /// Where it comes from.
    pub origin: Origin,
}

/// Something wrong with the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// `section.key`, or empty for the file as a whole.
    pub key: String,
    /// Line in coda.toml, from 1, where it is known.
    pub line: Option<usize>,
    /// What, and the way out.
    pub message: String,
}

impl Problem {
    /// One about a setting.
    pub fn at(key: impl Into<String>, message: impl Into<String>) -> Self {
        Self { key: key.into(), line: None, message: message.into() }
    }
}

/// Values from flags, by `section.key`, with the flag's name.
#[derive(Debug, Clone, Default)]
pub struct Flags(BTreeMap<String, (String, String)>);

impl Flags {
    /// Sets `key` (`section.key`) from `flag` where the flag was given.
    #[must_use]
    pub fn set(mut self, key: &str, flag: &str, value: Option<String>) -> Self {
        if let Some(value) = value {
            self.0.insert(key.to_owned(), (value, flag.to_owned()));
        }
        self
    }
}

/// Decides values and remembers where they came from.
pub(super) struct Layers<'a> {
    pub(super) flags: &'a Flags,
    pub(super) environment: &'a BTreeMap<String, String>,
    pub(super) shown: Vec<Shown>,
    pub(super) problems: Vec<Problem>,
}

impl Layers<'_> {
    pub(super) fn take<T: SettingValue>(&mut self, section: &str, key: &str, in_file: Option<T>, default: T) -> T {
        let name = format!("{section}.{key}");
        let (value, origin) = match self.above_file(section, key, &name) {
            Some((text, origin)) => match T::read(&text) {
                Ok(value) => (value, origin),
                Err(why) => {
                    self.problems.push(Problem::at(&name, format!("{origin} has '{}': {why}", text.escape_default())));
                    (default, origin)
                }
            },
            None => match in_file {
                Some(value) => (value, Origin::File),
                None => (default, Origin::Default),
            },
        };
        self.shown.push(Shown { key: name, value: value.show(), origin });
        value
    }

    fn above_file(&self, section: &str, key: &str, name: &str) -> Option<(String, Origin)> {
        if let Some((text, flag)) = self.flags.0.get(name) {
            return Some((text.clone(), Origin::Flag(flag.clone())));
        }
        let regular = format!("CODA_{}_{}", section.to_uppercase(), key.to_uppercase());
        let others = SHORT_NAMES.iter().chain(&OLD_NAMES).filter(|(_, s, k)| *s == section && *k == key).map(|(n, _, _)| *n);
        for variable in std::iter::once(regular.as_str()).chain(others) {
            if let Some(text) = self.environment.get(variable) {
                return Some((text.clone(), Origin::Environment(variable.to_owned())));
            }
        }
        if name == "tasks.inbox_window_s" {
            let hours = self.environment.get(OLD_INBOX_HOURS)?;
            let seconds = hours.parse::<u64>().ok().and_then(|h| h.checked_mul(3_600));
            let text = seconds.map_or_else(|| hours.clone(), |s| s.to_string());
            return Some((text, Origin::Environment(OLD_INBOX_HOURS.to_owned())));
        }
        None
    }
}

/// Variables that begin like one of a section's settings and set none: most likely a typo.
pub(super) fn stray_variables(environment: &BTreeMap<String, String>) -> Vec<Problem> {
    let known: Vec<String> = settings::reference().iter().map(settings::Setting::variable).collect();
    let sections: Vec<String> = settings::reference().iter().map(|s| format!("CODA_{}_", s.section.to_uppercase())).collect();
    let others = ["CODA_TASK_DIR", "CODA_TASK_ID", "CODA_TASK_TTL", "CODA_MCP_URL", "CODA_GATEWAY_URL", "CODA_GATEWAY_TOKEN"];
    let stray = environment.keys().filter(|name| {
        sections.iter().any(|s| name.starts_with(s.as_str())) && !known.contains(name) && !others.contains(&name.as_str())
    });
    stray
        .map(|name| {
            let hint = super::suggest::closest(name, known.iter().map(String::as_str));
            Problem::at(name.clone(), format!("this environment variable sets nothing{hint}"))
        })
        .collect()
}
