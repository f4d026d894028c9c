//! The mapping file `roles.toml`: who holds which role, for tasks with which labels.
//!
//! ```toml
//! [[role]]
//! name = "prod-data"
//! principals = ["ann@example.com", "ben@example.com"]   # "*" = everybody who is identified
//! labels = { env = "prod" }                             # only for tasks that carry these labels
//! ```
//! The file is looked at on every use and read again when it changed. INVARIANT: a file with an error changes nothing:
//! the last good mapping stays, and the error is kept to be shown. Without a file nobody is mapped.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use crate::identity::{Role, RoleGrant};

/// Bound on the file's size.
const MAX_BYTES: u64 = 1 << 20;
const MAX_NAME: usize = 64;
const KEYS: [&str; 3] = ["name", "principals", "labels"];
const EVERYBODY: &str = "*";

/// Why a mapping is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {why}")]
pub struct RolesError {
    path: String,
    why: String,
}

/// What a file says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mapping {
    entries: Vec<Entry>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    role: Role,
    principals: Vec<String>,
    labels: BTreeMap<String, String>,
}

impl Mapping {
    /// Reads the text of a mapping file.
    pub fn parse(text: &str) -> Result<Self, String> {
        let table: toml::Table = text.parse().map_err(|e: toml::de::Error| e.to_string().trim().replace('\n', " "))?;
        let mut entries = Vec::new();
        for (key, value) in table {
            if key != "role" {
                return Err(unknown(&key, &["role"]));
            }
            let list = value.as_array().ok_or("role must be a list of tables: write [[role]]")?;
            for (index, item) in list.iter().enumerate() {
                entries.push(entry(item).map_err(|why| format!("role {}: {why}", index + 1))?);
            }
        }
        Ok(Self { entries })
    }

    /// What `principal` holds by this mapping.
    #[must_use]
    pub fn grants(&self, principal: &str) -> Vec<RoleGrant> {
        let named = |entry: &&Entry| entry.principals.iter().any(|p| p == principal || p == EVERYBODY);
        self.entries.iter().filter(named).map(|e| RoleGrant { role: e.role.clone(), labels: e.labels.clone() }).collect()
    }
}

fn entry(item: &toml::Value) -> Result<Entry, String> {
    let table = item.as_table().ok_or("must be a table: write [[role]]")?;
    if let Some(key) = table.keys().find(|k| !KEYS.contains(&k.as_str())) {
        return Err(unknown(key, &KEYS));
    }
    let name = table.get("name").and_then(toml::Value::as_str).ok_or("name is missing or not a text")?;
    if name.is_empty() || name.len() > MAX_NAME || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b)) {
        return Err(format!("name '{}' must be 1 to {MAX_NAME} letters, digits, '-', '_' or '.'", name.escape_default()));
    }
    let principals = table.get("principals").and_then(toml::Value::as_array).ok_or("principals is missing or not a list")?;
    let principals = principals.iter().map(|p| p.as_str().map(str::to_lowercase).ok_or("principals must be texts"));
    let labels = match table.get("labels") {
        None => BTreeMap::new(),
        Some(labels) => labels
            .as_table()
            .ok_or("labels must be a table such as { env = \"prod\" }")?
            .iter()
            .map(|(k, v)| Ok((k.clone(), v.as_str().ok_or(format!("label {k} must be a text"))?.to_owned())))
            .collect::<Result<_, String>>()?,
    };
    Ok(Entry { role: Role(name.to_owned()), principals: principals.collect::<Result<_, _>>()?, labels })
}

fn unknown(key: &str, known: &[&str]) -> String {
    let near = known.iter().max_by(|a, b| strsim::jaro_winkler(key, a).total_cmp(&strsim::jaro_winkler(key, b)));
    let near = near.map(|k| format!("; did you mean '{k}'?")).unwrap_or_default();
    format!("unknown key '{}'{near}", key.escape_default())
}

/// The file and what was last good in it.
#[derive(Debug)]
pub struct RolesFile {
    path: PathBuf,
    // A std mutex: held for one look at the file, never across an await.
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    stamp: Option<Stamp>,
    mapping: Arc<Mapping>,
    error: Option<RolesError>,
}

/// What tells one content of the file from another without reading it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Stamp {
    modified: (i64, i64),
    inode: u64,
    size: u64,
}

/// That a look at the file found something new.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reloaded {
    /// Another mapping holds from now on.
    Taken,
    /// The file has an error; the mapping stays as it was.
    Refused(RolesError),
}

impl RolesFile {
    /// Reads the file, which may be absent, but not broken: there is no last good mapping to fall back on.
    pub fn open(path: &Path) -> Result<Self, RolesError> {
        let file = Self { path: path.to_owned(), state: Mutex::default() };
        match file.look().1 {
            Some(Reloaded::Refused(error)) => Err(error),
            Some(Reloaded::Taken) | None => Ok(file),
        }
    }

    /// The mapping that holds now, and what changed since the last look.
    pub fn look(&self) -> (Arc<Mapping>, Option<Reloaded>) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let stamp = stamp(&self.path);
        if stamp == state.stamp {
            return (state.mapping.clone(), None);
        }
        state.stamp = stamp;
        let read = self.read();
        let reloaded = match read {
            Ok(mapping) if mapping == *state.mapping && state.error.is_none() => None,
            Ok(mapping) => {
                state.mapping = Arc::new(mapping);
                state.error = None;
                Some(Reloaded::Taken)
            }
            Err(why) => {
                let error = RolesError { path: self.path.display().to_string(), why };
                state.error = Some(error.clone());
                Some(Reloaded::Refused(error))
            }
        };
        (state.mapping.clone(), reloaded)
    }

    /// What is wrong with the file as it is now.
    #[must_use]
    pub fn error(&self) -> Option<RolesError> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).error.clone()
    }

    fn read(&self) -> Result<Mapping, String> {
        match std::fs::metadata(&self.path) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Mapping::default()),
            Err(e) => return Err(format!("cannot be read: {e}")),
            Ok(m) if !m.is_file() => return Err("is not a file".into()),
            Ok(m) if m.len() > MAX_BYTES => return Err(format!("has {} bytes, at most {MAX_BYTES} are read", m.len())),
            Ok(_) => {}
        }
        let text = std::fs::read_to_string(&self.path).map_err(|e| format!("cannot be read: {e}"))?;
        Mapping::parse(&text)
    }
}

fn stamp(path: &Path) -> Option<Stamp> {
    let m = std::fs::metadata(path).ok()?;
    Some(Stamp { modified: (m.mtime(), m.mtime_nsec()), inode: m.ino(), size: m.size() })
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "[[role]]\nname = 'prod-data'\nprincipals = ['Ann@Example.com']\nlabels = { env = 'prod' }\n";

    #[test]
    fn names_are_compared_in_lower_case_and_labels_scope() {
        let mapping = Mapping::parse(GOOD).unwrap();
        let grants = mapping.grants("ann@example.com");
        assert_eq!(grants.len(), 1);
        assert_eq!(grants[0].labels.get("env").map(String::as_str), Some("prod"));
        assert_eq!(mapping.grants("ben@example.com"), []);
    }

    #[test]
    fn errors_name_the_key_and_the_way_out() {
        for (text, expected) in [
            ("[[role]]\nname='a'\nprincipls=[]", "role 1: unknown key 'principls'; did you mean 'principals'?"),
            ("[[roles]]\nname='a'", "unknown key 'roles'; did you mean 'role'?"),
            ("[[role]]\nname='a b'\nprincipals=[]", "role 1: name 'a b' must be 1 to 64 letters"),
            ("[[role]]\nname='a'\nprincipals=[1]", "role 1: principals must be texts"),
            ("[[role]]\nname='a'\nprincipals=[]\nlabels={x=1}", "role 1: label x must be a text"),
        ] {
            let error = Mapping::parse(text).unwrap_err();
            assert!(error.starts_with(expected), "{error}");
        }
        assert!(Mapping::parse("[[role]").is_err());
    }

    #[test]
    fn a_changed_file_is_taken_and_a_broken_one_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("roles.toml");
        let file = RolesFile::open(&path).unwrap();
        assert_eq!(file.look().0.grants("ann@example.com"), []);
        std::fs::write(&path, GOOD).unwrap();
        let (mapping, reloaded) = file.look();
        assert_eq!((mapping.grants("ann@example.com").len(), reloaded), (1, Some(Reloaded::Taken)));
        std::fs::write(&path, format!("{GOOD}rubbish")).unwrap();
        let (mapping, reloaded) = file.look();
        assert_eq!(mapping.grants("ann@example.com").len(), 1);
        assert!(matches!(reloaded, Some(Reloaded::Refused(_))));
        assert!(file.error().is_some());
        assert_eq!(file.look().1, None, "said once");
        assert!(RolesFile::open(&path).is_err(), "nothing to fall back on");
        std::fs::remove_file(&path).unwrap();
        assert_eq!(file.look().0.grants("ann@example.com"), []);
        assert_eq!(file.error(), None);
    }
}
