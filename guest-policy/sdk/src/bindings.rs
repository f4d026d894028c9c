//! The contract's bindings, generated from `wit/`. One module for each interface: a policy exports `about` and what it
//! can do, and the linker's component step joins the parts to one of the contract's worlds. The types are generated once.

#![allow(unreachable_pub, clippy::all, reason = "generated code")]

/// The interface `about`, and the types of all interfaces.
pub mod about {
    wit_bindgen::generate!({
        inline: "package coda:sdk-about; world part { export coda:policy/about@0.1.0; import coda:policy/types@0.1.0; }",
        path: "../../wit/0.1",
        additional_derives: [Clone, PartialEq],
        pub_export_macro: true,
        export_macro_name: "export_about",
        generate_unused_types: true,
        generate_all,
    });
}

pub use about::coda::policy::types;

/// The interface `guard`.
pub mod guard {
    wit_bindgen::generate!({
        inline: "package coda:sdk-guard; world part-guard { export coda:policy/guard@0.1.0; }",
        path: "../../wit/0.1",
        with: { "coda:policy/types@0.1.0": crate::bindings::types, "coda:policy/guard@0.1.0": generate },
        pub_export_macro: true,
        export_macro_name: "export_guard",
    });
}

/// The interface `filter`.
pub mod filter {
    wit_bindgen::generate!({
        inline: "package coda:sdk-filter; world part-filter { export coda:policy/filter@0.1.0; }",
        path: "../../wit/0.1",
        with: { "coda:policy/types@0.1.0": crate::bindings::types, "coda:policy/filter@0.1.0": generate },
        pub_export_macro: true,
        export_macro_name: "export_filter",
    });
}

/// The interface `shape`.
pub mod shape {
    wit_bindgen::generate!({
        inline: "package coda:sdk-shape; world part-shape { export coda:policy/shape@0.1.0; }",
        path: "../../wit/0.1",
        with: { "coda:policy/types@0.1.0": crate::bindings::types, "coda:policy/shape@0.1.0": generate },
        pub_export_macro: true,
        export_macro_name: "export_shape",
    });
}
