//! Columns as domain values: JSON text, times, ids. A stored text that does not read back is an error, never a default.

use rusqlite::Row;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::StoreError;

/// A JSON column.
pub(super) fn json<T: DeserializeOwned>(row: &Row<'_>, column: &str) -> Result<T, StoreError> {
    let text: String = row.get(column)?;
    parse(column, &text)
}

/// A JSON column that may be null.
pub(super) fn json_opt<T: DeserializeOwned>(row: &Row<'_>, column: &str) -> Result<Option<T>, StoreError> {
    let text: Option<String> = row.get(column)?;
    text.map(|text| parse(column, &text)).transpose()
}

/// JSON text read back.
pub(super) fn parse<T: DeserializeOwned>(what: &str, text: &str) -> Result<T, StoreError> {
    serde_json::from_str(text).map_err(|e| StoreError::Corrupt { what: what.to_owned(), why: e.to_string() })
}

/// A value as JSON text. Domain values always have a JSON form.
pub(super) fn text<T: Serialize>(value: &T) -> String {
    serde_json::to_string(value).expect("a domain value has a JSON form")
}

/// A word column, such as a status, by way of its JSON name.
pub(super) fn word<T: DeserializeOwned>(row: &Row<'_>, column: &str) -> Result<T, StoreError> {
    let text: String = row.get(column)?;
    serde_json::from_value(serde_json::Value::String(text))
        .map_err(|e| StoreError::Corrupt { what: column.to_owned(), why: e.to_string() })
}

/// As `word`, may be null.
pub(super) fn word_opt<T: DeserializeOwned>(row: &Row<'_>, column: &str) -> Result<Option<T>, StoreError> {
    let text: Option<String> = row.get(column)?;
    text.map(|t| serde_json::from_value(serde_json::Value::String(t)))
        .transpose()
        .map_err(|e| StoreError::Corrupt { what: column.to_owned(), why: e.to_string() })
}

/// The JSON name of a word.
pub(super) fn name<T: Serialize>(value: &T) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(name)) => name,
        other => unreachable!("a word has a name: {other:?}"),
    }
}

/// Unsigned from SQLite's signed.
pub(super) fn unsigned(row: &Row<'_>, column: &str) -> Result<u64, StoreError> {
    let value: i64 = row.get(column)?;
    u64::try_from(value).map_err(|_| StoreError::Corrupt { what: column.to_owned(), why: format!("{value} is negative") })
}

/// As `unsigned`, may be null.
pub(super) fn unsigned_opt(row: &Row<'_>, column: &str) -> Result<Option<u64>, StoreError> {
    let value: Option<i64> = row.get(column)?;
    value
        .map(|v| u64::try_from(v).map_err(|_| StoreError::Corrupt { what: column.to_owned(), why: format!("{v} is negative") }))
        .transpose()
}

/// Signed for SQLite; times and counters never reach the sign bit.
pub(super) fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
