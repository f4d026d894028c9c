//! (under construction)
use rusqlite::Transaction;

use super::StoreError;
use crate::id::TaskId;

pub(in crate::store) fn append_audit(
    _tx: &Transaction<'_>,
    _kind: &str,
    _actor: &str,
    _tenant: &str,
    _task: Option<&TaskId>,
    _body: serde_json::Value,
) -> Result<u64, StoreError> {
    Ok(0)
}
