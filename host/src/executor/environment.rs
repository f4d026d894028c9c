//! The environment that an agent gets: an allow-list of the server's, and coda's own. Nothing else of the server's
//! environment reaches it, so no credential that the server was started with does.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};

use super::Launch;
use super::process::TASK_MARK;

/// Names that are handed on from the server's environment; and every `LC_…`.
const HANDED_ON: &[&str] = &["PATH", "LANG", "TZ"];
/// Where the server has no PATH.
const FALLBACK_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Puts it together. Later entries win: the server's, the profile's, coda's own.
pub(super) fn of(
    launch: &Launch,
    server: impl IntoIterator<Item = (OsString, OsString)>,
    also: &[String],
    from_agent: &BTreeMap<String, String>,
) -> BTreeMap<String, String> {
    let mut all = BTreeMap::from([("PATH".to_owned(), FALLBACK_PATH.to_owned()), ("LANG".to_owned(), "C.UTF-8".to_owned())]);
    let text = |s: OsString| s.into_string().ok();
    let server = server.into_iter().filter(|(name, _)| is_handed_on(name, also));
    all.extend(server.filter_map(|(name, value)| Some((text(name)?, text(value)?))));
    all.extend(launch.environment.clone());
    let home = launch.task_dir.join("home");
    let own = [
        ("HOME", home.display().to_string()),
        ("TMPDIR", home.join("tmp").display().to_string()),
        ("SHELL", "/bin/bash".to_owned()),
        ("TERM", "xterm-256color".to_owned()),
        ("COLORTERM", "truecolor".to_owned()),
        ("CODA_TASK_DIR", launch.task_dir.join("io").display().to_string()),
        ("CODA_GATEWAY_URL", launch.gateway_url.clone()),
        ("CODA_GATEWAY_TOKEN", launch.gateway_token.clone()),
        (TASK_MARK, launch.task.to_string()),
    ];
    all.extend(from_agent.clone());
    all.extend(own.map(|(name, value)| (name.to_owned(), value)));
    all
}

fn is_handed_on(name: &OsStr, also: &[String]) -> bool {
    name.to_str().is_some_and(|name| HANDED_ON.contains(&name) || name.starts_with("LC_") || also.iter().any(|a| a == name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_named_is_handed_on_and_nothing_else() {
        let is = |name: &str| is_handed_on(OsStr::new(name), &["HTTPS_PROXY".to_owned()]);
        assert!(is("PATH") && is("LC_ALL") && is("HTTPS_PROXY"));
        assert!(!is("MODEL_KEY") && !is("HTTPS_PROXY_PASSWORD"));
    }
}
