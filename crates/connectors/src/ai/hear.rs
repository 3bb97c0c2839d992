//! A request in one vendor's words as an [`Ask`] in nobody's: for callers that speak another wire than the provider.
//!
//! The body has been vetted before. What the other wire cannot say is refused by name; what is only advice (how hard to think,
//! a seed, names for caches and accounts) is left out.

mod wishes;

use std::collections::HashMap;

use levqor_core::money::Wire;
use serde_json::{Map, Value};

use super::ask::{Ask, Message, Output, Part, Role, Tool, ToolCall};

/// What another provider cannot be told.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{at} cannot be told to a provider of another wire: {why}")]
pub struct Untold {
    pub at: String,
    pub why: String,
}

fn untold(at: impl Into<String>, why: impl Into<String>) -> Untold {
    Untold { at: at.into(), why: why.into() }
}

/// Reads a vetted body of `wire` for a provider that speaks `to`; `model` is the provider's name of the model.
pub fn hear(wire: Wire, body: &str, model: &str, to: Wire) -> Result<Ask, Untold> {
    let Ok(Value::Object(body)) = serde_json::from_str(body) else {
        return Err(untold("the body", "it is no object"));
    };
    let mut ask = match wire {
        Wire::Anthropic => messages(&body)?,
        _ => chat(&body)?,
    };
    if ask.messages.iter().all(|message| message.parts.is_empty()) {
        return Err(untold("messages", "nobody has said anything, but for the system"));
    }
    wishes::hear(wire, &body, to, &mut ask)?;
    model.clone_into(&mut ask.model);
    Ok(ask)
}

/// Refuses members that are there and say more than what holds anyway.
fn neutral(body: &Map<String, Value>, allowed: &[(&str, &[&str])]) -> Result<(), Untold> {
    for (name, plain) in allowed {
        let Some(value) = body.get(*name).filter(|value| !value.is_null()) else { continue };
        let said = value.to_string();
        if !plain.contains(&said.as_str()) {
            let why = match plain {
                [] => "leave it out, or use a model of a provider that speaks this wire".to_owned(),
                plain => format!("only {} is", plain.join(" or ")),
            };
            return Err(untold(*name, why));
        }
    }
    Ok(())
}

// ---- chat completions --------------------------------------------------------------------------------------------

fn chat(body: &Map<String, Value>) -> Result<Ask, Untold> {
    neutral(
        body,
        &[
            ("n", &["1"]),
            ("top_k", &[]),
            ("min_p", &[]),
            ("frequency_penalty", &["0", "0.0"]),
            ("presence_penalty", &["0", "0.0"]),
            ("logit_bias", &["{}"]),
            ("logprobs", &["false"]),
            ("top_logprobs", &["0"]),
            ("functions", &[]),
            ("function_call", &[]),
            ("audio", &[]),
            ("modalities", &["[\"text\"]"]),
            ("service_tier", &["\"auto\"", "\"default\""]),
            ("store", &["false"]),
        ],
    )?;
    let mut ask =
        Ask { output: format(body.get("response_format").unwrap_or(&Value::Null))?, ..Ask::default() };
    for (place, tool) in array(body.get("tools")).iter().enumerate() {
        let function = &tool["function"];
        if function.is_null() {
            return Err(untold(format!("tools[{place}]"), "only functions are"));
        }
        ask.tools.push(Tool {
            name: text(&function["name"]),
            description: text(&function["description"]),
            parameters: parameters(&function["parameters"]),
        });
    }
    // Results name the call they answer; some wires want the tool's name as well.
    let mut names = HashMap::new();
    let mut system = Vec::new();
    for (place, message) in array(body.get("messages")).iter().enumerate() {
        let at = format!("messages[{place}]");
        let mut content = chat_parts(&at, &message["content"])?;
        let role = message["role"].as_str().unwrap_or_default();
        if role != "tool" && message["name"].is_string() {
            return Err(untold(format!("{at}.name"), "who speaks is known by the role alone"));
        }
        if !message["function_call"].is_null() {
            return Err(untold(format!("{at}.function_call"), "send tool_calls"));
        }
        if let Some(refusal) = message["refusal"].as_str() {
            content.push(Part::Text(refusal.to_owned()));
        }
        match role {
            "system" | "developer" => system.push(words(&at, &content)?),
            "user" => push(&mut ask, Role::User, content),
            "assistant" => {
                let mut parts = content;
                for call in array(message.get("tool_calls")) {
                    let call = ToolCall {
                        id: text(&call["id"]),
                        name: text(&call["function"]["name"]),
                        arguments: text(&call["function"]["arguments"]),
                    };
                    names.insert(call.id.clone(), call.name.clone());
                    parts.push(Part::Call(call));
                }
                push(&mut ask, Role::Assistant, parts);
            }
            "tool" => {
                let call = text(&message["tool_call_id"]);
                let name = names.get(&call).cloned().unwrap_or_default();
                let content = words(&at, &content)?;
                push(&mut ask, Role::User, vec![Part::Result { call, name, content }]);
            }
            role => return Err(untold(format!("{at}.role"), format!("a message of {role:?} is not"))),
        }
    }
    ask.system = (!system.is_empty()).then(|| system.join("\n\n"));
    Ok(ask)
}

fn format(format: &Value) -> Result<Output, Untold> {
    match format["type"].as_str() {
        None | Some("text") => Ok(Output::Text),
        Some("json_object") => Ok(Output::Json),
        Some(_) => match &format["json_schema"]["schema"] {
            Value::Null => Err(untold("response_format.json_schema", "it has no schema")),
            schema => Ok(Output::Schema(schema.clone())),
        },
    }
}

fn chat_parts(at: &str, content: &Value) -> Result<Vec<Part>, Untold> {
    if let Some(text) = content.as_str() {
        return Ok(vec![Part::Text(text.to_owned())]);
    }
    let mut parts = Vec::new();
    for (place, part) in array(Some(content)).iter().enumerate() {
        let at = format!("{at}.content[{place}]");
        parts.push(match part["type"].as_str().unwrap_or_default() {
            "text" => Part::Text(text(&part["text"])),
            "refusal" => Part::Text(text(&part["refusal"])),
            "image_url" => {
                let (media_type, data) = data_address(&part["image_url"]["url"]).ok_or_else(|| {
                    untold(format!("{at}.image_url"), "send the image itself, as data:image/…;base64,…")
                })?;
                Part::Image { media_type, data }
            }
            // Only the vetting of the caller's own wire has a bound for what a document can hold.
            kind => return Err(untold(at, format!("a part of the type {kind:?} is not"))),
        });
    }
    Ok(parts)
}

/// Media type and data of `data:image/png;base64,…`.
fn data_address(url: &Value) -> Option<(String, String)> {
    let (head, data) = url.as_str()?.split_once(',')?;
    let media_type = head.strip_prefix("data:")?.strip_suffix(";base64")?;
    Some((media_type.to_owned(), data.to_owned()))
}

// ---- Anthropic's messages ----------------------------------------------------------------------------------------

fn messages(body: &Map<String, Value>) -> Result<Ask, Untold> {
    neutral(body, &[("top_k", &[]), ("inference_geo", &["\"global\""]), ("speed", &["\"standard\""])])?;
    let mut ask = Ask::default();
    let schema = body.get("output_config").map_or(&Value::Null, |config| &config["format"]["schema"]);
    if !schema.is_null() {
        ask.output = Output::Schema(schema.clone());
    }
    for (place, tool) in array(body.get("tools")).iter().enumerate() {
        if !matches!(tool["type"].as_str(), None | Some("custom")) {
            return Err(untold(format!("tools[{place}]"), "it is one of Anthropic's own"));
        }
        ask.tools.push(Tool {
            name: text(&tool["name"]),
            description: text(&tool["description"]),
            parameters: parameters(&tool["input_schema"]),
        });
    }
    let mut names = HashMap::new();
    let mut system = Vec::new();
    if let Some(said) = body.get("system").filter(|said| !said.is_null()) {
        system.push(words("system", &blocks("system", said, &mut names)?)?);
    }
    for (place, message) in array(body.get("messages")).iter().enumerate() {
        let at = format!("messages[{place}]");
        let parts = blocks(&at, &message["content"], &mut names)?;
        match message["role"].as_str() {
            Some("assistant") => push(&mut ask, Role::Assistant, parts),
            Some("system") => system.push(words(&at, &parts)?),
            _ => push(&mut ask, Role::User, parts),
        }
    }
    ask.system = (!system.is_empty()).then(|| system.join("\n\n"));
    Ok(ask)
}

fn blocks(at: &str, content: &Value, names: &mut HashMap<String, String>) -> Result<Vec<Part>, Untold> {
    if let Some(text) = content.as_str() {
        return Ok(vec![Part::Text(text.to_owned())]);
    }
    let mut parts = Vec::new();
    for (place, block) in array(Some(content)).iter().enumerate() {
        let at = format!("{at}.content[{place}]");
        let source = &block["source"];
        if block["citations"]["enabled"] == true {
            return Err(untold(format!("{at}.citations"), "other providers cite nothing"));
        }
        match block["type"].as_str().unwrap_or_default() {
            "text" => parts.push(Part::Text(text(&block["text"]))),
            kind @ ("image" | "document") => {
                let (media_type, data) = (text(&source["media_type"]), text(&source["data"]));
                parts.push(match (source["type"].as_str().unwrap_or_default(), kind) {
                    ("base64", "image") => Part::Image { media_type, data },
                    ("text", _) => Part::Text(data),
                    _ => return Err(untold(format!("{at}.source"), "only text is, and images in base64")),
                });
            }
            "tool_use" => {
                let (id, name) = (text(&block["id"]), text(&block["name"]));
                names.insert(id.clone(), name.clone());
                parts.push(Part::Call(ToolCall { id, name, arguments: block["input"].to_string() }));
            }
            "tool_result" => {
                let call = text(&block["tool_use_id"]);
                let name = names.get(&call).cloned().unwrap_or_default();
                let mut content = words(&at, &blocks(&at, &block["content"], names)?)?;
                if block["is_error"] == true {
                    content.insert_str(0, "Error: ");
                }
                parts.push(Part::Result { call, name, content });
            }
            // Another model has no use for the thoughts of this one.
            "thinking" | "redacted_thinking" => {}
            kind => return Err(untold(at, format!("a block of the type {kind:?} is not"))),
        }
    }
    Ok(parts)
}

// ---- both --------------------------------------------------------------------------------------------------------

/// Adds to the last message where its role is the same: some wires want them in turns.
fn push(ask: &mut Ask, role: Role, parts: Vec<Part>) {
    match ask.messages.last_mut() {
        Some(last) if last.role == role => last.parts.extend(parts),
        _ => ask.messages.push(Message { role, parts }),
    }
}

/// The text of parts that must be nothing else.
fn words(at: &str, parts: &[Part]) -> Result<String, Untold> {
    let mut said = Vec::new();
    for part in parts {
        match part {
            Part::Text(text) => said.push(text.as_str()),
            _ => return Err(untold(at, "only text is, at this place")),
        }
    }
    Ok(said.join("\n"))
}

fn array(value: Option<&Value>) -> &[Value] {
    value.and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// A tool without arguments says so as an empty object.
fn parameters(schema: &Value) -> Value {
    match schema {
        Value::Null => serde_json::json!({"type": "object", "properties": {}}),
        schema => schema.clone(),
    }
}

#[cfg(test)]
mod tests;
