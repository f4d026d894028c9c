//! Requests: `curl -X DELETE`, `gh api -X DELETE`, and paths that name the operation.

use super::verb::{ACCESS, verb_of};
use crate::hit::Hit;
use crate::rules::{joined_value, value};
use crate::shell::{Arg, Command};

/// `curl -X DELETE`, `http DELETE`, `wget --method=DELETE`.
pub(super) fn http(command: &Command, hits: &mut Vec<Hit>) {
    let argv = &command.argv;
    let method = method(argv)
        .or_else(|| argv.get(1).map(|arg| arg.text.clone()).filter(|_| !matches!(command.program(), "curl" | "wget")));
    if method.is_some_and(|method| method.eq_ignore_ascii_case("DELETE")) {
        let url = argv
            .iter()
            .skip(1)
            .find(|arg| arg.text.contains("://") || arg.text.contains('/'))
            .map_or("", |arg| arg.text.as_str());
        hits.push(Hit::of(command, "http.delete", "url", url));
    } else if let Some(url) =
        argv.iter().skip(1).find(|arg| arg.text.starts_with("http") && has_data(argv) && url_verb(&arg.text))
    {
        // APIs that name the operation in the path: POST …/api/2.1/jobs/delete.
        hits.push(Hit::on(command, "http.delete", "url", url));
    }
}

pub(super) fn has_data(argv: &[Arg]) -> bool {
    method(argv).is_some_and(|method| !method.eq_ignore_ascii_case("GET"))
        || argv.iter().any(|arg| matches!(arg.text.as_str(), "-d" | "--data" | "--json" | "--data-raw" | "--post-data" | "-F"))
}

pub(super) fn url_verb(url: &str) -> bool {
    let path = url.split(['?', '#']).next().unwrap_or(url).trim_end_matches('/');
    path.rsplit('/').next().is_some_and(|last| verb_of(last).is_some() || last.starts_with("_delete"))
}

pub(super) fn method(argv: &[Arg]) -> Option<String> {
    const OPTIONS: &[&str] = &["-X", "--request", "--method", "-method", "-m"];
    value(argv, OPTIONS)
        .map(|arg| arg.text.clone())
        .or_else(|| joined_value(argv, OPTIONS).map(str::to_owned))
        .or_else(|| argv.iter().find_map(|arg| arg.text.strip_prefix("-X").filter(|rest| !rest.is_empty()).map(str::to_owned)))
}

/// `gh api -X DELETE`, `databricks api delete`, `az rest --method delete`, `kubectl --raw`.
pub(super) fn rest_call(command: &Command, hits: &mut Vec<Hit>) -> bool {
    let argv = &command.argv;
    let api = argv.get(1).is_some_and(|arg| matches!(arg.text.as_str(), "api" | "rest"));
    if api {
        let verb = method(argv).or_else(|| argv.get(2).map(|arg| arg.text.clone())).unwrap_or_default();
        let deletes = verb.eq_ignore_ascii_case("delete")
            || argv.iter().skip(2).any(|arg| arg.text.contains('/') && url_verb(&arg.text)) && !verb.eq_ignore_ascii_case("get")
            || argv.iter().any(|arg| arg.text.contains("mutation") && arg.text.to_ascii_lowercase().contains("delete"));
        let name = argv.iter().skip(2).find(|arg| arg.text.contains('/')).map_or("", |arg| arg.text.as_str()).to_owned();
        let access = name.split(['/', '-', '_', '?']).any(|part| ACCESS.contains(&part));
        if access && !verb.is_empty() && !verb.eq_ignore_ascii_case("get") && !verb.starts_with('/') {
            hits.push(Hit::of(command, "cloud.permission", "url", &name));
        } else if deletes {
            hits.push(Hit::of(command, "http.delete", "url", &name));
        }
    }
    api
}
