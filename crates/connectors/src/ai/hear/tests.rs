#![allow(clippy::unwrap_used)]

use serde_json::json;

use super::super::{Dialect, Provider, body_for};
use super::*;

fn heard(wire: Wire, body: &Value) -> Ask {
    hear(wire, &body.to_string(), "m").unwrap()
}

fn chat_body() -> Value {
    json!({"model": "x", "temperature": 0.25, "user": "u", "seed": 3,
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": [
                {"type": "text", "text": "What is this?"},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}]},
            {"role": "assistant", "content": null, "tool_calls": [
                {"id": "c1", "type": "function", "function": {"name": "look", "arguments": "{\"a\":1}"}}]},
            {"role": "tool", "tool_call_id": "c1", "content": "a cat"}],
        "tools": [{"type": "function", "function": {"name": "look", "description": "looks",
            "parameters": {"type": "object", "properties": {"a": {"type": "integer"}}}}}],
        "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object"}}}})
}

#[test]
fn what_a_chat_says_comes_out_the_same_on_every_wire_and_back() {
    let ask = heard(Wire::OpenAiChat, &chat_body());

    assert_eq!(ask.system.as_deref(), Some("Be brief."));
    assert_eq!(ask.messages.len(), 3);
    assert_eq!(
        ask.messages[1].parts,
        [Part::Call(ToolCall { id: "c1".into(), name: "look".into(), arguments: "{\"a\":1}".into() })]
    );
    let result = Part::Result { call: "c1".into(), name: "look".into(), content: "a cat".into() };
    assert_eq!(ask.messages[2].parts, [result]);
    for (wire, name) in [(Wire::Anthropic, "anthropic"), (Wire::OpenAiChat, "openai")] {
        let provider = Provider::known(name, "k", None).unwrap();
        assert_eq!(provider.wire, wire);
        let written = body_for(&ask, &provider, 100, false);
        let again = hear(wire, std::str::from_utf8(&written).unwrap(), "m").unwrap();
        assert_eq!(again, ask, "{name}");
    }
}

#[test]
fn a_body_with_nothing_but_a_question_is_enough() {
    let body = json!({"model": "x", "messages": [{"role": "user", "content": "Hi"}]});

    for wire in [Wire::OpenAiChat, Wire::Anthropic] {
        assert_eq!(heard(wire, &body).messages, [Message::text(Role::User, "Hi")]);
    }
}

#[test]
fn what_anthropics_wire_says_is_heard_whole() {
    let ask = heard(
        Wire::Anthropic,
        &json!({"model": "x", "max_tokens": 5, "thinking": {"type": "disabled"},
            "system": [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}],
            "messages": [
                {"role": "user", "content": "Hello"},
                {"role": "assistant", "content": [
                    {"type": "thinking", "thinking": "hm", "signature": "s"},
                    {"type": "text", "text": "I look."},
                    {"type": "tool_use", "id": "t1", "name": "look", "input": {"a": 1}}]},
                {"role": "user", "content": [
                    {"type": "tool_result", "tool_use_id": "t1", "content": [{"type": "text", "text": "a cat"}]}]}],
            "tools": [{"name": "look", "description": "looks", "input_schema": {"type": "object"}}]}),
    );

    assert_eq!(ask.system.as_deref(), Some("Be brief."));
    assert_eq!(ask.messages[1].parts.len(), 2, "thoughts are left out");
    let result = Part::Result { call: "t1".into(), name: "look".into(), content: "a cat".into() };
    assert_eq!(ask.messages[2].parts, [result]);
    assert_eq!(ask.tools[0].name, "look");
}

#[test]
fn what_another_wire_cannot_say_is_refused_by_name() {
    let with = |name: &str, value: Value| {
        let mut body = chat_body();
        body[name] = value;
        hear(Wire::OpenAiChat, &body.to_string(), "m").map(drop).map_err(|problem| problem.at)
    };
    for (name, value) in [
        ("n", json!(2)),
        ("stop", json!("x")),
        ("top_p", json!(0.5)),
        ("logprobs", json!(true)),
        ("tool_choice", json!("required")),
        ("modalities", json!(["text", "audio"])),
        ("service_tier", json!("flex")),
    ] {
        assert_eq!(with(name, value), Err(name.to_owned()));
    }
    for (name, value) in
        [("n", json!(1)), ("top_p", json!(1)), ("stop", Value::Null), ("tool_choice", json!("auto"))]
    {
        assert_eq!(with(name, value), Ok(()));
    }
    let far = json!([{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://x/y.png"}}]}]);
    assert_eq!(with("messages", far), Err("messages[0].content[0].image_url".to_owned()));
    let paper = json!([{"role": "user", "content": [{"type": "file", "file": {"file_data": "data:application/pdf;base64,AAAA"}}]}]);
    assert_eq!(with("messages", paper), Err("messages[0].content[0]".to_owned()));
    let search = json!({"messages": [], "tools": [{"type": "web_search_20250305", "name": "web_search", "max_uses": 1}]});
    assert_eq!(hear(Wire::Anthropic, &search.to_string(), "m").unwrap_err().at, "tools[0]");
}

#[test]
fn a_dialect_without_schemas_is_asked_for_json() {
    let ask = heard(Wire::OpenAiChat, &chat_body());
    let mut provider = Provider::compatible("p", "k", "http://h");
    provider.dialect = Dialect { has_schemas: false, ..provider.dialect };

    let body: Value = serde_json::from_slice(&body_for(&ask, &provider, 9, false)).unwrap();

    assert_eq!(body["response_format"], json!({"type": "json_object"}));
}
