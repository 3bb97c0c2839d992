//! What a step may cost, before its job runs: as far as its words depend on the payload alone.

use std::sync::Arc;

use levqor_core::job::JobError;
use levqor_core::scope::Scope;
use levqor_core::talk::{Again, Ask, Problem, Spot};
use levqor_core::workflow::AiStep;
use levqor_core::workflow::ai::{OnInvalid, WhenShort};

use super::ask::text_bytes;
use super::{Conversation, Place, Stop, attach, render};
use crate::Shared;
use crate::ai::{Body, Order};
use crate::steps::ai::turns::Turns;

/// No token of an answer that comes back in a question is longer.
const BYTES_A_TOKEN: usize = 16;
const MAX_ANSWER_BYTES: usize = 1 << 20;

/// The calls of a step as it would order them.
pub(crate) struct Forecast {
    /// The first question, to the step's own model.
    pub first: Order,
    /// The shortest answer for which the first call may be held.
    pub least_tokens: Option<u64>,
    /// Every other call that its policies allow for one question.
    pub others: Vec<Order>,
    /// Tools make further questions, whose length nobody knows.
    pub is_open_ended: bool,
    /// Bytes of text in the first question.
    pub text_bytes: u64,
    /// It may be answered from the store.
    pub may_be_cached: bool,
}

/// An error: what it says depends on more than the payload, or is no question at all.
pub(crate) fn forecast(
    shared: &Arc<Shared>,
    step: &Arc<AiStep>,
    place: Place,
    scope: &Scope<'_>,
) -> Result<Forecast, JobError> {
    let rendered = render::render(step, scope)?;
    let attached = attach::without_fetching(&rendered.attachments)?;
    let turns = Turns::read(&place.step, &[])?;
    let talk = Conversation { shared, step: step.clone(), place, rendered, turns, attached: Some(attached) };
    let order = |candidate, cuts, again| {
        let spot = Spot { round: 1, question: 1, attempt: 1, candidate };
        let ask = Ask { question: 1, attempt: 1, candidate: Some(candidate), cuts, again, why: None };
        talk.order(&ask, spot, false).map_err(|stop| match stop {
            Stop::Outcome(levqor_core::outcome::Outcome::Fail { error }) => error,
            _ => JobError::new("internal_error", "the call cannot be put together"),
        })
    };
    let first = order(0, 0, None)?;
    let mut others = Vec::new();
    for place in 1..=step.fallback.len() {
        others.push(order(place, 0, None)?);
    }
    if step.output.is_some() && step.repairs > 0 {
        let (text, problems);
        let again = match step.on_invalid {
            OnInvalid::Repair => {
                let most = step.max_tokens.unwrap_or(u64::MAX).saturating_mul(BYTES_A_TOKEN as u64);
                text = "x".repeat(usize::try_from(most).unwrap_or(usize::MAX).min(MAX_ANSWER_BYTES));
                problems = vec![Problem { at: "x".repeat(200), what: "x".repeat(300) }; 20];
                Some(Some(Again { text: &text, problems: &problems }))
            }
            OnInvalid::Retry => Some(None),
            OnInvalid::Fail | OnInvalid::Fallback | OnInvalid::Accept => None,
        };
        if let Some(again) = again {
            // The dearest is that each was cut off, and asked for with twice the limit.
            for cuts in 1..=step.repairs {
                others.push(order(0, cuts, again)?);
            }
        }
    }
    let may_shrink = step.max_tokens.is_none() || step.when_short.contains(&WhenShort::Smaller);
    let text_bytes = match &first.body {
        Body::Ask(request) => text_bytes(request) as u64,
        Body::Raw(_) => 0,
    };
    Ok(Forecast {
        text_bytes,
        first,
        least_tokens: may_shrink.then(|| step.max_tokens.unwrap_or(u64::MAX).min(256)),
        others,
        is_open_ended: !step.tools.is_empty(),
        may_be_cached: step.cache_ms.is_some(),
    })
}
