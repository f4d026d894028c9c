//! From the SDK's traits to the exports of each interface. Used by the macro [`policy!`](crate::policy) only.

use std::marker::PhantomData;
use std::sync::OnceLock;

use crate::bindings::about::exports::coda::policy::about as wit_about;
use crate::bindings::filter::exports::coda::policy::filter as wit_filter;
use crate::bindings::guard::exports::coda::policy::guard as wit_guard;
use crate::bindings::shape::exports::coda::policy::shape as wit_shape;
use crate::types::{Event, Finding, PolicyError, Verdict};
use crate::{Filter, Filtered, GrantedFile, Guard, Policy, Shape, ShapeClient, configured_with};

/// Where the configured policy lives. The macro makes one static for each policy.
pub trait Installed: Policy {
    /// The static.
    fn slot() -> &'static OnceLock<Self>;
}

/// The type that carries the exports of the policy `P`.
pub struct Export<P>(PhantomData<P>);

fn installed<P: Installed>() -> Result<&'static P, PolicyError> {
    P::slot().get().ok_or_else(|| PolicyError::Failed("not configured".to_owned()))
}

impl<P: Installed> wit_about::Guest for Export<P> {
    fn describe() -> wit_about::Description {
        let about = P::describe();
        let rule = |r: crate::Rule| wit_about::Rule { code: r.code, severity: r.severity, effect: r.effect, summary: r.summary };
        wit_about::Description {
            name: about.name,
            version: about.version,
            rules: about.rules.into_iter().map(rule).collect(),
            gates: about.gates,
            settings_schema: about.settings_schema,
        }
    }

    fn configure(settings: String, files: Vec<wit_about::GrantedFile>) -> Result<(), PolicyError> {
        let files: Vec<_> = files.into_iter().map(|f| GrantedFile { path: f.path, content: f.content }).collect();
        let policy = configured_with::<P>(&settings, &files)?;
        P::slot().set(policy).map_err(|_| PolicyError::Failed("configured twice".to_owned()))
    }
}

impl<P: Installed + Guard> wit_guard::Guest for Export<P> {
    fn review(event: Event, earlier: Vec<Finding>) -> Result<Verdict, PolicyError> {
        installed::<P>()?.review(&event, &earlier)
    }
}

impl<P: Installed + Filter> wit_filter::Guest for Export<P> {
    fn apply(event: Event) -> Result<wit_filter::Filtered, PolicyError> {
        Ok(match installed::<P>()?.apply(&event)? {
            Filtered::Unchanged(findings) => wit_filter::Filtered::Unchanged(findings),
            Filtered::Replaced { content, findings } => {
                wit_filter::Filtered::Replaced(wit_filter::Replacement { content, findings })
            }
            Filtered::Withhold(findings) => wit_filter::Filtered::Withhold(findings),
        })
    }
}

fn client(client: wit_shape::Client) -> ShapeClient {
    ShapeClient { shape: client.shape, name: client.name, version: client.version }
}

impl<P: Installed + Shape> wit_shape::Guest for Export<P> {
    fn shape_output(reader: wit_shape::Client, tool: String, output: String) -> Result<wit_shape::Shaped, PolicyError> {
        let shaped = installed::<P>()?.output(&client(reader), &tool, &output)?;
        Ok(wit_shape::Shaped { text: shaped.text, structured: shaped.structured })
    }

    fn shape_tools(reader: wit_shape::Client, tools: String) -> Result<String, PolicyError> {
        installed::<P>()?.tools(&client(reader), &tools)
    }
}

/// Exports a policy and what it can do: `policy!(MyPolicy: guard)`, `policy!(MyPolicy: guard, filter, shape)`.
/// Once in a crate of type `cdylib`.
#[macro_export]
macro_rules! policy {
    ($policy:ident: $($part:ident),+) => {
        impl $crate::export::Installed for $policy {
            fn slot() -> &'static ::std::sync::OnceLock<Self> {
                static SLOT: ::std::sync::OnceLock<$policy> = ::std::sync::OnceLock::new();
                &SLOT
            }
        }
        #[cfg(target_arch = "wasm32")]
        type __CodaExport = $crate::export::Export<$policy>;
        $crate::__export_part!(about);
        $($crate::__export_part!($part);)+
    };
}

/// The exports of one interface.
#[doc(hidden)]
#[macro_export]
macro_rules! __export_part {
    (about) => {
        #[cfg(target_arch = "wasm32")]
        $crate::bindings::about::export_about!(__CodaExport with_types_in $crate::bindings::about);
    };
    (guard) => {
        #[cfg(target_arch = "wasm32")]
        $crate::bindings::guard::export_guard!(__CodaExport with_types_in $crate::bindings::guard);
    };
    (filter) => {
        #[cfg(target_arch = "wasm32")]
        $crate::bindings::filter::export_filter!(__CodaExport with_types_in $crate::bindings::filter);
    };
    (shape) => {
        #[cfg(target_arch = "wasm32")]
        $crate::bindings::shape::export_shape!(__CodaExport with_types_in $crate::bindings::shape);
    };
}
