//! The `ai` step: which model is asked what, which form its answer must have, and what is done when something goes wrong.
//! The conversation itself is had elsewhere.
//!
//! Models, tools, connections and budgets are literals: a payload fills in what is said, never what money is spent on.

pub(super) mod parse;
mod parse_tools;

use serde_json::Number;

use crate::job::Priority;
use crate::money::Nano;
use crate::redact::Kinds;
use crate::schema::Schema;
use crate::template::Template;
use crate::workflow::ConnectStep;

/// A model thinks before it speaks, and may be asked more than once.
pub const DEFAULT_TIMEOUT_MS: i64 = 600_000;
pub const DEFAULT_REPAIRS: u32 = 2;
pub const DEFAULT_TURNS: u32 = 8;
/// The longest input that is sent where nothing else is said.
pub const DEFAULT_INPUT_BYTES: usize = 256 * 1024;
/// The largest `max_tokens`.
pub const MAX_TOKENS: u64 = 1_000_000;
pub const MAX_INPUT_BYTES: usize = 32 * 1024 * 1024;

/// `provider/name`, split at the first slash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelName {
    pub provider: String,
    pub model: String,
}

impl ModelName {
    pub fn parse(text: &str) -> Option<Self> {
        let (provider, model) = text.split_once('/')?;
        let is_plain = |c: char| c.is_ascii_graphic() && !matches!(c, '"' | '\\' | '{' | '}');
        let fine =
            |part: &str, most: usize| !part.is_empty() && part.len() <= most && part.chars().all(is_plain);
        (fine(provider, 64) && fine(model, 160))
            .then(|| ModelName { provider: provider.to_owned(), model: model.to_owned() })
    }
}

impl ModelName {
    /// Whose key it is asked with.
    pub fn vendor(&self) -> &str {
        vendor(&self.provider)
    }
}

/// The name that a provider's prices, keys, budgets and figures go by: whoever can be reached over two wires is one.
pub fn vendor(provider: &str) -> &str {
    match provider {
        "openai-responses" => "openai",
        name => name,
    }
}

impl std::fmt::Display for ModelName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.provider, self.model)
    }
}

/// The `ai` of a step.
#[derive(Debug)]
pub struct AiStep {
    pub model: ModelName,
    /// The stored connection whose key pays, in place of the settings' own. Never a template.
    pub connection: Option<String>,
    pub system: Option<Template>,
    pub talk: Talk,
    /// Each a text or a list when filled in.
    pub images: Option<Template>,
    pub documents: Option<Template>,
    pub output: Option<Form>,
    pub max_tokens: Option<u64>,
    pub temperature: Option<Number>,
    /// Tried in order.
    pub fallback: Vec<Fallback>,
    pub on_invalid: OnInvalid,
    /// How often one question is asked again because its answer does not fit.
    pub repairs: u32,
    /// The same request within this time is answered from the store.
    pub cache_ms: Option<i64>,
    pub tools: Vec<Tool>,
    /// How many answers the model may give, those that ask for tools included.
    pub max_turns: u32,
    /// Tried in order when a budget says no. Never empty.
    pub when_short: Vec<WhenShort>,
    pub redact: Kinds,
    /// Not sent if one of these stands in it, whatever the case of its letters.
    pub deny: Vec<String>,
    pub max_input_bytes: usize,
}

/// What is said to the model.
#[derive(Debug)]
pub enum Talk {
    /// One message of the user.
    Prompt(Template),
    /// A list of `{role, content}`.
    Messages(Template),
}

/// The form that an answer must have.
#[derive(Debug)]
pub struct Form {
    /// Compact JSON, as it is sent.
    pub raw: String,
    pub schema: Schema,
}

/// Another model, and when it is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fallback {
    pub model: ModelName,
    pub connection: Option<String>,
    pub when: When,
    pub max_tokens: Option<u64>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct When {
    pub provider_error: bool,
    pub budget_short: bool,
    pub invalid_output: bool,
    pub refused: bool,
    /// Asked first, instead of the model, while one of these holds.
    pub instead: Vec<Instead>,
}

impl When {
    /// What `when` may name.
    pub const NAMES: [&'static str; 4] = ["provider_error", "budget_short", "invalid_output", "refused"];
    /// Where nothing is said.
    pub const ALWAYS: When = When {
        provider_error: true,
        budget_short: true,
        invalid_output: true,
        refused: true,
        instead: Vec::new(),
    };
}

/// Known before anything is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Instead {
    Below(Below),
    /// The input has more bytes of text.
    InputOver(u64),
    Priority(Priority),
}

/// Less than this is left of a budget.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Below {
    pub budget: String,
    pub left: Left,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Left {
    /// Of the limit, in millionths.
    Share(u32),
    Amount(Nano),
}

impl Below {
    /// Whether less is left than it says, of a budget with this limit.
    pub fn holds(&self, limit: Nano, left: Nano) -> bool {
        match self.left {
            Left::Amount(amount) => left < amount,
            Left::Share(ppm) => {
                i128::from(left.get()) * 1_000_000 < i128::from(limit.get()) * i128::from(ppm)
            }
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnInvalid {
    Fail,
    /// Ask again with what is wrong.
    #[default]
    Repair,
    /// Ask the same again.
    Retry,
    /// Ask the next model.
    Fallback,
    /// Take it as it is, flagged.
    Accept,
}

impl OnInvalid {
    pub const NAMES: [&'static str; 5] = ["fail", "repair", "retry", "fallback", "accept"];

    pub fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "fail" => OnInvalid::Fail,
            "repair" => OnInvalid::Repair,
            "retry" => OnInvalid::Retry,
            "fallback" => OnInvalid::Fallback,
            "accept" => OnInvalid::Accept,
            _ => return None,
        })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenShort {
    /// Rest until the period ends, the limit is raised or money comes back.
    Wait,
    /// Ask the models of `fallback` that may be asked for it.
    Cheaper,
    /// Lower the limit on the answer.
    Smaller,
    Fail,
}

impl WhenShort {
    pub const NAMES: [&'static str; 4] = ["wait", "cheaper", "smaller", "fail"];

    pub fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "wait" => WhenShort::Wait,
            "cheaper" => WhenShort::Cheaper,
            "smaller" => WhenShort::Smaller,
            "fail" => WhenShort::Fail,
            _ => return None,
        })
    }
}

/// What the model may ask for. It never runs by itself.
#[derive(Debug)]
pub struct Tool {
    /// As the model calls it: letters, digits, `_` and `-`.
    pub name: String,
    pub description: Option<String>,
    /// What one run costs, of a `connect`.
    pub cost: Option<Nano>,
    pub runs: Runs,
}

#[derive(Debug)]
pub enum Runs {
    /// Its `params` are fixed; the model gives the others.
    Connect(ConnectStep),
    /// A job of this workflow, whose payload the model gives.
    Workflow(String),
}

/// A model that may be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate<'s> {
    pub model: &'s ModelName,
    /// The limit on its answer.
    pub max_tokens: Option<u64>,
    /// Whose key pays; `None`: the one of the settings.
    pub connection: Option<&'s str>,
}

impl Candidate<'_> {
    /// The limit on its answer once so many were cut off at theirs.
    pub fn limit_after(&self, cuts: u32) -> Option<u64> {
        let factor = 1u64.checked_shl(cuts).unwrap_or(u64::MAX);
        self.max_tokens.map(|limit| limit.saturating_mul(factor).min(MAX_TOKENS))
    }
}

impl AiStep {
    /// Every template with the path that it has below the step.
    pub fn templates(&self) -> Vec<(String, &Template)> {
        let talk = match &self.talk {
            Talk::Prompt(template) => ("prompt", template),
            Talk::Messages(template) => ("messages", template),
        };
        let mut all: Vec<(String, &Template)> = [
            self.system.as_ref().map(|template| ("system", template)),
            Some(talk),
            self.images.as_ref().map(|template| ("images", template)),
            self.documents.as_ref().map(|template| ("documents", template)),
        ]
        .into_iter()
        .flatten()
        .map(|(name, template)| (name.to_owned(), template))
        .collect();
        for (index, tool) in self.tools.iter().enumerate() {
            let Runs::Connect(connect) = &tool.runs else { continue };
            for (name, template) in &connect.params {
                all.push((super::join(&format!("tools/{index}/with"), name), template));
            }
        }
        all
    }

    /// What is asked at a place of the order in which models are tried: 0 is the step's own.
    pub fn candidate(&self, place: usize) -> Option<Candidate<'_>> {
        let own = self.connection.as_deref();
        let Some(at) = place.checked_sub(1) else {
            return Some(Candidate { model: &self.model, max_tokens: self.max_tokens, connection: own });
        };
        let fallback = self.fallback.get(at)?;
        let model = &fallback.model;
        // Whoever names a key for a provider means it for all that is asked there.
        let inherited = own.filter(|_| model.vendor() == self.model.vendor());
        Some(Candidate {
            model,
            max_tokens: fallback.max_tokens.or(self.max_tokens),
            connection: fallback.connection.as_deref().or(inherited),
        })
    }

    /// The next candidate behind `place` that may be asked for such a reason.
    pub fn next_candidate(&self, place: usize, may: impl Fn(&When) -> bool) -> Option<usize> {
        (place..self.fallback.len()).find(|at| may(&self.fallback[*at].when)).map(|at| at + 1)
    }
}

#[cfg(test)]
mod tests;
