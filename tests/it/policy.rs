//! Policies: a rule and its effect, and what a reload changes.

use crate::server::{Server, field, text};

#[test]
fn a_rule_and_its_effect() {
    let server = Server::start();
    let task = server.runbook("rm -rf /");
    assert_eq!(field(&task, "status"), "failed", "{task:#}");
    let result = server.json(&["result", &field(&task, "task_id")]).to_string();
    assert!(result.contains("refused by rule"), "{result}");
}

#[test]
fn a_changed_policy_judges_the_next_chain_and_a_broken_one_never_replaces_it() {
    let server = Server::start();
    let before = server.json(&["policy", "status"]);
    let command = "rm -rf something";
    assert_eq!(field(&server.runbook(command), "status"), "needs_approval");

    let file = server.path("policies/policies.toml");
    let default = std::fs::read_to_string(&file).expect("policies.toml");
    std::fs::write(&file, default.replace("name = \"destructive-ops\"", "nme = \"destructive-ops\"")).expect("written");
    let broken = server.coda(&["policy", "load"]);
    assert!(!broken.status.success(), "{}", text(&broken));
    assert!(text(&broken).contains("nme"), "{}", text(&broken));
    assert_eq!(server.json(&["policy", "status"])["live"]["generation"], before["live"]["generation"]);
    assert_eq!(field(&server.runbook(command), "status"), "needs_approval");

    let without: String =
        default.split("[[policy]]").filter(|part| !part.contains("destructive-ops")).collect::<Vec<_>>().join("[[policy]]");
    std::fs::write(&file, without).expect("written");
    let loaded = server.coda(&["policy", "load"]);
    assert!(loaded.status.success(), "{}", text(&loaded));
    assert_eq!(field(&server.runbook(command), "status"), "completed");

    let back = server.coda(&["policy", "rollback", "--reason", "it lets too much pass"]);
    assert!(back.status.success(), "{}", text(&back));
    assert_eq!(field(&server.runbook(command), "status"), "needs_approval");
}

#[test]
fn compiling_takes_its_memory_in_a_process_that_ends() {
    /// Compiling in the server takes some 250 MiB, and most of it stays.
    const MOST_MIB: u64 = 150;
    let mut server = Server::with_config("");
    let cache = server.path("its-own-cache");
    server.set("CODA_POLICY_CACHE", &cache.display().to_string());
    server.run();
    assert_eq!(std::fs::read_dir(&cache).expect("the cache").count(), 3, "compiled forms");
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).expect("it runs");
    let peak = status.lines().find_map(|l| l.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    let peak = peak.expect("the most that was resident") / 1024;
    assert!(peak < MOST_MIB, "{peak} MiB were resident");
}
