//! The generated bindings of `wit/0.1`, and the conversion between them and the host's own types, by hand: a change of
//! either shows up here as an error.

use std::collections::BTreeMap;

use super::contract as own;

#[allow(missing_docs, unreachable_pub, reason = "generated from the WIT, which documents every item")]
mod generated {
    wasmtime::component::bindgen!({ path: "../wit/0.1", world: "full-policy" });
}

pub(super) use generated::coda::policy::types as wit;
pub(super) use generated::exports::coda::policy::{about, filter, guard, shape};

/// Version of the contract that this host speaks, as it stands in a component's exports.
pub(super) const VERSION: &str = "0.1.0";

/// The host's event as the guest gets it.
pub(super) fn event(event: &own::Event) -> wit::Event {
    wit::Event {
        id: event.id.clone(),
        time_ms: event.time_ms,
        seed: event.seed,
        seq: event.seq,
        tenant: event.tenant.clone(),
        caller: wit::Caller {
            client: event.caller.client.clone(),
            client_version: event.caller.client_version.clone(),
            principal: event.caller.principal.clone(),
            roles: event.caller.roles.clone(),
        },
        task: task(&event.task),
        subject: subject(&event.subject),
    }
}

fn task(task: &own::TaskFacts) -> wit::Task {
    wit::Task {
        id: task.id.clone(),
        session_id: task.session_id.clone(),
        agent: task.agent.clone(),
        permissions: match task.permissions {
            own::Permissions::Smart => wit::Permissions::Smart,
            own::Permissions::Yolo => wit::Permissions::Yolo,
        },
        working_directory: task.working_directory.clone(),
        attempt: task.attempt,
        chained_from: task.chained_from.clone(),
        labels: task.labels.iter().map(|(name, value)| wit::Label { name: name.clone(), value: value.clone() }).collect(),
        marks: marks(&task.marks),
        usage: wit::Usage {
            tool_calls: task.usage.tool_calls,
            input_tokens: task.usage.input_tokens,
            output_tokens: task.usage.output_tokens,
            cost_micro_usd: task.usage.cost_micro_usd,
        },
    }
}

fn subject(subject: &own::Subject) -> wit::Subject {
    match subject {
        own::Subject::Prompt { text, context } => {
            wit::Subject::Prompt(wit::Prompt { text: text.clone(), context: context.clone() })
        }
        own::Subject::ToolCall(call) => wit::Subject::ToolCall(wit::ToolCall {
            id: call.id.clone(),
            tool: call.tool.clone(),
            arguments: call.arguments.clone(),
            shell: call.shell.clone(),
            paths: call.paths.clone(),
            sql: call.sql.clone(),
        }),
        own::Subject::ToolResult { call_id, tool, content } => {
            wit::Subject::ToolResult(wit::ToolResult { call_id: call_id.clone(), tool: tool.clone(), content: content.clone() })
        }
        own::Subject::Output { content } => wit::Subject::Output(wit::Output { content: content.clone() }),
    }
}

fn marks(marks: &BTreeMap<String, String>) -> Vec<wit::Mark> {
    marks.iter().map(|(name, value)| wit::Mark { name: name.clone(), value: value.clone() }).collect()
}

/// A finding of the host's as a later guest gets it.
pub(super) fn finding_in(finding: &own::Finding) -> wit::Finding {
    wit::Finding {
        code: finding.code.clone(),
        severity: severity_in(finding.severity),
        effect: effect_in(finding.effect),
        resource: finding.resource.as_ref().map(|r| wit::Resource {
            kind: r.kind.clone(),
            name: r.name.clone(),
            environment: r.environment.clone(),
        }),
        reversible: match finding.reversible {
            own::Reversible::Yes => wit::Reversible::Yes,
            own::Reversible::No => wit::Reversible::No,
            own::Reversible::Unknown => wit::Reversible::Unknown,
        },
        coverage: match finding.coverage {
            own::Coverage::Full => wit::Coverage::Full,
            own::Coverage::Partial => wit::Coverage::Partial,
        },
        message: finding.message.clone(),
        spans: finding.spans.iter().map(|(start, end)| wit::Span { start: *start, end: *end }).collect(),
        annotations: (finding.annotations.iter())
            .map(|(name, value)| wit::Annotation { name: name.clone(), value: value.clone() })
            .collect(),
        marks: marks(&finding.marks),
    }
}

/// A guest's finding as the host keeps it.
pub(super) fn finding(finding: wit::Finding) -> own::Finding {
    own::Finding {
        code: finding.code,
        severity: severity(finding.severity),
        effect: effect(finding.effect),
        resource: finding.resource.map(|r| own::Resource { kind: r.kind, name: r.name, environment: r.environment }),
        reversible: match finding.reversible {
            wit::Reversible::Yes => own::Reversible::Yes,
            wit::Reversible::No => own::Reversible::No,
            wit::Reversible::Unknown => own::Reversible::Unknown,
        },
        coverage: match finding.coverage {
            wit::Coverage::Full => own::Coverage::Full,
            wit::Coverage::Partial => own::Coverage::Partial,
        },
        message: finding.message,
        spans: finding.spans.into_iter().map(|span| (span.start, span.end)).collect(),
        annotations: finding.annotations.into_iter().map(|a| (a.name, a.value)).collect(),
        marks: finding.marks.into_iter().map(|m| (m.name, m.value)).collect(),
    }
}

fn findings(all: Vec<wit::Finding>) -> Vec<own::Finding> {
    all.into_iter().map(finding).collect()
}

/// A guard's answer.
pub(super) fn verdict(verdict: wit::Verdict) -> own::Verdict {
    match verdict {
        wit::Verdict::Allow(found) => own::Verdict::Allow { findings: findings(found) },
        wit::Verdict::Deny(found) => own::Verdict::Deny { findings: findings(found) },
        wit::Verdict::NeedsApproval(demand) => own::Verdict::NeedsApproval(own::Demand {
            findings: findings(demand.findings),
            approvals: (demand.approvals.into_iter()).map(|r| own::Requirement { role: r.role, count: r.count }).collect(),
            allow_requester: demand.allow_requester,
            expires_after_s: demand.expires_after_s,
            reason: demand.reason,
        }),
    }
}

/// A filter's answer.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Filtered {
    /// The text stays.
    Unchanged(Vec<own::Finding>),
    /// Another text takes its place.
    Replaced(String, Vec<own::Finding>),
    /// It must not pass.
    Withhold(Vec<own::Finding>),
}

/// A filter's answer.
pub(super) fn filtered(answer: filter::Filtered) -> Filtered {
    match answer {
        filter::Filtered::Unchanged(found) => Filtered::Unchanged(findings(found)),
        filter::Filtered::Replaced(new) => Filtered::Replaced(new.content, findings(new.findings)),
        filter::Filtered::Withhold(found) => Filtered::Withhold(findings(found)),
    }
}

/// A gate.
pub(super) fn gate(gate: wit::Gate) -> own::Gate {
    match gate {
        wit::Gate::Prompt => own::Gate::Prompt,
        wit::Gate::ToolCall => own::Gate::ToolCall,
        wit::Gate::ToolResult => own::Gate::ToolResult,
        wit::Gate::Output => own::Gate::Output,
    }
}

/// What a policy says when it could not decide.
pub(super) fn policy_error(error: &wit::PolicyError) -> String {
    match error {
        wit::PolicyError::InvalidSettings(why) => format!("invalid settings: {why}"),
        wit::PolicyError::Unsupported(why) => format!("unsupported: {why}"),
        wit::PolicyError::Failed(why) => format!("failed: {why}"),
    }
}

macro_rules! same_cases {
    ($into:ident, $out_of:ident, $name:ident: $($case:ident),+) => {
        fn $into(value: own::$name) -> wit::$name {
            match value { $(own::$name::$case => wit::$name::$case),+ }
        }
        fn $out_of(value: wit::$name) -> own::$name {
            match value { $(wit::$name::$case => own::$name::$case),+ }
        }
    };
}

same_cases!(severity_in, severity, Severity: Info, Low, Medium, High, Critical);
same_cases!(
    effect_in, effect, Effect: None, Read, Create, Modify, Overwrite, Delete, PermissionChange, RemoteExec, Exfiltrate,
    Disclose, Disrupt, Persist, Inject, Other
);
