//! What answers use is counted, said or not, and what has no budget has no effect.

use axum::body::Bytes;
use serde_json::json;
use tokio::sync::mpsc;

use super::stand::{DEADLINE, Reply, Stand, asking, heard, streamed};
use crate::usage::Spent;

/// As much of this upstream's stream as comes before its figures.
fn without_figures(stream: &str) -> String {
    stream.split("\n\n").filter(|event| !event.contains("\"usage\"")).collect::<Vec<_>>().join("\n\n")
}

async fn spent(stand: &Stand, answers: usize) -> Vec<Spent> {
    let mut all = stand.gates.spent.subscribe();
    let enough = all.wait_for(|all| all.len() >= answers);
    tokio::time::timeout(DEADLINE, enough).await.expect("in time").expect("the gates live").clone()
}

#[tokio::test]
async fn an_answer_costs_what_its_upstream_says() {
    let stand = Stand::new().await;
    stand.will_stream("all is well", &[]);
    stand.ask(&asking(true, &[])).await;
    let said = Spent {
        model: "main".into(),
        input_tokens: 10,
        output_tokens: 5,
        estimated_tokens: 0,
        cost_micro_usd: Some(10 * 3 + 5 * 15),
    };
    assert_eq!(spent(&stand, 1).await, [said]);
}

#[tokio::test]
async fn silence_about_tokens_is_estimated() {
    let stand = Stand::new().await;
    let words = "word ".repeat(400);
    stand.will(Reply::Stream(vec![without_figures(&streamed(&words, &[])).into()]));
    stand.ask(&asking(true, &[])).await;
    let zeros = json!({"id": "x", "object": "chat.completion", "created": 1, "model": "m",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": words}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 0, "completion_tokens": 0}});
    stand.will(Reply::Json(axum::http::StatusCode::OK, zeros));
    stand.ask(&asking(false, &[])).await;
    let bytes = stand.request(0).to_string().len() as u64;
    for one in spent(&stand, 2).await {
        assert!(one.input_tokens.abs_diff(bytes / 4) < 20, "{one:?} for {bytes} bytes");
        assert!((500..600).contains(&one.output_tokens), "{one:?} for 2000 bytes");
        assert_eq!(one.estimated_tokens, one.input_tokens + one.output_tokens);
        assert!(one.cost_micro_usd.is_some_and(|cost| cost > 500 * 15), "{one:?}");
    }
}

#[tokio::test]
async fn an_answer_that_nobody_reads_to_its_end_is_counted() {
    let stand = Stand::new().await;
    let (pieces, reply) = mpsc::channel::<std::io::Result<Bytes>>(8);
    stand.will(Reply::Live(reply));
    let stream = streamed("never finished", &[]);
    let half = stream[..stream.find("finish_reason\":\"stop").expect("an end")].to_owned();
    pieces.send(Ok(Bytes::from(half))).await.expect("sent");
    let mut response = stand.post("/model/v1/chat/completions", &asking(true, &[])).await;
    let first = tokio::time::timeout(DEADLINE, response.chunk()).await.expect("in time").expect("a piece");
    assert!(first.is_some_and(|piece| piece.starts_with(b"data: ")), "what came goes on at once");
    pieces.send(Err(std::io::Error::other("gone"))).await.expect("sent");
    let body = tokio::time::timeout(DEADLINE, response.text()).await.expect("in time").expect("a body");
    assert!(heard(&body).error.is_some(), "{body}");
    let all = spent(&stand, 1).await;
    assert!(all[0].input_tokens > 10 && all[0].output_tokens > 0, "{all:?}");
    assert_eq!(all[0].estimated_tokens, all[0].input_tokens + all[0].output_tokens);
}

#[tokio::test]
async fn a_budget_that_is_used_up_stops_the_question_before_it_is_asked_and_the_call_before_it_is_judged() {
    let stand = Stand::new().await;
    *stand.gates.over_after.lock().expect("over") = Some("the budget budget.task_tokens is used up".into());
    stand.will_stream("one moment", &[("call-1", "ls")]);
    let (status, body) = stand.ask(&asking(true, &[])).await;
    let told = heard(&body);
    assert!(status.is_success() && told.text == "one moment", "what was said before stays said: {body}");
    assert!(told.error.is_some_and(|error| error.contains("budget.task_tokens")) && told.calls.is_empty(), "{body}");
    assert!(stand.gates.asked.lock().expect("asked").is_empty(), "no call was judged");
    *stand.gates.over.lock().expect("over") = Some("the budget budget.task_tokens is used up".into());
    for stream in [true, false] {
        let (status, body) = stand.ask(&asking(stream, &[json!({"role": "user", "content": "again"})])).await;
        assert_eq!(status.as_u16(), 403, "{body}");
        assert!(body.contains("budget.task_tokens") && body.contains("\"code\":\"budget\""), "{body}");
    }
    assert_eq!(stand.requests(), 1, "the model was not asked again");
}
