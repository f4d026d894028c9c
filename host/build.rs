//! Builds the bundled policies for wasm32-wasip2 and puts them into `$OUT_DIR`, where `policy::guests` embeds them.
//!
//! They get a target folder of their own, `target/guests`, shared by the host's profiles: cargo would wait for itself in
//! the outer one, and cargo's own lock keeps two builds apart here. `CODA_GUESTS=dir` takes `dir/NAME.wasm` instead.

use std::path::{Path, PathBuf};
use std::process::{Command, exit};
use std::{env, fs};

const TARGET: &str = "wasm32-wasip2";
const GUESTS: [&str; 3] = ["content-filter", "destructive-ops", "client-shapes"];

/// What the outer cargo, clippy or a coverage run set for the host and must not reach the guests.
const NOT_FOR_GUESTS: [&str; 9] = [
    "RUSTFLAGS",
    "CARGO_ENCODED_RUSTFLAGS",
    "CARGO_BUILD_RUSTFLAGS",
    "RUSTC_WORKSPACE_WRAPPER",
    "CARGO_BUILD_TARGET",
    "CARGO_TARGET_DIR",
    "CARGO_BUILD_TARGET_DIR",
    "CARGO_BUILD_BUILD_DIR",
    "CLIPPY_ARGS",
];

fn main() {
    let root = PathBuf::from(variable("CARGO_MANIFEST_DIR")).join("..");
    let out = PathBuf::from(variable("OUT_DIR"));
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=CODA_GUESTS");
    let built = match env::var_os("CODA_GUESTS").filter(|dir| !dir.is_empty()) {
        Some(dir) => prebuilt(&PathBuf::from(dir)),
        None => build_all(&root, &out),
    };
    for (name, file) in GUESTS.iter().zip(built) {
        let bytes = fs::read(&file).unwrap_or_else(|error| fail(&format!("cannot read the policy {}: {error}", file.display())));
        let to = out.join(format!("{name}.wasm"));
        fs::write(&to, bytes).unwrap_or_else(|error| fail(&format!("cannot write {}: {error}", to.display())));
    }
}

fn prebuilt(dir: &Path) -> Vec<PathBuf> {
    let files: Vec<PathBuf> = GUESTS.iter().map(|name| dir.join(format!("{name}.wasm"))).collect();
    for file in &files {
        println!("cargo::rerun-if-changed={}", file.display());
    }
    files
}

fn build_all(root: &Path, out: &Path) -> Vec<PathBuf> {
    for source in ["Cargo.toml", "Cargo.lock", "wit", "guest-policy/sdk/Cargo.toml", "guest-policy/sdk/src"] {
        println!("cargo::rerun-if-changed={}", root.join(source).display());
    }
    require_target();
    // `$OUT_DIR` is TARGET_FOLDER/PROFILE/build/coda-HASH/out.
    let target_folder = out.ancestors().nth(4).unwrap_or(out).join("guests");
    GUESTS.iter().map(|name| build(root, &target_folder, name)).collect()
}

fn build(root: &Path, target_folder: &Path, name: &str) -> PathBuf {
    let folder = root.join("guest-policy").join(name);
    println!("cargo::rerun-if-changed={}", folder.join("Cargo.toml").display());
    println!("cargo::rerun-if-changed={}", folder.join("src").display());
    let mut cargo = Command::new(variable("CARGO"));
    // The crate is a plain library for its native tests; as a `cdylib` alone it gets link-time optimisation.
    cargo.args(["rustc", "--lib", "--crate-type", "cdylib", "--profile", "guest", "--target", TARGET, "-p", name]);
    cargo.arg("--manifest-path").arg(root.join("Cargo.toml")).arg("--target-dir").arg(target_folder);
    for variable in NOT_FOR_GUESTS {
        cargo.env_remove(variable);
    }
    let done = cargo.output().unwrap_or_else(|error| fail(&format!("cannot start cargo for the policy {name}: {error}")));
    if !done.status.success() {
        eprintln!("{}", String::from_utf8_lossy(&done.stderr));
        fail(&format!("the bundled policy {name} does not build for {TARGET}; the compiler's messages are above"));
    }
    target_folder.join(TARGET).join("guest").join(format!("{}.wasm", name.replace('-', "_")))
}

/// Says how to get the target, which a compiler's "can't find crate for `core`" does not.
fn require_target() {
    let found = Command::new(variable("RUSTC")).args(["--print", "target-libdir", "--target", TARGET]).output();
    let there = found.is_ok_and(|done| Path::new(String::from_utf8_lossy(&done.stdout).trim()).is_dir());
    if !there {
        fail(&format!(
            "the Rust target {TARGET} is not installed, and the bundled policies need it: run `rustup target add {TARGET}`, \
             or set CODA_GUESTS to a folder with {}",
            GUESTS.map(|name| format!("{name}.wasm")).join(", ")
        ));
    }
}

fn variable(name: &str) -> std::ffi::OsString {
    env::var_os(name).unwrap_or_else(|| fail(&format!("cargo did not set {name} for the build script")))
}

fn fail(message: &str) -> ! {
    println!("cargo::error={message}");
    exit(1)
}
