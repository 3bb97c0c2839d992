//! Anthropic's messages.

use super::fields::{Fields, compact, refused};
use super::measure::{IMAGES, Measure, image_address};
use super::{Refused, To, USUAL_OUTPUT_TOKENS, Vetted};
use crate::json;
use crate::money::{Terms, Wire, Wish};

/// What changes no price.
const PLAIN: [&str; 5] = ["stop_sequences", "temperature", "tool_choice", "top_k", "top_p"];

/// What the bound is made of.
const MEASURED: [&str; 13] = [
    "cache_control",
    "inference_geo",
    "max_tokens",
    "messages",
    "metadata",
    "model",
    "output_config",
    "service_tier",
    "speed",
    "stream",
    "system",
    "thinking",
    "tools",
];

/// What has no bound, and why.
const BARRED: [(&str, &str); 3] = [
    ("container", "what runs in a container is charged by the time"),
    (
        "context_management",
        "editing the context makes rounds of its own, which the limit on the answer does not bound",
    ),
    ("mcp_servers", "servers that the provider calls put any amount of text into the input"),
];

const MAX_OUTPUT: u64 = 100_000_000;
const MAX_SEARCHES: u64 = 20;
/// Tools that the provider describes itself and the caller runs: more than any of their descriptions has.
const OWN_TOOL_TOKENS: u64 = 2_048;
/// The provider takes no smaller budget for thoughts.
const MIN_THINKING: u64 = 1_024;
/// Tool results hold blocks, whose own may not hold results.
const MAX_NESTING: u32 = 3;

const OURS: [&str; 4] = ["model", "max_tokens", "service_tier", "thinking"];

/// Vets a body of `POST /v1/messages`.
pub fn vet_messages(body: &str) -> Result<Vetted, Refused> {
    let text = compact(body)?;
    let fields = Fields::of_body(&text, &BARRED, &[&PLAIN, &MEASURED])?;
    let model = fields.required("model")?.into_owned();
    fields.number("temperature")?;
    fields.number("top_p")?;
    fields.list_of_texts("stop_sequences", false)?;
    let requested = fields.count("max_tokens", 1, MAX_OUTPUT)?;
    let mut measure = Measure::default();
    measure.cache_control(&fields)?;
    conversation(&fields, &model, &mut measure)?;
    tools(&fields, &mut measure)?;
    if let Some(output) = fields.object("output_config")? {
        output.only(&["effort", "format"])?;
        if let Some(format) = output.object("format")? {
            format.only(&["type", "schema"])?;
            format.word("type", &["json_schema"])?;
            measure.structured = true;
        }
    }
    if let Some(thinking) = fields.object("thinking")? {
        thinking.only(&["type", "budget_tokens", "display"])?;
        thinking
            .word("type", &["enabled", "disabled", "adaptive"])?
            .ok_or_else(|| thinking.missing("type"))?;
        thinking.count("budget_tokens", MIN_THINKING, MAX_OUTPUT)?;
    }
    // Pinned to the plain lane in any case.
    fields.word("service_tier", &["auto", "standard_only"])?;
    let terms = Terms {
        region: fields.text("inference_geo")?.is_some_and(|geo| geo != "global"),
        fast: fields.word("speed", &["standard", "fast"])?.is_some_and(|speed| speed == "fast"),
        long_cache: measure.long_cache,
        ..Terms::STANDARD
    };
    let user = match fields.object("metadata")? {
        None => None,
        Some(metadata) => {
            metadata.only(&["user_id"])?;
            metadata.user("user_id")?
        }
    };
    let stream = fields.flag("stream")?.unwrap_or(false);
    let shape = measure.shape(text.len());
    drop(fields);
    Ok(Vetted {
        wire: Wire::Anthropic,
        model,
        stream,
        shape,
        terms,
        wish: Wish { requested, usual: Some(USUAL_OUTPUT_TOKENS) },
        user,
        wants_usage: true,
        text,
    })
}

fn conversation(fields: &Fields<'_>, model: &str, measure: &mut Measure) -> Result<(), Refused> {
    measure.frame("system")?;
    content(fields, "system", model, measure, 0)?;
    let list = fields.list("messages")?.ok_or_else(|| fields.missing("messages"))?;
    let mut is_empty = true;
    for (at, raw) in list {
        is_empty = false;
        let message = Fields::of(&at, raw)?;
        message.only(&["role", "content"])?;
        message.word("role", &["user", "assistant", "system"])?.ok_or_else(|| message.missing("role"))?;
        measure.frame(&at)?;
        content(&message, "content", model, measure, 0)?;
    }
    if is_empty { Err(fields.wrong("messages", "at least one message")) } else { Ok(()) }
}

/// A text, or a list of blocks.
fn content(
    fields: &Fields<'_>,
    name: &str,
    model: &str,
    measure: &mut Measure,
    depth: u32,
) -> Result<(), Refused> {
    if !fields.raw(name).is_some_and(|raw| raw.starts_with('[')) {
        return fields.text(name).map(drop);
    }
    if depth == MAX_NESTING {
        return Err(fields.barred(name, "blocks are nested deeper than this wire knows"));
    }
    for (at, raw) in fields.list(name)?.into_iter().flatten() {
        block(&Fields::of(&at, raw)?, model, measure, depth)?;
    }
    Ok(())
}

/// The kinds of blocks, and what may stand in each.
///
/// What is sealed (thoughts, results of searches) comes back from an earlier answer: at least as many bytes as tokens, also
/// where it was packed.
const BLOCKS: [(&str, &[&str]); 11] = [
    ("text", &["type", "text", "cache_control", "citations"]),
    ("image", &["type", "source", "cache_control"]),
    ("document", &["type", "source", "title", "context", "citations", "cache_control"]),
    ("search_result", &["type", "source", "title", "content", "citations", "cache_control"]),
    ("thinking", &["type", "thinking", "signature"]),
    ("redacted_thinking", &["type", "data"]),
    ("tool_use", &["type", "id", "name", "input", "cache_control", "caller"]),
    ("tool_result", &["type", "tool_use_id", "content", "is_error", "cache_control"]),
    ("server_tool_use", &["type", "id", "name", "input", "cache_control", "caller"]),
    ("web_search_tool_result", &["type", "tool_use_id", "content", "cache_control", "caller"]),
    ("web_search_result", &["type", "url", "title", "encrypted_content", "page_age"]),
];

fn block(block: &Fields<'_>, model: &str, measure: &mut Measure, depth: u32) -> Result<(), Refused> {
    let kind = block.required("type")?;
    let Some((_, members)) = BLOCKS.iter().find(|(name, _)| *name == kind) else {
        return Err(block.wrong("type", &format!("one of {}", BLOCKS.map(|(name, _)| name).join(", "))));
    };
    block.only(members)?;
    measure.cache_control(block)?;
    match kind.as_ref() {
        "image" => source(block, model, measure, depth),
        "document" => source(block, model, measure, depth),
        "tool_result" | "search_result" => content(block, "content", model, measure, depth + 1),
        // A search that failed answers with an object, which is only text.
        "web_search_tool_result" if block.raw("content").is_some_and(|raw| raw.starts_with('{')) => Ok(()),
        "web_search_tool_result" => content(block, "content", model, measure, depth + 1),
        _ => Ok(()),
    }
}

/// Where an image or a document comes from.
fn source(block: &Fields<'_>, model: &str, measure: &mut Measure, depth: u32) -> Result<(), Refused> {
    let source = block.object("source")?.ok_or_else(|| block.missing("source"))?;
    source.only(&["type", "media_type", "data", "url", "content"])?;
    let is_image = block.text("type")?.is_some_and(|kind| kind == "image");
    let kinds: &[&str] = if is_image { &["base64", "url"] } else { &["base64", "url", "text", "content"] };
    let kind = source.word("type", kinds)?.ok_or_else(|| source.missing("type"))?;
    let data = || source.required("data").map(|_| source.raw("data").map_or(0, str::len));
    match (kind.as_ref(), is_image) {
        ("base64", true) => {
            // Anything else would not be read as one image, whatever the block is called.
            source.word("media_type", &IMAGES)?.ok_or_else(|| source.missing("media_type"))?;
            measure.image(model, None, data()?);
        }
        ("url", true) => measure.image(model, None, image_address(&source, "url")?),
        ("base64", false) => measure.opaque(data()?),
        ("url", false) => measure.opaque(0),
        ("content", _) => content(&source, "content", model, measure, depth + 1)?,
        // Plain text is in the body.
        _ => source.required("data").map(drop)?,
    }
    Ok(())
}

/// Tools of the provider's whose runs are the caller's: `bash_20250124` and its like.
const CLIENT_TOOLS: [&str; 4] = ["bash_", "text_editor_", "computer_", "memory_"];
/// The one tool that runs at the provider and can be capped.
const WEB_SEARCH: &str = "web_search_20250305";

fn tools(fields: &Fields<'_>, measure: &mut Measure) -> Result<(), Refused> {
    for (at, raw) in fields.list("tools")?.into_iter().flatten() {
        let tool = Fields::of(&at, raw)?;
        let kind = tool.text("type")?.unwrap_or_else(|| "custom".into());
        measure.frame(&at)?;
        measure.structured = true;
        measure.cache_control(&tool)?;
        if kind == "custom" {
            tool.only(&[
                "type",
                "name",
                "description",
                "input_schema",
                "cache_control",
                "strict",
                "input_examples",
                "eager_input_streaming",
            ])?;
        } else if CLIENT_TOOLS.iter().any(|prefix| kind.starts_with(prefix)) {
            measure.add(OWN_TOOL_TOKENS);
        } else if kind == WEB_SEARCH {
            tool.only(&[
                "type",
                "name",
                "max_uses",
                "allowed_domains",
                "blocked_domains",
                "user_location",
                "cache_control",
            ])?;
            let uses = tool.count("max_uses", 1, MAX_SEARCHES)?.ok_or_else(|| {
                let at = tool.at("max_uses");
                refused(
                    &at,
                    format!("{at} is required: 1 to {MAX_SEARCHES}, so that the searches have a bound"),
                )
            })?;
            measure.searches += uses;
        } else {
            let known =
                format!("custom, {WEB_SEARCH} with max_uses, or one of {}", CLIENT_TOOLS.join("…, ") + "…");
            return Err(tool.wrong("type", &known));
        }
    }
    Ok(())
}

pub(super) fn body(vetted: &Vetted, to: &To<'_>, output_tokens: u64) -> String {
    let mut set = vec![("model", json::quote(to.model)), (to.limit_field, output_tokens.to_string())];
    if to.has_tiers {
        set.push(("service_tier", json::quote("standard_only")));
    }
    let thinking = json::members(&vetted.text).unwrap_or_default();
    let thinking = thinking.iter().find(|(name, _)| name == "thinking").map(|(_, raw)| *raw);
    let thinking = thinking.filter(|raw| *raw != "null");
    if let Some(thinking) = thinking {
        set.push(("thinking", with_budget(thinking, output_tokens)));
    }
    vetted.with(&set, &OURS)
}

/// A budget for thoughts must be below the limit, which may have been lowered.
fn with_budget(thinking: &str, output_tokens: u64) -> String {
    let Some(members) = json::members(thinking) else { return thinking.to_owned() };
    let most = output_tokens.saturating_sub(1).max(MIN_THINKING);
    let members = members.iter().map(|(name, raw)| {
        let budget = raw.parse::<u64>().ok().filter(|_| name == "budget_tokens");
        let value = budget.map_or_else(|| (*raw).to_owned(), |budget| budget.min(most).to_string());
        format!("{}:{value}", json::quote(name))
    });
    format!("{{{}}}", members.collect::<Vec<_>>().join(","))
}
