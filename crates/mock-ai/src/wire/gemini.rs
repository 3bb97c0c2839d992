//! Gemini. The prompt count includes cached tokens; thoughts stand beside the candidates, not in them.

use serde_json::{Value, json};

use super::data;
use crate::reply::{Served, pieces};

fn chunk(served: &Served, text: &str, finish: Option<&str>) -> Value {
    let mut parts = vec![json!({"text": text})];
    if finish.is_some() {
        parts.extend(served.tool_calls().map(|(_, call)| {
            let args: Value = serde_json::from_str(&call.arguments).unwrap_or_default();
            json!({"functionCall": {"name": call.name, "args": args}})
        }));
    }
    let mut candidate = json!({"content": {"role": "model", "parts": parts}, "index": 0});
    if let Some(finish) = finish {
        candidate["finishReason"] = json!(finish);
    }
    let mut body = json!({"candidates": [candidate], "modelVersion": served.model, "responseId": served.id});
    if let Some(tokens) = &served.told {
        let prompt = tokens.input + tokens.cached + tokens.write_short + tokens.write_long;
        body["usageMetadata"] = json!({
            "promptTokenCount": prompt,
            "cachedContentTokenCount": tokens.cached,
            "candidatesTokenCount": tokens.output - tokens.reasoning,
            "thoughtsTokenCount": tokens.reasoning,
            "totalTokenCount": prompt + tokens.output,
        });
    }
    body
}

fn finish(served: &Served) -> &str {
    match served.finish.as_str() {
        "stop" | "tools" => "STOP",
        "length" => "MAX_TOKENS",
        other => other,
    }
}

pub fn body(served: &Served) -> Value {
    chunk(served, &served.text, Some(finish(served)))
}

pub fn events(served: &Served) -> Vec<String> {
    let mut pieces = pieces(&served.text);
    if pieces.is_empty() {
        pieces.push("");
    }
    let last = pieces.len().saturating_sub(1);
    let event =
        |(place, piece): (usize, &&str)| data(&chunk(served, piece, (place == last).then(|| finish(served))));
    pieces.iter().enumerate().map(event).collect()
}
