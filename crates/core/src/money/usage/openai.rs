//! OpenAI's two wires and those who speak like them. Input includes what was read from and written to caches; output
//! includes thoughts (but xAI and Google's compatible endpoint leave them out, and show them in the total).

use super::fields::Fields;
use super::{Inclusive, Usage, UsageError};
use crate::money::Nano;

const CHAT: [&str; 13] = [
    "prompt_tokens",
    "completion_tokens",
    "total_tokens",
    "prompt_tokens_details",
    "completion_tokens_details",
    // DeepSeek
    "prompt_cache_hit_tokens",
    "prompt_cache_miss_tokens",
    // Mistral, Moonshot
    "num_cached_tokens",
    "cached_tokens",
    // Perplexity: thoughts stand beside the output; citations are free of charge, searches are not.
    "reasoning_tokens",
    "citation_tokens",
    "num_search_queries",
    // OpenRouter
    "server_tool_use",
];

const INPUT_DETAILS: [&str; 9] = [
    "cached_tokens",
    "cache_write_tokens",
    "cache_write_tokens_details",
    // Qwen
    "cache_creation_input_tokens",
    "audio_tokens",
    // The rest of the input, whatever it is called.
    "text_tokens",
    "image_tokens",
    "video_tokens",
    "file_tokens",
];

const OUTPUT_DETAILS: [&str; 5] = [
    "reasoning_tokens",
    "audio_tokens",
    "text_tokens",
    // Parts of the output, told and charged alike.
    "accepted_prediction_tokens",
    "rejected_prediction_tokens",
];

pub(super) fn chat(usage: &Fields<'_>) -> Result<Usage, UsageError> {
    usage.close(&CHAT)?;
    let names = Names {
        input: "prompt_tokens",
        output: "completion_tokens",
        input_details: "prompt_tokens_details",
        output_details: "completion_tokens_details",
    };
    let mut read = inclusive(usage, &names)?;
    let tools = usage.inside("server_tool_use")?;
    tools.close(&["web_search_requests"])?;
    read.searches = tools.part("web_search_requests")?.max(usage.part("num_search_queries")?);
    read.provider_cost = cost(usage)?;
    Ok(read)
}

pub(super) fn responses(usage: &Fields<'_>) -> Result<Usage, UsageError> {
    usage.close(&[
        "input_tokens",
        "output_tokens",
        "total_tokens",
        "input_tokens_details",
        "output_tokens_details",
    ])?;
    let names = Names {
        input: "input_tokens",
        output: "output_tokens",
        input_details: "input_tokens_details",
        output_details: "output_tokens_details",
    };
    inclusive(usage, &names)
}

struct Names {
    input: &'static str,
    output: &'static str,
    input_details: &'static str,
    output_details: &'static str,
}

fn inclusive(usage: &Fields<'_>, names: &Names) -> Result<Usage, UsageError> {
    let into = usage.inside(names.input_details)?;
    into.close(&INPUT_DETAILS)?;
    let out_of = usage.inside(names.output_details)?;
    out_of.close(&OUTPUT_DETAILS)?;

    let said_input = usage.count(names.input)?.ok_or(UsageError::Missing { field: names.input })?;
    let hit = usage.count("prompt_cache_hit_tokens")?;
    let input = said_input.max(hit.unwrap_or(0) + usage.part("prompt_cache_miss_tokens")?);
    let total = usage.count("total_tokens")?;
    let beyond_input = total.map(|total| total.saturating_sub(input));
    // Where both are there and differ, the larger is what somebody will be charged for.
    let said =
        usage.count(names.output)?.max(beyond_input).ok_or(UsageError::Missing { field: names.output })?;
    let within = out_of.count("reasoning_tokens")?;
    let beside = if within.is_some() { 0 } else { usage.part("reasoning_tokens")? };

    let cached =
        [into.count("cached_tokens")?, hit, usage.count("num_cached_tokens")?, usage.count("cached_tokens")?];
    let (write_short, write_long, write_any) = writes(&into)?;
    Ok(Inclusive {
        input,
        // Reads are the cheap class: of two figures for the same thing the smaller counts.
        cached: cached.into_iter().flatten().min().unwrap_or(0),
        write_short,
        write_long,
        write_any,
        image: into.part("image_tokens")? + into.part("video_tokens")?,
        audio: into.part("audio_tokens")?,
        output: said + beside,
        reasoning: within.unwrap_or(beside),
        audio_out: out_of.part("audio_tokens")?,
    }
    .split())
}

/// Written to a cache, by how long it lives.
fn writes(details: &Fields<'_>) -> Result<(u64, u64, u64), UsageError> {
    let lives = details.inside("cache_write_tokens_details")?;
    lives.close(&["ttl_30m_tokens", "ttl_12h_tokens"])?;
    let (short, long) = (lives.part("ttl_30m_tokens")?, lives.part("ttl_12h_tokens")?);
    let written = details.part("cache_write_tokens")?.max(details.part("cache_creation_input_tokens")?);
    Ok((short, long, written.saturating_sub(short + long)))
}

/// OpenRouter says a number, Perplexity an object with a total.
fn cost(usage: &Fields<'_>) -> Result<Option<Nano>, UsageError> {
    let Some(raw) = usage.raw("cost") else { return Ok(None) };
    let total = if raw.starts_with('{') { usage.inside("cost")?.raw("total_cost") } else { Some(raw) };
    Ok(total.and_then(Nano::from_json_number))
}
