//! What a provider says a call used, read from its own JSON into disjoint classes.
//!
//! [`Meter`] takes events as they come (a whole answer is one event) and keeps, for each field, the last value: snapshots
//! are cumulative, so they replace each other and are never added. What is absent or null is not zero: it changes
//! nothing, and where it is needed the usage cannot be read and the caller charges what it holds.
//!
//! Invariant: the classes add up to what the provider says in total, or to more.

mod anthropic;
mod fields;
mod gemini;
mod openai;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::amount::Nano;
use super::unit::{Tier, Unit, words};
use crate::json::{self, PathSegment};
use fields::Fields;

words! {
    /// How a provider talks. All that speak like OpenAI are one, with their dialects.
    Wire {
        OpenAiChat = "openai_chat",
        OpenAiResponses = "openai_responses",
        Anthropic = "anthropic",
        Gemini = "gemini",
    }
}

/// How much was used, in disjoint classes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Input at its plain price.
    pub uncached_in: u64,
    pub cached_in: u64,
    /// Written to a cache that lives for minutes.
    pub write_short: u64,
    /// Written to one that lives for an hour or longer.
    pub write_long: u64,
    /// Written to a cache, nobody says to which.
    pub write_any: u64,
    pub image_in: u64,
    pub audio_in: u64,
    /// Output that was said.
    pub out: u64,
    /// Output that was thought.
    pub reasoning: u64,
    pub audio_out: u64,
    pub searches: u64,
    /// The lane that served it, if the provider tells.
    pub tier: Option<Tier>,
    /// Served in a region, or in a mode, that costs more.
    pub region: bool,
    pub fast: bool,
    /// What the provider says it cost: compared, never trusted downward.
    pub provider_cost: Option<Nano>,
    /// The parts did not add up to the provider's total; the larger was taken.
    pub corrected: bool,
}

impl Usage {
    pub fn input_total(&self) -> u64 {
        self.uncached_in
            + self.cached_in
            + self.write_short
            + self.write_long
            + self.write_any
            + self.image_in
            + self.audio_in
    }

    /// The classes of which there was something, as they are reported. A write to a cache that nobody tells counts as a short one.
    pub fn classes(&self) -> impl Iterator<Item = (Unit, u64)> {
        let all = [
            (Unit::Input, self.uncached_in),
            (Unit::CachedRead, self.cached_in),
            (Unit::CacheWriteShort, self.write_short.saturating_add(self.write_any)),
            (Unit::CacheWriteLong, self.write_long),
            (Unit::ImageIn, self.image_in),
            (Unit::AudioIn, self.audio_in),
            (Unit::Output, self.out),
            (Unit::Reasoning, self.reasoning),
            (Unit::AudioOut, self.audio_out),
            (Unit::WebSearch, self.searches),
        ];
        all.into_iter().filter(|(_, quantity)| *quantity > 0)
    }

    pub fn output_total(&self) -> u64 {
        self.out + self.reasoning + self.audio_out
    }
}

/// The usage cannot be read: what was held is charged.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UsageError {
    #[error("the usage is not JSON")]
    NotJson,
    #[error("usage.{field} is {value}, not a whole number")]
    Malformed { field: String, value: String },
    #[error("usage.{field} is missing")]
    Missing { field: &'static str },
    /// Something that may cost money and that nobody here knows.
    #[error("usage.{field} is not known")]
    Unknown { field: String },
    #[error("the usage has more fields than a usage has")]
    TooLarge,
}

/// More members, or more text, than any provider sends.
const MAX_FIELDS: usize = 64;
const MAX_BYTES: usize = 32 * 1024;

/// Where each wire keeps its usage: in a whole answer, or in the events of a stream.
fn places(wire: Wire) -> &'static [&'static [&'static str]] {
    match wire {
        Wire::OpenAiChat => &[&["x_groq", "usage"], &["usage"]],
        Wire::OpenAiResponses => &[&["response", "usage"], &["usage"]],
        Wire::Anthropic => &[&["message", "usage"], &["usage"]],
        Wire::Gemini => &[&["usageMetadata"]],
    }
}

/// Beside the usage, where OpenAI says which lane it was.
fn tier_places(wire: Wire) -> &'static [&'static [&'static str]] {
    match wire {
        Wire::OpenAiChat | Wire::OpenAiResponses => &[&["response", "service_tier"], &["service_tier"]],
        Wire::Anthropic | Wire::Gemini => &[],
    }
}

/// Gathers the usage of one call.
#[derive(Clone, Debug)]
pub struct Meter {
    wire: Wire,
    fields: BTreeMap<String, String>,
    tier: Option<String>,
    searches: u64,
    problem: Option<UsageError>,
}

impl Meter {
    pub fn new(wire: Wire) -> Self {
        Meter { wire, fields: BTreeMap::new(), tier: None, searches: 0, problem: None }
    }

    /// Takes an answer or one event of a stream, as JSON text. Text without usage changes nothing.
    pub fn see(&mut self, event: &str) {
        for place in tier_places(self.wire) {
            if let Some(tier) = find(event, place).and_then(json::decode) {
                self.tier = Some(tier.into_owned());
            }
        }
        for place in places(self.wire) {
            if let Some(usage) = find(event, place).filter(|raw| *raw != "null")
                && let Err(problem) = self.merge(usage)
            {
                self.problem = Some(problem);
            }
        }
    }

    /// Searches that the answer shows as items of its own, where the usage does not count them.
    pub fn count_searches(&mut self, searches: u64) {
        self.searches = self.searches.saturating_add(searches);
    }

    fn merge(&mut self, usage: &str) -> Result<(), UsageError> {
        if usage.len() > MAX_BYTES {
            return Err(UsageError::TooLarge);
        }
        let usage = json::compact(usage).map_err(|_| UsageError::NotJson)?;
        for (name, value) in json::members(&usage).ok_or(UsageError::NotJson)? {
            if value != "null" {
                self.fields.insert(name.into_owned(), value.to_owned());
            }
        }
        if self.fields.len() > MAX_FIELDS { Err(UsageError::TooLarge) } else { Ok(()) }
    }

    /// The usage as the provider sent it, for the record; `None` if it sent none.
    pub fn raw(&self) -> Option<String> {
        if self.fields.is_empty() {
            return None;
        }
        let members: Vec<String> =
            self.fields.iter().map(|(name, value)| format!("{}:{value}", json::quote(name))).collect();
        Some(format!("{{{}}}", members.join(",")))
    }

    /// What was used so far; `None` if nothing was said about it.
    pub fn usage(&self) -> Result<Option<Usage>, UsageError> {
        if let Some(problem) = &self.problem {
            return Err(problem.clone());
        }
        let Some(raw) = self.raw() else { return Ok(None) };
        let fields = Fields::of("", &raw)?;
        let mut usage = match self.wire {
            Wire::OpenAiChat => openai::chat(&fields)?,
            Wire::OpenAiResponses => openai::responses(&fields)?,
            Wire::Anthropic => anthropic::read(&fields)?,
            Wire::Gemini => gemini::read(&fields)?,
        };
        if let Some(tier) = &self.tier {
            usage.tier = Some(read_tier(tier)?);
        }
        usage.searches = usage.searches.max(self.searches);
        Ok(Some(usage))
    }
}

fn find<'a>(event: &'a str, place: &[&str]) -> Option<&'a str> {
    let path: Vec<PathSegment> = place.iter().map(|name| PathSegment::Name((*name).to_owned())).collect();
    json::lookup(event, &path)
}

/// A provider's word for a lane.
fn read_tier(word: &str) -> Result<Tier, UsageError> {
    match word {
        "default" | "standard" | "on_demand" => Ok(Tier::Standard),
        "batch" => Ok(Tier::Batch),
        "flex" => Ok(Tier::Flex),
        "priority" => Ok(Tier::Priority),
        other => Err(UsageError::Unknown {
            field: format!("service_tier {:?}", other.chars().take(40).collect::<String>()),
        }),
    }
}

/// Splits an input that includes all its parts. Parts that overlap are taken as the dearer of the two: audio, then writes,
/// then images, then reads from a cache.
struct Inclusive {
    input: u64,
    cached: u64,
    write_short: u64,
    write_long: u64,
    write_any: u64,
    image: u64,
    audio: u64,
    output: u64,
    reasoning: u64,
    audio_out: u64,
}

impl Inclusive {
    fn split(self) -> Usage {
        let writes = self.write_short + self.write_long + self.write_any;
        let input = self.input.max(writes + self.cached).max(self.audio);
        let output = if self.reasoning + self.audio_out > self.output {
            // These leave thoughts out of their output, contrary to the wire's own word.
            self.output + self.reasoning + self.audio_out
        } else {
            self.output
        };
        let mut left = input;
        let mut take = |part: u64| {
            let taken = part.min(left);
            left -= taken;
            taken
        };
        let audio_in = take(self.audio);
        let (write_long, write_any, write_short) =
            (take(self.write_long), take(self.write_any), take(self.write_short));
        let cached_in = take(self.cached);
        let image_in = take(self.image);
        Usage {
            uncached_in: left,
            cached_in,
            write_short,
            write_long,
            write_any,
            image_in,
            audio_in,
            out: output - self.reasoning - self.audio_out,
            reasoning: self.reasoning,
            audio_out: self.audio_out,
            corrected: input > self.input || output > self.output,
            ..Usage::default()
        }
    }
}

#[cfg(test)]
mod tests;
