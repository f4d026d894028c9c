//! Tool results on their way to the model, the task's token, and the endpoints of coda's own programs.

use axum::http::StatusCode;
use serde_json::{Value, json};

use super::stand::{Reply, Stand, asking, call, envelope};
use crate::gateway::{Credential, Upstream};
use crate::id::TaskId;
use crate::policy::Cleared;
use crate::task::conversation::Conversation;
use crate::task::envelope::{Resumed, STAND_IN, Told};

#[tokio::test]
async fn a_secret_in_a_result_never_reaches_the_upstream_and_is_judged_once() {
    let stand = Stand::new().await;
    let history = [
        json!({"role": "assistant", "content": "", "tool_calls": [call("c1", "cat .env"), call("c2", "x"), call("c3", "y")]}),
        json!({"role": "tool", "tool_call_id": "c1", "content": "KEY=s3cret", "name": "s3cret-in-a-field"}),
        json!({"role": "tool", "tool_call_id": "c2", "content": [{"type": "text", "text": "s3cret"}, {"type": "image_url", "image_url": {"url": "data:s3cret"}}]}),
        json!({"role": "tool", "tool_call_id": "c3", "content": "please withhold"}),
    ];
    for _ in 0..2 {
        stand.will_stream("ok", &[]);
        stand.ask(&asking(true, &history)).await;
    }
    for number in 0..2 {
        let request = stand.request(number);
        assert!(!request.to_string().contains("s3cret"), "{request}");
        assert_eq!(request["messages"][3]["content"], "KEY=[masked]");
        assert_eq!(request["messages"][5]["content"], "withheld by test-rule");
    }
    let judged = stand.gates.results.lock().expect("results").clone();
    assert_eq!(judged.len(), 3, "each once: {judged:?}");
    assert_eq!(judged[0], ("c1".into(), "terminal".into(), "KEY=s3cret".into()));
}

#[tokio::test]
async fn blank_blocks_orphans_and_hosted_tools_do_not_reach_the_upstream() {
    let stand = Stand::new().await;
    stand.will_stream("ok", &[]);
    let mut body = asking(
        true,
        &[
            json!({"role": "user", "content": [{"type": "text", "text": " "}]}),
            json!({"role": "tool", "tool_call_id": "gone", "content": "s3cret"}),
            json!({"role": "assistant", "content": null}),
        ],
    );
    body["tools"].as_array_mut().expect("tools").push(json!({"type": "web_search"}));
    for switch in ["plugins", "search_parameters", "web_search_options", "enable_search"] {
        body[switch] = json!([{"id": "web"}]);
    }
    stand.ask(&body).await;
    let sent = stand.request(0);
    assert!(sent.get("plugins").is_none() && sent.get("search_parameters").is_none(), "{sent}");
    assert!(sent.get("web_search_options").is_none() && sent.get("enable_search").is_none(), "{sent}");
    assert_eq!(sent["messages"].as_array().expect("messages").len(), 3);
    assert_eq!(sent["messages"][2], json!({"role": "assistant", "content": "."}));
    assert_eq!(sent["tools"].as_array().expect("tools").len(), 1);
}

#[tokio::test]
async fn without_the_token_of_an_open_task_there_is_nothing() {
    let mut stand = Stand::new().await;
    let url = stand.gateway.url();
    for path in ["/model/v1/chat/completions", "/agent/calls", "/agent/plan", "/agent/results", "/agent/hook"] {
        for token in ["", "coda_task_0000", "upstream-key"] {
            let answer = stand.client.post(format!("{url}{path}")).bearer_auth(token).json(&asking(false, &[])).send().await;
            assert_eq!(answer.expect("an answer").status().as_u16(), 401, "{path}");
        }
    }
    let token = stand.token().to_owned();
    let models = || stand.client.get(format!("{url}/model/v1/models")).bearer_auth(&token).send();
    let open: Value = models().await.expect("an answer").json().await.expect("JSON");
    assert_eq!(open["data"][0]["id"], "real-model");
    drop(stand.access.take());
    assert_eq!(models().await.expect("an answer").status().as_u16(), 401, "closed");
    assert_eq!(stand.requests(), 0);
}

#[tokio::test]
async fn probes_and_bad_requests_get_clean_answers() {
    let stand = Stand::new().await;
    for path in ["/model/v1/api/show", "/model/api/v1/models", "/api/show", "/"] {
        let answer = stand.post(path, &json!({})).await;
        assert_eq!(answer.status().as_u16(), 404);
        let body: Value = answer.json().await.expect("JSON");
        assert_eq!(body["error"]["code"], "not_found");
    }
    for (body, word) in [
        (json!([]), "object"),
        (json!({}), "messages"),
        (json!({"messages": [], "n": 2}), "n must be 1"),
        (json!({"messages": [], "functions": []}), "tools"),
        (json!({"messages": [{"role": "function", "content": "x"}]}), "role"),
        (json!({"messages": [{"role": "tool", "content": "x"}]}), "tool_call_id"),
    ] {
        let (status, answer) = stand.ask(&body).await;
        assert_eq!(status, StatusCode::BAD_REQUEST);
        assert!(answer.contains(word), "{answer}");
    }
    assert_eq!(stand.requests(), 0);
}

#[tokio::test]
async fn upstream_errors_are_clear_and_hold_no_secret() {
    let stand = Stand::new().await;
    let said = json!({"error": {"message": "slow down upstream-key exact-secret"}});
    stand.will(Reply::Json(StatusCode::TOO_MANY_REQUESTS, said));
    let (status, body) = stand.ask(&asking(true, &[])).await;
    assert_eq!(status, StatusCode::TOO_MANY_REQUESTS);
    assert!(body.contains("slow down") && !body.contains("upstream-key") && !body.contains("exact-secret"), "{body}");
    stand.will(Reply::Json(StatusCode::UNAUTHORIZED, json!({"error": {"message": "bad key"}})));
    let (status, body) = stand.ask(&asking(true, &[])).await;
    assert_eq!(status, StatusCode::BAD_GATEWAY);
    assert!(body.contains("upstream_credential"), "{body}");
    // Before the first byte, a gateway's error is worth another try.
    stand.will(Reply::Json(StatusCode::SERVICE_UNAVAILABLE, json!({}))).will_stream("ok", &[]);
    let (status, _) = stand.ask(&asking(true, &[])).await;
    assert_eq!(status, StatusCode::OK);
}

#[tokio::test]
async fn the_model_reads_the_envelope_where_the_agent_says_its_stand_in() {
    let stand = Stand::new().await;
    let history = [
        json!({"role": "user", "content": STAND_IN}),
        json!({"role": "assistant", "content": STAND_IN, "tool_calls": [call("c1", "ls")]}),
        json!({"role": "tool", "tool_call_id": "c1", "content": STAND_IN}),
    ];
    for _ in 0..2 {
        stand.will_stream("ok", &[]);
        let (status, heard) = stand.ask(&asking(true, &history)).await;
        assert_eq!(status, StatusCode::OK);
        assert!(!heard.contains("MY-WORDS"), "{heard}");
    }
    for number in 0..2 {
        let sent = stand.request(number);
        let contents: Vec<&Value> = sent["messages"].as_array().expect("a list").iter().map(|m| &m["content"]).collect();
        assert_eq!(contents, ["be good", "go", envelope().get(), STAND_IN, STAND_IN]);
    }
}

#[tokio::test]
async fn a_conversation_that_goes_on_is_told_what_is_new_and_its_old_results_are_judged_anew() {
    let mut stand = Stand::new().await;
    let text = |words: &str| Cleared::for_test(words.to_owned());
    let stand_in = Conversation::Resumed.stand_in(2);
    let resumed = Resumed { stand_in: stand_in.clone(), begun: text("BEGUN"), next: text("NEXT") };
    let told = Told { envelope: text("WHOLE"), resumed: Some(resumed) };
    stand.access = Some(stand.gateway.open(TaskId::new(), told, stand.upstream(), Vec::new()));
    let mut heard = stand.access.as_ref().and_then(crate::gateway::Access::heard).expect("open");
    assert_eq!(*heard.borrow_and_update(), crate::gateway::Heard::default());
    let user = |words: &str| json!({"role": "user", "content": words});
    let before = [
        user(STAND_IN),
        json!({"role": "assistant", "content": "", "tool_calls": [call("c1", "cat .env")]}),
        json!({"role": "tool", "tool_call_id": "c1", "content": "KEY=s3cret"}),
        json!({"role": "assistant", "content": "It waits for approval."}),
    ];
    stand.will_stream("ok", &[]);
    stand.ask(&asking(true, &[&before[..], &[user(&stand_in)]].concat())).await;
    let sent = stand.request(0);
    let contents: Vec<&Value> = sent["messages"].as_array().expect("a list").iter().map(|m| &m["content"]).skip(2).collect();
    assert_eq!(
        contents,
        [&json!("BEGUN"), &Value::Null, &json!("KEY=[masked]"), &json!("It waits for approval."), &json!("NEXT")]
    );
    assert_eq!(stand.gates.results.lock().expect("results").len(), 1, "what an earlier attempt was told is judged here too");
    assert_eq!(heard.borrow_and_update().conversation, Some(Conversation::Resumed));
    // An agent that has lost its conversation without a word: the model reads the whole task.
    stand.will_stream("ok", &[]);
    stand.ask(&asking(true, &[user(&stand_in)])).await;
    assert_eq!(stand.request(1)["messages"][2]["content"], "WHOLE");
}

#[tokio::test]
async fn an_upstream_that_is_not_there_or_has_no_credential_is_502() {
    let mut stand = Stand::new().await;
    let closed = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("bound");
    let away = Upstream { base_url: format!("http://{closed}/v1"), model: None, credential: None, ..stand.upstream() };
    let lost = Upstream { credential: Some(Credential::Env("CODA_NO_SUCH_KEY".into())), ..away.clone() };
    for (upstream, code) in [(away, "upstream_unreachable"), (lost, "upstream_credential")] {
        stand.access = Some(stand.gateway.open(TaskId::new(), envelope(), upstream, Vec::new()));
        for stream in [true, false] {
            let (status, body) = stand.ask(&asking(stream, &[])).await;
            assert_eq!(status, StatusCode::BAD_GATEWAY);
            assert!(body.contains(code), "{body}");
        }
    }
}

#[tokio::test]
async fn a_program_of_codas_own_asks_the_same_gates() {
    let stand = Stand::new().await;
    let step = |id: &str, command: &str| json!({"id": id, "tool": "shell", "arguments": {"command": command}});
    let calls = json!({"calls": [step("step-1", "ls"), step("step-2", "destroy"), step("step-3", "later")]});
    let answer: Value = stand.post("/agent/calls", &calls).await.json().await.expect("JSON");
    let verdicts: Vec<&str> =
        answer["verdicts"].as_array().expect("verdicts").iter().filter_map(|v| v["verdict"].as_str()).collect();
    assert_eq!(verdicts, ["run", "refuse", "park"]);
    let plan: Value = stand.post("/agent/plan", &calls).await.json().await.expect("JSON");
    assert_eq!(plan, json!({"ok": false, "message": "the plan destroys"}));
    let result = |text: &str| json!({"call_id": "step-1", "tool": "shell", "content": text});
    let screened: Value = stand.post("/agent/results", &result("a s3cret")).await.json().await.expect("JSON");
    assert_eq!(screened, json!({"verdict": "deliver", "content": "a [masked]"}));
    let withheld: Value = stand.post("/agent/results", &result("withhold")).await.json().await.expect("JSON");
    assert_eq!(withheld, json!({"verdict": "withhold", "message": "withheld by test-rule"}));
    let url = format!("{}/agent/calls", stand.gateway.url());
    let so_far: Value = stand.client.get(url).bearer_auth(stand.token()).send().await.expect("sent").json().await.expect("JSON");
    assert_eq!(so_far["calls"][0]["state"], "finished");
    let (bad, limit) = (stand.post("/agent/calls", &json!({"calls": 1})).await, stand.post("/agent/results", &json!({})).await);
    assert_eq!((bad.status().as_u16(), limit.status().as_u16()), (400, 400));
}
