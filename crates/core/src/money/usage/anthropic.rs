//! Anthropic's wire: input leaves out both cache classes, output includes thoughts. Where an answer took several rounds
//! the list of rounds may say more than the totals, or less; of each class the larger counts.

use super::fields::Fields;
use super::{Usage, UsageError, read_tier};

const KNOWN: [&str; 8] = [
    "input_tokens",
    "output_tokens",
    "output_tokens_details",
    "cache_creation_input_tokens",
    "cache_read_input_tokens",
    "cache_creation",
    "server_tool_use",
    "iterations",
];

pub(super) fn read(usage: &Fields<'_>) -> Result<Usage, UsageError> {
    usage.close(&KNOWN)?;
    let mut read = classes(usage)?;
    let rounds = usage.list("iterations")?;
    if !rounds.is_empty() {
        let mut sum = Usage::default();
        for round in &rounds {
            round.close(&KNOWN)?;
            // Rounds of other kinds are those of another model, at another price.
            if let Some(kind) =
                round.text("type").filter(|kind| !matches!(kind.as_ref(), "message" | "compaction"))
            {
                return Err(UsageError::Unknown {
                    field: format!("iterations.{}", kind.chars().take(40).collect::<String>()),
                });
            }
            sum = added(sum, &classes(round)?);
        }
        read = larger(read, &sum);
    }
    let tools = usage.inside("server_tool_use")?;
    // Fetching a page costs its tokens alone.
    tools.close(&["web_search_requests", "web_fetch_requests"])?;
    read.searches = tools.part("web_search_requests")?;
    read.tier = usage.text("service_tier").map(|tier| read_tier(&tier)).transpose()?;
    read.region = usage
        .text("inference_geo")
        .is_some_and(|geo| !matches!(geo.as_ref(), "" | "global" | "not_available"));
    read.fast = usage.text("speed").is_some_and(|speed| speed == "fast");
    Ok(read)
}

fn classes(usage: &Fields<'_>) -> Result<Usage, UsageError> {
    let lives = usage.inside("cache_creation")?;
    lives.close(&["ephemeral_5m_input_tokens", "ephemeral_1h_input_tokens"])?;
    let write_short = lives.part("ephemeral_5m_input_tokens")?;
    let write_long = lives.part("ephemeral_1h_input_tokens")?;
    let written = usage.part("cache_creation_input_tokens")?;
    let output = usage.count("output_tokens")?.ok_or(UsageError::Missing { field: "output_tokens" })?;
    let details = usage.inside("output_tokens_details")?;
    details.close(&["thinking_tokens"])?;
    let reasoning = details.part("thinking_tokens")?;
    Ok(Usage {
        uncached_in: usage.count("input_tokens")?.ok_or(UsageError::Missing { field: "input_tokens" })?,
        cached_in: usage.part("cache_read_input_tokens")?,
        write_short,
        write_long,
        write_any: written.saturating_sub(write_short + write_long),
        out: output.saturating_sub(reasoning),
        reasoning,
        corrected: reasoning > output || (written > 0 && write_short + write_long > written),
        ..Usage::default()
    })
}

fn added(sum: Usage, round: &Usage) -> Usage {
    Usage {
        uncached_in: sum.uncached_in + round.uncached_in,
        cached_in: sum.cached_in + round.cached_in,
        write_short: sum.write_short + round.write_short,
        write_long: sum.write_long + round.write_long,
        write_any: sum.write_any + round.write_any,
        out: sum.out + round.out,
        reasoning: sum.reasoning + round.reasoning,
        ..sum
    }
}

fn larger(total: Usage, rounds: &Usage) -> Usage {
    let (written, written_in_rounds) = (writes(&total), writes(rounds));
    // Of the writes, the split that says more; what it leaves out of the larger total has no known life.
    let split = if written_in_rounds > written { rounds } else { &total };
    let missing = written.max(written_in_rounds) - writes(split);
    Usage {
        uncached_in: total.uncached_in.max(rounds.uncached_in),
        cached_in: total.cached_in.max(rounds.cached_in),
        write_short: split.write_short,
        write_long: split.write_long,
        write_any: split.write_any + missing,
        out: total.out.max(rounds.out),
        reasoning: total.reasoning.max(rounds.reasoning),
        corrected: total.corrected
            || rounds.input_total() != total.input_total()
            || rounds.output_total() != total.output_total(),
        ..total
    }
}

fn writes(usage: &Usage) -> u64 {
    usage.write_short + usage.write_long + usage.write_any
}
