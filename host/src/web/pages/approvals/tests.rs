//! The page of one request: everything that decides is on it, and nothing of it is markup.

use std::collections::BTreeMap;

use super::*;
use crate::id::TaskId;
use crate::identity::Proof;
use crate::policy::contract::{Effect, Resource, Severity};

fn person() -> Principal {
    Principal { tenant: "default".into(), name: "ben".into(), grants: Vec::new(), proof: Proof::Proxy, access: None }
}

fn view(content: &str, may_decide: Result<(), String>) -> ApprovalView {
    let finding = Finding {
        code: "fs.rm-recursive".into(),
        severity: Severity::High,
        effect: Effect::Delete,
        resource: Some(Resource { kind: "path".into(), name: "/srv/<data>".into(), environment: "prod".into() }),
        reversible: Reversible::No,
        coverage: Coverage::Partial,
        message: "deletes a folder".into(),
        spans: vec![(0, 6)],
        annotations: BTreeMap::new(),
        marks: BTreeMap::new(),
    };
    let demand = Demand {
        findings: vec![finding],
        approvals: Vec::new(),
        allow_requester: false,
        expires_after_s: 0,
        reason: "deletes data".into(),
    };
    ApprovalView {
        approval_id: ApprovalId::new(),
        status: "open".into(),
        task_id: TaskId::new(),
        task_summary: "clean up".into(),
        requester: "ann".into(),
        acting_as: "ann".into(),
        gate: "tool-call".into(),
        items: vec![ApprovalItem {
            number: 1,
            refused: false,
            withdrawn: false,
            title: "shell".into(),
            content: content.into(),
            arguments: "workdir: \"../prod\"".into(),
            instead_of: None,
            working_directory: "/srv/task".into(),
            marked: vec![(0, 6, "fs.rm-recursive".into())],
        }],
        demand,
        requirements: vec![Requirement { role: "prod-data".into(), count: 2 }],
        votes: Vec::new(),
        created_at: "2026-01-01T00:00:00Z".into(),
        expires_at: "2026-01-02T00:00:00Z".into(),
        generation: 3,
        reason: None,
        may_decide,
    }
}

#[test]
fn everything_that_decides_is_on_the_page() {
    let shown = approval_page(&person(), &view("rm -rf /srv", Ok(())), None).into_string();
    for part in [
        "<mark title=\"fs.rm-recursive\">rm -rf</mark> /srv",
        "/srv/task",
        "workdir: &quot;../prod&quot;",
        "<h1>deletes a folder.</h1>",
        "2 × <code>prod-data</code>",
        "cannot be undone",
        "only partly understood",
        "delete",
        "/srv/&lt;data&gt;",
        "Acting as",
        "in prod",
        "value=\"approve\"",
        "value=\"deny\"",
        "generation 3",
    ] {
        assert!(shown.contains(part), "{part}\n{shown}");
    }
    assert!(!shown.contains("<script"), "no script decides");
}

#[test]
fn of_several_calls_each_can_be_left_out_and_what_was_refused_shows() {
    let mut several = view("rm -rf a", Ok(()));
    several.items.push(ApprovalItem { number: 2, content: "rm -rf b".into(), ..several.items[0].clone() });
    several.items.push(ApprovalItem { number: 3, refused: true, content: "rm -rf c".into(), ..several.items[0].clone() });
    let shown = approval_page(&person(), &several, None).into_string();
    for number in ["1", "2"] {
        assert!(shown.contains(&format!("name=\"item\" value=\"{number}\" form=\"decide\" checked")), "{shown}");
    }
    assert!(!shown.contains("value=\"3\"") && shown.contains("<span class=\"badge denied\">refused</span>"), "{shown}");
    assert!(!approval_page(&person(), &view("rm -rf a", Ok(())), None).into_string().contains("checkbox"), "one has no choice");
}

#[test]
fn a_form_is_read_field_by_field() {
    let fields = |pairs: &[(&str, &str)]| pairs.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
    let read = |pairs: &[(&str, &str)]| Vote::read(fields(pairs)).and_then(Vote::decision).expect("a decision");
    let some = [("decision", "approve"), ("reason", "r"), ("choice", "yes"), ("item", "1"), ("item", "3")];
    assert_eq!(read(&some), Decision::Approve { only: Some(vec![1, 3]), reason: "r".into() });
    assert_eq!(read(&some[..3]), Decision::Approve { only: Some(Vec::new()), reason: "r".into() }, "nothing was chosen");
    assert_eq!(read(&some[..2]), Decision::Approve { only: None, reason: "r".into() }, "there was no choice");
    assert_eq!(read(&[("decision", "deny"), ("reason", "r"), ("choice", "yes")]), Decision::Deny { reason: "r".into() });
    assert!(Vote::read(fields(&[("decision", "approve"), ("item", "one")])).is_err());
    assert!(Vote::read(fields(&[("decision", "approve"), ("roles", "admin")])).is_err());
}

#[test]
fn who_may_not_decide_gets_no_form_and_hostile_text_stays_text() {
    let hostile = view("</code><script>alert(1)</script>", Err("the requester <may> not decide".into()));
    let shown = approval_page(&person(), &hostile, Some(&Mistake { words: "<i>", chosen: None })).into_string();
    assert!(!shown.contains("<form") && !shown.contains("<script>") && !shown.contains("<i>"), "{shown}");
    assert!(shown.contains("the requester &lt;may&gt; not decide"));
}

#[test]
fn a_headline_is_one_sentence() {
    let mut demand = view("", Ok(())).demand;
    demand.findings[0].message = "a.b would be dropped. Rename it.".into();
    assert_eq!(headline(&demand), "a.b would be dropped.");
    demand.findings.extend([demand.findings[0].clone(), demand.findings[0].clone()]);
    assert_eq!(headline(&demand), "a.b would be dropped, and 2 more.");
    demand.findings.clear();
    assert_eq!(headline(&demand), "deletes data");
}
