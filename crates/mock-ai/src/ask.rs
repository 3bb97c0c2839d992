//! A request as the provider understands it, whichever wire it came by.

use serde_json::Value;

/// Which vendor's format a request speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wire {
    Chat,
    Responses,
    Anthropic,
    Gemini,
}

/// What was asked.
#[derive(Clone, Debug)]
pub struct Ask {
    pub wire: Wire,
    pub key: String,
    pub model: String,
    /// Bytes of everything that a tokenizer would see.
    pub input_bytes: u64,
    /// The output limit of the request; `None` is the model's own.
    pub max_output: Option<u64>,
    /// Independent answers (`n`).
    pub choices: u64,
    pub stream: bool,
    /// Chat completions say usage in a stream only when asked.
    pub wants_usage: bool,
    pub schema: Option<Value>,
    pub prompt: String,
}

/// Why a request is no request: the status and words of the vendor's kind.
#[derive(Debug)]
pub struct Refused {
    pub status: u16,
    pub kind: &'static str,
    pub message: String,
}

impl Refused {
    pub fn new(status: u16, kind: &'static str, message: impl Into<String>) -> Self {
        Self { status, kind, message: message.into() }
    }
}

/// The wire and, for Gemini, the model and whether it streams: they stand in the path.
pub fn route(path: &str) -> Option<(Wire, Option<(String, bool)>)> {
    let path = path.split('?').next().unwrap_or_default();
    match path {
        "/v1/chat/completions" | "/chat/completions" => return Some((Wire::Chat, None)),
        "/v1/responses" | "/responses" => return Some((Wire::Responses, None)),
        "/v1/messages" => return Some((Wire::Anthropic, None)),
        _ => {}
    }
    let rest = path.strip_prefix("/v1beta/models/").or_else(|| path.strip_prefix("/v1/models/"))?;
    let (model, verb) = rest.split_once(':')?;
    match verb {
        "generateContent" => Some((Wire::Gemini, Some((model.to_owned(), false)))),
        "streamGenerateContent" => Some((Wire::Gemini, Some((model.to_owned(), true)))),
        _ => None,
    }
}

/// Reads a request. `key` is what stood in the vendor's header for it.
pub fn read(wire: Wire, in_path: Option<(String, bool)>, key: String, body: &[u8]) -> Result<Ask, Refused> {
    let bad = |message: String| Refused::new(400, "invalid_request_error", message);
    let body: Value =
        serde_json::from_slice(body).map_err(|error| bad(format!("the body is not JSON: {error}")))?;
    if key.is_empty() {
        return Err(Refused::new(401, "authentication_error", "no API key was sent"));
    }
    let (model, stream) = match in_path {
        Some(found) => found,
        None => {
            let model = body["model"].as_str().ok_or_else(|| bad("model is required".to_owned()))?;
            (model.to_owned(), body["stream"].as_bool().unwrap_or(false))
        }
    };
    let said = match wire {
        Wire::Chat | Wire::Anthropic => &body["messages"],
        Wire::Responses => &body["input"],
        Wire::Gemini => &body["contents"],
    };
    if said.is_null() || said.as_array().is_some_and(Vec::is_empty) {
        return Err(bad("there is nothing to answer: no messages".to_owned()));
    }
    let max_output = match wire {
        Wire::Chat => {
            [&body["max_completion_tokens"], &body["max_tokens"]].into_iter().find_map(Value::as_u64)
        }
        Wire::Responses => body["max_output_tokens"].as_u64(),
        Wire::Anthropic => {
            let limit = body["max_tokens"].as_u64();
            Some(limit.ok_or_else(|| bad("max_tokens: Field required".to_owned()))?)
        }
        Wire::Gemini => body["generationConfig"]["maxOutputTokens"].as_u64(),
    };
    if max_output == Some(0) {
        return Err(bad("the output limit must be at least 1".to_owned()));
    }
    let schema = match wire {
        Wire::Chat => &body["response_format"]["json_schema"]["schema"],
        Wire::Responses => &body["text"]["format"]["schema"],
        Wire::Anthropic => &body["output_config"]["format"]["schema"],
        Wire::Gemini => {
            let config = &body["generationConfig"];
            let schemas = [&config["responseJsonSchema"], &config["responseSchema"]];
            schemas.into_iter().find(|schema| !schema.is_null()).unwrap_or(&Value::Null)
        }
    };
    let seen =
        ["messages", "input", "contents", "system", "instructions", "systemInstruction", "tools", "text"];
    let input_bytes: usize = seen.iter().map(|name| bytes_of(&body[*name])).sum();
    let schema_bytes = bytes_of(schema);
    Ok(Ask {
        wire,
        key,
        model,
        input_bytes: (input_bytes + schema_bytes) as u64,
        max_output,
        choices: body["n"].as_u64().unwrap_or(1).max(1),
        stream,
        wants_usage: body["stream_options"]["include_usage"].as_bool().unwrap_or(false),
        schema: (!schema.is_null()).then(|| schema.clone()),
        prompt: last_text(said),
    })
}

/// The text inside, with a few bytes of framing for each part, as a tokenizer counts it.
fn bytes_of(value: &Value) -> usize {
    match value {
        Value::Null => 0,
        Value::String(text) => text.len() + 4,
        Value::Array(items) => items.iter().map(bytes_of).sum(),
        Value::Object(members) => members.iter().map(|(name, value)| name.len() + bytes_of(value)).sum(),
        Value::Bool(_) | Value::Number(_) => 4,
    }
}

/// The last text in the conversation.
fn last_text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(items) => items.last().map(last_text).unwrap_or_default(),
        Value::Object(members) => {
            let inner = ["content", "text", "parts"].iter().find_map(|name| members.get(*name));
            inner.map(last_text).unwrap_or_default()
        }
        _ => String::new(),
    }
}
