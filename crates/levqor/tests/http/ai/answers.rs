//! Answers: in the provider's own words and translated, in one piece and as they come, and what they cost.

use super::*;

/// The wire of the caller, and a model of each kind of provider.
const ROUTES: [(&str, &str); 6] = [
    (CHAT, "openai/gpt-6-sol"),
    (CHAT, "anthropic/claude-sonnet-5"),
    (CHAT, "gemini/gemini-3.5-flash"),
    (MESSAGES, "anthropic/claude-sonnet-5"),
    (MESSAGES, "openai/gpt-6-sol"),
    (MESSAGES, "openai-responses/gpt-6-sol"),
];

const SAID: &str = "This is what a mock model says to: Hello there";

#[tokio::test]
async fn every_wire_reaches_every_provider_and_the_ledger_says_what_the_provider_says() {
    let world = World::start(&[]).await;
    for (path, model) in ROUTES {
        let before = world.billed();
        let reply = world.client().post(path, &hello(path, model, json!({}))).await;

        assert_eq!(reply.status, 200, "{path} {model}: {reply:?}");
        assert_eq!(text(path, &reply.json()), SAID, "{path} {model}");
        let cost = Nano::new(world.billed().get() - before.get());
        assert_eq!(dollars(&reply, "x-levqor-cost-usd"), cost, "{path} {model}");
        assert_eq!(reply.json()["usage"]["cost_usd"], cost.to_string(), "{path} {model}");
        assert_eq!(reply.header("x-levqor-charge"), Some("settled"));
        assert!(reply.header("x-levqor-call").is_some());
        assert!(reply.header("content-security-policy").is_some() && reply.header("x-request-id").is_some());
    }
    assert_eq!(world.mock.bill().calls, ROUTES.len() as u64);
    world.agrees().await;
}

#[tokio::test]
async fn a_stream_is_the_same_answer_on_every_way() {
    let world = World::start(&[]).await;
    for (path, model) in ROUTES {
        let before = world.billed();
        let body = hello(path, model, json!({"stream": true}));
        let streamed = stream(&world.server, path, &body).await;

        assert!(streamed.head.starts_with("http/1.1 200"), "{}", streamed.head);
        for header in [
            "content-type: text/event-stream",
            "x-content-type-options: nosniff",
            "x-levqor-call: ",
            "x-levqor-held-usd: ",
        ] {
            assert!(streamed.head.contains(header), "{header}: {}", streamed.head);
        }
        assert_eq!(streamed.text(path), SAID, "{path} {model}");
        assert!(streamed.is_whole);
        let last = streamed.events.last().unwrap();
        if path == CHAT {
            assert_eq!(last.1, "[DONE]");
            assert!(
                !streamed.events.iter().any(|(_, data)| data.contains("prompt_tokens")),
                "nobody asked for the usage"
            );
        } else {
            assert_eq!(last.0, "message_stop");
            let cost = Nano::new(world.billed().get() - before.get());
            let usage = streamed.data().into_iter().find(|event| event["type"] == "message_delta").unwrap();
            assert_eq!(usage["usage"]["cost_usd"], cost.to_string(), "{model}");
        }
    }
    world.agrees().await;
}

#[tokio::test]
async fn whoever_asks_for_the_usage_in_a_stream_gets_it_with_the_cost() {
    let world = World::start(&[]).await;
    for model in ["openai/gpt-6-sol", "anthropic/claude-sonnet-5"] {
        let before = world.billed();
        let body = hello(CHAT, model, json!({"stream": true, "stream_options": {"include_usage": true}}));
        let streamed = stream(&world.server, CHAT, &body).await;

        let cost = Nano::new(world.billed().get() - before.get());
        let usage = streamed.data().into_iter().find(|event| event["choices"] == json!([])).unwrap();
        assert_eq!(usage["usage"]["cost_usd"], cost.to_string());
        assert!(usage["usage"]["completion_tokens"].as_u64().unwrap() > 5, "{usage}");
    }
}

#[tokio::test]
async fn several_answers_to_one_question_are_held_and_charged_as_such() {
    let world = World::start(&[]).await;

    let reply = world.client().post(CHAT, &hello(CHAT, "gpt-6-sol", json!({"n": 3, "max_tokens": 50}))).await;

    assert_eq!(reply.json()["choices"].as_array().unwrap().len(), 3, "{reply:?}");
    assert_eq!(dollars(&reply, "x-levqor-cost-usd"), world.billed());
    world.agrees().await;
}

#[tokio::test]
async fn the_limit_that_was_asked_for_is_the_limit_that_is_sent() {
    let world = World::start(&[]).await;
    for (path, model) in ROUTES {
        let reply = world.client().post(path, &hello(path, model, json!({"max_tokens": 3}))).await;

        assert_eq!(text(path, &reply.json()), "This is what ", "{path} {model}: {reply:?}");
        let body = reply.json();
        let stop = if path == CHAT { &body["choices"][0]["finish_reason"] } else { &body["stop_reason"] };
        assert_eq!(*stop, if path == CHAT { "length" } else { "max_tokens" }, "{model}");
        assert_eq!(reply.header("x-levqor-max-tokens"), Some("3"));
    }
    world.agrees().await;
}

#[tokio::test]
async fn a_schema_is_asked_for_on_every_way() {
    let world = World::start(&[]).await;
    let schema = json!({"type": "object", "additionalProperties": false, "required": ["label"],
        "properties": {"label": {"type": "string", "enum": ["bug", "question"]}}});
    for (path, model) in ROUTES {
        let asked = match path {
            CHAT => {
                json!({"response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": schema}}})
            }
            _ => json!({"output_config": {"format": {"type": "json_schema", "schema": schema}}}),
        };
        let reply = world.client().post(path, &hello(path, model, asked)).await;
        assert_eq!(text(path, &reply.json()), r#"{"label":"bug"}"#, "{path} {model}: {reply:?}");
    }
    world.agrees().await;
}

#[tokio::test]
async fn models_are_listed_as_both_vendors_sdks_expect_and_other_paths_say_what_there_is() {
    let world = World::start(&[]).await;

    let list = world.client().get("/v1/models").await.json();
    assert_eq!((&list["object"], &list["has_more"]), (&json!("list"), &json!(false)));
    let ids: Vec<&str> =
        list["data"].as_array().unwrap().iter().map(|it| it["id"].as_str().unwrap()).collect();
    for id in ["openai/gpt-6-sol", "anthropic/claude-sonnet-5", "gemini/gemini-3.5-flash"] {
        assert!(ids.contains(&id), "{ids:?}");
    }
    assert!(!ids.iter().any(|id| id.starts_with("mistral/") || id.contains("embedding")), "{ids:?}");
    assert_eq!((&list["data"][0]["object"], &list["data"][0]["type"]), (&json!("model"), &json!("model")));
    for (method, path) in
        [("POST", "/v1/embeddings"), ("GET", "/v1/nothing"), ("POST", "/v1/messages/batches")]
    {
        let reply = world.client().send(method, path, &[], "").await;
        assert_eq!(reply.status, 404, "{path}");
        assert!(
            reply.json()["error"]["message"].as_str().unwrap().contains("POST /v1/chat/completions"),
            "{reply:?}"
        );
    }
    for (method, path, shape) in
        [("GET", CHAT, "error"), ("DELETE", MESSAGES, "type"), ("GET", "/v1/messages/x", "type")]
    {
        let reply = world.client().send(method, path, &[], "").await;
        assert!(matches!(reply.status, 404 | 405), "{path}: {reply:?}");
        assert!(reply.json()["error"]["message"].is_string() && !reply.json()[shape].is_null(), "{reply:?}");
    }
}

#[tokio::test]
async fn a_bare_name_is_enough_where_only_one_provider_has_it() {
    let world = World::start(&[]).await;

    for (path, name) in [(CHAT, "gpt-6-sol"), (MESSAGES, SONNET), (CHAT, FLASH)] {
        let reply = world.client().post(path, &hello(path, name, json!({}))).await;
        assert_eq!(reply.status, 200, "{name}: {reply:?}");
    }
    for name in ["gpt-7", "mistral/mistral-large-4", "nobody/x"] {
        let reply = world.client().post(CHAT, &hello(CHAT, name, json!({}))).await;
        assert_eq!(
            (reply.status, reply.json()["error"]["code"].as_str().unwrap()),
            (404, "model_not_found"),
            "{reply:?}"
        );
    }
    let reply = world.client().post(CHAT, &hello(CHAT, "openai/gpt-7", json!({}))).await;
    assert_eq!(
        (reply.status, reply.json()["error"]["code"].as_str().unwrap()),
        (422, "price_unknown"),
        "{reply:?}"
    );
    assert_eq!(world.mock.bill().calls, 3);
}
