//! What the provider says, and how many tokens that is.

use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::ask::Ask;
use crate::bill::Tokens;

/// A reply that a test or an operator has laid ready. What is left out is worked out from the request.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Script {
    pub text: Option<String>,
    pub output_tokens: Option<u64>,
    /// Part of the output tokens.
    pub reasoning_tokens: u64,
    /// Part of the input tokens that came from the cache.
    pub cached_tokens: u64,
    /// Part of the input tokens that were written to the cache.
    pub written_tokens: u64,
    pub input_tokens: Option<u64>,
    /// Tools that it asks for; the finish is then the vendor's word for that.
    pub calls: Vec<ToolCall>,
    /// As the vendor words it; `stop` or `length` is worked out otherwise.
    pub finish: Option<String>,
}

/// A tool that the model asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ToolCall {
    pub name: String,
    /// JSON text.
    pub arguments: String,
}

impl Served {
    /// Tools with an id each, as far as the wire names them.
    pub fn tool_calls(&self) -> impl Iterator<Item = (String, &ToolCall)> {
        self.calls.iter().enumerate().map(|(place, call)| (format!("call_{}_{place}", self.id), call))
    }
}

/// One finished piece of work.
#[derive(Clone, Debug)]
pub struct Served {
    pub id: String,
    pub model: String,
    pub text: String,
    pub calls: Vec<ToolCall>,
    pub tokens: Tokens,
    /// What is told about usage; it differs from `tokens` only when a fault says so. `None`: nothing.
    pub told: Option<Tokens>,
    /// `stop`, `length` or what a script says; each wire has its own words for the first two.
    pub finish: String,
}

/// How many bytes of input make a token here: real tokenizers need more bytes for a token, never fewer than one.
const BYTES_A_TOKEN: u64 = 4;
/// What a model says at most when nobody limits it.
const MODEL_LIMIT: u64 = 4096;

/// Works out the reply to `ask`.
pub fn work_out(ask: &Ask, script: Script, id: String) -> Served {
    let said_nothing = !script.calls.is_empty();
    let text = script.text.unwrap_or_else(|| if said_nothing { String::new() } else { default_text(ask) });
    let wanted = script.output_tokens.unwrap_or_else(|| count_tokens(&text) + script.reasoning_tokens);
    let limit = ask.max_output.unwrap_or(MODEL_LIMIT);
    let output = wanted.min(limit);
    let is_cut = wanted > limit;
    let input = script.input_tokens.unwrap_or_else(|| ask.input_bytes.div_ceil(BYTES_A_TOKEN).max(1));
    let cached = script.cached_tokens.min(input);
    let written = script.written_tokens.min(input - cached);
    let tokens = Tokens {
        input: input - cached - written,
        cached,
        write_short: written,
        write_long: 0,
        output: output * ask.choices,
        reasoning: script.reasoning_tokens.min(output),
    };
    let text = if is_cut { shortened(&text, output) } else { text };
    let usual = match () {
        () if is_cut => "length",
        () if said_nothing => "tools",
        () => "stop",
    };
    let finish = script.finish.unwrap_or_else(|| usual.to_owned());
    Served { id, model: ask.model.clone(), text, calls: script.calls, tokens, told: Some(tokens), finish }
}

/// Pieces of a text as a stream sends them; together they are the text.
pub fn pieces(text: &str) -> Vec<&str> {
    text.split_inclusive(' ').collect()
}

fn count_tokens(text: &str) -> u64 {
    pieces(text).len().max(1) as u64
}

fn shortened(text: &str, tokens: u64) -> String {
    pieces(text).into_iter().take(usize::try_from(tokens).unwrap_or(usize::MAX)).collect()
}

fn default_text(ask: &Ask) -> String {
    match &ask.schema {
        Some(schema) => sample(schema, 0).to_string(),
        None => {
            let start: String = ask.prompt.chars().take(60).collect();
            format!("This is what a mock model says to: {start}")
        }
    }
}

/// The plainest value that a schema of the usual kind allows.
fn sample(schema: &Value, depth: usize) -> Value {
    if depth > 16 {
        return Value::Null;
    }
    if let Some(value) = schema.get("const") {
        return value.clone();
    }
    if let Some(first) = schema["enum"].as_array().and_then(|values| values.first()) {
        return first.clone();
    }
    let kind = match &schema["type"] {
        Value::Array(kinds) => kinds.first().and_then(Value::as_str).unwrap_or("null"),
        kind => kind.as_str().unwrap_or("object"),
    };
    match kind.to_ascii_lowercase().as_str() {
        "string" => {
            let least = schema["minLength"].as_u64().unwrap_or(0).min(1000) as usize;
            json!("mock".to_owned() + &"k".repeat(least.saturating_sub(4)))
        }
        "integer" | "number" => schema.get("minimum").cloned().unwrap_or(json!(1)),
        "boolean" => json!(true),
        "array" => {
            let least = schema["minItems"].as_u64().unwrap_or(1).min(16) as usize;
            json!(vec![sample(&schema["items"], depth + 1); least])
        }
        "null" => Value::Null,
        _ => {
            let mut made = Map::new();
            for (name, inner) in schema["properties"].as_object().into_iter().flatten() {
                made.insert(name.clone(), sample(inner, depth + 1));
            }
            Value::Object(made)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_has_what_its_schema_asks_for() {
        let schema = json!({"type":"object","properties":{
            "label":{"type":"string","enum":["bug","question"]},"urgent":{"type":"boolean"},
            "parts":{"type":"array","items":{"type":"integer","minimum":3}}}});

        assert_eq!(sample(&schema, 0), json!({"label":"bug","urgent":true,"parts":[3]}));
    }
}
