//! From effects to a verdict: findings with their texts, what settings let pass, and who must agree.

use coda_policy::{Coverage, Demand, Event, Finding, Requirement, Severity, Span, Verdict, allow_with, ask};

use crate::catalog;
use crate::hit::Hit;
use crate::settings::{Match, Settings, fits};

/// Findings of one event.
const MAX_FINDINGS: usize = 32;

/// The mark of a task whose prompt speaks of destroying something.
pub(crate) const INTENT: &str = "destructive-intent";

/// The verdict over effects. `span_of` names the text that spans refer to.
pub(crate) fn verdict(settings: &Settings, event: &Event, hits: Vec<Hit>, span_of: &str) -> Verdict {
    let mut seen: Vec<Hit> = Vec::new();
    for hit in hits {
        let same = |other: &Hit| other.code == hit.code && other.name == hit.name && other.kind == hit.kind;
        if !seen.iter().any(same) {
            seen.push(hit);
        }
    }
    let mut judged: Vec<(Stance, Finding)> = seen.iter().map(|hit| judge(settings, event, hit, span_of)).collect();
    judged.sort_by_key(|(stance, _)| std::cmp::Reverse(*stance));
    judged.truncate(MAX_FINDINGS);
    let worst = judged.first().map_or(Stance::Pass, |(stance, _)| *stance);
    match worst {
        Stance::Pass => allow_with(judged.into_iter().map(|(_, finding)| finding).collect()),
        Stance::Refuse => Verdict::Deny(judged.into_iter().map(|(_, finding)| finding).collect()),
        Stance::Ask => {
            let asked: Vec<&Finding> =
                judged.iter().filter(|(stance, _)| *stance == Stance::Ask).map(|(_, finding)| finding).collect();
            let mut demand = demand(settings, &asked);
            if span_of != "prompt" && event.mark(INTENT).is_some() {
                demand.reason.push_str(" The task's prompt speaks of destroying something.");
            }
            Demand { findings: judged.into_iter().map(|(_, finding)| finding).collect(), ..demand }.into()
        }
    }
}

/// What follows from one finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Stance {
    Pass,
    Ask,
    Refuse,
}

fn judge(settings: &Settings, event: &Event, hit: &Hit, span_of: &str) -> (Stance, Finding) {
    let rule = catalog::find(hit.code);
    let overridden = settings.severity.get(hit.code).and_then(|word| Severity::parse(word));
    let mut severity = overridden.unwrap_or(rule.severity);
    let tainted = event.mark("tainted").is_some();
    if tainted && severity == Severity::Low && overridden.is_none() {
        // Hidden instructions reached the model: what would pass at other times is asked about.
        severity = Severity::Medium;
    }
    let environment = environment(settings, event, &hit.name);
    let mut stance = match severity {
        Severity::Info | Severity::Low => Stance::Pass,
        Severity::Medium | Severity::High | Severity::Critical => Stance::Ask,
    };
    if settings.deny.iter().any(|code| code == hit.code) {
        stance = Stance::Refuse;
    }
    let mut finding = Finding::new(hit.code, rule.effect, message(rule, hit)).severity(severity).reversible(rule.reversible);
    finding = finding.on(&hit.kind, &hit.name).environment(&environment).note("span-of", span_of);
    if hit.partial {
        finding.coverage = Coverage::Partial;
    }
    let clip = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
    finding.spans = vec![Span { start: clip(hit.span.0), end: clip(hit.span.1) }];
    if event.mark(INTENT).is_some() && span_of != "prompt" {
        finding = finding.note("asked-for", "prompt");
    }
    if !hit.via.is_empty() {
        finding = finding.note("via", &hit.via.join(" > "));
    }
    if stance == Stance::Ask && allowed(settings, hit, tainted) {
        stance = Stance::Pass;
        finding = finding.note("allowed-by", "settings");
    }
    (stance, finding)
}

fn message(rule: &catalog::Rule, hit: &Hit) -> String {
    format!("{} {}", rule.lost.replacen("{}", &hit.name, 1), rule.safe)
}

/// What settings let pass. Nothing that was understood only in part.
fn allowed(settings: &Settings, hit: &Hit, tainted: bool) -> bool {
    if hit.partial {
        return false;
    }
    if settings.allow_targets.iter().any(|pattern| fits(pattern, &format!("{}:{}", hit.kind, hit.name))) {
        return true;
    }
    if hit.kind != "file" && hit.kind != "folder" {
        return false;
    }
    let path = hit.name.as_str();
    let climbs = path.split('/').any(|part| part == "..");
    let below = |prefix: &String| {
        let prefix = prefix.trim_end_matches('/');
        !prefix.is_empty() && path.strip_prefix(prefix).is_some_and(|rest| rest.starts_with('/') && rest.len() > 1)
    };
    if !climbs && settings.allow_paths.iter().any(below) {
        return true;
    }
    let bare = path.trim_start_matches("./").trim_end_matches('/');
    // Reached through a container or another machine, a relative path is not in this workspace.
    let here =
        hit.via.iter().all(|via| !matches!(via.as_str(), "ssh" | "docker" | "podman" | "kubectl" | "mosh" | "chroot" | "lxc"));
    settings.allow_in_workspace
        && !tainted
        && here
        && hit.code == "shell.rm"
        && !climbs
        && !bare.is_empty()
        && !matches!(bare, "." | "*" | ".git" | ".*")
        && !bare.starts_with(['/', '~', '$', '-', '*'])
        && !bare.starts_with(".git/")
}

/// `production` where a part of the name, or a label of the task, says so.
pub(crate) fn environment(settings: &Settings, event: &Event, name: &str) -> String {
    let part = |text: &str| {
        text.to_lowercase().split(|c: char| !c.is_alphanumeric()).any(|part| {
            settings.production.iter().any(|word| {
                part == word || part.strip_prefix(word.as_str()).is_some_and(|rest| rest.bytes().all(|b| b.is_ascii_digit()))
            })
        })
    };
    let labelled = event.label("environment").unwrap_or_default();
    if part(name) || part(labelled) || event.mark("catalog").is_some_and(part) {
        "production".to_owned()
    } else {
        labelled.to_owned()
    }
}

/// Who must agree: the default, and every rule that fits a resource; for one role the highest count.
fn demand(settings: &Settings, findings: &[&Finding]) -> Demand {
    let first = findings.first().map_or("", |finding| finding.message.as_str());
    let more = findings.len().saturating_sub(1);
    let reason = if more == 0 { first.to_owned() } else { format!("{first} And {more} more.") };
    let mut demand = ask(&reason, Vec::new());
    demand.allow_requester = settings.allow_requester;
    demand.expires_after_s = settings.expires_after_s;
    let mut add = |role: &str, count: u32| match demand.approvals.iter_mut().find(|one| one.role == role) {
        Some(one) => one.count = one.count.max(count),
        None => demand.approvals.push(Requirement { role: role.to_owned(), count }),
    };
    let fitting: Vec<_> =
        settings.rule.iter().filter(|rule| findings.iter().any(|finding| matches(&rule.resource, finding))).collect();
    // A rule speaks in place of the default for the resources that it names.
    let uncovered = findings.iter().any(|finding| !fitting.iter().any(|rule| matches(&rule.resource, finding)));
    if uncovered {
        settings.approvals.iter().for_each(|approval| add(&approval.role, approval.count));
    }
    fitting.iter().flat_map(|rule| &rule.approvals).for_each(|approval| add(&approval.role, approval.count));
    if !fitting.is_empty() {
        demand.allow_requester = fitting.iter().all(|rule| rule.allow_requester) && (!uncovered || settings.allow_requester);
        let shortest = fitting
            .iter()
            .map(|rule| rule.expires_after_s)
            .chain([settings.expires_after_s])
            .filter(|seconds| *seconds > 0)
            .min();
        demand.expires_after_s = shortest.unwrap_or(0);
    }
    demand
}

/// A rule for catalogs also covers what lies in them: `prod.sales.orders` is in the catalog `prod`.
fn matches(pattern: &Match, finding: &Finding) -> bool {
    let Some(resource) = &finding.resource else { return false };
    let one = |pattern: &Option<String>, text: &str| pattern.as_ref().is_none_or(|pattern| fits(pattern, text));
    if !one(&pattern.environment, &resource.environment) {
        return false;
    }
    let direct = one(&pattern.kind, &resource.kind) && one(&pattern.name, &resource.name);
    let parts: Vec<&str> = resource.name.split('.').collect();
    let inside = match pattern.kind.as_deref() {
        Some("catalog") => parts.len() >= 2 && resource.kind != "file" && one(&pattern.name, parts[0]),
        Some("schema") => parts.len() >= 3 && resource.kind != "file" && one(&pattern.name, &parts[..2].join(".")),
        Some(_) | None => false,
    };
    direct || inside
}
