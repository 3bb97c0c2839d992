//! A call that wants to be made, before anything is known of what it costs.

use bytes::Bytes;
use levqor_connectors::ai::{Ask, Limits, Provider, body_for, raw_body_for};
use levqor_core::job::Tags;
use levqor_core::money::{Shape, Terms, Wish};
use levqor_store::CallPlace;
use serde_json::{Map, Value};

/// One call. A retry, a repair or a fallback is another one, under another attempt number.
#[derive(Clone, Debug)]
pub struct Order {
    pub provider: String,
    pub model: String,
    pub body: Body,
    pub wish: Wish,
    /// The lane is always the standard one, whatever stands here: requests pin it.
    pub terms: Terms,
    /// Where in a job; `None` outside of any.
    pub place: Option<CallPlace>,
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
            body: Body::Ask(ask),
            wish: Wish::default(),
            terms: Terms::STANDARD,
            place: None,
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

/// A caller's own request in the words of the provider's wire. Model, output limit, lane and stream are set by us whatever it
/// says; that the rest costs no more than the shape says is on whoever took it in.
#[derive(Clone, Debug)]
pub struct RawBody {
    pub json: Map<String, Value>,
    /// Without `text_bytes`: those are counted here, as the length of the body less `attached_bytes`.
    pub shape: Shape,
    /// Bytes of the body that are no text: images and documents in base64.
    pub attached_bytes: u64,
    /// Never a key.
    pub headers: Vec<(String, String)>,
    pub stream: bool,
}

impl Body {
    /// The body as it goes out with this limit on the answer.
    pub(super) fn render(&mut self, provider: &Provider, model: &str, output_tokens: u64) -> Bytes {
        match self {
            Body::Ask(ask) => {
                model.clone_into(&mut ask.model);
                body_for(ask, provider, output_tokens, true)
            }
            Body::Raw(raw) => raw_body_for(&mut raw.json, provider, model, output_tokens, raw.stream),
        }
    }

    /// What can cost something, in a body of this length.
    pub(super) fn shape(&self, body_bytes: usize) -> Shape {
        match self {
            Body::Ask(ask) => ask.shape(body_bytes),
            Body::Raw(raw) => {
                Shape { text_bytes: (body_bytes as u64).saturating_sub(raw.attached_bytes), ..raw.shape }
            }
        }
    }

    pub(super) fn is_stream(&self) -> bool {
        match self {
            Body::Ask(_) => true,
            Body::Raw(raw) => raw.stream,
        }
    }

    pub(super) fn into_headers(self) -> Vec<(String, String)> {
        match self {
            Body::Ask(_) => Vec::new(),
            Body::Raw(raw) => raw.headers,
        }
    }
}
