//! What costs nothing: one model, and how many tokens a request has.

use super::*;

const COUNT: &str = "/v1/messages/count_tokens";

#[tokio::test]
async fn one_model_is_shown_under_each_of_its_names_and_others_are_unknown() {
    let world = World::start(&[]).await;
    for name in ["openai/gpt-6-sol", "openai%2Fgpt-6-sol", "gpt-6-sol"] {
        let reply = world.client().get(&format!("/v1/models/{name}")).await;
        assert_eq!(reply.status, 200, "{name}: {reply:?}");
        let body = reply.json();
        assert_eq!((&body["id"], &body["object"]), (&json!("openai/gpt-6-sol"), &json!("model")));
        assert!(body["max_tokens"].as_u64().unwrap() > 1_000, "{body}");
    }
    let long = "x".repeat(5_000);
    for name in
        ["openai/gpt-7", "mistral/mistral-large-4", "gpt-7", "a/b/c/d", "%00", "%ff", "..%2f..", &long]
    {
        let reply = world.client().get(&format!("/v1/models/{name}")).await;
        assert_eq!(reply.status, 404, "{name}: {reply:?}");
        assert!(reply.body.len() < 1_000);
        assert_eq!(reply.json()["error"]["code"], "model_not_found", "{name}");
        let asked = [("anthropic-version", "2023-06-01")];
        let reply = world.client().send("GET", &format!("/v1/models/{name}"), &asked, "").await;
        assert_eq!((reply.status, &reply.json()["type"]), (404, &json!("error")), "{name}");
    }
}

#[tokio::test]
async fn tokens_are_counted_for_nothing_and_never_too_few() {
    let world = World::start(&[("MAX_COST_PER_DAY", "0.000000001")]).await;
    let tools = json!([{"name": "f", "description": "x".repeat(3_000), "input_schema": {"type": "object"}}]);
    for model in [SONNET, "openai/gpt-6-sol", FLASH] {
        let count = |changes: Value| {
            let (client, body) = (world.client(), hello(MESSAGES, model, changes));
            async move {
                let reply = client.post(COUNT, &body).await;
                assert_eq!(reply.status, 200, "{reply:?}");
                reply.json()["input_tokens"].as_u64().unwrap_or_else(|| panic!("{reply:?}"))
            }
        };
        let plain = count(json!({})).await;
        assert!((11..1_000).contains(&plain), "{model}: {plain}");
        assert!(count(json!({"system": "y".repeat(2_000)})).await >= plain + 2_000);
        assert!(count(json!({"tools": tools})).await >= plain + 3_000);
    }
    assert_eq!(world.mock.bill().calls, 0);
    let day = world.server.engine.store().find_budget("max-cost-per-day", now_ms()).await.unwrap();
    assert!(day.is_none_or(|view| view.periods.is_empty()), "nothing was held");
}

#[tokio::test]
async fn what_cannot_be_asked_cannot_be_counted_either() {
    let world = World::start(&[("API_KEYS", "root")]).await;
    let root = world.server.key("root");
    for (body, status, place) in [
        ("{".to_owned(), 400, "JSON"),
        ("[]".to_owned(), 400, "object"),
        (json!({"model": SONNET}).to_string(), 400, "messages"),
        (hello(MESSAGES, SONNET, json!({"mcp_servers": []})), 400, "mcp_servers"),
        (
            hello(MESSAGES, "openai-responses/gpt-6-sol", json!({"stop_sequences": ["x"]})),
            400,
            "stop_sequences",
        ),
        (hello(MESSAGES, "claude-nothing", json!({})), 404, "claude-nothing"),
        (hello(MESSAGES, "openai/gpt-7", json!({})), 422, "openai/gpt-7"),
    ] {
        let reply = root.post(COUNT, &body).await;
        let told = reply.json();
        assert_eq!((reply.status, &told["type"]), (status, &json!("error")), "{body:.100}: {reply:?}");
        assert!(told["error"]["message"].as_str().unwrap().contains(place), "{told}");
    }
    assert_eq!(world.client().post(COUNT, &hello(MESSAGES, SONNET, json!({}))).await.status, 401);
}
