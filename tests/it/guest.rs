//! The policy that misbehaves as its settings say (`tests/guests/faulty`), for servers.

use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;

use crate::server::Server;

/// Its component, built once; in a target folder of its own, because cargo would wait for itself.
fn faulty() -> &'static [u8] {
    static BUILT: OnceLock<Vec<u8>> = OnceLock::new();
    BUILT.get_or_init(|| {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let target = root.join("target/guests");
        let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or("cargo".into()));
        cargo.args(["build", "--quiet", "--release", "--target", "wasm32-wasip2", "--manifest-path"]);
        cargo.arg(root.join("tests/guests/faulty/Cargo.toml")).arg("--target-dir").arg(&target);
        cargo.envs([
            ("CARGO_PROFILE_RELEASE_DEBUG", "0"),
            ("CARGO_PROFILE_RELEASE_STRIP", "symbols"),
            ("CARGO_PROFILE_RELEASE_LTO", "off"),
        ]);
        for outer in ["RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "RUSTC_WORKSPACE_WRAPPER", "CARGO_TARGET_DIR", "CARGO_BUILD_TARGET"]
        {
            cargo.env_remove(outer);
        }
        assert!(cargo.status().is_ok_and(|done| done.success()), "the guest does not build");
        std::fs::read(target.join("wasm32-wasip2/release/coda_faulty.wasm")).expect("the component")
    })
}

/// Puts these policies in place, whole or not at all; `faulty.wasm` lies beside them.
pub fn policies(server: &Server, policies: &str) {
    let component = server.path("policies/faulty.wasm");
    if !component.exists() {
        std::fs::write(component, faulty()).expect("the component");
    }
    let new = server.path("policies/new");
    std::fs::write(&new, policies)
        .and_then(|()| std::fs::rename(&new, server.path("policies/policies.toml")))
        .expect("policies.toml");
}

/// One entry of policies.toml with it.
pub fn entry(name: &str, settings: &str, rest: &str) -> String {
    format!("[[policy]]\nname = \"{name}\"\ncomponent = \"faulty.wasm\"\nsettings = {{ {settings} }}\n{rest}\n\n")
}
