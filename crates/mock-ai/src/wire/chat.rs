//! OpenAI chat completions. Prompt tokens include cached and written ones, completion tokens include reasoning.

use serde_json::{Value, json};

use super::data;
use crate::ask::Ask;
use crate::bill::Tokens;
use crate::reply::{Served, ToolCall, pieces};

fn usage(tokens: &Tokens) -> Value {
    let prompt = tokens.input + tokens.cached + tokens.write_short + tokens.write_long;
    json!({
        "prompt_tokens": prompt,
        "completion_tokens": tokens.output,
        "total_tokens": prompt + tokens.output,
        "prompt_tokens_details": {
            "cached_tokens": tokens.cached,
            "cache_write_tokens": tokens.write_short + tokens.write_long,
            "audio_tokens": 0,
        },
        "completion_tokens_details": {
            "reasoning_tokens": tokens.reasoning,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    })
}

fn finish(served: &Served) -> &str {
    match served.finish.as_str() {
        "tools" => "tool_calls",
        other => other,
    }
}

fn tool_calls(served: &Served) -> Vec<Value> {
    let write = |(id, call): (String, &ToolCall)| json!({"id": id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}});
    served.tool_calls().map(write).collect()
}

pub fn body(ask: &Ask, served: &Served) -> Value {
    let mut message = json!({"role": "assistant", "content": served.text, "refusal": null});
    if !served.calls.is_empty() {
        message["tool_calls"] = json!(tool_calls(served));
    }
    let choices: Vec<Value> = (0..ask.choices)
        .map(|index| {
            json!({"index": index, "message": message, "logprobs": null, "finish_reason": finish(served)})
        })
        .collect();
    let mut body = json!({
        "id": served.id,
        "object": "chat.completion",
        "created": 1_700_000_000,
        "model": served.model,
        "choices": choices,
        "service_tier": "default",
    });
    if let Some(tokens) = &served.told {
        body["usage"] = usage(tokens);
    }
    body
}

pub fn events(ask: &Ask, served: &Served) -> Vec<String> {
    let chunk = |choices: Value| {
        json!({
            "id": served.id,
            "object": "chat.completion.chunk",
            "created": 1_700_000_000,
            "model": served.model,
            "choices": choices,
            "usage": null,
        })
    };
    let mut events = Vec::new();
    for index in 0..ask.choices {
        let delta = |delta: Value, finish: Value| {
            data(&chunk(json!([{"index": index, "delta": delta, "finish_reason": finish}])))
        };
        events.push(delta(json!({"role": "assistant", "content": ""}), Value::Null));
        events.extend(
            pieces(&served.text).into_iter().map(|piece| delta(json!({"content": piece}), Value::Null)),
        );
        for (place, mut call) in tool_calls(served).into_iter().enumerate() {
            call["index"] = json!(place);
            events.push(delta(json!({"tool_calls": [call]}), Value::Null));
        }
        events.push(delta(json!({}), json!(finish(served))));
    }
    if let (true, Some(tokens)) = (ask.wants_usage, &served.told) {
        let mut last = chunk(json!([]));
        last["usage"] = usage(tokens);
        events.push(data(&last));
    }
    events.push("data: [DONE]\n\n".to_owned());
    events
}
