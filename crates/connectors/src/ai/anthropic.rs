//! Anthropic messages.

use serde_json::{Map, Value, json};

use super::ask::{Ask, Choice, Output, Part, Role};
use super::gather::Gather;

/// The body of a request.
pub fn render(ask: &Ask, output_tokens: u64, stream: bool) -> Value {
    let mut body = Map::new();
    body.insert("model".to_owned(), json!(ask.model));
    body.insert("max_tokens".to_owned(), json!(output_tokens));
    body.insert("messages".to_owned(), json!(messages(ask)));
    // Never the dearer lane, even where the account has one.
    body.insert("service_tier".to_owned(), json!("standard_only"));
    if let Some(system) = &ask.system {
        body.insert("system".to_owned(), json!(system));
    }
    if stream {
        body.insert("stream".to_owned(), json!(true));
    }
    if let Some(temperature) = &ask.temperature {
        body.insert("temperature".to_owned(), json!(temperature));
    }
    if let Some(top_p) = &ask.top_p {
        body.insert("top_p".to_owned(), json!(top_p));
    }
    if !ask.stop.is_empty() {
        body.insert("stop_sequences".to_owned(), json!(ask.stop));
    }
    if let Output::Schema(schema) = &ask.output {
        body.insert("output_config".to_owned(), json!({"format": {"type": "json_schema", "schema": schema}}));
    }
    if !ask.tools.is_empty() {
        let tools: Vec<Value> = ask
            .tools
            .iter()
            .map(|tool| {
                json!({"name": tool.name, "description": tool.description, "input_schema": tool.parameters})
            })
            .collect();
        body.insert("tools".to_owned(), json!(tools));
        if let Some(choice) = tool_choice(ask) {
            body.insert("tool_choice".to_owned(), choice);
        }
    }
    Value::Object(body)
}

fn tool_choice(ask: &Ask) -> Option<Value> {
    let mut choice = match &ask.choice {
        Choice::Never => return Some(json!({"type": "none"})),
        Choice::Auto if !ask.one_call => return None,
        Choice::Auto => json!({"type": "auto"}),
        Choice::Required => json!({"type": "any"}),
        Choice::Named(name) => json!({"type": "tool", "name": name}),
    };
    if ask.one_call {
        choice["disable_parallel_tool_use"] = json!(true);
    }
    Some(choice)
}

fn messages(ask: &Ask) -> Vec<Value> {
    let write = |part: &Part| match part {
        Part::Text(text) => json!({"type": "text", "text": text}),
        Part::Image { media_type, data } => {
            json!({"type": "image", "source": {"type": "base64", "media_type": media_type, "data": data}})
        }
        Part::Document { media_type, data } => {
            json!({"type": "document", "source": {"type": "base64", "media_type": media_type, "data": data}})
        }
        Part::Call(call) => {
            // The vendor wants an object; what the model wrote may be none.
            let input = serde_json::from_str(&call.arguments).unwrap_or_else(|_| json!({}));
            json!({"type": "tool_use", "id": call.id, "name": call.name, "input": input})
        }
        Part::Result { call, content, .. } => {
            json!({"type": "tool_result", "tool_use_id": call, "content": content})
        }
    };
    let message = |message: &super::ask::Message| {
        let role = match message.role {
            Role::User => "user",
            Role::Assistant => "assistant",
        };
        json!({"role": role, "content": message.parts.iter().map(write).collect::<Vec<_>>()})
    };
    ask.messages.iter().map(message).collect()
}

/// Takes one event of a stream.
pub fn see(gather: &mut Gather, event: &Value) {
    match event["type"].as_str().unwrap_or_default() {
        "message_start" => gather.set_id(&event["message"]["id"]),
        "content_block_start" if event["content_block"]["type"] == "tool_use" => {
            start_call(gather, &event["content_block"]);
        }
        "content_block_delta" => {
            let delta = &event["delta"];
            gather.say(delta["text"].as_str().unwrap_or_default());
            if let Some(part) = delta["partial_json"].as_str() {
                let place = gather.calls.len().saturating_sub(1);
                gather.argue(place, part);
            }
            gather.said_bytes += delta["thinking"].as_str().map_or(0, str::len);
        }
        "message_delta" => gather.finish(event["delta"]["stop_reason"].as_str()),
        "message_stop" => gather.is_over = true,
        _ => {}
    }
}

fn start_call(gather: &mut Gather, block: &Value) {
    let place = gather.calls.len();
    let call = gather.call(place);
    block["id"].as_str().unwrap_or_default().clone_into(&mut call.id);
    block["name"].as_str().unwrap_or_default().clone_into(&mut call.name);
}

/// Takes a whole answer.
pub fn read(gather: &mut Gather, body: &Value) {
    gather.set_id(&body["id"]);
    for block in body["content"].as_array().into_iter().flatten() {
        match block["type"].as_str().unwrap_or_default() {
            "text" => gather.say(block["text"].as_str().unwrap_or_default()),
            "tool_use" => {
                start_call(gather, block);
                gather.argue(gather.calls.len() - 1, &block["input"].to_string());
            }
            "thinking" => gather.said_bytes += block["thinking"].as_str().map_or(0, str::len),
            _ => {}
        }
    }
    gather.finish(body["stop_reason"].as_str());
}
