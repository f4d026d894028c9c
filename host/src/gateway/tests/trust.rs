//! Whom the gateway trusts, and what it says of whom it does not.

use super::stand::{asking, heard};
use super::tls::{Secure, ca, trusting};
use crate::gateway::transport;
use crate::gateway::upstream::Client;
use crate::gateway::{Settings, Upstream};

#[tokio::test]
async fn an_upstream_of_an_unknown_ca_is_not_asked_and_the_error_names_the_setting() {
    let secure = Secure::new(&["h2"], Settings { ca_file: None, ..trusting() }).await;
    let (status, body) = secure.stand.ask(&asking(true, &[])).await;
    assert_eq!(status, axum::http::StatusCode::BAD_GATEWAY);
    assert!(body.contains("a CA that coda does not trust; gateway.ca_file adds one"), "{body}");
    assert_eq!((secure.connections(), secure.stand.requests()), (1, 0), "trying again would change nothing");
}

#[tokio::test]
async fn names_of_one_certificate_share_no_connection() {
    let secure = Secure::new(&["h2"], trusting()).await;
    let stand = &secure.stand;
    let named = Upstream { base_url: format!("https://localhost:{}/v1", secure.port), ..stand.upstream() };
    let access = stand.gateway.open(crate::id::TaskId::new(), super::stand::envelope(), named, Vec::new());
    for token in [stand.token(), &access.token, stand.token(), &access.token] {
        stand.will_stream("Hello.", &[]);
        let url = format!("{}/model/v1/chat/completions", stand.gateway.url());
        let response = stand.client.post(url).bearer_auth(token).json(&asking(true, &[])).send().await.expect("an answer");
        assert_eq!(heard(&response.text().await.expect("text")).text, "Hello.");
    }
    assert_eq!(secure.connections(), 2);
}

#[test]
fn a_file_of_cas_that_cannot_be_used_is_named_with_what_is_wrong() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("ca.pem");
    let good = std::fs::read_to_string(ca()).expect("read");
    let bad = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    for (text, wrong) in [
        (None, "cannot be read: No such file"),
        (Some(String::new()), "has no certificate: PEM is expected"),
        (Some("no PEM at all".into()), "has no certificate: PEM is expected"),
        (Some(format!("{good}{bad}")), "has an unusable certificate, number 2: "),
        (Some(good.repeat((1 << 20) / good.len() + 1)), "is longer than 1048576 bytes"),
    ] {
        if let Some(text) = text {
            std::fs::write(&file, text).expect("written");
        }
        let settings = Settings { ca_file: Some(file.clone()), ..Settings::default() };
        let error = Client::new(&settings).err().expect(wrong);
        assert!(error.contains(&format!("gateway.ca_file {} {wrong}", file.display())), "{error}");
    }
    std::fs::write(&file, good.repeat(2)).expect("written");
    transport::client(&Settings { ca_file: Some(file), ..Settings::default() }).expect("a client");
}
