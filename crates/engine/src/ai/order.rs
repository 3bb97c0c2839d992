//! A call that wants to be made, before anything is known of what it costs.

use bytes::Bytes;
use levqor_connectors::ai::{Ask, Limits, Provider, body_for};
use levqor_core::gateway::{To, Vetted};
use levqor_core::job::Tags;
use levqor_core::money::{Shape, Terms, Wish};
use levqor_store::{AskPlace, CallPlace};

/// One call. A retry, a repair or a fallback is another one, under another attempt number.
#[derive(Clone, Debug)]
pub struct Order {
    pub provider: String,
    pub model: String,
    /// The stored connection whose key pays, in place of the settings' own.
    pub connection: Option<String>,
    pub body: Body,
    pub wish: Wish,
    /// The lane is always the standard one, whatever stands here: requests pin it.
    pub terms: Terms,
    /// Where in a job; `None` outside of any.
    pub place: Option<CallPlace>,
    /// Outside of any job: somebody may ask for it again.
    pub ask: Option<AskPlace>,
    pub key: Option<String>,
    pub user: Option<String>,
    pub tags: Tags,
    /// Shorten the answer to what the budgets afford, down to the shortest worth having.
    pub fit: bool,
    pub limits: Limits,
}

impl Order {
    /// An order for this ask with nothing special. `model` is as in `openai/gpt-6-sol`; without a slash the provider is empty.
    pub fn of_ask(model: &str, ask: Ask, limits: Limits) -> Self {
        let (provider, model) = model.split_once('/').unwrap_or(("", model));
        Order {
            provider: provider.to_owned(),
            model: model.to_owned(),
            connection: None,
            body: Body::Ask(ask),
            wish: Wish::default(),
            terms: Terms::STANDARD,
            place: None,
            ask: None,
            key: None,
            user: None,
            tags: Tags::new(),
            fit: true,
            limits,
        }
    }
}

/// What is sent.
#[derive(Clone, Debug)]
pub enum Body {
    /// In words of no vendor. Always read as a stream.
    Ask(Ask),
    Raw(RawBody),
}

/// A caller's own request in the words of the provider's wire: it goes out as it came, with model, output limit, lane and the
/// stream's usage set by us.
#[derive(Clone, Debug)]
pub struct RawBody {
    pub vetted: Vetted,
    /// Never a key.
    pub headers: Vec<(String, String)>,
}

impl Body {
    /// The body as it goes out with this limit on the answer.
    pub(super) fn render(&mut self, provider: &Provider, model: &str, output_tokens: u64) -> Bytes {
        match self {
            Body::Ask(ask) => {
                model.clone_into(&mut ask.model);
                body_for(ask, provider, output_tokens, true)
            }
            Body::Raw(raw) => {
                let (limit_field, has_tiers) = (provider.limit_field(), provider.has_tiers());
                raw.vetted.body(&To { model, limit_field, has_tiers }, output_tokens).into()
            }
        }
    }

    /// What can cost something, in a body of this length.
    pub(super) fn shape(&self, body_bytes: usize) -> Shape {
        match self {
            Body::Ask(ask) => ask.shape(body_bytes),
            // What we set in it is no text.
            Body::Raw(raw) => raw.vetted.shape,
        }
    }

    pub(super) fn is_stream(&self) -> bool {
        match self {
            Body::Ask(_) => true,
            Body::Raw(raw) => raw.vetted.stream,
        }
    }

    pub(super) fn into_headers(self) -> Vec<(String, String)> {
        match self {
            Body::Ask(_) => Vec::new(),
            Body::Raw(raw) => raw.headers,
        }
    }
}
