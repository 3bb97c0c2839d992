//! Bodies of AI calls, described for the OpenAPI document. Requests must match `levqor_core::gateway`, answers `gateway/complete.rs`.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

/// One call. `prompt` or `messages`.
#[derive(ToSchema)]
pub struct CompleteBody {
    /// `provider/name`; the bare name where only one provider has it.
    #[schema(example = "openai/gpt-6-sol")]
    pub model: String,
    #[schema(nullable = false, example = "Say hello")]
    pub prompt: Option<String>,
    #[schema(nullable = false)]
    pub messages: Option<Vec<TurnBody>>,
    #[schema(nullable = false)]
    pub system: Option<String>,
    /// A JSON Schema that the answer must fit.
    #[schema(nullable = false, value_type = Object)]
    pub output: Option<Value>,
    /// The longest answer; 16,384 when it is left out.
    #[schema(nullable = false, minimum = 1)]
    pub max_tokens: Option<u64>,
    #[schema(nullable = false, minimum = 0)]
    pub temperature: Option<f64>,
    /// Whom budgets of users count it for.
    #[schema(nullable = false, max_length = 256)]
    pub user: Option<String>,
    /// What budgets of tags count it for.
    #[schema(nullable = false)]
    pub tags: Option<BTreeMap<String, String>>,
    /// False: refused where the budgets do not afford `max_tokens`. Otherwise the answer is made shorter.
    #[schema(nullable = false)]
    pub fit: Option<bool>,
    /// Says what it would cost at most, and calls nobody.
    #[schema(nullable = false)]
    pub dry_run: Option<bool>,
}

#[derive(ToSchema)]
pub struct TurnBody {
    /// `user` or `assistant`.
    #[schema(example = "user")]
    pub role: String,
    pub content: String,
}

/// An answer, or with `dry_run` what it would cost.
#[derive(ToSchema)]
pub struct CompleteView {
    /// The budgets that the call counts in.
    pub budgets: Vec<BudgetFigures>,
    /// The call's id.
    #[schema(nullable = false)]
    pub call: Option<String>,
    /// `settled`: exactly; `assumed`: all that was held, for the provider did not say; `released`: nothing.
    #[schema(nullable = false, example = "settled")]
    pub charge: Option<String>,
    #[schema(nullable = false, example = "0.0076")]
    pub cost_usd: Option<String>,
    /// Of a dry run: what it can cost at most, and whether it would start now.
    #[schema(nullable = false, value_type = Object)]
    pub estimate: Option<Value>,
    /// Why the model stopped: `stop`, `length`, `refused` or the vendor's own word.
    #[schema(nullable = false, example = "stop")]
    pub finish: Option<String>,
    pub model: String,
    /// The answer as JSON that fits the schema.
    #[schema(nullable = false, value_type = Object)]
    pub output: Option<Value>,
    #[schema(nullable = false)]
    pub text: Option<String>,
    #[schema(nullable = false, value_type = Object)]
    pub usage: Option<Value>,
}

/// A budget as it stands after the call.
#[derive(Serialize, ToSchema)]
pub struct BudgetFigures {
    #[schema(example = "max-cost-per-day")]
    pub budget: String,
    pub held_usd: String,
    #[schema(example = "10.00")]
    pub limit_usd: String,
    /// Seconds since 1970; null where no period ends.
    pub resets_at: Option<f64>,
    pub spent_usd: String,
    /// Whom the period counts: a job, a key, a user; empty for everything.
    pub subject: String,
}

/// An error as OpenAI or Anthropic writes it.
#[derive(ToSchema)]
pub struct WireError {
    /// `message`, `type`, `code`; from OpenAI's wire `param` too.
    #[schema(value_type = Object)]
    pub error: Value,
    /// `error`, on Anthropic's wire alone.
    #[schema(nullable = false, example = "error")]
    pub r#type: Option<String>,
}
