//! Questions to policies and people: what is asked about, what people see of it, and what an agent is told when it is refused.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use super::keeper::Gatekeeper;
use super::running::Running;
use super::{shown, tools};
use crate::approval::request::{Item, call_key, grounds};
use crate::env;
use crate::policy::Judgment;
use crate::policy::contract::{Demand, Finding, Gate, Requirement, Subject};

/// A question about one subject of a running task.
#[derive(Debug, Clone)]
pub(super) struct Ask {
    pub subject: Subject,
    pub working_directory: String,
    pub key: String,
    pub title: String,
    /// How long whoever asks can wait for people, where that is shorter than the hold.
    pub wait: Option<Duration>,
}

/// The item that people see and an approval is bound to.
pub(super) fn item_of(ask: &Ask, judgment: &Judgment, findings: &[Finding]) -> Item {
    let (readable, more) = match &ask.subject {
        Subject::ToolCall(call) => {
            // A filter masks more than it lists: what it left is shown, not what its findings name.
            let seen = tools::screened(call, judgment.screened());
            (tools::shown(&seen).to_owned(), tools::more(&seen))
        }
        Subject::Prompt { .. } | Subject::ToolResult { .. } | Subject::Output { .. } => {
            (judgment.screened().to_owned(), String::new())
        }
    };
    let [content, arguments] = shown::masked([&readable, &more], &ask.subject, judgment.screened(), &judgment.findings);
    Item {
        call_key: ask.key.clone(),
        title: ask.title.clone(),
        marked: shown::marked(&content, &ask.subject, &judgment.findings),
        content,
        arguments,
        instead_of: None,
        content_sha256: env::sha256_hex(ask.subject.content().as_bytes()),
        working_directory: ask.working_directory.clone(),
        grounds: grounds(findings),
    }
}

/// A question about a call.
pub(super) fn ask_call(running: &Running, call: &super::ToolCall) -> Ask {
    let subject = tools::subject(call);
    let working_directory = working_directory(&running.workspace, call.working_directory.as_deref()).display().to_string();
    let key = call_key(&running.task.id, Gate::ToolCall, &call.tool, &subject.arguments, &working_directory);
    Ask { subject: Subject::ToolCall(subject), working_directory, key, title: call.tool.clone(), wait: None }
}

/// Where a call takes effect: what it names, seen from the workspace, without `.` and `..`. By words alone: the folder need
/// not exist yet, and a link on the way may lead elsewhere, which is the sandbox's matter.
fn working_directory(workspace: &Path, named: Option<&str>) -> PathBuf {
    let mut place = PathBuf::new();
    for part in workspace.join(named.unwrap_or_default()).components() {
        match part {
            Component::ParentDir => {
                place.pop();
            }
            Component::CurDir => {}
            Component::Prefix(_) | Component::RootDir | Component::Normal(_) => place.push(part),
        }
    }
    place
}

/// For the agent's model: the rule, the reason, what is possible.
pub(super) fn refusal(findings: &[Finding]) -> String {
    match findings.iter().max_by_key(|f| f.severity) {
        Some(f) => format!("refused by rule {}: {}", f.code, f.message),
        None => "refused by policy".into(),
    }
}

/// Findings, requirements and bounds of several demands together.
#[must_use]
pub fn merge_demands(demands: &[Demand], keeper: &Gatekeeper) -> Demand {
    let mut counts: BTreeMap<String, u32> = BTreeMap::new();
    for requirement in demands.iter().flat_map(|d| keeper.requirements(d)) {
        let count = counts.entry(requirement.role).or_default();
        *count = (*count).max(requirement.count);
    }
    Demand {
        findings: demands.iter().flat_map(|d| d.findings.clone()).collect(),
        approvals: counts.into_iter().map(|(role, count)| Requirement { role, count }).collect(),
        // Nothing allows it where no policy speaks.
        allow_requester: !demands.is_empty() && demands.iter().all(|d| d.allow_requester),
        expires_after_s: demands.iter().map(|d| d.expires_after_s).filter(|s| *s > 0).min().unwrap_or(0),
        reason: demands.iter().map(|d| d.reason.as_str()).collect::<Vec<_>>().join(" "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_seen_from_the_workspace() {
        let of = |named| working_directory(Path::new("/srv/tasks/one"), named).display().to_string();
        assert_eq!(of(None), "/srv/tasks/one");
        assert_eq!(of(Some("../prod")), "/srv/tasks/prod");
        assert_eq!(of(Some("./a/../b")), "/srv/tasks/one/b");
        assert_eq!(of(Some("../../../../..")), "/");
        assert_eq!(of(Some("/etc")), "/etc");
    }
}
