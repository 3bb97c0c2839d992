//! Why a call was not made. Nothing was held, and no byte left.

use levqor_core::money::{CallId, CallState, CostError};
use levqor_store::{Reason, Refusal};

use crate::connections::ConnectError;

#[derive(Debug, thiserror::Error)]
pub enum NotHeld {
    #[error("there is no AI provider `{provider}`; known are {known}")]
    NoProvider { provider: String, known: String },
    #[error("there is no key for the AI provider `{provider}`: it is not configured")]
    NoKey { provider: String },
    /// The one whose key was to pay.
    #[error(transparent)]
    Connection(ConnectError),
    /// There is no zero for "unknown".
    #[error("nobody knows what {provider}/{model} costs, so it is not called; give it a price first")]
    NoPrice { provider: String, model: String },
    #[error("{provider}/{model} does not answer questions over this wire")]
    NotServed { provider: String, model: String },
    #[error(transparent)]
    Unpriced(CostError),
    #[error(
        "the request has {bytes} bytes of text; a model that reads {most_tokens} tokens cannot hold them"
    )]
    InputTooLong { bytes: u64, most_tokens: u64 },
    #[error("{}", refused(.0))]
    Budget(Box<Refusal>),
    /// An earlier run made a call at this place: go on under the next attempt number.
    #[error("there was a call at this place already ({call}, {})", state.as_str())]
    Known { call: CallId, state: CallState },
    /// Worth trying again, at the earliest at `until_ms` where that is known.
    #[error("{pause}")]
    Busy { pause: Pause, until_ms: Option<i64> },
    /// `Unavailable`: the next try goes under the next attempt number.
    #[error(transparent)]
    Store(#[from] levqor_store::Error),
}

/// Why calls wait, without a hold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Pause {
    #[error("the limit of {provider} for a minute is reached")]
    Limit { provider: String },
    #[error("{provider} asks to be left alone for a while")]
    Told { provider: String },
    #[error("{provider}/{model} does not answer reliably; it is tried again later")]
    Breaker { provider: String, model: String },
    #[error("{provider}/{model} cost more than its price list says, and waits for somebody to look at it")]
    Quarantine { provider: String, model: String },
}

impl NotHeld {
    /// A stable word for records and programs.
    pub fn code(&self) -> &'static str {
        match self {
            NotHeld::NoProvider { .. } => "unknown_provider",
            NotHeld::NoKey { .. } => "provider_not_configured",
            NotHeld::Connection(error) => error.code(),
            NotHeld::NoPrice { .. } | NotHeld::Unpriced(_) => "price_unknown",
            NotHeld::NotServed { .. } => "model_not_served",
            NotHeld::InputTooLong { .. } => "input_too_long",
            NotHeld::Budget(refusal) => match refusal.reason {
                Reason::SpentOut => "budget_exceeded",
                Reason::HeldOut | Reason::TooManyOpen => "budget_busy",
                Reason::TooMuchAssumed => "budget_uncertain",
            },
            NotHeld::Known { .. } => "call_known",
            NotHeld::Busy { .. } => "ai_busy",
            NotHeld::Store(_) => "unavailable",
        }
    }
}

/// A budget's no, for a person: which budget, how much it allows, what is gone and what was wanted.
fn refused(refusal: &Refusal) -> String {
    let Refusal { budget, limit, spent, held, wanted, .. } = refusal;
    let whom = match (refusal.scope.kind.as_str(), refusal.subject.as_str()) {
        ("global", _) => "everything".to_owned(),
        (kind, "") => format!("{kind} {}", refusal.scope.id),
        (kind, subject) => format!("{kind} {subject}"),
    };
    let window = refusal.window.to_string();
    let what = match refusal.reason {
        Reason::SpentOut => format!("the call may cost up to ${wanted}"),
        Reason::HeldOut => format!("the call may cost up to ${wanted}, and others are not over yet"),
        Reason::TooManyOpen => "as many calls are open as may be".to_owned(),
        Reason::TooMuchAssumed => {
            "too much of that went to calls whose cost nobody knows for sure, so calls pause".to_owned()
        }
    };
    format!(
        "the budget `{budget}` ({whom}, per {window}) allows ${limit}: ${spent} are spent, ${held} held; {what}"
    )
}
