//! A task that has a network of its own: whose token is worth something where.

use super::stand::{Stand, envelope};
use crate::id::TaskId;

async fn status(stand: &Stand, url: &str, token: &str) -> Option<u16> {
    let answer = stand.client.get(format!("{url}/model/v1/models")).bearer_auth(token).send().await;
    answer.ok().map(|answer| answer.status().as_u16())
}

#[tokio::test]
async fn a_token_counts_inside_its_own_network_and_nowhere_else() {
    let stand = Stand::new().await;
    let (shared, other) = (stand.gateway.url(), stand.token().to_owned());
    let mut access = stand.gateway.open(TaskId::new(), envelope(), stand.upstream(), Vec::new());
    let own = access.token.clone();
    assert_eq!(status(&stand, &shared, &own).await, Some(200));
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.set_nonblocking(true).expect("sets");
    let inside = format!("http://{}", listener.local_addr().expect("bound"));
    access.move_inside(listener).expect("it moves");
    assert_eq!(status(&stand, &inside, &own).await, Some(200));
    assert_eq!(status(&stand, &inside, &other).await, Some(401), "another task's token inside");
    assert_eq!(status(&stand, &shared, &own).await, Some(401), "its own on the port that tasks share");
    assert_eq!(status(&stand, &shared, &other).await, Some(200), "the others go on");
    drop(access);
    assert!(matches!(status(&stand, &inside, &own).await, None | Some(401)), "closed");
}
