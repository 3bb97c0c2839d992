//! The mock seen from outside, over real sockets: what each wire says about usage is what stands on the bill.

#![allow(clippy::unwrap_used)]

use std::net::Ipv4Addr;

use levqor_mock_ai::{Fault, MockAi, Script, Settings};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

struct Wire {
    path: &'static str,
    header: &'static str,
    body: Value,
    streamed: &'static str,
}

fn wires() -> Vec<Wire> {
    let user = json!([{"role": "user", "content": "Say something"}]);
    vec![
        Wire {
            path: "/v1/chat/completions",
            header: "authorization: Bearer key-1",
            body: json!({"model": "mock-large", "messages": user, "max_tokens": 30}),
            streamed: "/v1/chat/completions",
        },
        Wire {
            path: "/v1/responses",
            header: "authorization: Bearer key-1",
            body: json!({"model": "mock-large", "input": "Say something", "max_output_tokens": 30}),
            streamed: "/v1/responses",
        },
        Wire {
            path: "/v1/messages",
            header: "x-api-key: key-1",
            body: json!({"model": "mock-large", "messages": user, "max_tokens": 30}),
            streamed: "/v1/messages",
        },
        Wire {
            path: "/v1beta/models/mock-large:generateContent",
            header: "x-goog-api-key: key-1",
            body: json!({"contents": [{"role": "user", "parts": [{"text": "Say something"}]}],
                "generationConfig": {"maxOutputTokens": 30}}),
            streamed: "/v1beta/models/mock-large:streamGenerateContent?alt=sse",
        },
    ]
}

async fn start() -> MockAi {
    MockAi::start((Ipv4Addr::LOCALHOST, 0).into(), Settings::default()).await.unwrap()
}

/// Everything that comes back until the connection ends; `Err` is a reset.
async fn send(mock: &MockAi, path: &str, header: &str, body: &Value) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(mock.url().trim_start_matches("http://")).await?;
    let body = body.to_string();
    let request = format!(
        "POST {path} HTTP/1.1\r\nhost: x\r\n{header}\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await?;
    stream.shutdown().await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}

fn json_of(answer: &str) -> Value {
    serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap()
}

fn script() -> Script {
    Script {
        text: Some("one two three four".to_owned()),
        input_tokens: Some(100),
        cached_tokens: 40,
        written_tokens: 10,
        output_tokens: Some(20),
        reasoning_tokens: 6,
        ..Script::default()
    }
}

#[tokio::test]
async fn each_wire_tells_the_tokens_of_the_bill_in_its_own_words() {
    let mock = start().await;
    mock.queue_replies(std::iter::repeat_n(script(), 4));

    let mut usage = Vec::new();
    for wire in wires() {
        let body = json_of(&send(&mock, wire.path, wire.header, &wire.body).await.unwrap());
        usage.push(
            [&body["usage"], &body["usageMetadata"]].into_iter().find(|it| !it.is_null()).unwrap().clone(),
        );
    }

    assert_eq!(usage[0]["prompt_tokens"], 100);
    assert_eq!(usage[0]["prompt_tokens_details"]["cached_tokens"], 40);
    assert_eq!(usage[0]["completion_tokens"], 20);
    assert_eq!(usage[1]["input_tokens"], 100);
    assert_eq!(usage[1]["output_tokens_details"]["reasoning_tokens"], 6);
    assert_eq!(usage[2]["input_tokens"], 50);
    assert_eq!(usage[2]["cache_creation_input_tokens"], 10);
    assert_eq!(usage[2]["cache_read_input_tokens"], 40);
    assert_eq!(usage[3]["promptTokenCount"], 100);
    assert_eq!(usage[3]["candidatesTokenCount"], 14);
    assert_eq!(usage[3]["thoughtsTokenCount"], 6);
    // 50 × 3 + 40 × 0.3 + 10 × 3.75 + 20 × 15 microdollars, four times.
    let bill = mock.bill();
    assert_eq!((bill.calls, bill.total_nano), (4, 4 * 499_500));
    assert!(bill.entries.iter().all(|entry| entry.key == "key-1"));
}

#[tokio::test]
async fn a_stream_is_the_same_answer_in_pieces() {
    let mock = start().await;

    for wire in wires() {
        let mut body = wire.body.clone();
        body["stream"] = json!(true);
        let answer = send(&mock, wire.streamed, wire.header, &body).await.unwrap();

        assert!(answer.contains("text/event-stream"), "{answer}");
        for word in ["This ", "mock ", "something"] {
            assert!(answer.contains(&format!("\"{word}\"")), "{} has no {word:?}: {answer}", wire.path);
        }
    }
    assert_eq!(mock.bill().calls, 4);
}

#[tokio::test]
async fn the_output_limit_ends_the_answer_and_the_bill() {
    let mock = start().await;
    let wire = &wires()[0];
    let mut body = wire.body.clone();
    body["max_tokens"] = json!(3);

    let answer = json_of(&send(&mock, wire.path, wire.header, &body).await.unwrap());

    assert_eq!(answer["choices"][0]["finish_reason"], "length");
    assert_eq!(answer["choices"][0]["message"]["content"], "This is what ");
    assert_eq!(mock.bill().entries[0].tokens.output, 3);
}

#[tokio::test]
async fn faults_before_acceptance_are_free_and_those_after_it_are_billed() {
    let mock = start().await;
    let wire = &wires()[0];
    let faults = [Fault::Status(429), Fault::Status(500), Fault::ResetBefore, Fault::DropReply, Fault::Cut];
    mock.queue_faults(faults.map(Some));

    let mut answers = Vec::new();
    for _ in faults {
        answers.push(send(&mock, wire.path, wire.header, &wire.body).await);
    }

    let limited = answers[0].as_ref().unwrap();
    assert!(limited.starts_with("HTTP/1.1 429") && limited.contains("retry-after: 1"), "{limited}");
    assert!(answers[1].as_ref().unwrap().starts_with("HTTP/1.1 500"));
    assert!(answers[2].is_err() && answers[3].is_err(), "{answers:?}");
    let half = answers[4].as_ref().unwrap();
    assert!(serde_json::from_str::<Value>(half.split_once("\r\n\r\n").unwrap().1).is_err(), "{half}");
    let billed: Vec<_> = mock.bill().entries.iter().map(|entry| entry.fault).collect();
    assert_eq!(billed, [Some("drop_reply"), Some("cut")]);
}

#[tokio::test]
async fn usage_can_be_missing_or_wrong_while_the_bill_stays_right() {
    let mock = start().await;
    let wire = &wires()[0];
    mock.queue_faults([Some(Fault::NoUsage), Some(Fault::WrongUsage), Some(Fault::Overlong)]);
    mock.queue_replies(std::iter::repeat_n(script(), 3));

    let silent = json_of(&send(&mock, wire.path, wire.header, &wire.body).await.unwrap());
    let wrong = json_of(&send(&mock, wire.path, wire.header, &wire.body).await.unwrap());
    let long = json_of(&send(&mock, wire.path, wire.header, &wire.body).await.unwrap());

    assert!(silent.get("usage").is_none());
    assert_eq!(wrong["usage"]["completion_tokens"], 10);
    assert_eq!(long["usage"]["completion_tokens"], 60);
    let output: Vec<_> = mock.bill().entries.iter().map(|entry| entry.tokens.output).collect();
    assert_eq!(output, [20, 20, 60]);
}

#[tokio::test]
async fn it_is_told_what_to_do_over_http_too_and_refuses_what_it_does_not_know() {
    let mock = start().await;
    let post = |path: &'static str, body: Value| {
        let mock = &mock;
        async move { send(mock, path, "x: y", &body).await.unwrap() }
    };

    assert!(post("/_mock/faults", json!({"next": ["cut", null]})).await.starts_with("HTTP/1.1 200"));
    assert!(post("/_mock/replies", json!([{"text": "hi"}])).await.starts_with("HTTP/1.1 200"));
    for (path, body) in [
        ("/_mock/faults", json!({"next": ["fire"]})),
        ("/_mock/faults", json!({"rates": {"cut": 1.5}})),
        ("/_mock/replies", json!([{"texts": "hi"}])),
    ] {
        let answer = post(path, body).await;
        assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    }
    assert!(post("/_mock/nothing", json!({})).await.starts_with("HTTP/1.1 404"));
    assert!(post("/v1/nothing", json!({})).await.starts_with("HTTP/1.1 404"));
}

#[tokio::test]
async fn bad_requests_get_the_vendors_refusals_and_cost_nothing() {
    let mock = start().await;
    let chat = "/v1/chat/completions";
    let said = json!([{"role": "user", "content": "x"}]);
    let cases = [
        (chat, "x: y", json!({"model": "mock-large", "messages": said}), "401"),
        (chat, "authorization: Bearer k", json!({"model": "unknown", "messages": said}), "404"),
        (chat, "authorization: Bearer k", json!({"model": "mock-large", "messages": []}), "400"),
        (chat, "authorization: Bearer k", json!({"messages": said}), "400"),
        ("/v1/messages", "x-api-key: k", json!({"model": "mock-large", "messages": said}), "400"),
    ];

    for (path, header, body, status) in cases {
        let answer = send(&mock, path, header, &body).await.unwrap();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{body}: {answer}");
    }
    assert_eq!(mock.bill().calls, 0);
}
