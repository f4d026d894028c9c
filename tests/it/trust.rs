//! A model whose certificate is of a CA of one's own, through a real server.

use serde_json::json;

use crate::person::{Person, prepared_behind_a_proxy};
use crate::server::field;
use crate::upstream::{CA, DONE, Upstream, agent, words};

const ROLES: &str = "[[role]]\nname = \"submitter\"\nprincipals = [\"sue@example.com\"]\n";

#[test]
fn a_model_of_ones_own_ca_is_asked_where_the_ca_is_named() {
    let upstream = Upstream::behind_tls(|_| (200, words("well")));
    let table = agent(&format!("ask once > said; {DONE}"), &format!("{}/v1", upstream.url), "");
    for (settings, heard) in [("", "gateway.ca_file"), ("[gateway]\nca_file = \"own-ca.pem\"\n", "well")] {
        let mut server = prepared_behind_a_proxy(&format!("{settings}{table}"), ROLES);
        if !settings.is_empty() {
            let check = || {
                let report = server.json(&["doctor"]);
                let checks = report["checks"].as_array().expect("checks");
                checks.iter().find(|check| check["check"] == "CAs of models").expect("a check").clone()
            };
            let missing = check();
            assert_eq!(field(&missing, "level"), "fail");
            assert!(missing.to_string().contains("own-ca.pem cannot be read"), "{missing:#}");
            std::fs::write(server.path("own-ca.pem"), CA).expect("written");
            assert_eq!(field(&check(), "level"), "ok");
        }
        server.run();
        let sue = Person::new(&server, "sue@example.com");
        let (status, task) = sue.post("/v1/tasks", &json!({ "prompt": "go", "agent": "own" }));
        assert_eq!(status, 201, "{task:#}");
        let ended = sue.wait_for(&field(&task, "task_id"), &["completed", "failed"]);
        let said = std::fs::read_to_string(server.in_workspace(&ended, "said")).expect("an answer");
        assert!(said.contains(heard), "{said}");
    }
    assert_eq!(upstream.seen().len(), 1, "who is not trusted gets no request");
}
