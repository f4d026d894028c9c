//! The smallest guard: it refuses forced pushes to the branches that its settings name.
//!
//! Build it with `cargo build --release --target wasm32-wasip2` and name the file in `policies.toml`.

use coda_policy::prelude::*;

/// `settings = { branches = ["main"] }`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    branches: Vec<String>,
}

/// The configured policy.
#[derive(Debug)]
pub struct NoForcePush(Settings);

impl Policy for NoForcePush {
    type Settings = Settings;

    fn describe() -> Description {
        Description::new("no-force-push", "0.1.0")
            .rule("git.force", Severity::High, Effect::Overwrite, "a forced push to a protected branch")
            .gate(Gate::ToolCall)
            .settings_schema(r#"{"type":"object","properties":{"branches":{"type":"array","items":{"type":"string"}}}}"#)
    }

    fn configure(settings: Settings, _: &[GrantedFile]) -> Result<Self, PolicyError> {
        Ok(Self(settings))
    }
}

impl Guard for NoForcePush {
    fn review(&self, event: &Event, _: &[Finding]) -> Result<Verdict, PolicyError> {
        let words: Vec<&str> = event.shell().unwrap_or_default().split_whitespace().collect();
        let forced = words.starts_with(&["git", "push"]) && words.iter().any(|word| word.starts_with("--force") || *word == "-f");
        let branch = self.0.branches.iter().find(|branch| words.contains(&branch.as_str()));
        Ok(match branch {
            Some(branch) if forced => deny(
                Finding::new(
                    "git.force",
                    Effect::Overwrite,
                    format!("The history of {branch} would be lost. Push to a new branch."),
                )
                .on("branch", branch),
            ),
            _ => allow(),
        })
    }
}

coda_policy::policy!(NoForcePush: guard);

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(command: &str) -> Verdict {
        let policy: NoForcePush = coda_policy::configured(r#"{"branches":["main"]}"#).expect("the settings are valid");
        policy.review(&coda_policy::event::shell(command), &[]).expect("it always decides")
    }

    #[test]
    fn a_forced_push_to_a_protected_branch_is_refused() {
        assert!(matches!(verdict("git push --force origin main"), Verdict::Deny(_)));
    }

    #[test]
    fn other_pushes_pass() {
        assert_eq!(verdict("git push origin main"), allow());
        assert_eq!(verdict("git push --force origin topic"), allow());
    }
}
