//! Write a policy for coda in Rust.
//!
//! A policy is a type with settings and one or more of the traits [`Guard`], [`Filter`] and [`Shape`]; the macro
//! [`policy!`] exports it as a component of the contract `coda:policy`. Everything here also runs natively, so a policy
//! is tested with plain `cargo test`: make an event with [`event`], configure the policy with [`configured`], call it.
//!
//! This crate decides nothing and keeps no state but the configured policy itself.
//!
//! ```
//! use coda_policy::prelude::*;
//!
//! struct NoForce;
//!
//! impl Policy for NoForce {
//!     type Settings = NoSettings;
//!     fn describe() -> Description {
//!         Description::new("no-force", "0.1.0").rule("no-force.push", Severity::High, Effect::Overwrite, "a forced push").gate(Gate::ToolCall)
//!     }
//!     fn configure(_: NoSettings, _: &[GrantedFile]) -> Result<Self, PolicyError> {
//!         Ok(Self)
//!     }
//! }
//!
//! impl Guard for NoForce {
//!     fn review(&self, event: &Event, _: &[Finding]) -> Result<Verdict, PolicyError> {
//!         match event.shell().and_then(|text| text.find("--force")) {
//!             Some(at) => Ok(deny(Finding::new("no-force.push", Effect::Overwrite, "History would be lost. Push without --force.").at(at, at + 7))),
//!             None => Ok(allow()),
//!         }
//!     }
//! }
//!
//! coda_policy::policy!(NoForce: guard);
//!
//! # fn main() {
//! let policy: NoForce = coda_policy::configured("{}").expect("no settings");
//! let verdict = policy.review(&coda_policy::event::shell("git push --force"), &[]).expect("it decides");
//! assert!(matches!(verdict, Verdict::Deny(_)));
//! # }
//! ```

#[doc(hidden)]
pub mod bindings;
mod builders;
mod describe;
pub mod event;
#[doc(hidden)]
pub mod export;

pub use bindings::types;
pub use builders::{allow, allow_with, ask, deny};
pub use describe::{Description, GrantedFile, Rule};
pub use types::{
    Annotation, Caller, Coverage, Demand, Effect, Event, Finding, Gate, Label, Mark, Output, Permissions, PolicyError, Prompt,
    Requirement, Resource, Reversible, Severity, Span, Subject, Task, ToolCall, ToolResult, Usage, Verdict,
};

/// What a policy usually needs.
pub mod prelude {
    pub use crate::{
        Coverage, Demand, Description, Effect, Event, Filter, Filtered, Finding, Gate, GrantedFile, Guard, NoSettings, Policy,
        PolicyError, Requirement, Resource, Reversible, Severity, Shape, ShapeClient, Shaped, Span, Subject, Verdict, allow,
        allow_with, ask, deny,
    };
    pub use serde::Deserialize;
}

use serde::Deserialize;
use serde::de::DeserializeOwned;

/// What every policy says of itself, and how it takes its settings.
pub trait Policy: Sized + Send + Sync + 'static {
    /// The settings, as `policies.toml` has them. Use `#[serde(default, deny_unknown_fields)]`.
    type Settings: DeserializeOwned;

    /// Name, version, rules, gates and the settings' schema. Costs nothing.
    fn describe() -> Description;

    /// Called once, when the policy is loaded. Build here what is costly: the host snapshots the memory afterwards, and
    /// every evaluation starts from that snapshot.
    fn configure(settings: Self::Settings, files: &[GrantedFile]) -> Result<Self, PolicyError>;
}

/// A policy that judges events.
pub trait Guard: Policy {
    /// The verdict. `earlier` holds the findings of the policies before this one.
    fn review(&self, event: &Event, earlier: &[Finding]) -> Result<Verdict, PolicyError>;
}

/// A policy that changes texts before guards judge them.
pub trait Filter: Policy {
    /// The text as it may go on.
    fn apply(&self, event: &Event) -> Result<Filtered, PolicyError>;
}

/// A policy that words answers for clients.
pub trait Shape: Policy {
    /// The form of one answer for one client. `output` is JSON text.
    fn output(&self, client: &ShapeClient, tool: &str, output: &str) -> Result<Shaped, PolicyError>;

    /// The list of tools for one client. `tools` is a JSON array, and so is the answer.
    fn tools(&self, client: &ShapeClient, tools: &str) -> Result<String, PolicyError>;
}

/// A filter's answer.
#[derive(Debug, Clone, PartialEq)]
pub enum Filtered {
    /// The text stays.
    Unchanged(Vec<Finding>),
    /// The text is replaced.
    Replaced {
        /// The new text.
        content: String,
        /// What was changed.
        findings: Vec<Finding>,
    },
    /// The text must not pass; at least one finding says why.
    Withhold(Vec<Finding>),
}

/// The client that reads an answer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ShapeClient {
    /// Name of the shape that the client was recognised as; `generic` where none fits.
    pub shape: String,
    /// The client's self-given name.
    pub name: String,
    /// The client's self-given version.
    pub version: String,
}

/// An answer in the client's form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shaped {
    /// The text block.
    pub text: String,
    /// The structured content as JSON text; none where the client takes only text.
    pub structured: Option<String>,
}

/// The settings of a policy that has none.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NoSettings {}

/// Configures a policy from settings as JSON text, the way the host does.
pub fn configured<P: Policy>(settings: &str) -> Result<P, PolicyError> {
    configured_with(settings, &[])
}

/// Configures a policy from settings as JSON text and granted files.
pub fn configured_with<P: Policy>(settings: &str, files: &[GrantedFile]) -> Result<P, PolicyError> {
    let settings = if settings.trim().is_empty() { "{}" } else { settings };
    let settings = serde_json::from_str(settings).map_err(|error| PolicyError::InvalidSettings(error.to_string()))?;
    P::configure(settings, files)
}
