//! OpenAI responses. Input tokens include cached and written ones, output tokens include reasoning.

use serde_json::{Value, json};

use super::named;
use crate::reply::{Served, pieces};

pub fn body(served: &Served) -> Value {
    let is_cut = served.finish == "length";
    let mut body = json!({
        "id": served.id,
        "object": "response",
        "created_at": 1_700_000_000,
        "status": if is_cut { "incomplete" } else { "completed" },
        "incomplete_details": if is_cut { json!({"reason": "max_output_tokens"}) } else { Value::Null },
        "error": null,
        "model": served.model,
        "output": output(served),
        "service_tier": "default",
    });
    if let Some(tokens) = &served.told {
        let input = tokens.input + tokens.cached + tokens.write_short + tokens.write_long;
        body["usage"] = json!({
            "input_tokens": input,
            "input_tokens_details": {
                "cached_tokens": tokens.cached,
                "cache_write_tokens": tokens.write_short + tokens.write_long,
            },
            "output_tokens": tokens.output,
            "output_tokens_details": {"reasoning_tokens": tokens.reasoning},
            "total_tokens": input + tokens.output,
        });
    }
    body
}

fn output(served: &Served) -> Vec<Value> {
    let mut items = vec![item(served)];
    items.extend(served.tool_calls().map(|(id, call)| {
        json!({"id": format!("fc_{id}"), "type": "function_call", "status": "completed", "call_id": id,
            "name": call.name, "arguments": call.arguments})
    }));
    items
}

fn item(served: &Served) -> Value {
    json!({
        "id": "msg_mock",
        "type": "message",
        "role": "assistant",
        "status": "completed",
        "content": [{"type": "output_text", "text": served.text, "annotations": []}],
    })
}

pub fn events(served: &Served) -> Vec<String> {
    let whole = body(served);
    let mut started = whole.clone();
    started["status"] = json!("in_progress");
    started["output"] = json!([]);
    started["usage"] = Value::Null;
    let mut sequence = 0;
    let mut event = |name: &str, mut value: Value| {
        value["type"] = json!(name);
        value["sequence_number"] = json!(sequence);
        sequence += 1;
        named(name, &value)
    };
    let mut events = vec![event("response.created", json!({"response": started}))];
    let place = json!({"item_id": "msg_mock", "output_index": 0, "content_index": 0});
    events.push(event("response.output_item.added", json!({"output_index": 0, "item": {"id": "msg_mock", "type": "message", "role": "assistant", "status": "in_progress", "content": []}})));
    for piece in pieces(&served.text) {
        let mut delta = place.clone();
        delta["delta"] = json!(piece);
        events.push(event("response.output_text.delta", delta));
    }
    let mut done = place;
    done["text"] = json!(served.text);
    events.push(event("response.output_text.done", done));
    events.push(event("response.output_item.done", json!({"output_index": 0, "item": item(served)})));
    let last = if served.finish == "length" { "response.incomplete" } else { "response.completed" };
    events.push(event(last, json!({"response": whole})));
    events
}
