//! What is refused, before anybody is called: in each vendor's own shape.

use std::net::TcpListener;

use super::*;

fn error(path: &str, reply: &Reply) -> (String, String, String) {
    let body = reply.json();
    if path == MESSAGES {
        assert_eq!(body["type"], "error", "{body}");
    }
    let part = |name: &str| body["error"][name].as_str().unwrap_or_else(|| panic!("{body}")).to_owned();
    (part("type"), part("code"), part("message"))
}

#[tokio::test]
async fn a_spent_budget_opens_no_socket_and_says_which_and_until_when() {
    let provider = TcpListener::bind("127.0.0.1:0").unwrap();
    provider.set_nonblocking(true).unwrap();
    let url = format!("http://{}", provider.local_addr().unwrap());
    let vars = providers(&url);
    let vars: Vec<(&str, &str)> = vars.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let server = TestServer::start(&[&vars[..], &[("MAX_COST_PER_DAY", "0.0001")]].concat()).await;

    for (path, model, kind) in [
        (CHAT, "openai/gpt-6-sol", "insufficient_quota"),
        (MESSAGES, "anthropic/claude-sonnet-5", "billing_error"),
    ] {
        for is_stream in [false, true] {
            let reply = server.anon().post(path, &hello(path, model, json!({"stream": is_stream}))).await;

            assert_eq!(reply.status, 402, "{reply:?}");
            let (told, code, message) = error(path, &reply);
            assert_eq!((told.as_str(), code.as_str()), (kind, "budget_exceeded"));
            assert!(message.contains("max-cost-per-day") && message.contains("0.0001"), "{message}");
            assert_eq!(reply.header("x-levqor-budget"), Some("max-cost-per-day"));
            assert_eq!(reply.header("x-levqor-scope"), Some("global"));
            assert_eq!(reply.header("x-levqor-limit-usd"), Some("0.0001"));
            assert_eq!(reply.header("x-levqor-spent-usd"), Some("0.00"));
            assert_eq!(reply.header("x-should-retry"), Some("false"), "SDKs must not try again");
            let resets_at: i64 = reply.header("x-levqor-resets-at").unwrap().parse().unwrap();
            assert!((1..=86_400).contains(&(resets_at - now_ms() / 1_000)), "{resets_at}");
        }
    }
    let own =
        server.anon().post("/api/v1/ai/complete", r#"{"model":"openai/gpt-6-sol","prompt":"Hi"}"#).await;
    assert_eq!((own.status, own.error().as_str()), (402, "budget_exceeded"));
    assert!(provider.accept().is_err(), "somebody called the provider");
}

#[tokio::test]
async fn what_has_no_bound_is_refused_in_the_vendors_own_shape() {
    let world = World::start(&[]).await;
    let long = "x".repeat(4_000_000);
    let cases = [
        (CHAT, hello(CHAT, "gpt-6-sol", json!({"web_search_options": {}})), 400, "web_search_options"),
        (CHAT, hello(CHAT, "gpt-6-sol", json!({"best_of": 9})), 400, "best_of"),
        (CHAT, hello(CHAT, "gpt-6-sol", json!({"n": 1000})), 400, "n"),
        (CHAT, hello(CHAT, "anthropic/claude-sonnet-5", json!({"logprobs": true})), 400, "logprobs"),
        (CHAT, hello(CHAT, "openai-responses/gpt-6-sol", json!({"stop": "x"})), 400, "stop"),
        (CHAT, hello(CHAT, "gpt-6-sol", json!({"stop": 5})), 400, "stop"),
        (CHAT, hello(CHAT, "gpt-6-sol", json!({"stop": ["a", 5]})), 400, "stop"),
        (CHAT, hello(CHAT, "gpt-6-sol", json!({"top_p": "much"})), 400, "top_p"),
        (CHAT, hello(CHAT, "gpt-6-sol", json!({"temperature": true})), 400, "temperature"),
        (MESSAGES, hello(MESSAGES, SONNET, json!({"stop_sequences": "x"})), 400, "stop_sequences"),
        (
            CHAT,
            hello(CHAT, "anthropic/claude-sonnet-5", json!({"tool_choice": "required"})),
            400,
            "tool_choice",
        ),
        (CHAT, hello(CHAT, "gpt-6-sol", json!({"messages": []})), 400, "messages"),
        (CHAT, "{".to_owned(), 400, ""),
        (CHAT, "[1]".to_owned(), 400, ""),
        (MESSAGES, r#"{"model":"x","max_tokens":1,"max_tokens":2}"#.to_owned(), 400, "max_tokens"),
        (
            CHAT,
            hello(CHAT, "claude-haiku-4-5", json!({"messages": [{"role": "user", "content": long}]})),
            400,
            "",
        ),
        (MESSAGES, hello(MESSAGES, SONNET, json!({"mcp_servers": []})), 400, "mcp_servers"),
        (MESSAGES, hello(MESSAGES, SONNET, json!({"max_tokens": 0})), 400, "max_tokens"),
        (MESSAGES, "\u{feff}nonsense".to_owned(), 400, ""),
    ];
    for (path, body, status, place) in cases {
        let reply = world.client().post(path, &body).await;
        assert_eq!(reply.status, status, "{body:.200}: {reply:?}");
        let (kind, _, message) = error(path, &reply);
        assert_eq!(kind, "invalid_request_error");
        assert!(message.contains(place) && message.len() < 1_500, "{message}");
        if path == CHAT && !place.is_empty() {
            assert_eq!(reply.json()["error"]["param"], place);
        }
    }
    let beta = [("Content-Type", "application/json"), ("anthropic-beta", "context-1m-2025-08-07")];
    let reply = world.client().send("POST", MESSAGES, &beta, &hello(MESSAGES, SONNET, json!({}))).await;
    assert_eq!(reply.status, 400, "{reply:?}");
    let tags = [("Content-Type", "application/json"), ("x-levqor-tags", "team")];
    let reply = world.client().send("POST", CHAT, &tags, &hello(CHAT, "gpt-6-sol", json!({}))).await;
    assert_eq!(reply.status, 400, "{reply:?}");
    assert_eq!(world.mock.bill().calls, 0);
    assert_eq!(world.day().await, (Nano::ZERO, Nano::ZERO));
}

#[tokio::test]
async fn keys_come_in_either_header_and_need_the_scope() {
    let world = World::start(&[("API_KEYS", "root")]).await;
    let root = world.server.key("root");
    let make = |scope: &'static str| {
        let root = &root;
        async move {
            let body = format!(r#"{{"name":"k","scopes":["{scope}"]}}"#);
            root.post("/api/v1/keys", &body).await.json()["key"].as_str().unwrap().to_owned()
        }
    };
    let (ai, read) = (make("ai").await, make("read").await);
    let ask = |path: &'static str, model: &'static str, header: (&'static str, String)| {
        let client = world.client();
        async move {
            let headers = [("Content-Type", "application/json"), (header.0, header.1.as_str())];
            client.send("POST", path, &headers, &hello(path, model, json!({}))).await
        }
    };

    for (path, model) in [(CHAT, "gpt-6-sol"), (MESSAGES, SONNET)] {
        assert_eq!(ask(path, model, ("Authorization", format!("Bearer {ai}"))).await.status, 200);
        assert_eq!(ask(path, model, ("x-api-key", ai.clone())).await.status, 200);
        let lacking = ask(path, model, ("x-api-key", read.clone())).await;
        assert_eq!((lacking.status, error(path, &lacking).0.as_str()), (403, "permission_error"));
        for wrong in ["Bearer nonsense", "Basic x", ""] {
            let reply = ask(path, model, ("Authorization", wrong.to_owned())).await;
            let (kind, code, message) = error(path, &reply);
            assert_eq!(
                (reply.status, kind.as_str(), code.as_str()),
                (401, "authentication_error", "invalid_api_key")
            );
            assert!(message.contains("scope `ai`"), "{message}");
        }
    }
    let models =
        world.client().send("GET", "/v1/models", &[("Authorization", &format!("Bearer {ai}"))], "").await;
    assert_eq!(models.status, 200);
    assert_eq!(world.client().get("/v1/models").await.status, 401);
    assert_eq!(world.server.key(&ai).get("/api/v1/jobs").await.status, 403, "good for nothing else");
    assert_eq!(
        world.client().post("/api/v1/ai/complete", "{}").await.status,
        403,
        "as everywhere in our own API"
    );
    world.agrees().await;
}

#[tokio::test]
async fn calls_and_bodies_have_limits_of_their_own() {
    let world = World::start(&[("AI_RATE", "3"), ("AI_MAX_BODY", "2000"), ("RATE_BURST", "1")]).await;

    let long = hello(CHAT, "gpt-6-sol", json!({"user": "x".repeat(3_000)}));
    let reply = world.client().post(CHAT, &long).await;
    assert_eq!((reply.status, error(CHAT, &reply).1.as_str()), (413, "body_too_large"));
    let reply = world.client().send("POST", CHAT, &[], &hello(CHAT, "gpt-6-sol", json!({}))).await;
    assert_eq!((reply.status, error(CHAT, &reply).1.as_str()), (400, "wrong_content_type"));
    let reply = world.client().post(CHAT, &hello(CHAT, "gpt-6-sol", json!({}))).await;
    assert_eq!((reply.status, reply.header("x-ratelimit-remaining")), (200, Some("0")));
    let reply = world.client().post(MESSAGES, &hello(MESSAGES, SONNET, json!({}))).await;
    assert_eq!((reply.status, error(MESSAGES, &reply).0.as_str()), (429, "rate_limit_error"));
    assert!(reply.header("retry-after").is_some());
    assert_eq!(world.mock.bill().calls, 1);
}
