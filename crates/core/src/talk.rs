//! The conversation of an `ai` step as it is recorded, turn by turn, and what comes next. Pure: the same turns give the same
//! next move, so a process that takes over after a crash goes on where the records end, pays for nothing twice and repeats
//! no tool.
//!
//! Words: a *question* is asked until it is answered; each try of it is an *attempt*, with a call and a hold of its own. A
//! *round* is a conversation from its start: a retry by a person opens another. Numbers of questions never start again.

mod mark;
mod next;

use serde::{Deserialize, Serialize};

use crate::job::JobError;
use crate::money::{Nano, Usage};
use crate::schema::Violation;

pub use mark::{NOTE, as_data};
pub use next::{Again, Ask, Move, next};

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Turn {
    Said(Box<Said>),
    Failed(Box<Failed>),
    Tool(Box<ToolRun>),
}

/// Where in the conversation a call stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spot {
    pub round: i64,
    pub question: i64,
    pub attempt: i64,
    /// The model's place in the order in which models are tried; 0 is the step's own.
    pub candidate: usize,
}

/// A model answered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Said {
    #[serde(flatten)]
    pub spot: Spot,
    pub model: String,
    /// The call that was paid for it.
    pub call: String,
    /// Answered from the store: nothing was sent.
    #[serde(default)]
    pub cached: bool,
    pub text: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub calls: Vec<Wanted>,
    pub finish: Finish,
    /// What is wrong with it, where a form was asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<Problem>,
    #[serde(default)]
    pub mended: bool,
    pub cost_nano: Nano,
    #[serde(default)]
    pub usage: Tokens,
    /// Why this model was asked and not the first, or not with the limit that was wanted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// Why the model stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Finish {
    Stop,
    /// At its limit: the answer is not whole.
    Length,
    Tools,
    Refused,
    Other,
}

impl Finish {
    pub fn as_str(self) -> &'static str {
        match self {
            Finish::Stop => "stop",
            Finish::Length => "length",
            Finish::Tools => "tools",
            Finish::Refused => "refused",
            Finish::Other => "other",
        }
    }
}

/// A tool that the model asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wanted {
    pub id: String,
    pub name: String,
    /// As the model wrote them.
    pub arguments: String,
}

/// A [`Violation`] on record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    pub at: String,
    pub what: String,
}

impl From<Violation> for Problem {
    fn from(violation: Violation) -> Self {
        Problem { at: violation.pointer, what: violation.message }
    }
}

impl From<&Problem> for Violation {
    fn from(problem: &Problem) -> Self {
        Violation { pointer: problem.at.clone(), message: problem.what.clone() }
    }
}

/// What was used, for people.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tokens {
    pub input: u64,
    pub cached_input: u64,
    pub output: u64,
}

impl Tokens {
    pub fn of(usage: &Usage) -> Self {
        Tokens { input: usage.input_total(), cached_input: usage.cached_in, output: usage.output_total() }
    }

    pub fn add(&mut self, other: Tokens) {
        self.input = self.input.saturating_add(other.input);
        self.cached_input = self.cached_input.saturating_add(other.cached_input);
        self.output = self.output.saturating_add(other.output);
    }
}

/// A call brought no answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Failed {
    #[serde(flatten)]
    pub spot: Spot,
    /// The attempt of the step: another one begins with the first model again.
    pub step_attempt: i64,
    pub model: String,
    pub call: String,
    pub error: JobError,
    /// Trying again may help.
    pub passes: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<i64>,
    pub cost_nano: Nano,
}

/// A tool ran, or was about to: without `content` nobody knows whether it did.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ToolRun {
    pub round: i64,
    pub question: i64,
    /// Its place among the calls of the answer.
    pub place: usize,
    pub name: String,
    /// What it was given, everything filled in.
    pub arguments: String,
    /// The job that it is, if it is a workflow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<String>,
    #[serde(default)]
    pub is_error: bool,
    /// What it was charged, if it has a price.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost_nano: Option<Nano>,
}

impl Turn {
    pub fn round(&self) -> i64 {
        match self {
            Turn::Said(said) => said.spot.round,
            Turn::Failed(failed) => failed.spot.round,
            Turn::Tool(run) => run.round,
        }
    }

    pub fn question(&self) -> i64 {
        match self {
            Turn::Said(said) => said.spot.question,
            Turn::Failed(failed) => failed.spot.question,
            Turn::Tool(run) => run.question,
        }
    }

    /// What was charged for it.
    pub fn cost(&self) -> Nano {
        match self {
            Turn::Said(said) => said.cost_nano,
            Turn::Failed(failed) => failed.cost_nano,
            Turn::Tool(run) => run.cost_nano.unwrap_or(Nano::ZERO),
        }
    }
}

#[cfg(test)]
mod tests;
