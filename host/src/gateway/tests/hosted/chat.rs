//! OpenAI Chat Completions: the search leaves nothing but the model's text, and annotations of it.

use axum::http::StatusCode;
use serde_json::{Value, json};

use super::super::stand::{Reply, asking, streamed};
use super::listing;
use crate::gateway::Dialect;

#[tokio::test]
async fn a_search_is_offered_where_it_is_listed_and_allowed_and_else_stripped() {
    for (listed, options, offered, asked) in [
        (&[][..], json!({}), false, 0),
        (&["web_search*"], json!({}), true, 1),
        (&["web_search_options"], json!({"user_location": {"type": "destroy"}}), false, 1),
        (&["web_search_options"], json!({"search_context_size": "low"}), true, 1),
    ] {
        let stand = listing(Dialect::Chat, listed).await;
        stand.will(Reply::Stream(vec![streamed("ok", &[]).into()]));
        let mut body = asking(true, &[]);
        body["web_search_options"] = options.clone();
        body["plugins"] = json!([{"id": "web"}]);
        let (status, answer) = stand.ask(&body).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
        assert!(streamed("ok", &[]).ends_with(&answer), "{answer}");
        let sent = stand.request(0);
        assert_eq!(sent.get("web_search_options"), Some(&options).filter(|_| offered), "{sent}");
        assert!(sent.get("plugins").is_none(), "{sent}");
        let judged = stand.gates.hosted.lock().expect("hosted").clone();
        let expected = ("hosted:web_search_options".to_owned(), json!({"web_search_options": options}));
        assert_eq!(judged, vec![expected; asked]);
    }
}

#[tokio::test]
async fn what_it_quotes_passes_as_the_models_words_and_calls_are_judged_as_ever() {
    let stand = listing(Dialect::Chat, &["web_search_options"]).await;
    let quoted = json!([{"type": "url_citation", "url_citation": {"url": "https://a.example", "title": "A", "start_index": 0, "end_index": 1}}]);
    let message = json!({"role": "assistant", "content": "Fine.", "annotations": quoted});
    let answer = json!({"id": "up", "object": "chat.completion", "created": 7, "model": "m",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}], "usage": {"prompt_tokens": 1, "completion_tokens": 1}});
    stand.will(Reply::Json(StatusCode::OK, answer.clone()));
    let mut body = asking(false, &[]);
    body["web_search_options"] = json!({});
    let (_, got) = stand.ask(&body).await;
    assert_eq!(serde_json::from_str::<Value>(&got).expect("JSON"), answer);
}
