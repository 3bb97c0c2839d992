//! Gemini's wire: the prompt includes what was cached; prompts of tools and thoughts stand beside it and beside the
//! candidates. The total has the last word.

use super::fields::Fields;
use super::{Inclusive, Usage, UsageError, read_tier};

const KNOWN: [&str; 10] = [
    "promptTokenCount",
    "cachedContentTokenCount",
    "candidatesTokenCount",
    "toolUsePromptTokenCount",
    "thoughtsTokenCount",
    "totalTokenCount",
    "promptTokensDetails",
    "cacheTokensDetails",
    "candidatesTokensDetails",
    "toolUsePromptTokensDetails",
];

pub(super) fn read(usage: &Fields<'_>) -> Result<Usage, UsageError> {
    usage.close(&KNOWN)?;
    let prompt = usage.count("promptTokenCount")?.ok_or(UsageError::Missing { field: "promptTokenCount" })?;
    let tool_use = usage.part("toolUsePromptTokenCount")?;
    let input = prompt + tool_use;
    let thoughts = usage.part("thoughtsTokenCount")?;
    let said = usage.count("candidatesTokenCount")?;
    let beyond_input = usage.count("totalTokenCount")?.map(|total| total.saturating_sub(input));
    let output = said
        .map(|said| said + thoughts)
        .max(beyond_input)
        .ok_or(UsageError::Missing { field: "candidatesTokenCount" })?;
    let into = kinds(usage, "promptTokensDetails")?;
    let tools = kinds(usage, "toolUsePromptTokensDetails")?;
    let out_of = kinds(usage, "candidatesTokensDetails")?;
    if out_of.image > 0 {
        return Err(UsageError::Unknown { field: "candidatesTokensDetails.IMAGE".to_owned() });
    }
    let mut read = Inclusive {
        input,
        cached: usage.part("cachedContentTokenCount")?,
        write_short: 0,
        write_long: 0,
        write_any: 0,
        image: into.image + tools.image,
        audio: into.audio + tools.audio,
        output,
        reasoning: thoughts.min(output),
        audio_out: out_of.audio.min(output - thoughts.min(output)),
    }
    .split();
    read.tier = usage.text("serviceTier").map(|tier| read_tier(&tier.to_ascii_lowercase())).transpose()?;
    Ok(read)
}

#[derive(Default)]
struct Kinds {
    image: u64,
    audio: u64,
}

fn kinds(usage: &Fields<'_>, name: &str) -> Result<Kinds, UsageError> {
    let mut kinds = Kinds::default();
    for kind in usage.list(name)? {
        let count = kind.part("tokenCount")?;
        match kind.text("modality").as_deref() {
            Some("TEXT" | "DOCUMENT") => {}
            // Frames are priced like images.
            Some("IMAGE" | "VIDEO") => kinds.image += count,
            Some("AUDIO") => kinds.audio += count,
            _ if count == 0 => {}
            other => {
                let other: String = other.unwrap_or("?").chars().take(40).collect();
                return Err(UsageError::Unknown { field: format!("{name}.{other}") });
            }
        }
    }
    Ok(kinds)
}
