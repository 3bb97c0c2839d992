//! Gemini. Each chunk of a stream has the shape of a whole answer.

use serde_json::{Map, Value, json};

use super::ask::{Ask, Choice, Message, Output, Part, Role};
use super::gather::{Finish, Gather};

/// The body of a request; the model stands in the path.
pub fn render(ask: &Ask, output_tokens: u64) -> Value {
    let mut config = Map::new();
    config.insert("maxOutputTokens".to_owned(), json!(output_tokens));
    config.insert("candidateCount".to_owned(), json!(1));
    if let Some(temperature) = &ask.temperature {
        config.insert("temperature".to_owned(), json!(temperature));
    }
    if let Some(top_p) = &ask.top_p {
        config.insert("topP".to_owned(), json!(top_p));
    }
    if !ask.stop.is_empty() {
        config.insert("stopSequences".to_owned(), json!(ask.stop));
    }
    match &ask.output {
        Output::Text => {}
        Output::Schema(schema) => {
            config.insert("responseMimeType".to_owned(), json!("application/json"));
            config.insert("responseJsonSchema".to_owned(), schema.clone());
        }
        Output::Json => {
            config.insert("responseMimeType".to_owned(), json!("application/json"));
        }
    }
    let contents: Vec<Value> = ask.messages.iter().map(content).collect();
    let mut body = json!({"contents": contents, "generationConfig": config});
    if let Some(system) = &ask.system {
        body["systemInstruction"] = json!({"parts": [{"text": system}]});
    }
    if !ask.tools.is_empty() {
        let tools: Vec<Value> = ask
            .tools
            .iter()
            .map(|tool| {
                json!({"name": tool.name, "description": tool.description, "parametersJsonSchema": tool.parameters})
            })
            .collect();
        body["tools"] = json!([{"functionDeclarations": tools}]);
        let calling = match &ask.choice {
            Choice::Auto => None,
            Choice::Never => Some(json!({"mode": "NONE"})),
            Choice::Required => Some(json!({"mode": "ANY"})),
            Choice::Named(name) => Some(json!({"mode": "ANY", "allowedFunctionNames": [name]})),
        };
        if let Some(calling) = calling {
            body["toolConfig"] = json!({"functionCallingConfig": calling});
        }
    }
    body
}

fn content(message: &Message) -> Value {
    let role = match message.role {
        Role::User => "user",
        Role::Assistant => "model",
    };
    let write = |part: &Part| match part {
        Part::Text(text) => json!({"text": text}),
        Part::Image { media_type, data } | Part::Document { media_type, data } => {
            json!({"inlineData": {"mimeType": media_type, "data": data}})
        }
        Part::Call(call) => {
            let arguments: Value = serde_json::from_str(&call.arguments).unwrap_or_else(|_| json!({}));
            json!({"functionCall": {"name": call.name, "args": arguments}})
        }
        Part::Result { name, content, .. } => {
            json!({"functionResponse": {"name": name, "response": {"result": content}}})
        }
    };
    json!({"role": role, "parts": message.parts.iter().map(write).collect::<Vec<_>>()})
}

/// Takes one chunk, or a whole answer.
pub fn see(gather: &mut Gather, chunk: &Value) {
    gather.set_id(&chunk["responseId"]);
    let candidate = &chunk["candidates"][0];
    for part in candidate["content"]["parts"].as_array().into_iter().flatten() {
        let text = part["text"].as_str().unwrap_or_default();
        // Thoughts are told in the same place.
        if part["thought"] == true {
            gather.said_bytes += text.len();
        } else {
            gather.say(text);
        }
        if let Some(wanted) = part.get("functionCall") {
            let place = gather.calls.len();
            gather.argue(place, &wanted["args"].to_string());
            let call = gather.call(place);
            wanted["name"].as_str().unwrap_or_default().clone_into(&mut call.name);
            call.id = format!("call-{place}");
        }
    }
    gather.finish(candidate["finishReason"].as_str());
    if chunk["promptFeedback"]["blockReason"].is_string() {
        gather.finish = Some(Finish::Refused);
    }
    // There is no event for the end: the reason to finish is in the last chunk.
    gather.is_over = gather.finish.is_some();
}
