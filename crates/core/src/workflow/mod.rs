//! Workflow definitions: from text to a checked value.
//!
//! Reading order: [`node`] (text to a tree with places), [`problem`] (what is wrong where), [`step`] (what a step is),
//! `parse`, `kinds`, `fields` (tree to definition), `check` (needs, cycles, references), [`definition`] (the result).
//!
//! A new kind of step is a variant of [`StepKind`]; the compiler then lists every place that must know it.

pub mod ai;
mod check;
pub mod connect;
pub mod definition;
pub mod email;
mod fields;
pub mod http;
mod kinds;
pub mod node;
mod parse;
pub mod problem;
pub mod step;
pub mod wait;

pub use ai::AiStep;
pub use connect::ConnectStep;
pub use definition::{Definition, MAX_NAME_CHARS, StepSummary, Summary, is_name};
pub use email::EmailStep;
pub use http::{Body, HttpCall, HttpStep};
pub use problem::{MAX_PROBLEMS, Problem};
pub(crate) use problem::{join, shorten};
pub use step::{Rerun, Step, StepKind};
pub use wait::WaitStep;

#[cfg(test)]
mod tests;
