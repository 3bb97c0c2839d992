//! Anthropic messages. Input tokens exclude both cache classes; a stream tells usage twice, the later word counts.

use serde_json::{Value, json};

use super::named;
use crate::bill::Tokens;
use crate::reply::{Served, pieces};

fn usage(tokens: &Tokens, output: u64) -> Value {
    json!({
        "input_tokens": tokens.input,
        "cache_creation_input_tokens": tokens.write_short + tokens.write_long,
        "cache_creation": {
            "ephemeral_5m_input_tokens": tokens.write_short,
            "ephemeral_1h_input_tokens": tokens.write_long,
        },
        "cache_read_input_tokens": tokens.cached,
        "output_tokens": output,
        "service_tier": "standard",
    })
}

fn stop_reason(served: &Served) -> &str {
    match served.finish.as_str() {
        "stop" => "end_turn",
        "length" => "max_tokens",
        "tools" => "tool_use",
        other => other,
    }
}

fn message(served: &Served, content: Value, stop: Value) -> Value {
    json!({
        "id": served.id,
        "type": "message",
        "role": "assistant",
        "model": served.model,
        "content": content,
        "stop_reason": stop,
        "stop_sequence": null,
    })
}

pub fn body(served: &Served) -> Value {
    let mut content = vec![json!({"type": "text", "text": served.text})];
    content.extend(served.tool_calls().map(|(id, call)| {
        let input: Value = serde_json::from_str(&call.arguments).unwrap_or_default();
        json!({"type": "tool_use", "id": id, "name": call.name, "input": input})
    }));
    let content = json!(content);
    let mut body = message(served, content, json!(stop_reason(served)));
    if let Some(tokens) = &served.told {
        body["usage"] = usage(tokens, tokens.output);
    }
    body
}

pub fn events(served: &Served) -> Vec<String> {
    let mut start = message(served, json!([]), Value::Null);
    if let Some(tokens) = &served.told {
        start["usage"] = usage(tokens, 1);
    }
    let mut events = vec![
        named("message_start", &json!({"type": "message_start", "message": start})),
        named(
            "content_block_start",
            &json!({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}),
        ),
        named("ping", &json!({"type": "ping"})),
    ];
    for piece in pieces(&served.text) {
        let delta = json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": piece}});
        events.push(named("content_block_delta", &delta));
    }
    events.push(named("content_block_stop", &json!({"type": "content_block_stop", "index": 0})));
    for (place, (id, call)) in served.tool_calls().enumerate() {
        let index = place + 1;
        let block = json!({"type": "tool_use", "id": id, "name": call.name, "input": {}});
        let start = json!({"type": "content_block_start", "index": index, "content_block": block});
        let delta = json!({"type": "input_json_delta", "partial_json": call.arguments});
        let delta = json!({"type": "content_block_delta", "index": index, "delta": delta});
        events.push(named("content_block_start", &start));
        events.push(named("content_block_delta", &delta));
        events.push(named("content_block_stop", &json!({"type": "content_block_stop", "index": index})));
    }
    let mut last = json!({"type": "message_delta", "delta": {"stop_reason": stop_reason(served), "stop_sequence": null}});
    if let Some(tokens) = &served.told {
        last["usage"] = usage(tokens, tokens.output);
    }
    events.push(named("message_delta", &last));
    events.push(named("message_stop", &json!({"type": "message_stop"})));
    events
}
