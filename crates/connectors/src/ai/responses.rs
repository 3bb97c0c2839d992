//! OpenAI responses.

use serde_json::{Map, Value, json};

use super::ask::{Ask, Choice, Output, Part, Role};
use super::gather::{Finish, Gather, error_word};

/// The body of a request. Nothing is kept at the provider (`store: false`).
pub fn render(ask: &Ask, output_tokens: u64, stream: bool) -> Value {
    let mut body = Map::new();
    body.insert("model".to_owned(), json!(ask.model));
    if let Some(system) = &ask.system {
        body.insert("instructions".to_owned(), json!(system));
    }
    body.insert("input".to_owned(), json!(input(ask)));
    body.insert("max_output_tokens".to_owned(), json!(output_tokens));
    body.insert("store".to_owned(), json!(false));
    body.insert("service_tier".to_owned(), json!("default"));
    if stream {
        body.insert("stream".to_owned(), json!(true));
    }
    if let Some(temperature) = &ask.temperature {
        body.insert("temperature".to_owned(), json!(temperature));
    }
    if let Some(top_p) = &ask.top_p {
        body.insert("top_p".to_owned(), json!(top_p));
    }
    let format = match &ask.output {
        Output::Text => None,
        Output::Schema(schema) => {
            Some(json!({"type": "json_schema", "name": "answer", "strict": true, "schema": schema}))
        }
        Output::Json => Some(json!({"type": "json_object"})),
    };
    if let Some(format) = format {
        body.insert("text".to_owned(), json!({"format": format}));
    }
    if !ask.tools.is_empty() {
        let tools: Vec<Value> = ask
            .tools
            .iter()
            .map(|tool| {
                json!({"type": "function", "name": tool.name, "description": tool.description,
                    "parameters": tool.parameters, "strict": false})
            })
            .collect();
        body.insert("tools".to_owned(), json!(tools));
        let choice = match &ask.choice {
            Choice::Auto => None,
            Choice::Never => Some(json!("none")),
            Choice::Required => Some(json!("required")),
            Choice::Named(name) => Some(json!({"type": "function", "name": name})),
        };
        if let Some(choice) = choice {
            body.insert("tool_choice".to_owned(), choice);
        }
        if ask.one_call {
            body.insert("parallel_tool_calls".to_owned(), json!(false));
        }
    }
    Value::Object(body)
}

/// Calls and results are items beside the messages here.
fn input(ask: &Ask) -> Vec<Value> {
    let mut items = Vec::new();
    for message in &ask.messages {
        let (role, kind) = match message.role {
            Role::User => ("user", "input_text"),
            Role::Assistant => ("assistant", "output_text"),
        };
        let mut content = Vec::new();
        for part in &message.parts {
            match part {
                Part::Text(text) => content.push(json!({"type": kind, "text": text})),
                Part::Image { media_type, data } => {
                    let url = format!("data:{media_type};base64,{data}");
                    content.push(json!({"type": "input_image", "detail": "auto", "image_url": url}));
                }
                Part::Document { media_type, data } => {
                    let file = format!("data:{media_type};base64,{data}");
                    content
                        .push(json!({"type": "input_file", "filename": "document.pdf", "file_data": file}));
                }
                Part::Call(call) => items.push(json!({"type": "function_call", "call_id": call.id,
                    "name": call.name, "arguments": call.arguments})),
                Part::Result { call, content, .. } => {
                    items.push(json!({"type": "function_call_output", "call_id": call, "output": content}));
                }
            }
        }
        if !content.is_empty() {
            items.push(json!({"type": "message", "role": role, "content": content}));
        }
    }
    items
}

/// Takes one event of a stream.
pub fn see(gather: &mut Gather, event: &Value) {
    match event["type"].as_str().unwrap_or_default() {
        "response.created" => gather.set_id(&event["response"]["id"]),
        "response.output_text.delta" => gather.say(event["delta"].as_str().unwrap_or_default()),
        // Nobody needs these as they come, but they cost money and are counted.
        "response.function_call_arguments.delta" | "response.refusal.delta" => {
            gather.said_bytes += event["delta"].as_str().map_or(0, str::len);
        }
        "response.completed" | "response.incomplete" => {
            // The whole answer stands in the last event: it replaces what came in pieces.
            gather.text.clear();
            read(gather, &event["response"]);
            gather.is_over = true;
        }
        "response.failed" => gather.error = Some(error_word(&event["response"]["error"])),
        "error" => gather.error = Some(error_word(event)),
        _ => {}
    }
}

/// Takes a whole answer.
pub fn read(gather: &mut Gather, body: &Value) {
    gather.set_id(&body["id"]);
    let said_bytes = gather.said_bytes;
    let mut is_refused = false;
    for item in body["output"].as_array().into_iter().flatten() {
        match item["type"].as_str().unwrap_or_default() {
            "message" => {
                for part in item["content"].as_array().into_iter().flatten() {
                    gather.say(part["text"].as_str().unwrap_or_default());
                    is_refused |= part["type"] == "refusal";
                }
            }
            "function_call" => {
                let place = gather.calls.len();
                gather.argue(place, item["arguments"].as_str().unwrap_or_default());
                let call = gather.call(place);
                item["call_id"].as_str().unwrap_or_default().clone_into(&mut call.id);
                item["name"].as_str().unwrap_or_default().clone_into(&mut call.name);
            }
            "web_search_call" => gather.searched(1),
            _ => {}
        }
    }
    // What came in pieces was counted then.
    gather.said_bytes = gather.said_bytes.max(said_bytes);
    match body["status"].as_str() {
        Some("incomplete") => {
            gather.finish(body["incomplete_details"]["reason"].as_str().or(Some("incomplete")))
        }
        Some("failed") => gather.error = Some(error_word(&body["error"])),
        status => gather.finish(status),
    }
    if is_refused {
        gather.finish = Some(Finish::Refused);
    }
}
