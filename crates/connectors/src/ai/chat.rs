//! OpenAI chat completions, as OpenAI and many others speak it.

use serde_json::{Map, Value, json};

use super::ask::{Ask, Choice, Message, Output, Part, Role};
use super::gather::{Finish, Gather};
use super::provider::Dialect;

/// The body of a request.
pub fn render(ask: &Ask, dialect: &Dialect, output_tokens: u64, stream: bool) -> Value {
    let mut messages = Vec::new();
    if let Some(system) = &ask.system {
        messages.push(json!({"role": "system", "content": system}));
    }
    ask.messages.iter().for_each(|message| write_message(message, &mut messages));
    let mut body = Map::new();
    body.insert("model".to_owned(), json!(ask.model));
    body.insert("messages".to_owned(), json!(messages));
    body.insert(dialect.limit_field.to_owned(), json!(output_tokens));
    if let Some(temperature) = &ask.temperature {
        body.insert("temperature".to_owned(), json!(temperature));
    }
    if let Some(top_p) = &ask.top_p {
        body.insert("top_p".to_owned(), json!(top_p));
    }
    if !ask.stop.is_empty() {
        body.insert("stop".to_owned(), json!(ask.stop));
    }
    if dialect.has_tiers {
        body.insert("service_tier".to_owned(), json!("default"));
    }
    if stream {
        body.insert("stream".to_owned(), json!(true));
        body.insert("stream_options".to_owned(), json!({"include_usage": true}));
    }
    let format = match &ask.output {
        Output::Text => None,
        Output::Schema(schema) if dialect.has_schemas => {
            let strict = json!({"name": "answer", "strict": true, "schema": schema});
            Some(json!({"type": "json_schema", "json_schema": strict}))
        }
        Output::Schema(_) | Output::Json => Some(json!({"type": "json_object"})),
    };
    if let Some(format) = format {
        body.insert("response_format".to_owned(), format);
    }
    if !ask.tools.is_empty() {
        let tools: Vec<Value> = ask
            .tools
            .iter()
            .map(|tool| {
                let function =
                    json!({"name": tool.name, "description": tool.description, "parameters": tool.parameters});
                json!({"type": "function", "function": function})
            })
            .collect();
        body.insert("tools".to_owned(), json!(tools));
        let choice = match &ask.choice {
            Choice::Auto => None,
            Choice::Never => Some(json!("none")),
            Choice::Required => Some(json!("required")),
            Choice::Named(name) => Some(json!({"type": "function", "function": {"name": name}})),
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

fn write_message(message: &Message, out: &mut Vec<Value>) {
    let role = match message.role {
        Role::User => "user",
        Role::Assistant => "assistant",
    };
    let (mut content, mut calls) = (Vec::new(), Vec::new());
    for part in &message.parts {
        match part {
            Part::Text(text) => content.push(json!({"type": "text", "text": text})),
            Part::Image { media_type, data } => {
                let url = format!("data:{media_type};base64,{data}");
                content.push(json!({"type": "image_url", "image_url": {"url": url}}));
            }
            Part::Document { media_type, data } => {
                let file = format!("data:{media_type};base64,{data}");
                content
                    .push(json!({"type": "file", "file": {"filename": "document.pdf", "file_data": file}}));
            }
            Part::Call(call) => calls.push(json!({"id": call.id, "type": "function",
                "function": {"name": call.name, "arguments": call.arguments}})),
            // A result is a message of its own here.
            Part::Result { call, content, .. } => {
                out.push(json!({"role": "tool", "tool_call_id": call, "content": content}));
            }
        }
    }
    // A message of text alone is written the way that every server understands.
    let content = match &message.parts[..] {
        [Part::Text(text)] => json!(text),
        _ if content.is_empty() => Value::Null,
        _ => json!(content),
    };
    if calls.is_empty() && content.is_null() {
        return;
    }
    let mut written = json!({"role": role, "content": content});
    if !calls.is_empty() {
        written["tool_calls"] = json!(calls);
    }
    out.push(written);
}

/// Takes one chunk of a stream.
pub fn see(gather: &mut Gather, chunk: &Value) {
    gather.set_id(&chunk["id"]);
    for choice in chunk["choices"].as_array().into_iter().flatten() {
        take(gather, choice, &choice["delta"]);
    }
}

/// Takes a whole answer.
pub fn read(gather: &mut Gather, body: &Value) {
    gather.set_id(&body["id"]);
    for choice in body["choices"].as_array().into_iter().flatten() {
        take(gather, choice, &choice["message"]);
    }
}

fn take(gather: &mut Gather, choice: &Value, said: &Value) {
    let text = said["content"].as_str().unwrap_or_default();
    if let Some(place) = choice["index"].as_u64().filter(|place| *place > 0) {
        gather.chose(place);
        // Other choices cost money like the first, and are not part of the answer.
        gather.said_bytes += text.len();
        return;
    }
    gather.say(text);
    for (place, part) in said["tool_calls"].as_array().into_iter().flatten().enumerate() {
        let place =
            part["index"].as_u64().map_or(place, |index| usize::try_from(index).unwrap_or(usize::MAX));
        let function = &part["function"];
        if let Some(id) = part["id"].as_str() {
            id.clone_into(&mut gather.call(place).id);
        }
        if let Some(name) = function["name"].as_str() {
            gather.call(place).name.push_str(name);
        }
        gather.argue(place, function["arguments"].as_str().unwrap_or_default());
    }
    gather.finish(choice["finish_reason"].as_str());
    if said["refusal"].as_str().is_some_and(|words| !words.is_empty()) {
        gather.finish = Some(Finish::Refused);
    }
}
