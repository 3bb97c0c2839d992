//! Bodies that no type of ours is built for, described for the OpenAPI document: requests are read by core as text, and
//! errors are made as maps. What stands here must match `levqor_core::intake`, `levqor_core::user` and `error.rs`; the contract's tests compare.

pub mod ai;

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;
use utoipa::ToSchema;

/// What a job is made of.
#[derive(ToSchema)]
pub struct IntakeBody {
    /// 1 to 128 characters.
    #[schema(min_length = 1, max_length = 128, example = "hello")]
    pub workflow: String,
    /// At most 204,800 bytes as compact UTF-8.
    #[schema(value_type = Object)]
    pub payload: Value,
    /// Gets the signed callback: an `http://` or `https://` URL outside our own network.
    #[schema(min_length = 1, max_length = 1024, nullable = false)]
    pub callback_url: Option<String>,
    #[schema(nullable = false)]
    pub priority: Option<PriorityWord>,
    /// Not before this time: RFC 3339, or seconds since 1970. Not together with `delay`.
    #[schema(nullable = false)]
    pub run_at: Option<TextOrSeconds>,
    /// Not before so long from now: `500ms`, `30s`, `5m`, `2h`, `7d`, or seconds.
    #[schema(nullable = false)]
    pub delay: Option<TextOrSeconds>,
    /// At most 32 names of up to 64 characters with values of up to 256.
    #[schema(nullable = false)]
    pub tags: Option<BTreeMap<String, String>>,
    /// Says what would happen and stores nothing.
    #[schema(nullable = false)]
    pub dry_run: Option<bool>,
}

#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
pub enum PriorityWord {
    Low,
    Normal,
    High,
}

#[derive(Deserialize, ToSchema)]
#[serde(untagged)]
pub enum TextOrSeconds {
    Text(String),
    Seconds(f64),
}

/// A line that was accepted has `job_id` and `status`; one that was refused the members of an error.
#[derive(ToSchema)]
pub struct LineView {
    /// Counted from 1, blank lines included.
    pub line: usize,
    #[schema(nullable = false)]
    pub job_id: Option<String>,
    #[schema(nullable = false)]
    pub status: Option<String>,
    #[schema(nullable = false)]
    pub error: Option<String>,
    pub details: Option<String>,
    #[schema(nullable = false)]
    pub message: Option<String>,
    #[schema(nullable = false)]
    pub fields: Option<BTreeMap<String, String>>,
}

#[derive(ToSchema)]
pub struct CompletionBody {
    /// Any JSON; `{"ok":true}` when it is left out.
    pub result: Option<Value>,
}

/// A refusal in the first version's shape.
#[derive(ToSchema)]
pub struct BareError {
    #[schema(example = "not_found")]
    pub error: String,
}

/// 404 of the status route.
#[derive(ToSchema)]
pub struct UnknownJob {
    #[schema(example = "not_found")]
    pub error: String,
    /// As it was asked for.
    pub job_id: String,
}

/// The whole of a person: what is left out becomes null.
#[derive(ToSchema)]
pub struct UserUpsertBody {
    /// Trimmed and lower-cased; at most 254 characters.
    #[schema(min_length = 3, example = "ada@example.org")]
    pub email: String,
    #[schema(max_length = 200, nullable = false)]
    pub name: Option<String>,
    #[schema(max_length = 35, nullable = false, example = "en-GB")]
    pub locale: Option<String>,
    #[schema(nullable = false)]
    pub currency: Option<CurrencyWord>,
    /// At most 16,384 bytes as compact UTF-8.
    #[schema(value_type = Object, nullable = false)]
    pub meta: Option<Value>,
}

/// What changes about a person: what is left out stays.
#[derive(ToSchema)]
pub struct UserPatchBody {
    #[schema(max_length = 200, nullable = false)]
    pub name: Option<String>,
    #[schema(max_length = 35, nullable = false, example = "en-GB")]
    pub locale: Option<String>,
    #[schema(nullable = false)]
    pub currency: Option<CurrencyWord>,
    /// Merged one level deep; at most 16,384 bytes as compact UTF-8 with what is there.
    #[schema(value_type = Object, nullable = false)]
    pub meta: Option<Value>,
}

#[derive(ToSchema)]
#[schema(rename_all = "UPPERCASE")]
pub enum CurrencyWord {
    Gbp,
    Usd,
    Eur,
}

/// 404 of the lookup by address.
#[derive(ToSchema)]
pub struct UnknownEmail {
    #[schema(example = "not_found")]
    pub error: String,
    /// As it was looked for: trimmed, in lower case.
    pub email: String,
}

/// 404 of the routes for one person.
#[derive(ToSchema)]
pub struct UnknownUser {
    #[schema(example = "not_found")]
    pub error: String,
    /// As it was asked for.
    pub user_id: String,
}

/// A validation error in the first version's shape.
#[derive(ToSchema)]
pub struct LegacyError {
    #[schema(example = "Invalid request body")]
    pub error: String,
    /// One violation.
    pub details: Option<String>,
}

/// A refusal in the newer shape.
#[derive(ToSchema)]
pub struct NamedError {
    /// A stable code.
    #[schema(example = "conflict")]
    pub error: String,
    /// For a person.
    pub message: String,
    /// JSON pointer → what is wrong there.
    #[schema(nullable = false)]
    pub fields: Option<BTreeMap<String, String>>,
}

/// A refusal of a connector's route: `error` alone, or with what else is known.
#[derive(ToSchema)]
pub struct ConnectorRefusal {
    /// A stable code; what is required is told in the words of the first version.
    #[schema(example = "slack_api_error")]
    pub error: String,
    #[schema(nullable = false)]
    pub message: Option<String>,
    /// JSON pointer → what is wrong there.
    #[schema(nullable = false)]
    pub fields: Option<BTreeMap<String, String>>,
    /// The names there are.
    #[schema(nullable = false)]
    pub valid: Option<Vec<String>>,
    #[schema(nullable = false)]
    pub connector: Option<String>,
    /// The vendor's own word.
    #[schema(example = "channel_not_found")]
    pub vendor_error: Option<String>,
    /// Of a wrong Content-Type.
    pub details: Option<String>,
}

/// Credentials to store. `token` or `credentials`, as the connector has it.
#[derive(ToSchema)]
pub struct ConnectionBody {
    /// 1 to 64 characters of a-z, A-Z, 0-9, `_`, `-` and `.`, beginning with a letter or digit.
    #[schema(min_length = 1, max_length = 64, example = "team-slack")]
    pub name: String,
    /// gmail, notion, slack, telegram, or an AI provider such as openai.
    #[schema(example = "slack")]
    pub connector: String,
    #[schema(nullable = false)]
    pub token: Option<String>,
    #[schema(nullable = false, value_type = Object)]
    pub credentials: Option<Value>,
    /// Replace the credentials of a connection of this name.
    #[schema(nullable = false)]
    pub replace: Option<bool>,
}

/// What a vendor is to do.
#[derive(ToSchema)]
pub struct ConnectBody {
    #[schema(example = "post_message")]
    pub action: String,
    /// Slack, Notion, Telegram: the bot's or integration's token.
    #[schema(nullable = false)]
    pub token: Option<String>,
    /// Gmail: `access_token`, or `refresh_token`, `client_id` and `client_secret`, or all of them.
    #[schema(nullable = false, value_type = Object)]
    pub credentials: Option<Value>,
    /// The name of a stored connection, instead of credentials.
    #[schema(nullable = false, example = "team-slack")]
    pub connection: Option<String>,
    /// As `GET /api/v1/connectors` describes them.
    #[schema(nullable = false, value_type = Object)]
    pub params: Option<Value>,
}

/// One item to be paid.
#[derive(ToSchema)]
pub struct CheckoutBody {
    /// One of `STRIPE_PRICES`; the first of them when it is left out.
    #[schema(example = "price_1PgafmB7WZ01zgkW6dKueIc5")]
    pub price_id: Option<String>,
    /// Filled in for the customer.
    #[schema(example = "ada@example.org")]
    pub email: Option<String>,
    /// Whose payment it will be.
    #[schema(max_length = 200)]
    pub user_id: Option<String>,
}

/// Whose portal it is to be.
#[derive(ToSchema)]
pub struct PortalBody {
    #[schema(max_length = 200)]
    pub user_id: String,
}

/// A key to be made.
#[derive(ToSchema)]
pub struct KeyBody {
    /// What it is for: 1 to 100 characters. It stands in the audit log for ever.
    #[schema(min_length = 1, max_length = 100, example = "nightly import")]
    pub name: String,
    #[schema(min_items = 1)]
    pub scopes: Vec<ScopeWord>,
    /// RFC 3339, or seconds since 1970. Left out: it does not end by itself.
    #[schema(nullable = false)]
    pub expires_at: Option<TextOrSeconds>,
}

#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
pub enum ScopeWord {
    Read,
    Submit,
    Operate,
    Admin,
    Ai,
    Budgets,
}

/// How a key is replaced.
#[derive(ToSchema)]
pub struct RotationBody {
    /// How long the old key lives on, `0s` to `30d`; `24h` when it is left out.
    #[schema(nullable = false)]
    pub overlap: Option<TextOrSeconds>,
    /// When the new key ends. Left out: it lives as long as the old one was meant to.
    #[schema(nullable = false)]
    pub expires_at: Option<TextOrSeconds>,
}

/// The whole of a budget: what is left out or null has its default.
#[derive(ToSchema)]
pub struct BudgetBody {
    /// Who is told of thresholds. Left out: whoever the settings name.
    pub alert: Option<AlertBody>,
    /// `true` when it is left out.
    pub enabled: Option<bool>,
    /// Dollars, as a decimal text; nine digits after the point at most. 0 closes the scope.
    #[schema(example = "5.00")]
    pub limit: String,
    /// Calls that may be open at the same time: 1 to 1,000,000.
    pub max_open_holds: Option<i64>,
    /// `hard` (default) refuses, `soft` tells, `observe` counts.
    pub mode: Option<String>,
    /// `job`, `step`, `key`, `user`, `tag`, `workflow`, `model`, `provider` or `global`.
    #[schema(example = "tag")]
    pub scope: String,
    /// Which one, or `*` for each by itself. Nothing for `global`.
    #[schema(example = "team=blue")]
    pub scope_id: Option<String>,
    /// Percent of the limit, ascending, 10 at most; 50, 80 and 100 when they are left out.
    pub thresholds: Option<Vec<f64>>,
    /// `job`, `hour`, `day`, `week`, `month`, `total` or `rolling:24h` (1 to 744 hours).
    #[schema(example = "day")]
    pub window: String,
    /// Where its days begin; UTC when it is left out.
    #[schema(example = "Europe/Berlin")]
    pub zone: Option<String>,
}

/// Who is told: all of them.
#[derive(ToSchema)]
pub struct AlertBody {
    /// A URL that gets a signed callback.
    pub callback: Option<String>,
    /// 10 addresses at most.
    pub email: Option<Vec<String>>,
    pub slack: Option<SlackBody>,
    /// A workflow that gets the alert as its payload.
    pub workflow: Option<String>,
}

#[derive(ToSchema)]
pub struct SlackBody {
    #[schema(example = "#ops")]
    pub channel: String,
    /// The name of a stored connection.
    #[schema(example = "team-slack")]
    pub connection: String,
}

/// What a call cost in the end.
#[derive(ToSchema)]
pub struct CorrectionBody {
    /// All of it, in dollars as a decimal text.
    #[schema(example = "0.0123")]
    pub cost: String,
    /// 1 to 500 characters; it stands in the ledger for ever.
    #[schema(min_length = 1, max_length = 500, example = "as on the provider's invoice")]
    pub reason: String,
}

/// A price list to be stored as a draft.
#[derive(ToSchema)]
pub struct ImportBody {
    /// `list` (default): public prices. `own`: own models and private prices, in front of the list.
    pub kind: Option<String>,
    /// Objects with the columns of a price list as members; numbers as texts or numbers.
    #[schema(value_type = Vec<Object>)]
    pub prices: Vec<Value>,
    /// Where they come from.
    #[schema(max_length = 200)]
    pub source: Option<String>,
}

/// Warnings that are right after all.
#[derive(ToSchema)]
pub struct ActivationBody {
    /// Models as `provider/model`, or `*` for all.
    pub accept: Option<Vec<String>>,
}
