//! The audit log over REST: a page, the verification, the export. For operators.

use axum::body::{Body, Bytes};
use futures_util::stream;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::audit::{Audit, AuditError, Checkpoint, Record, export};
use crate::id::TaskId;
use crate::identity::{DEFAULT_TENANT, Principal, Role};
use crate::service::ServiceError;
use crate::store::audit::AuditQuery;

const DEFAULT_LIMIT: u32 = 50;
const MAX_LIMIT: u32 = 1000;

/// Query of `GET /v1/audit`.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct ListQuery {
    /// Only records of this task.
    pub task: Option<String>,
    /// Only records after this number; without it, the newest.
    pub after: Option<u64>,
    /// At most so many; 50 without it, never more than 1000.
    pub limit: Option<u32>,
}

/// Query of `GET /v1/audit/verify`.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct VerifyQuery {
    /// A checkpoint from the log stream, as JSON.
    pub checkpoint: Option<String>,
}

/// `GET /v1/audit`: records of the caller's tenant, oldest first, and the checkpoints of segments that end among them.
pub async fn list(who: &Principal, audit: &Audit, query: ListQuery) -> Result<Value, ServiceError> {
    operator(who)?;
    let task = query.task.filter(|t| !t.is_empty()).map(|t| TaskId::parse(&t)).transpose();
    let task = task.map_err(|e| ServiceError::Invalid(format!("task: {e}")))?;
    let limit = query.limit.unwrap_or(DEFAULT_LIMIT).clamp(1, MAX_LIMIT);
    let query = AuditQuery { tenant: Some(who.tenant.clone()), task, after: query.after, limit };
    let (records, ends) = page(audit, query).await?;
    let full = u32::try_from(records.len()).is_ok_and(|n| n == limit);
    let next_after = records.last().filter(|_| full).map(|r| r.seq);
    let records: Vec<Value> = records.iter().map(Record::to_json).collect();
    Ok(json!({ "records": records, "checkpoints": ends, "next_after": next_after }))
}

/// `GET /v1/audit/verify`: recomputes the whole log.
pub async fn verify(who: &Principal, audit: &Audit, query: VerifyQuery) -> Result<Value, ServiceError> {
    operator(who)?;
    let given = query.checkpoint.filter(|c| !c.trim().is_empty()).map(|c| Checkpoint::parse(&c)).transpose();
    let given = given.map_err(|e| ServiceError::Invalid(e.to_string()))?;
    let report = audit.verify(given.into_iter().collect()).await.map_err(internal)?;
    serde_json::to_value(report).map_err(|_| ServiceError::Internal("in an audit report".into()))
}

/// `GET /v1/audit/export`: the whole log as NDJSON, page by page. Who took it is on record.
pub async fn export(who: &Principal, audit: &Audit) -> Result<Body, ServiceError> {
    operator(who)?;
    if who.tenant != DEFAULT_TENANT {
        let text =
            "the export holds the records of all tenants: it is for operators of the tenant 'default'; read yours with /v1/audit";
        return Err(ServiceError::Forbidden(text.to_owned()));
    }
    audit.append("audit.exported", &who.name, &who.tenant, None, json!({})).await.map_err(internal)?;
    let pages = stream::try_unfold((audit.clone(), Some(0)), |(audit, after)| async move {
        let Some(after) = after else { return Ok(None) };
        let query = AuditQuery { tenant: None, task: None, after: Some(after), limit: MAX_LIMIT };
        let (records, ends) = page(&audit, query).await.map_err(std::io::Error::other)?;
        let next = records.last().map(|r| r.seq.unsigned_abs());
        Ok::<_, std::io::Error>(next.map(|next| (Bytes::from(export::lines(&records, &ends)), (audit, Some(next)))))
    });
    Ok(Body::from_stream(pages))
}

async fn page(audit: &Audit, query: AuditQuery) -> Result<(Vec<Record>, Vec<Checkpoint>), ServiceError> {
    audit.store().call(move |store| store.audit_page(&query)).await.map_err(|e| internal(AuditError::Store(e)))
}

fn operator(who: &Principal) -> Result<(), ServiceError> {
    if who.has_role_somewhere(Role::OPERATOR) {
        return Ok(());
    }
    Err(ServiceError::Forbidden("the audit log needs the role operator".into()))
}

fn internal(error: AuditError) -> ServiceError {
    tracing::error!(%error, "the audit log failed");
    ServiceError::Internal("in the audit log".into())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::audit::{Close, Settings, Verifier};
    use crate::identity::{Proof, RoleGrant};
    use crate::store::Store;

    fn principal(role: &str, tenant: &str) -> Principal {
        let grants = vec![RoleGrant { role: Role(role.into()), labels: BTreeMap::new() }];
        Principal { tenant: tenant.into(), name: "ada".into(), grants, proof: Proof::Proxy, access: None }
    }

    async fn log(home: &std::path::Path) -> Audit {
        let store = Store::open(&home.join("coda.db")).expect("it opens");
        let audit = Audit::open(store, &home.join("keys"), Settings::default()).expect("it starts");
        for n in 0..5 {
            audit.append("login", "ada", DEFAULT_TENANT, None, json!({ "n": n, "x": 0.1 })).await.expect("appended");
        }
        audit.close(Close::Now).await.expect("closed");
        audit.append("login", "eve", "other", None, json!({})).await.expect("appended");
        audit
    }

    #[tokio::test]
    async fn only_operators_see_it_and_only_their_tenants_part() {
        let home = tempfile::tempdir().expect("a folder");
        let audit = log(home.path()).await;
        let submitter = principal(Role::SUBMITTER, DEFAULT_TENANT);
        assert_eq!(list(&submitter, &audit, ListQuery::default()).await.expect_err("refused").code(), "forbidden");
        assert_eq!(verify(&submitter, &audit, VerifyQuery::default()).await.expect_err("refused").code(), "forbidden");
        assert_eq!(export(&submitter, &audit).await.expect_err("refused").code(), "forbidden");
        let other = principal(Role::OPERATOR, "other");
        assert_eq!(export(&other, &audit).await.expect_err("refused").code(), "forbidden");
        let page = list(&other, &audit, ListQuery::default()).await.expect("a page");
        assert_eq!(page["records"].as_array().map(Vec::len), Some(1));
    }

    #[tokio::test]
    async fn pages_go_through_the_log_and_the_newest_come_first_asked() {
        let home = tempfile::tempdir().expect("a folder");
        let audit = log(home.path()).await;
        let who = principal(Role::OPERATOR, DEFAULT_TENANT);
        let numbers = |page: &Value| -> Vec<i64> {
            page["records"].as_array().expect("records").iter().filter_map(|r| r["seq"].as_i64()).collect()
        };
        let newest = list(&who, &audit, ListQuery { limit: Some(2), ..ListQuery::default() }).await.expect("a page");
        assert_eq!(numbers(&newest), [4, 5]);
        let first = list(&who, &audit, ListQuery { after: Some(0), limit: Some(3), task: None }).await.expect("a page");
        assert_eq!((numbers(&first), &first["next_after"]), (vec![1, 2, 3], &json!(3)));
        let bad = ListQuery { task: Some("task_../x".into()), ..ListQuery::default() };
        assert_eq!(list(&who, &audit, bad).await.expect_err("refused").code(), "invalid");
        let bad = VerifyQuery { checkpoint: Some("nonsense".into()) };
        assert_eq!(verify(&who, &audit, bad).await.expect_err("refused").code(), "invalid");
        assert_eq!(verify(&who, &audit, VerifyQuery::default()).await.expect("a report")["ok"], true);
    }

    #[tokio::test]
    async fn an_export_can_be_verified_by_itself() {
        let home = tempfile::tempdir().expect("a folder");
        let audit = log(home.path()).await;
        let body = export(&principal(Role::OPERATOR, DEFAULT_TENANT), &audit).await.expect("an export");
        let bytes = axum::body::to_bytes(body, usize::MAX).await.expect("it ends");
        let text = String::from_utf8(bytes.to_vec()).expect("text");
        let (mut checkpoints, mut records) = (Vec::new(), Vec::new());
        for line in text.lines() {
            let value: Value = serde_json::from_str(line).expect("NDJSON");
            if value.get("checkpoint").is_some() {
                checkpoints.push(Checkpoint::parse(line).expect("a checkpoint"));
            } else {
                let mut record = value["record"].clone();
                record["hash"] = value["hash"].clone();
                records.push(export::record_from_json(&record).expect("a record"));
            }
        }
        assert_eq!((records.len(), checkpoints.len()), (7, 1));
        let mut verifier = Verifier::new(checkpoints, None, Vec::new());
        records.iter().for_each(|r| verifier.record(r));
        assert!(verifier.finish().ok);
        assert!(text.lines().nth(5).is_some_and(|l| l.starts_with("{\"checkpoint\"")), "after the segment's last record");
    }
}
