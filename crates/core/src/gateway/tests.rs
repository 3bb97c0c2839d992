#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

const TO_OPENAI: To<'_> = To { model: "gpt", limit_field: "max_completion_tokens", has_tiers: true };
const TO_ANTHROPIC: To<'_> = To { model: "claude", limit_field: "max_tokens", has_tiers: true };

fn hello() -> Value {
    json!([{"role": "user", "content": "Hello"}])
}

fn chat(members: Value) -> Result<Vetted, Refused> {
    let mut body = json!({"model": "openai/gpt", "messages": hello()});
    body.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
    vet_chat(&body.to_string())
}

fn messages(members: Value) -> Result<Vetted, Refused> {
    let mut body = json!({"model": "anthropic/claude", "max_tokens": 100, "messages": hello()});
    body.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
    vet_messages(&body.to_string())
}

/// What a content of one part is measured as.
fn part(part: Value) -> Result<Shape, Refused> {
    chat(json!({"messages": [{"role": "user", "content": [part]}]})).map(|vetted| vetted.shape)
}

fn block(block: Value) -> Result<Shape, Refused> {
    messages(json!({"messages": [{"role": "user", "content": [block]}]})).map(|vetted| vetted.shape)
}

#[test]
fn a_body_goes_out_as_it_came_but_for_what_is_ours() {
    let body = r#"{"stream": true, "zeta": null, "model":"openai/gpt","max_tokens":9,"temperature":0.10,
        "tools":[{"type":"function","function":{"name":"f","parameters":{"z":1,"a":12345678901234567890123}}}],
        "messages":[{"role":"user","content":"\u00e9 <b>"}],"service_tier":"auto"}"#;

    assert!(vet_chat(body).unwrap_err().at == "zeta", "null is a value of an unknown member too");
    let vetted = vet_chat(&body.replace(r#" "zeta": null,"#, "")).unwrap();

    assert_eq!(
        vetted.body(&TO_OPENAI, 7),
        concat!(
            r#"{"model":"gpt","max_completion_tokens":7,"service_tier":"default","stream_options":{"include_usage":true},"#,
            r#""stream":true,"temperature":0.10,"#,
            r#""tools":[{"type":"function","function":{"name":"f","parameters":{"z":1,"a":12345678901234567890123}}}],"#,
            r#""messages":[{"role":"user","content":"\u00e9 <b>"}]}"#
        )
    );
    let plain = To { model: "m", limit_field: "max_tokens", has_tiers: false };
    let again: Value = serde_json::from_str(&vetted.body(&plain, 8)).unwrap();
    assert_eq!((&again["max_tokens"], again.get("service_tier")), (&json!(8), None));
}

#[test]
fn what_is_null_is_absent_to_us_and_to_the_provider() {
    let body = r#"{"model":"m","prediction":null,"web_search_options":null,"seed":null,"n":null,
        "messages":[{"role":"assistant","content":null,"refusal":null},{"role":"user","content":"x"}]}"#;
    let sent = vet_chat(body).unwrap().body(&TO_OPENAI, 7);
    assert!(sent.ends_with(
        r#""messages":[{"role":"assistant","content":null,"refusal":null},{"role":"user","content":"x"}]}"#
    ));
    assert!(!["prediction", "web_search", "seed", "\"n\""].iter().any(|name| sent.contains(name)), "{sent}");

    let body = r#"{"model":"m","max_tokens":9,"thinking":null,"container":null,"mcp_servers":null,"system":null,
        "messages":[{"role":"user","content":"x"}]}"#;
    let to = To { model: "claude", limit_field: "max_tokens", has_tiers: true };
    let sent = vet_messages(body).unwrap().body(&to, 7);
    assert!(!sent.contains("null"), "{sent}");
}

#[test]
fn padding_of_a_stream_stays_the_callers_choice_and_its_usage_does_not() {
    let options = |members: Value| {
        let vetted = chat(json!({"stream": true, "stream_options": members})).unwrap();
        let body: Value = serde_json::from_str(&vetted.body(&TO_OPENAI, 1)).unwrap();
        (body["stream_options"].clone(), vetted.wants_usage)
    };

    assert_eq!(options(json!({"include_usage": false})), (json!({"include_usage": true}), false));
    let padded = json!({"include_obfuscation": false, "include_usage": true});
    assert_eq!(options(padded.clone()), (padded, true));
    assert_eq!(chat(json!({"stream_options": {}})).unwrap_err().at, "stream_options");
}

#[test]
fn the_limit_on_the_answer_is_read_under_both_of_its_names() {
    let wish = |members: Value| chat(members).map(|vetted| vetted.wish.requested);

    assert_eq!(wish(json!({})), Ok(None));
    assert_eq!(wish(json!({"max_tokens": 5})), Ok(Some(5)));
    assert_eq!(wish(json!({"max_completion_tokens": 6, "max_tokens": null})), Ok(Some(6)));
    assert_eq!(wish(json!({"max_completion_tokens": 6, "max_tokens": 6})), Ok(Some(6)));
    for wrong in [
        json!({"max_completion_tokens": 6, "max_tokens": 7}),
        json!({"max_tokens": 0}),
        json!({"max_tokens": 1.5}),
        json!({"max_tokens": "9"}),
        json!({"max_tokens": -1}),
        json!({"max_tokens": 1e300}),
    ] {
        assert_eq!(wish(wrong.clone()).unwrap_err().at, "max_tokens", "{wrong}");
    }
}

#[test]
fn what_has_no_bound_is_refused_by_name_with_what_is_allowed() {
    let at = |result: Result<Vetted, Refused>| {
        let refused = result.unwrap_err();
        assert!(refused.message.starts_with(&refused.at), "{refused:?}");
        refused.at
    };
    for (name, value) in [
        ("best_of", json!(5)),
        ("web_search_options", json!({})),
        ("prediction", json!({"type": "content", "content": "x"})),
        ("plugins", json!([{"id": "web"}])),
        ("models", json!(["a", "b"])),
        ("service_tier", json!("priority")),
        ("service_tier", json!("flex")),
        ("n", json!(5)),
        ("n", json!(0)),
        ("top_logprobs", json!(20)),
        ("stream", json!("yes")),
        ("prompt_cache_retention", json!("forever")),
        ("messages", json!([])),
        ("messages", json!("hi")),
        ("model", json!(7)),
        ("tools", json!({})),
    ] {
        assert_eq!(at(chat(json!({name: value}))), name, "{value}");
    }
    for (name, value) in [
        ("container", json!("c")),
        ("mcp_servers", json!([])),
        ("context_management", json!({"edits": []})),
        ("service_tier", json!("priority")),
        ("max_tokens", json!(0)),
        ("betas", json!(["x"])),
    ] {
        assert_eq!(at(messages(json!({name: value}))), name, "{value}");
    }
    assert_eq!(at(chat(json!({"tools": [{"type": "web_search_preview"}]}))), "tools[0].type");
    assert_eq!(at(chat(json!({"tools": [{"function": {}}]}))), "tools[0].type");
    assert_eq!(
        at(messages(json!({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}))),
        "tools[0].max_uses"
    );
    assert_eq!(
        at(messages(json!({"tools": [{"type": "code_execution_20250825", "name": "x"}]}))),
        "tools[0].type"
    );
    assert_eq!(
        at(messages(json!({"thinking": {"type": "enabled", "budget_tokens": 5}}))),
        "thinking.budget_tokens"
    );
    let file = json!({"type": "file", "file": {"file_id": "f"}});
    assert_eq!(part(file).unwrap_err().at, "messages[0].content[0].file.file_id");
    assert_eq!(part(json!({"type": "video"})).unwrap_err().at, "messages[0].content[0].type");
    let local = json!({"type": "image_url", "image_url": {"url": "file:///etc/passwd"}});
    assert_eq!(part(local).unwrap_err().at, "messages[0].content[0].image_url.url");
    let stored = json!({"type": "image", "source": {"type": "file", "file_id": "f"}});
    assert!(block(stored).unwrap_err().at.starts_with("messages[0].content[0].source."));
    let earlier = json!([{"role": "assistant", "audio": {"id": "a"}}]);
    assert_eq!(at(chat(json!({"messages": earlier}))), "messages[0].audio");
}

#[test]
fn a_name_that_is_there_twice_is_refused_wherever_it_costs() {
    for (body, place) in [
        (r#"{"model":"m","messages":[{"role":"user","content":"x"}],"n":1,"n":4}"#, ""),
        (r#"{"model":"m","messages":[{"role":"user","content":"x","content":"y"}]}"#, "messages[0]"),
        (
            r#"{"model":"m","messages":[{"role":"user","content":"x"}],"stream":true,"stream_options":{"include_usage":true,"include_us\u0061ge":false}}"#,
            "stream_options",
        ),
    ] {
        let refused = vet_chat(body).unwrap_err();
        assert_eq!(refused.at, place, "{refused}");
        assert!(refused.message.contains("twice"), "{refused}");
    }
}

#[test]
fn each_thing_that_costs_is_measured() {
    let plain = chat(json!({})).unwrap();
    assert_eq!((plain.shape.messages, plain.shape.choices, plain.shape.structured), (1, 1, false));
    assert_eq!(plain.shape.text_bytes as usize, plain.text().len());
    assert_eq!(chat(json!({"n": 3})).unwrap().shape.choices, 3);
    assert!(chat(json!({"response_format": {"type": "json_object"}})).unwrap().shape.structured);
    assert!(!chat(json!({"response_format": {"type": "text"}})).unwrap().shape.structured);
    let tool = json!([{"type": "function", "function": {"name": "f"}}]);
    let tooled = chat(json!({"tools": tool})).unwrap().shape;
    assert!(tooled.structured && tooled.messages == 2);
    assert!(
        chat(json!({"modalities": ["text", "audio"], "audio": {"voice": "a"}})).unwrap().shape.asks_audio
    );
    assert!(chat(json!({"prompt_cache_options": {"ttl": "12h"}})).unwrap().terms.long_cache);
    assert!(
        !chat(json!({"prompt_cache_options": {"ttl": "30m"}, "prompt_cache_retention": "24h"}))
            .unwrap()
            .terms
            .long_cache
    );
    assert_eq!(chat(json!({"user": "u-1"})).unwrap().user.as_deref(), Some("u-1"));

    let terms = |members: Value| messages(members).unwrap().terms;
    let hour = json!({"type": "ephemeral", "ttl": "1h"});
    assert!(terms(json!({"cache_control": hour})).long_cache);
    assert!(terms(json!({"system": [{"type": "text", "text": "x", "cache_control": hour}]})).long_cache);
    assert!(terms(json!({"tools": [{"name": "f", "input_schema": {}, "cache_control": hour}]})).long_cache);
    assert!(!terms(json!({"cache_control": {"type": "ephemeral"}})).long_cache);
    assert!(
        terms(json!({"inference_geo": "us"})).region && !terms(json!({"inference_geo": "global"})).region
    );
    assert!(terms(json!({"speed": "fast"})).fast);
    assert_eq!(messages(json!({"metadata": {"user_id": "u"}})).unwrap().user.as_deref(), Some("u"));
    let search = json!([{"type": "web_search_20250305", "name": "web_search", "max_uses": 3}]);
    assert_eq!(messages(json!({"tools": search})).unwrap().shape.searches, 3);
}

#[test]
fn attachments_count_as_such_and_not_as_text() {
    let data = "A".repeat(4_000);
    let image =
        part(json!({"type": "image_url", "image_url": {"url": format!("data:image/png;base64,{data}")}}))
            .unwrap();
    assert!(image.has_images && image.text_bytes < 300 && image.attachment_tokens >= 16_384, "{image:?}");
    let low =
        part(json!({"type": "image_url", "image_url": {"url": "https://x/y.png", "detail": "low"}})).unwrap();
    assert!(low.has_images && low.attachment_tokens < 4_000);
    let sound = part(json!({"type": "input_audio", "input_audio": {"data": data, "format": "mp3"}})).unwrap();
    assert!(sound.has_audio && sound.text_bytes < 300 && sound.attachment_tokens > 10_000_000);
    let file = part(json!({"type": "file", "file": {"file_data": data, "filename": "a.pdf"}})).unwrap();
    assert!(file.attachment_tokens > 10_000_000, "a small file may hold a large text");

    let source = json!({"type": "base64", "media_type": "image/png", "data": data});
    let inner =
        json!({"type": "tool_result", "tool_use_id": "t", "content": [{"type": "image", "source": source}]});
    for block in [block(json!({"type": "image", "source": source})).unwrap(), block(inner).unwrap()] {
        assert!(block.has_images && block.text_bytes < 400, "{block:?}");
    }
    let words = block(
        json!({"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": data}}),
    );
    assert!(words.unwrap().text_bytes > 4_000);
    let paper = block(json!({"type": "document", "source": {"type": "url", "url": "https://x/y.pdf"}}));
    assert!(paper.unwrap().attachment_tokens > 10_000_000);
}

#[test]
fn what_is_no_image_is_not_held_as_one() {
    for media_type in ["text/plain", "application/pdf", "video/mp4", "IMAGE/PNG", ""] {
        let source = json!({"type": "base64", "media_type": media_type, "data": "QQ=="});
        let refused = block(json!({"type": "image", "source": source})).unwrap_err();
        assert!(refused.to_string().contains("image/png"), "{refused}");
        let url = format!("data:{media_type};base64,QQ==");
        if media_type != "IMAGE/PNG" {
            part(json!({"type": "image_url", "image_url": {"url": url}})).unwrap_err();
        }
    }
    let unsaid = json!({"type": "base64", "data": "QQ=="});
    block(json!({"type": "image", "source": unsaid})).unwrap_err();
    for url in ["data:image/svg+xml;base64,QQ==", "data:image/png,x", "data:image/png;a=b;base64,QQ=="] {
        part(json!({"type": "image_url", "image_url": {"url": url}})).unwrap_err();
    }
}

#[test]
fn a_budget_for_thoughts_stays_below_a_limit_that_was_lowered() {
    let vetted =
        messages(json!({"max_tokens": 9_000, "thinking": {"type": "enabled", "budget_tokens": 8_000}}))
            .unwrap();
    let budget = |output| {
        serde_json::from_str::<Value>(&vetted.body(&TO_ANTHROPIC, output)).unwrap()["thinking"].clone()
    };

    assert_eq!(budget(9_000), json!({"type": "enabled", "budget_tokens": 8_000}));
    assert_eq!(budget(5_000), json!({"type": "enabled", "budget_tokens": 4_999}));
}

#[test]
fn only_experiments_that_leave_the_bound_alone_may_be_switched_on() {
    assert_eq!(vet_betas("prompt-caching-2024-07-31, output-128k-2025-02-19"), Ok(()));
    assert_eq!(vet_betas(""), Ok(()));
    for beta in [
        "context-1m-2025-08-07",
        "interleaved-thinking-2025-05-14",
        "prompt-caching",
        "x",
        "effort-2025-11-24-x",
        "--",
        "é-2025-01-01",
    ] {
        let refused = vet_betas(&format!("effort-2025-11-24,{beta}")).unwrap_err();
        assert!(refused.message.contains("prompt-caching"), "{refused}");
    }
}

#[test]
fn hostile_bodies_are_refused_and_never_panic() {
    let deep = format!(r#"{{"model":"m","messages":{}{}}}"#, "[".repeat(5_000), "]".repeat(5_000));
    let many = format!(r#"{{"model":"m","messages":[{}1]}}"#, "1,".repeat(50_000));
    let empty =
        format!(r#"{{"model":"m","messages":[{}{{}}]}}"#, r#"{"role":"user","content":""},"#.repeat(50_000));
    let mut nested = json!({"type": "text", "text": "x"});
    for _ in 0..10 {
        nested = json!({"type": "tool_result", "tool_use_id": "t", "content": [nested]});
    }
    let nested = json!({"model": "m", "max_tokens": 1, "messages": [{"role": "user", "content": [nested]}]})
        .to_string();
    for body in ["", "{", "[]", "null", "\"x\"", "{\"model\":\"m\"}", "\u{0}", &deep, &many, &empty, &nested]
    {
        let (chat, messages) = (vet_chat(body), vet_messages(body));
        assert!(chat.is_err() && messages.is_err(), "{:.80}", body);
        assert!(chat.unwrap_err().message.len() < 1_000 && messages.unwrap_err().message.len() < 1_000);
    }
}

/// Everything that a tokenizer can see of a value: names, texts, and figures as they are written.
fn visible_bytes(value: &Value) -> u64 {
    match value {
        Value::String(text) => text.len() as u64,
        Value::Array(items) => items.iter().map(visible_bytes).sum(),
        Value::Object(members) => {
            members.iter().map(|(name, value)| name.len() as u64 + visible_bytes(value)).sum()
        }
        other => other.to_string().len() as u64,
    }
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::btree_map("[a-z]{0,9}", inner, 0..5).prop_map(|map| json!(map)),
        ]
    })
}

fn any_member() -> impl Strategy<Value = (String, Value)> {
    let names = prop::sample::select(vec![
        "n",
        "max_tokens",
        "max_completion_tokens",
        "stream",
        "stream_options",
        "tools",
        "response_format",
        "service_tier",
        "temperature",
        "stop",
        "user",
        "system",
        "thinking",
        "metadata",
        "top_logprobs",
        "modalities",
        "best_of",
        "store",
        "messages",
        "model",
        "cache_control",
        "tool_choice",
        "logit_bias",
    ]);
    (names.prop_map(str::to_owned), any_json())
}

proptest! {
    /// Whatever is said, in whatever script: no text is longer than what is held for it.
    #[test]
    fn every_byte_that_is_sent_is_measured(
        texts in prop::collection::vec(any::<String>(), 1..6),
        schema in any_json(),
        system in any::<String>(),
    ) {
        let said: Vec<Value> = texts.iter().map(|text| json!({"role": "user", "content": [{"type": "text", "text": text}]})).collect();
        let tools = json!([{"type": "function", "function": {"name": "f", "parameters": schema}}]);
        let chat = chat(json!({"messages": said, "tools": tools})).unwrap();
        let sent: Value = serde_json::from_str(&chat.body(&TO_OPENAI, 10)).unwrap();
        prop_assert_eq!(&sent["messages"], &json!(said));
        prop_assert!(visible_bytes(&sent["messages"]) + visible_bytes(&sent["tools"]) <= chat.shape.text_bytes);

        let tools = json!([{"name": "f", "input_schema": schema}]);
        let messages = messages(json!({"messages": said, "tools": tools, "system": system})).unwrap();
        let sent: Value = serde_json::from_str(&messages.body(&TO_ANTHROPIC, 10)).unwrap();
        let visible = visible_bytes(&sent["messages"]) + visible_bytes(&sent["tools"]) + visible_bytes(&sent["system"]);
        prop_assert!(visible <= messages.shape.text_bytes);
    }

    /// Random members: refused by name, or sent with our limit, our model and no more answers than were held for.
    #[test]
    fn what_passes_is_limited_by_us(members in prop::collection::vec(any_member(), 0..5), output in 1..9_999_u64) {
        let members: Value = members.into_iter().collect::<serde_json::Map<_, _>>().into();
        if let Ok(vetted) = chat(members.clone()) {
            let sent: Value = serde_json::from_str(&vetted.body(&TO_OPENAI, output)).unwrap();
            prop_assert_eq!(&sent["max_completion_tokens"], &json!(output));
            prop_assert!(sent.get("max_tokens").is_none());
            prop_assert_eq!(&sent["model"], "gpt");
            prop_assert_eq!(&sent["service_tier"], "default");
            prop_assert_eq!(sent["n"].as_u64().unwrap_or(1), vetted.shape.choices);
            prop_assert_eq!(sent["stream"].as_bool().unwrap_or(false), vetted.stream);
        }
        if let Ok(vetted) = messages(members) {
            let sent: Value = serde_json::from_str(&vetted.body(&TO_ANTHROPIC, output)).unwrap();
            prop_assert_eq!(&sent["max_tokens"], &json!(output));
            prop_assert_eq!(&sent["service_tier"], "standard_only");
        }
    }

    #[test]
    fn no_text_at_all_makes_it_panic(text in any::<String>()) {
        let _ = (vet_chat(&text), vet_messages(&text), vet_betas(&text));
    }
}
