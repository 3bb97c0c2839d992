//! What the verbs of money take and hand out.

use levqor_core::audit::Actor;
use levqor_core::budget::{Budget, BudgetId, Facts, Period, Scope, Window};
use levqor_core::id::JobId;
use levqor_core::job::Tags;
use levqor_core::money::{Bound, CallId, CallState, Charge, Nano, Permit, Price, Terms, Usage};

/// Where in a job a call is made. One place makes one call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallPlace {
    pub job: JobId,
    /// The job at the root of the tree: its budgets count for all of it.
    pub root_job: JobId,
    pub workflow: String,
    pub step: String,
    /// Counts the questions of a step, from 1.
    pub logical_call: i64,
    /// Counts the tries of one question, repairs and fallbacks included, from 1.
    pub attempt: i64,
}

impl CallPlace {
    /// What is unique about it. Ids have a fixed length, so nothing in a step's name makes two places one.
    pub(super) fn text(&self) -> String {
        format!("{}/{}/{}/{}", self.job, self.logical_call, self.attempt, self.step)
    }
}

/// Where a call is made that somebody may ask for again: the hash of the caller and its key, and which try it is. One place
/// makes one call here too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AskPlace {
    key: String,
    attempt: u64,
}

impl AskPlace {
    pub(super) fn first(key: &str) -> Self {
        AskPlace { key: key.to_owned(), attempt: 1 }
    }

    /// The one behind a place of this key.
    pub(super) fn after(key: &str, place: &str) -> Self {
        let attempt: u64 = place.rsplit('/').next().and_then(|text| text.parse().ok()).unwrap_or(0);
        AskPlace { key: key.to_owned(), attempt: attempt.saturating_add(1) }
    }

    /// From where to where all places of a key lie: `0` comes after `/`.
    pub(super) fn range(key: &str) -> (String, String) {
        (format!("ask/{key}/"), format!("ask/{key}0"))
    }

    /// Sorted as the attempts are. No place in a job begins so, for ids of jobs are hexadecimal.
    fn text(&self) -> String {
        format!("ask/{}/{:09}", self.key, self.attempt)
    }
}

/// One physical request that wants to be made.
#[derive(Clone, Debug, PartialEq)]
pub struct NewCall {
    pub id: CallId,
    /// `None`: outside of any job.
    pub place: Option<CallPlace>,
    /// Outside of any job: somebody may ask for it again.
    pub ask: Option<AskPlace>,
    pub key: Option<String>,
    pub user: Option<String>,
    pub tags: Tags,
    pub provider: String,
    pub model: String,
    /// [`levqor_core::money::Price::id`] of the price that the bound was made with.
    pub price_id: String,
    pub terms: Terms,
    pub bound: Bound,
    pub at_ms: i64,
    /// Longer than the request can take, all its time limits together: after that it counts as lost.
    pub lease_ms: i64,
}

impl NewCall {
    pub fn facts(&self) -> Facts<'_> {
        let place = self.place.as_ref();
        Facts {
            call: self.id,
            root_job: place.map(|place| place.root_job),
            workflow: place.map(|place| place.workflow.as_str()),
            step: place.map(|place| place.step.as_str()),
            key: self.key.as_deref(),
            user: self.user.as_deref(),
            tags: &self.tags,
            provider: &self.provider,
            model: &self.model,
        }
    }

    pub(super) fn place_text(&self) -> String {
        match (&self.place, &self.ask) {
            (Some(place), _) => place.text(),
            (None, Some(ask)) => ask.text(),
            (None, None) => self.id.to_string(),
        }
    }
}

/// What came of asking for a hold.
#[derive(Debug)]
pub enum Reserved {
    /// Committed. The permit gives it back if it is dropped unused.
    Granted(Permit),
    /// Nothing was held.
    Refused(Box<Refusal>),
    /// This place has a call already, by an earlier run. Nothing was held.
    Known { call: CallId, state: CallState },
}

/// Why a budget says no.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The call does not fit into what is not spent: only another period, another limit or a cheaper call helps.
    SpentOut,
    /// It would fit but for what other calls hold: it may fit when they are over.
    HeldOut,
    /// As many calls are open as may be.
    TooManyOpen,
    /// More of the period than may be is spent on calls whose cost nobody knows for sure.
    TooMuchAssumed,
}

/// The budget that limits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub reason: Reason,
    pub budget: BudgetId,
    pub scope: Scope,
    /// Whom a budget for each counts here.
    pub subject: String,
    pub window: Window,
    pub limit: Nano,
    pub spent: Nano,
    pub held: Nano,
    pub wanted: Nano,
    /// When the period ends; of a rolling window, when something next falls out of it.
    pub resets_at_ms: Option<i64>,
}

/// How much a call may cost just now, for fit mode. Looked at without a lock: the hold itself may meet less.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Room {
    /// `None`: no hard budget binds the call.
    pub room: Option<Nano>,
    /// The hard budget with least room.
    pub tightest: Option<BudgetId>,
}

/// How a call ended, to be charged once.
#[derive(Clone, Debug, PartialEq)]
pub struct Settlement {
    pub call: CallId,
    pub charge: Charge,
    /// The usage as the provider sent it, JSON.
    pub usage_raw: Option<String>,
    pub provider_request_id: Option<String>,
    pub http_status: Option<i64>,
    pub finish_reason: Option<String>,
    /// A word for how it failed.
    pub failure: Option<String>,
    pub sent_at_ms: Option<i64>,
    pub actor: String,
    pub at_ms: i64,
}

impl Settlement {
    pub fn new(call: CallId, charge: Charge, at_ms: i64) -> Self {
        Settlement {
            call,
            charge,
            usage_raw: None,
            provider_request_id: None,
            http_status: None,
            finish_reason: None,
            failure: None,
            sent_at_ms: None,
            actor: "system".to_owned(),
            at_ms,
        }
    }
}

/// How a call stands after a charge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settled {
    pub state: CallState,
    pub charged: Nano,
    /// False: it was over before, and stays as it was.
    pub changed: bool,
    /// Charged beyond the hold.
    pub overrun: Nano,
}

/// A person's word on what a call cost in the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Correction {
    pub call: CallId,
    /// All of it, not the difference.
    pub cost: Nano,
    pub reason: String,
    pub actor: Actor,
    pub at_ms: i64,
}

/// Which calls are listed: all that is given must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CallFilter {
    /// Made by it, or below it.
    pub job: Option<JobId>,
    pub state: Option<CallState>,
    pub provider: Option<String>,
    pub model: Option<String>,
    pub key: Option<String>,
    pub user: Option<String>,
    /// `next` of the page before.
    pub before: Option<CallId>,
    pub limit: usize,
}

/// Newest first, without ledgers.
#[derive(Clone, Debug, PartialEq)]
pub struct CallPage {
    pub calls: Vec<CallRow>,
    pub next: Option<CallId>,
}

/// One call and what it rests on.
#[derive(Clone, Debug, PartialEq)]
pub struct CallDetail {
    pub call: CallRow,
    pub holds: Vec<CallHold>,
    /// The price that it was held and charged with.
    pub price: Option<Price>,
}

/// A counter that carries a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallHold {
    pub budget: String,
    pub period_key: String,
    pub subject: String,
    pub amount: Nano,
    /// `None`: it stands.
    pub closed_at_ms: Option<i64>,
}

/// One call with all that is known about it.
#[derive(Clone, Debug, PartialEq)]
pub struct CallRow {
    pub id: CallId,
    pub job: Option<JobId>,
    pub root_job: Option<JobId>,
    pub workflow: Option<String>,
    pub step: Option<String>,
    pub logical_call: Option<i64>,
    pub attempt: Option<i64>,
    pub key: Option<String>,
    pub user: Option<String>,
    pub tags: Tags,
    pub provider: String,
    pub model: String,
    pub price_id: String,
    pub terms: Terms,
    pub state: CallState,
    pub node: String,
    pub lease_until_ms: Option<i64>,
    pub est_input: i64,
    pub est_output: i64,
    pub reserved: Nano,
    pub settled: Option<Nano>,
    pub usage: Option<Usage>,
    pub usage_raw: Option<String>,
    pub provider_request_id: Option<String>,
    pub http_status: Option<i64>,
    pub finish_reason: Option<String>,
    pub failure: Option<String>,
    pub alarm: Option<String>,
    pub reserved_at_ms: i64,
    pub sent_at_ms: Option<i64>,
    pub settled_at_ms: Option<i64>,
    /// Its movements, in order.
    pub ledger: Vec<LedgerRow>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LedgerRow {
    pub kind: String,
    pub amount: Nano,
    pub actor: String,
    pub reason: Option<String>,
    pub at_ms: i64,
}

/// A budget as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BudgetRow {
    pub budget: Budget,
    /// `setting`: it stands on a setting, and every start writes it again. `switch`: it is there while AI calls are
    /// stopped. Otherwise `api`.
    pub origin: String,
    /// JSON of [`levqor_core::budget::Recipients`]; `None`: whoever the settings name.
    pub recipients: Option<String>,
    /// Counts its changes, from 1.
    pub version: i64,
    pub created_at_ms: i64,
    pub updated_at_ms: i64,
}

/// The counters of a period of a budget for one subject; the buckets of a rolling window together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeriodRow {
    pub key: String,
    pub subject: String,
    /// The limit at its last hold.
    pub limit: Nano,
    pub spent: Nano,
    pub held: Nano,
    /// The part of what was spent that nobody knows for sure.
    pub assumed: Nano,
    pub overrun: Nano,
    pub calls: i64,
    pub open_holds: i64,
    pub ends_at_ms: Option<i64>,
}

/// A hold that stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenHold {
    pub call: CallId,
    pub period_key: String,
    pub subject: String,
    pub amount: Nano,
    pub state: CallState,
    pub job: Option<JobId>,
    pub workflow: Option<String>,
    pub step: Option<String>,
    pub key: Option<String>,
    pub user: Option<String>,
    pub provider: String,
    pub model: String,
    pub node: String,
    pub reserved_at_ms: i64,
    pub lease_until_ms: Option<i64>,
}

/// A budget with its figures of now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BudgetView {
    pub row: BudgetRow,
    /// The one of now; a job's own has no bounds.
    pub period: Option<Period>,
    /// One for each subject of the period of now, the fullest first; of jobs the newest first. A bounded number.
    pub periods: Vec<PeriodRow>,
    /// There are more than are shown.
    pub has_more: bool,
    /// Oldest first; a bounded number.
    pub holds: Vec<OpenHold>,
}

/// A budget that a call counts in, with the figures of the period that it was held in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TouchedBudget {
    pub budget: String,
    pub period_key: String,
    pub subject: String,
    pub limit: Nano,
    pub spent: Nano,
    pub held: Nano,
    pub ends_at_ms: Option<i64>,
}

/// A threshold that was passed and that nobody has told yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alert {
    pub budget: BudgetId,
    pub period_key: String,
    pub subject: String,
    pub threshold_ppm: i64,
    pub spent: Nano,
    pub limit: Nano,
    pub at_ms: i64,
}

/// What a model said, and the call that was paid for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CachedAnswer {
    pub call: String,
    /// JSON of the engine's.
    pub said: String,
}

/// A question that is answered from the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheHit {
    pub id: CallId,
    /// The call that was paid for.
    pub of: CallId,
    pub place: CallPlace,
    pub key: Option<String>,
    pub tags: Tags,
    pub at_ms: i64,
}

/// A price list as it came in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PriceBookRow {
    pub id: String,
    pub kind: BookKind,
    pub source: String,
    pub sha256: String,
    pub status: String,
    pub content: String,
    pub imported_at_ms: i64,
    pub activated_at_ms: Option<i64>,
}

/// Which price list is in force, in the order of kinds; and the newest of all that were imported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PriceBooks {
    pub active: Vec<PriceBookRow>,
    /// Without their content.
    pub newest: Vec<PriceBookRow>,
}

/// What a price list is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BookKind {
    /// Public prices.
    List,
    /// The installation's own models and private prices, in front of the list.
    Own,
}

impl BookKind {
    pub fn as_str(self) -> &'static str {
        match self {
            BookKind::List => "list",
            BookKind::Own => "own",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        [BookKind::List, BookKind::Own].into_iter().find(|kind| kind.as_str() == text)
    }
}
