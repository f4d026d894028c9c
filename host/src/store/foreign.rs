//! A database of somebody else's: that in which an agent keeps its conversations, and settings beside them. Everything that
//! is no conversation is taken out before the agent's next attempt opens it.
//!
//! The agent could have written anything into it, so this runs where the agent does, inside its sandbox, with its rights:
//! the server never opens such a file.

use std::path::Path;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, Transaction};

use super::BUSY_TIMEOUT_MS;

/// Tables and indexes of a database that is looked at.
const MAX_OBJECTS: usize = 1_000;

/// What stays in such a database.
#[derive(Debug, Clone, Copy)]
pub struct Stays {
    /// Tables whose rows stay. All others lose theirs.
    pub tables: &'static [&'static str],
    /// Columns that get a value of the host's: table, column, value; `None` = nothing.
    pub columns: &'static [(&'static str, &'static str, Option<&'static str>)],
}

/// Why a database cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ForeignError {
    /// SQLite's own fault; the file may be damaged.
    #[error("the agent's database: {0}")]
    Database(#[from] rusqlite::Error),
    /// What could act by itself when the agent reads or writes its tables.
    #[error("the agent's database holds {what}, which its agent does not make")]
    Acts {
        /// Which.
        what: String,
    },
}

/// Takes out everything but what stays.
pub fn strip(path: &Path, stays: &Stays) -> Result<(), ForeignError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_NOFOLLOW;
    let mut database = Connection::open_with_flags(path, flags)?;
    for (switch, on) in [
        (DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true),
        (DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false),
        (DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false),
        (DbConfig::SQLITE_DBCONFIG_ENABLE_VIEW, false),
        (DbConfig::SQLITE_DBCONFIG_ENABLE_FKEY, false),
    ] {
        database.set_db_config(switch, on)?;
    }
    database.busy_timeout(std::time::Duration::from_millis(BUSY_TIMEOUT_MS))?;
    let transaction = database.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    for table in tables(&transaction)? {
        if !stays.tables.contains(&table.as_str()) {
            transaction.execute(&format!("DELETE FROM {}", quoted(&table)), [])?;
        }
    }
    for (table, column, value) in stays.columns {
        transaction.execute(&format!("UPDATE {} SET {} = ?1", quoted(table), quoted(column)), [value])?;
    }
    Ok(transaction.commit()?)
}

/// The tables that are not SQLite's own. A view, a trigger or a virtual table is none that these agents make.
fn tables(transaction: &Transaction<'_>) -> Result<Vec<String>, ForeignError> {
    let mut statement = transaction.prepare("SELECT type, name, sql FROM sqlite_master")?;
    let mut rows = statement.query([])?;
    let (mut tables, mut objects) = (Vec::new(), 0);
    while let Some(row) = rows.next()? {
        let (kind, name, sql): (String, String, Option<String>) = (row.get(0)?, row.get(1)?, row.get(2)?);
        let is_plain = sql.is_none_or(|sql| !sql.trim_start().to_ascii_uppercase().starts_with("CREATE VIRTUAL"));
        objects += 1;
        match kind.as_str() {
            "table" if is_plain && objects <= MAX_OBJECTS => tables.push(name),
            "index" if objects <= MAX_OBJECTS => {}
            _ => {
                return Err(ForeignError::Acts {
                    what: format!("a {kind} '{}'", name.chars().take(80).collect::<String>().escape_debug()),
                });
            }
        }
    }
    tables.retain(|name| !name.starts_with("sqlite_"));
    Ok(tables)
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAYS: Stays = Stays {
        tables: &["session", "message"],
        columns: &[("session", "extensions", Some("none")), ("session", "recipe", None)],
    };

    fn database(more: &str) -> (tempfile::TempDir, std::path::PathBuf) {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("sessions.db");
        let open = Connection::open(&path).expect("opens");
        open.pragma_update(None, "journal_mode", "WAL").expect("set");
        open.execute_batch(&format!(
            "CREATE TABLE session (id TEXT, extensions TEXT, recipe TEXT); CREATE TABLE message (session TEXT, text TEXT);
             CREATE TABLE \"acc\"\"ount\" (url TEXT);
             INSERT INTO session VALUES ('1', 'evil', 'evil'); INSERT INTO message VALUES ('1', 'hello');
             INSERT INTO \"acc\"\"ount\" VALUES ('http://evil.example'); {more}"
        ))
        .expect("written");
        (dir, path)
    }

    fn one(path: &Path, sql: &str) -> Option<String> {
        Connection::open(path).and_then(|open| open.query_row(sql, [], |row| row.get(0))).expect("a row")
    }

    #[test]
    fn a_conversation_stays_and_settings_go() {
        let (_dir, path) = database("");
        strip(&path, &STAYS).expect("it is stripped");
        assert_eq!(one(&path, "SELECT text FROM message").as_deref(), Some("hello"));
        assert_eq!(one(&path, "SELECT extensions FROM session").as_deref(), Some("none"));
        assert_eq!(one(&path, "SELECT recipe FROM session"), None);
        assert_eq!(one(&path, "SELECT CAST(count(*) AS TEXT) FROM \"acc\"\"ount\"").as_deref(), Some("0"));
    }

    #[test]
    fn what_acts_by_itself_is_refused_and_so_is_what_is_no_database() {
        let trigger = "CREATE TRIGGER back AFTER UPDATE ON session BEGIN INSERT INTO \"acc\"\"ount\" VALUES ('again'); END;";
        for (more, what) in [
            (trigger, "trigger 'back'"),
            ("CREATE VIEW seen AS SELECT 'evil' AS url;", "view 'seen'"),
            ("CREATE VIRTUAL TABLE words USING fts5(text);", "table 'words'"),
        ] {
            let (_dir, path) = database(more);
            let refused = strip(&path, &STAYS).expect_err("refused");
            assert!(matches!(refused, ForeignError::Acts { .. }) && refused.to_string().contains(what), "{refused}");
        }
        let (dir, path) = database("DROP TABLE session;");
        assert!(strip(&path, &STAYS).is_err(), "another schema than that of the agent");
        std::fs::write(&path, "no database at all, though long enough to be looked at as one").expect("writes");
        assert!(strip(&path, &STAYS).is_err());
        let link = dir.path().join("link.db");
        std::os::unix::fs::symlink(&path, &link).expect("links");
        assert!(strip(&link, &STAYS).is_err() && strip(&dir.path().join("none.db"), &STAYS).is_err());
    }
}
