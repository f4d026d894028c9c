//! A guard that allows everything and does nothing: what a fresh instance costs by itself.

#![allow(clippy::all, reason = "most of it is generated")]

wit_bindgen::generate!({ path: "../../../wit/0.1", world: "guard-policy" });

use coda::policy::types::{Event, Finding, Gate, PolicyError, Verdict};
use exports::coda::policy::{about, guard};

struct Empty;
export!(Empty);

impl about::Guest for Empty {
    fn describe() -> about::Description {
        about::Description {
            name: "empty".into(),
            version: "0.1.0".into(),
            rules: vec![],
            gates: vec![Gate::ToolCall],
            settings_schema: "{}".into(),
        }
    }

    fn configure(_: String, _: Vec<about::GrantedFile>) -> Result<(), PolicyError> {
        Ok(())
    }
}

impl guard::Guest for Empty {
    fn review(_: Event, _: Vec<Finding>) -> Result<Verdict, PolicyError> {
        Ok(Verdict::Allow(vec![]))
    }
}
