//! Setting up and starting: what is decided for the operator, and what is said aloud.

use crate::server::{DEADLINE, Server, field, text};

const BEHIND_A_PROXY: &str =
    "[identity]\nmode = \"proxy\"\ntrusted_peers = [\"10.0.0.1/32\"]\nheaders = [\"x-forwarded-email\"]\n";

#[test]
fn a_server_of_several_people_is_set_up_with_four_eyes() {
    let server = Server::with_config("");
    let policies = server.path("policies/policies.toml");
    let written = |arguments: &[&str]| {
        std::fs::remove_file(&policies).expect("it was written");
        let init = server.coda(arguments);
        assert!(init.status.success(), "{}", text(&init));
        let text = std::fs::read_to_string(&policies).expect("policies.toml");
        text.lines().find(|l| l.starts_with("allow_requester")).expect("it says so").to_owned()
    };
    assert_eq!(written(&["init"]), "allow_requester = true", "one person decides alone");
    std::fs::remove_file(server.path("coda.toml")).expect("it was written");
    assert_eq!(written(&["init", "--proxy", "databricks-apps", "--trusted-peer", "10.0.0.0/8"]), "allow_requester = false");
    std::fs::write(server.path("coda.toml"), BEHIND_A_PROXY).expect("coda.toml");
    assert_eq!(written(&["init"]), "allow_requester = false", "as coda.toml has it");
}

#[test]
fn whoever_may_approve_their_own_behind_a_proxy_is_warned_of_at_start_and_by_the_doctor() {
    // Set up for one person, then put behind a proxy.
    let mut server = Server::with_config(BEHIND_A_PROXY);
    server.run();
    assert!(server.log_text().contains("may approve it too"), "{}", server.log_text());
    let report = server.json(&["doctor"]);
    let checks = report["checks"].as_array().expect("checks");
    let four_eyes = checks.iter().find(|c| c["check"] == "four eyes").unwrap_or_else(|| panic!("{report:#}"));
    assert_eq!(field(four_eyes, "level"), "warn");
}

#[test]
fn a_login_link_is_not_written_where_an_agent_could_read_it() {
    let server = Server::start();
    let stdout = server.stdout.lock().expect("nobody failed").take().expect("it runs");
    loop {
        let line = stdout.recv_timeout(DEADLINE).expect("the server says how to log in");
        assert!(!line.contains("/login"), "{line}");
        if line.contains("coda login") {
            return;
        }
    }
}
