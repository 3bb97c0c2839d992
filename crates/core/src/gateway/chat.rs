//! OpenAI's chat completions.

use super::fields::{Fields, Items, compact};
use super::measure::{Measure, image_address};
use super::{Refused, To, USUAL_OUTPUT_TOKENS, Vetted};
use crate::json;
use crate::money::{Terms, Wire, Wish};

/// What changes no price: how the answer is chosen, and names.
const PLAIN: [&str; 20] = [
    "frequency_penalty",
    "function_call",
    "logit_bias",
    "logprobs",
    "metadata",
    "min_p",
    "parallel_tool_calls",
    "presence_penalty",
    "prompt_cache_key",
    // Thoughts count as output, under the same limit.
    "reasoning_effort",
    "safety_identifier",
    "seed",
    "stop",
    "store",
    "temperature",
    "tool_choice",
    "top_k",
    "top_p",
    "user",
    "verbosity",
];

/// What the bound is made of.
const MEASURED: [&str; 16] = [
    "audio",
    "functions",
    "max_completion_tokens",
    "max_tokens",
    "messages",
    "modalities",
    "model",
    "n",
    "prompt_cache_options",
    "prompt_cache_retention",
    "response_format",
    "service_tier",
    "stream",
    "stream_options",
    "tools",
    "top_logprobs",
];

/// What has no bound, and why.
const BARRED: [(&str, &str); 2] = [
    ("prediction", "rejected parts of a prediction are charged beyond the limit on the answer"),
    (
        "web_search_options",
        "searches cannot be capped on this wire; use the tool web_search with max_uses on /v1/messages",
    ),
];

/// More answers at once than this are more than their stream is read for.
const MAX_CHOICES: u64 = 4;
const MAX_TOP_LOGPROBS: u64 = 5;
const MAX_OUTPUT: u64 = 100_000_000;

/// What we write ourselves.
const OURS: [&str; 5] = ["model", "max_tokens", "max_completion_tokens", "service_tier", "stream_options"];

/// Vets a body of `POST /v1/chat/completions`.
pub fn vet_chat(body: &str) -> Result<Vetted, Refused> {
    let text = compact(body)?;
    let fields = Fields::of_body(&text, &BARRED, &[&PLAIN, &MEASURED])?;
    let model = fields.required("model")?.into_owned();
    fields.number("temperature")?;
    fields.number("top_p")?;
    fields.list_of_texts("stop", true)?;
    let mut measure = Measure::default();
    messages(&fields, &model, &mut measure)?;
    tools(&fields, &mut measure)?;
    output(&fields, &mut measure)?;
    let stream = fields.flag("stream")?.unwrap_or(false);
    let wants_usage = match fields.object("stream_options")? {
        None => false,
        Some(_) if !stream => return Err(fields.barred("stream_options", "there is no stream")),
        Some(options) => {
            options.only(&["include_usage", "include_obfuscation"])?;
            options.flag("include_obfuscation")?;
            options.flag("include_usage")?.unwrap_or(false)
        }
    };
    // How long a cache may be kept changes no price; how long it must be does.
    fields.word("prompt_cache_retention", &["in_memory", "24h"])?;
    if let Some(cache) = fields.object("prompt_cache_options")? {
        cache.only(&["mode", "ttl"])?;
        measure.long_cache |= cache.word("ttl", &["30m", "12h"])?.is_some_and(|ttl| ttl == "12h");
    }
    let requested = match (
        fields.count("max_tokens", 1, MAX_OUTPUT)?,
        fields.count("max_completion_tokens", 1, MAX_OUTPUT)?,
    ) {
        (Some(old), Some(new)) if old != new => {
            return Err(
                fields.wrong("max_tokens", "the same as max_completion_tokens, or only one of the two")
            );
        }
        (old, new) => old.or(new),
    };
    // The lane is the plain one, never left to the account's own setting.
    fields.word("service_tier", &["auto", "default"])?;
    let terms = Terms { long_cache: measure.long_cache, ..Terms::STANDARD };
    let user = fields.user("user")?;
    let shape = measure.shape(text.len());
    drop(fields);
    Ok(Vetted {
        wire: Wire::OpenAiChat,
        model,
        stream,
        shape,
        terms,
        wish: Wish { requested, usual: Some(USUAL_OUTPUT_TOKENS) },
        user,
        wants_usage,
        text,
    })
}

/// The form of the answer.
fn output(fields: &Fields<'_>, measure: &mut Measure) -> Result<(), Refused> {
    measure.choices = fields.count("n", 1, MAX_CHOICES)?.unwrap_or(1);
    fields.count("top_logprobs", 0, MAX_TOP_LOGPROBS)?;
    if let Some(format) = fields.object("response_format")? {
        format.only(&["type", "json_schema"])?;
        let kind = format.word("type", &["text", "json_object", "json_schema"])?;
        measure.structured |= kind.is_some_and(|kind| kind != "text");
    }
    for (at, raw) in fields.list("modalities")?.into_iter().flatten() {
        match json::decode(raw).as_deref() {
            Some("text") => {}
            Some("audio") => measure.asks_audio = true,
            _ => return Err(super::fields::refused(&at, format!("{at} is none of text, audio"))),
        }
    }
    measure.asks_audio |= fields.object("audio")?.is_some();
    Ok(())
}

fn tools(fields: &Fields<'_>, measure: &mut Measure) -> Result<(), Refused> {
    for (at, raw) in fields.list("tools")?.into_iter().flatten() {
        let tool = Fields::of(&at, raw)?;
        tool.only(&["type", "function", "custom"])?;
        // Others run at the provider, and cost by the use.
        tool.word("type", &["function", "custom"])?.ok_or_else(|| tool.missing("type"))?;
        measure.frame(&at)?;
        measure.structured = true;
    }
    for (at, raw) in fields.list("functions")?.into_iter().flatten() {
        Fields::of(&at, raw)?.only(&["name", "description", "parameters"])?;
        measure.frame(&at)?;
        measure.structured = true;
    }
    Ok(())
}

fn messages(fields: &Fields<'_>, model: &str, measure: &mut Measure) -> Result<(), Refused> {
    let list: Items<'_> = fields.list("messages")?.ok_or_else(|| fields.missing("messages"))?;
    let mut is_empty = true;
    for (at, raw) in list {
        is_empty = false;
        let message = Fields::of(&at, raw)?;
        message.only(&[
            "role",
            "content",
            "name",
            "tool_calls",
            "tool_call_id",
            "function_call",
            "refusal",
            "annotations",
            "reasoning_content",
        ])?;
        let roles = ["developer", "system", "user", "assistant", "tool", "function"];
        message.word("role", &roles)?.ok_or_else(|| message.missing("role"))?;
        measure.frame(&at)?;
        let is_list = message.raw("content").is_some_and(|raw| raw.starts_with('['));
        if !is_list {
            message.text("content")?;
            continue;
        }
        for (at, raw) in message.list("content")?.into_iter().flatten() {
            part(&Fields::of(&at, raw)?, model, measure)?;
        }
    }
    if is_empty { Err(fields.wrong("messages", "at least one message")) } else { Ok(()) }
}

fn part(part: &Fields<'_>, model: &str, measure: &mut Measure) -> Result<(), Refused> {
    let kinds = ["text", "image_url", "input_audio", "file", "refusal"];
    let kind = part.word("type", &kinds)?.ok_or_else(|| part.missing("type"))?;
    match kind.as_ref() {
        "text" => {
            part.only(&["type", "text", "cache_control", "prompt_cache_breakpoint"])?;
            part.required("text")?;
            measure.cache_control(part)
        }
        "refusal" => part.only(&["type", "refusal"]),
        "image_url" => {
            part.only(&["type", "image_url", "cache_control", "prompt_cache_breakpoint"])?;
            measure.cache_control(part)?;
            let image = part.object("image_url")?.ok_or_else(|| part.missing("image_url"))?;
            image.only(&["url", "detail"])?;
            let detail = image.word("detail", &["auto", "low", "high", "original"])?;
            measure.image(model, detail.as_deref(), image_address(&image, "url")?);
            Ok(())
        }
        "input_audio" => {
            part.only(&["type", "input_audio"])?;
            let sound = part.object("input_audio")?.ok_or_else(|| part.missing("input_audio"))?;
            sound.only(&["data", "format"])?;
            sound.required("data")?;
            measure.sound(sound.raw("data").map_or(0, str::len));
            Ok(())
        }
        _ => {
            part.only(&["type", "file"])?;
            let file = part.object("file")?.ok_or_else(|| part.missing("file"))?;
            file.only(&["file_data", "filename"])?;
            file.required("file_data")?;
            measure.opaque(file.raw("file_data").map_or(0, str::len));
            Ok(())
        }
    }
}

pub(super) fn body(vetted: &Vetted, to: &To<'_>, output_tokens: u64) -> String {
    let mut set = vec![("model", json::quote(to.model)), (to.limit_field, output_tokens.to_string())];
    if to.has_tiers {
        set.push(("service_tier", json::quote("default")));
    }
    if vetted.stream {
        // The padding of pieces is the caller's choice; the usage is not.
        let options = json::members(&vetted.text).unwrap_or_default();
        let options = options.iter().find(|(name, _)| name == "stream_options").map(|(_, raw)| *raw);
        let padding = options.and_then(json::members).unwrap_or_default();
        let padding = padding.iter().find(|(name, _)| name == "include_obfuscation");
        let padding = padding.map_or(String::new(), |(name, raw)| format!(",{}:{raw}", json::quote(name)));
        set.push(("stream_options", format!("{{\"include_usage\":true{padding}}}")));
    }
    vetted.with(&set, &OURS)
}
