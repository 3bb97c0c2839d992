//! One call in our own words: `POST /api/v1/ai/complete`.

use super::fields::{Fields, compact, refused};
use super::{Refused, tags};
use crate::job::Tags;

const MEMBERS: [&str; 11] = [
    "model",
    "prompt",
    "messages",
    "system",
    "output",
    "max_tokens",
    "temperature",
    "user",
    "tags",
    "fit",
    "dry_run",
];
const MAX_MESSAGES: usize = 1_000;
const MAX_OUTPUT: u64 = 100_000_000;

/// What somebody said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Turn {
    /// The model said it.
    pub is_model: bool,
    pub text: String,
}

/// What is asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct Complete {
    pub model: String,
    pub system: Option<String>,
    pub turns: Vec<Turn>,
    /// JSON Schema of the answer, as text.
    pub output: Option<String>,
    pub max_tokens: Option<u64>,
    /// A JSON number.
    pub temperature: Option<String>,
    pub user: Option<String>,
    pub tags: Tags,
    /// Shorten the answer to what the budgets afford.
    pub fit: bool,
    /// Only say what it would cost.
    pub dry_run: bool,
}

/// Reads the body.
pub fn parse_complete(body: &str) -> Result<Complete, Refused> {
    let text = compact(body)?;
    let fields = Fields::of("", &text)?;
    fields.only(&MEMBERS)?;
    let mut tags = Tags::new();
    if let Some(given) = fields.object("tags")? {
        for (name, value) in given.texts()? {
            tags::add(&mut tags, "tags", &name, &value)?;
        }
    }
    let temperature = fields.raw("temperature");
    let is_number = |raw: &&str| raw.starts_with(|c: char| c.is_ascii_digit());
    if !temperature.iter().all(is_number) {
        return Err(fields.wrong("temperature", "a number, 0 or more"));
    }
    let output = fields.raw("output");
    if !output.iter().all(|raw| raw.starts_with('{')) {
        return Err(fields.wrong("output", "a JSON Schema, an object"));
    }
    Ok(Complete {
        model: fields.required("model")?.into_owned(),
        system: fields.text("system")?.map(|text| text.into_owned()),
        turns: turns(&fields)?,
        output: output.map(str::to_owned),
        max_tokens: fields.count("max_tokens", 1, MAX_OUTPUT)?,
        temperature: temperature.map(str::to_owned),
        user: fields.user("user")?,
        tags,
        fit: fields.flag("fit")?.unwrap_or(true),
        dry_run: fields.flag("dry_run")?.unwrap_or(false),
    })
}

fn turns(fields: &Fields<'_>) -> Result<Vec<Turn>, Refused> {
    let prompt = fields.text("prompt")?;
    let mut turns = Vec::new();
    for (at, raw) in fields.list("messages")?.into_iter().flatten() {
        let message = Fields::of(&at, raw)?;
        message.only(&["role", "content"])?;
        let role = message.word("role", &["user", "assistant"])?.ok_or_else(|| message.missing("role"))?;
        let text = message.required("content")?.into_owned();
        turns.push(Turn { is_model: role == "assistant", text });
        if turns.len() > MAX_MESSAGES {
            return Err(refused("messages", format!("messages: there may be {MAX_MESSAGES} at most")));
        }
    }
    match (prompt, turns.is_empty()) {
        (Some(prompt), true) => Ok(vec![Turn { is_model: false, text: prompt.into_owned() }]),
        (None, false) => Ok(turns),
        (Some(_), false) => Err(fields.barred("prompt", "there are messages; send one of the two")),
        (None, true) => Err(refused("prompt", "prompt is required, or messages".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_request_is_read_whole() {
        let complete = parse_complete(
            r#"{"model":"openai/gpt","prompt":"Hi","system":"Be brief","output":{"type":"object","b":1,"a":2},"max_tokens":9,
                "temperature":0.20,"user":"u","tags":{"team":"a"},"fit":false,"dry_run":true}"#,
        );

        let complete = complete.unwrap();
        assert_eq!(complete.turns, [Turn { is_model: false, text: "Hi".to_owned() }]);
        assert_eq!(complete.output.as_deref(), Some(r#"{"type":"object","b":1,"a":2}"#));
        assert_eq!(complete.temperature.as_deref(), Some("0.20"));
        assert_eq!((complete.fit, complete.dry_run, complete.max_tokens), (false, true, Some(9)));
        assert_eq!(complete.tags["team"], "a");
        let plain = parse_complete(
            r#"{"model":"m","messages":[{"role":"user","content":"a"},{"role":"assistant","content":"b"}]}"#,
        );
        let plain = plain.unwrap();
        assert!(plain.fit && !plain.dry_run && plain.turns[1].is_model);
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place() {
        for (body, at) in [
            ("[]", ""),
            ("", ""),
            (r#"{"prompt":"x"}"#, "model"),
            (r#"{"model":"m"}"#, "prompt"),
            (r#"{"model":"m","prompt":"x","messages":[{"role":"user","content":"y"}]}"#, "prompt"),
            (r#"{"model":"m","messages":[{"role":"system","content":"y"}]}"#, "messages[0].role"),
            (r#"{"model":"m","messages":[{"role":"user"}]}"#, "messages[0].content"),
            (r#"{"model":"m","prompt":"x","output":"json"}"#, "output"),
            (r#"{"model":"m","prompt":"x","temperature":"hot"}"#, "temperature"),
            (r#"{"model":"m","prompt":"x","temperature":-1}"#, "temperature"),
            (r#"{"model":"m","prompt":"x","tags":{"a":1}}"#, "tags.a"),
            (r#"{"model":"m","prompt":"x","tags":{"a":""}}"#, "tags"),
            (r#"{"model":"m","prompt":"x","user":"a\u0000b"}"#, "user"),
            (r#"{"model":"m","prompt":"x","n":2}"#, "n"),
            (r#"{"model":"m","prompt":"x","fit":1}"#, "fit"),
        ] {
            assert_eq!(parse_complete(body).unwrap_err().at, at, "{body}");
        }
    }
}
