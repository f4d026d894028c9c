//! Who may decide a request, and why not. Pure.

use std::collections::BTreeMap;

use super::request::{Approval, Standing};
use crate::env::Millis;
use crate::identity::Principal;

/// Whether `who` may vote on `approval` of a task with `labels` at `now`; else a sentence that says why not.
pub fn may_decide(who: &Principal, approval: &Approval, labels: &BTreeMap<String, String>, now: Millis) -> Result<(), String> {
    if approval.tenant != who.tenant {
        return Err("no such request".into());
    }
    if approval.standing != Standing::Open {
        return Err(format!("the request is {}", approval.standing.as_str()));
    }
    if approval.expires_ms <= now {
        return Err("the request has expired".into());
    }
    if !who.is_interactive() {
        return Err("decisions need a person's login; an API token cannot take them".into());
    }
    let roles: Vec<&str> = approval.requirements.iter().map(|r| r.role.as_str()).collect();
    if !roles.iter().any(|role| who.has_role(role, labels)) {
        return Err(format!("needs the role {} for this task", roles.join(" or ")));
    }
    if approval.requester == who.name && !approval.allow_requester {
        return Err("whoever asks does not decide: another person must".into());
    }
    if approval.votes.iter().any(|v| v.principal == who.name) {
        return Err("you have decided already; others must".into());
    }
    Ok(())
}
