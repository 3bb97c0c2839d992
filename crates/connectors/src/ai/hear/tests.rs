#![allow(clippy::unwrap_used)]

use serde_json::json;

use super::super::{Dialect, Provider, body_for};
use super::*;

fn heard(wire: Wire, body: &Value) -> Ask {
    hear(wire, &body.to_string(), "m", Wire::Anthropic).unwrap()
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
        let again = hear(wire, std::str::from_utf8(&written).unwrap(), "m", wire).unwrap();
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
        hear(Wire::OpenAiChat, &body.to_string(), "m", Wire::Anthropic)
            .map(drop)
            .map_err(|problem| problem.at)
    };
    for (name, value) in [
        ("n", json!(2)),
        ("stop", json!(["a", 1])),
        ("top_p", json!("much")),
        ("logprobs", json!(true)),
        ("store", json!(true)),
        ("tool_choice", json!("sometimes")),
        ("tool_choice", json!({"type": "function", "function": {"name": "nobody"}})),
        ("tool_choice", json!({"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": []}})),
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
    for messages in [
        json!([]),
        json!([{"role": "system", "content": "Be brief."}]),
        json!([{"role": "user", "content": []}]),
    ] {
        assert_eq!(with("messages", messages), Err("messages".to_owned()));
    }
    for (message, at) in [
        (json!({"role": "user", "name": "Ada", "content": "Hi"}), "messages[0].name"),
        (
            json!({"role": "assistant", "function_call": {"name": "f", "arguments": "{}"}}),
            "messages[0].function_call",
        ),
    ] {
        assert_eq!(with("messages", json!([message])), Err(at.to_owned()));
    }
    let cites = json!({"type": "document", "citations": {"enabled": true},
        "source": {"type": "text", "media_type": "text/plain", "data": "x"}});
    let cites = json!({"messages": [{"role": "user", "content": [cites]}]});
    let refused = hear(Wire::Anthropic, &cites.to_string(), "m", Wire::OpenAiChat).unwrap_err();
    assert_eq!(refused.at, "messages[0].content[0].citations");
    let far = json!([{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://x/y.png"}}]}]);
    assert_eq!(with("messages", far), Err("messages[0].content[0].image_url".to_owned()));
    let paper = json!([{"role": "user", "content": [{"type": "file", "file": {"file_data": "data:application/pdf;base64,AAAA"}}]}]);
    assert_eq!(with("messages", paper), Err("messages[0].content[0]".to_owned()));
    let search = json!({"messages": [{"role": "user", "content": "Hi"}], "tools": [{"type": "web_search_20250305", "name": "web_search", "max_uses": 1}]});
    assert_eq!(hear(Wire::Anthropic, &search.to_string(), "m", Wire::Gemini).unwrap_err().at, "tools[0]");
}

#[test]
fn a_dialect_without_schemas_is_asked_for_json() {
    let ask = heard(Wire::OpenAiChat, &chat_body());
    let mut provider = Provider::compatible("p", "k", "http://h");
    provider.dialect = Dialect { has_schemas: false, ..provider.dialect };

    let body: Value = serde_json::from_slice(&body_for(&ask, &provider, 9, false)).unwrap();

    assert_eq!(body["response_format"], json!({"type": "json_object"}));
}

const WIRES: [(Wire, &str); 4] = [
    (Wire::OpenAiChat, "openai"),
    (Wire::OpenAiResponses, "openai-responses"),
    (Wire::Anthropic, "anthropic"),
    (Wire::Gemini, "gemini"),
];

/// What goes out to a provider of each wire, or the member that is refused.
fn sent(from: Wire, to: usize, changes: &Value) -> Result<Value, String> {
    let mut body = match from {
        Wire::Anthropic => {
            json!({"model": "x", "max_tokens": 5, "messages": [{"role": "user", "content": "Hi"}],
            "tools": [{"name": "look", "input_schema": {"type": "object"}}]})
        }
        _ => json!({"model": "x", "messages": [{"role": "user", "content": "Hi"}],
            "tools": [{"type": "function", "function": {"name": "look"}}]}),
    };
    body.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    let (wire, name) = WIRES[to];
    let ask = hear(from, &body.to_string(), "m", wire).map_err(|problem| problem.at)?;
    let provider = Provider::known(name, "k", None).unwrap();
    Ok(serde_json::from_slice(&body_for(&ask, &provider, 9, false)).unwrap())
}

#[test]
fn where_an_answer_ends_and_how_it_is_chosen_is_told_in_each_vendors_words() {
    let chat = json!({"stop": "END", "top_p": 0.5, "temperature": 0});
    let messages = json!({"stop_sequences": ["END"], "top_p": 0.5, "temperature": 0});
    for (from, changes, name) in
        [(Wire::OpenAiChat, &chat, "stop"), (Wire::Anthropic, &messages, "stop_sequences")]
    {
        let body = sent(from, 0, changes).unwrap();
        assert_eq!((&body["stop"], &body["top_p"]), (&json!(["END"]), &json!(0.5)));
        assert_eq!(sent(from, 1, changes), Err(name.to_owned()), "responses have no such member");
        let body = sent(from, 2, changes).unwrap();
        assert_eq!((&body["stop_sequences"], &body["top_p"]), (&json!(["END"]), &json!(0.5)));
        let config = sent(from, 3, changes).unwrap()["generationConfig"].clone();
        assert_eq!((&config["stopSequences"], &config["topP"]), (&json!(["END"]), &json!(0.5)));

        let many = json!({name: ["a", "b", "c", "d", "e", "f"]});
        for (to, fits) in [(0, false), (1, false), (2, true), (3, false)] {
            assert_eq!(sent(from, to, &many).is_ok(), fits, "{from:?} {to}");
        }
        let none = json!({name: [], "top_p": null, "tool_choice": null});
        for to in 0..WIRES.len() {
            let body = sent(from, to, &none).unwrap().to_string();
            assert!(!body.contains("stop") && !body.contains("top_p") && !body.contains("choice"), "{body}");
        }
    }
    assert_eq!(sent(Wire::OpenAiChat, 1, &json!({"top_p": 0.5})).unwrap()["top_p"], json!(0.5));
}

#[test]
fn which_tools_may_be_asked_for_is_told_in_each_vendors_words() {
    let named = json!({"type": "function", "function": {"name": "look"}});
    for (chat, messages, expected) in [
        (
            json!("none"),
            json!({"type": "none"}),
            [json!("none"), json!("none"), json!({"type": "none"}), json!({"mode": "NONE"})],
        ),
        (
            json!("required"),
            json!({"type": "any"}),
            [json!("required"), json!("required"), json!({"type": "any"}), json!({"mode": "ANY"})],
        ),
        (
            named.clone(),
            json!({"type": "tool", "name": "look"}),
            [
                named.clone(),
                json!({"type": "function", "name": "look"}),
                json!({"type": "tool", "name": "look"}),
                json!({"mode": "ANY", "allowedFunctionNames": ["look"]}),
            ],
        ),
        (json!("auto"), json!({"type": "auto"}), [Value::Null, Value::Null, Value::Null, Value::Null]),
    ] {
        for (from, choice) in [(Wire::OpenAiChat, &chat), (Wire::Anthropic, &messages)] {
            for (to, expected) in expected.iter().enumerate() {
                let body = sent(from, to, &json!({"tool_choice": choice})).unwrap();
                let told =
                    if to == 3 { &body["toolConfig"]["functionCallingConfig"] } else { &body["tool_choice"] };
                assert_eq!(told, expected, "{from:?} {to}");
            }
        }
    }
    let none = json!({"tools": [], "tool_choice": "required"});
    assert_eq!(sent(Wire::OpenAiChat, 2, &none), Err("tool_choice".to_owned()));
}

#[test]
fn one_tool_at_a_time_is_told_to_whoever_has_a_word_for_it() {
    let one = json!({"parallel_tool_calls": false});
    let one_of_anthropic = json!({"tool_choice": {"type": "auto", "disable_parallel_tool_use": true}});
    for (from, changes, place) in [
        (Wire::OpenAiChat, &one, "parallel_tool_calls"),
        (Wire::Anthropic, &one_of_anthropic, "tool_choice.disable_parallel_tool_use"),
    ] {
        for to in [0, 1] {
            assert_eq!(sent(from, to, changes).unwrap()["parallel_tool_calls"], false);
        }
        let told = sent(from, 2, changes).unwrap()["tool_choice"].clone();
        assert_eq!(told, json!({"type": "auto", "disable_parallel_tool_use": true}));
        assert_eq!(sent(from, 3, changes), Err(place.to_owned()));
    }
    for nothing in [json!({"parallel_tool_calls": true}), json!({"parallel_tool_calls": false, "tools": []})]
    {
        for to in 0..WIRES.len() {
            assert!(!sent(Wire::OpenAiChat, to, &nothing).unwrap().to_string().contains("parallel"));
        }
    }
}

#[test]
fn what_was_said_of_an_error_or_a_refusal_is_not_lost() {
    let body = json!({"messages": [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": null, "refusal": "I will not."},
        {"role": "assistant", "content": [{"type": "refusal", "refusal": "Nor that."}]}]});
    let said = [Part::Text("I will not.".to_owned()), Part::Text("Nor that.".to_owned())];
    assert_eq!(heard(Wire::OpenAiChat, &body).messages[1].parts, said);

    let body = json!({"messages": [
        {"role": "assistant", "content": [{"type": "tool_use", "id": "t", "name": "look", "input": {}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "is_error": true, "content": "no light"}]}]});
    let ask = hear(Wire::Anthropic, &body.to_string(), "m", Wire::OpenAiChat).unwrap();
    let result = Part::Result { call: "t".into(), name: "look".into(), content: "Error: no light".into() };
    assert_eq!(ask.messages[1].parts, [result]);
}
