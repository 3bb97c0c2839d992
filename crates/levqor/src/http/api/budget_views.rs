//! How budgets are shown. Amounts stand twice: exactly, as decimal texts in dollars, and in whole micro-dollars, rounded up,
//! for readers whose numbers are floats.

use levqor_core::budget::{Budget, Mode, STOP_ID, Scope, ScopeKind, Window, forecast, setting_of};
use levqor_core::money::{Nano, show_percent};
use levqor_store::{BudgetView, OpenHold, PeriodRow};
use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::views::{raw, seconds};

#[derive(Serialize, ToSchema)]
pub struct BudgetList {
    budgets: Vec<BudgetShown>,
    /// The budget that leaves least; null where none binds every call.
    #[schema(example = "max-cost-per-job")]
    room_budget: Option<String>,
    /// What a call of a new job may cost at most just now, by the strictest of the budgets that bind every call.
    #[schema(example = "0.35")]
    room: Option<String>,
    room_micro_usd: Option<i64>,
    /// AI calls are stopped.
    stopped: bool,
}

/// A budget and what it counts. Of a budget for each (`*`) the figures are those of `subject`, the fullest (of jobs, of the
/// newest).
#[derive(Serialize, ToSchema)]
pub struct BudgetShown {
    /// Who is told of thresholds; null: whoever the settings name.
    #[schema(value_type = Option<Object>)]
    alert: Option<Box<RawValue>>,
    /// The part of `spent` that nobody knows for sure.
    assumed: String,
    assumed_micro_usd: i64,
    /// Calls that were held in this period.
    calls: i64,
    created_at: f64,
    enabled: bool,
    forecast: ForecastView,
    /// What open calls may cost at most.
    held: String,
    held_micro_usd: i64,
    #[schema(example = "team-blue")]
    id: String,
    /// What is not spent and not held.
    left: String,
    left_micro_usd: i64,
    #[schema(example = "5.00")]
    limit: String,
    limit_micro_usd: i64,
    max_open_holds: Option<i64>,
    /// `hard`, `soft` or `observe`.
    mode: &'static str,
    open_holds: i64,
    /// `api`, `setting` or `switch`.
    origin: String,
    /// What providers charged beyond their own contract.
    overrun: String,
    overrun_micro_usd: i64,
    /// The name of the period that is counted; null where nothing was.
    #[schema(example = "D:2026-11-22")]
    period: Option<String>,
    /// When the period ends; of a rolling window, when something next falls out of it. Null: never.
    resets_at: Option<f64>,
    scope: &'static str,
    scope_id: String,
    /// The setting that it stands on.
    #[schema(example = "MAX_COST_PER_DAY")]
    setting: Option<&'static str>,
    spent: String,
    spent_micro_usd: i64,
    /// Whom the figures are of; empty where there is only one.
    subject: String,
    /// Percent of the limit.
    #[schema(value_type = Vec<f64>)]
    thresholds: Vec<Box<RawValue>>,
    updated_at: f64,
    /// Counts its changes.
    version: i64,
    window: String,
    zone: String,
}

/// What will have been spent when the period ends.
#[derive(Serialize, ToSchema)]
pub struct ForecastView {
    /// Null in the first minute, and where there is no end.
    at_end: Option<String>,
    at_end_micro_usd: Option<i64>,
    /// `linear`: the pace since the period (or the budget) began is kept until its end. `none`: the window has no end.
    method: &'static str,
    /// When the limit is reached at this pace; null: not before the end.
    reaches_limit_at: Option<f64>,
}

#[derive(Serialize, ToSchema)]
pub struct BudgetDetail {
    #[serde(flatten)]
    budget: BudgetShown,
    /// Open holds, oldest first, 200 at most.
    holds: Vec<OpenHoldView>,
    /// There are more subjects than are shown: ask for one with `subject`.
    more_subjects: bool,
    /// Of a budget for each, whoever was counted in this period, the fullest first (of jobs the newest), 200 at most.
    subjects: Vec<SubjectView>,
}

#[derive(Serialize, ToSchema)]
pub struct BudgetStored {
    budget: BudgetShown,
    /// False: it is as it was.
    changed: bool,
}

#[derive(Serialize, ToSchema)]
pub struct SubjectView {
    assumed: String,
    assumed_micro_usd: i64,
    calls: i64,
    held: String,
    held_micro_usd: i64,
    open_holds: i64,
    period: String,
    spent: String,
    spent_micro_usd: i64,
    subject: String,
}

/// Money that an open call holds.
#[derive(Serialize, ToSchema)]
pub struct OpenHoldView {
    age_secs: i64,
    amount: String,
    amount_micro_usd: i64,
    call_id: String,
    job_id: Option<String>,
    key: Option<String>,
    /// When it counts as lost, and is charged in full.
    lease_until: Option<f64>,
    #[schema(example = "openai/gpt-6-sol")]
    model: String,
    /// The process that makes the call.
    node: String,
    reserved_at: f64,
    /// `reserved` or `sent`.
    state: &'static str,
    step: Option<String>,
    subject: String,
    user: Option<String>,
    workflow: Option<String>,
}

impl BudgetList {
    pub fn new(views: Vec<BudgetView>, now_ms: i64) -> Self {
        let rooms = views.iter().filter_map(|view| Some((room(view)?, view.row.budget.id.to_string())));
        let tightest = rooms.min_by_key(|(room, _)| *room);
        let stopped = views.iter().any(|view| view.row.budget.id.as_str() == STOP_ID);
        BudgetList {
            budgets: views.iter().map(|view| BudgetShown::new(view, now_ms)).collect(),
            room: tightest.as_ref().map(|(room, _)| room.to_string()),
            room_micro_usd: tightest.as_ref().map(|(room, _)| room.micro_ceil()),
            room_budget: tightest.map(|(_, id)| id),
            stopped,
        }
    }
}

/// What a budget that binds every call leaves to one of a new job.
fn room(view: &BudgetView) -> Option<Nano> {
    let budget = &view.row.budget;
    let binds_all = budget.scope == Scope::global() || budget.scope == Scope::each(ScopeKind::Job);
    if !binds_all || !budget.enabled || budget.mode != Mode::Hard {
        return None;
    }
    let is_fresh = budget.window == Window::Job || budget.scope.kind == ScopeKind::Job;
    let used = view.periods.first().filter(|_| !is_fresh);
    Some(left(budget, used))
}

fn left(budget: &Budget, used: Option<&PeriodRow>) -> Nano {
    let used = used.map_or(0, |it| it.spent.get().saturating_add(it.held.get()));
    Nano::new(budget.limit.get().saturating_sub(used).max(0))
}

impl BudgetShown {
    fn new(view: &BudgetView, now_ms: i64) -> Self {
        let (row, budget) = (&view.row, &view.row.budget);
        let shown = view.periods.first();
        let amount = |get: fn(&PeriodRow) -> Nano| shown.map_or(Nano::ZERO, get);
        let (spent, held) = (amount(|it| it.spent), amount(|it| it.held));
        let (assumed, overrun) = (amount(|it| it.assumed), amount(|it| it.overrun));
        let left = left(budget, shown);
        BudgetShown {
            alert: row.recipients.as_deref().map(raw),
            assumed: assumed.to_string(),
            assumed_micro_usd: assumed.micro_ceil(),
            calls: shown.map_or(0, |it| it.calls),
            created_at: seconds(row.created_at_ms),
            enabled: budget.enabled,
            forecast: ForecastView::new(view, spent, now_ms),
            held: held.to_string(),
            held_micro_usd: held.micro_ceil(),
            id: budget.id.to_string(),
            left: left.to_string(),
            left_micro_usd: left.micro_ceil(),
            limit: budget.limit.to_string(),
            limit_micro_usd: budget.limit.micro_ceil(),
            max_open_holds: budget.max_open_holds,
            mode: budget.mode.as_str(),
            open_holds: shown.map_or(0, |it| it.open_holds),
            origin: row.origin.clone(),
            overrun: overrun.to_string(),
            overrun_micro_usd: overrun.micro_ceil(),
            period: shown.map(|it| it.key.clone()),
            resets_at: view.period.as_ref().and_then(|period| period.end_ms).map(seconds),
            scope: budget.scope.kind.as_str(),
            scope_id: budget.scope.id.clone(),
            setting: setting_of(budget.id.as_str()),
            spent: spent.to_string(),
            spent_micro_usd: spent.micro_ceil(),
            subject: shown.map(|it| it.subject.clone()).unwrap_or_default(),
            thresholds: budget.thresholds_ppm.iter().map(|ppm| raw(&show_percent(*ppm))).collect(),
            updated_at: seconds(row.updated_at_ms),
            version: row.version,
            window: budget.window.to_string(),
            zone: budget.zone.name().to_owned(),
        }
    }
}

impl ForecastView {
    fn new(view: &BudgetView, spent: Nano, now_ms: i64) -> Self {
        let budget = &view.row.budget;
        let bounds = view.period.as_ref().filter(|period| period.since.is_none());
        let Some((start_ms, end_ms)) = bounds.and_then(|it| Some((it.start_ms?, it.end_ms?))) else {
            return ForecastView {
                at_end: None,
                at_end_micro_usd: None,
                method: "none",
                reaches_limit_at: None,
            };
        };
        // What was spent before there was a budget was not counted.
        let since_ms = start_ms.max(view.row.created_at_ms);
        let found = forecast(spent, budget.limit, since_ms, now_ms, end_ms);
        ForecastView {
            at_end: found.map(|it| it.at_end.to_string()),
            at_end_micro_usd: found.map(|it| it.at_end.micro_ceil()),
            method: "linear",
            reaches_limit_at: found.and_then(|it| it.reaches_limit_at_ms).map(seconds),
        }
    }
}

impl BudgetDetail {
    pub fn new(view: BudgetView, now_ms: i64) -> Self {
        let is_each = view.row.budget.scope.is_each() || view.row.budget.window == Window::Job;
        BudgetDetail {
            budget: BudgetShown::new(&view, now_ms),
            holds: view.holds.iter().map(|hold| OpenHoldView::new(hold, now_ms)).collect(),
            more_subjects: view.has_more,
            subjects: view.periods.iter().filter(|_| is_each).map(SubjectView::new).collect(),
        }
    }
}

impl BudgetStored {
    pub fn new(view: BudgetView, changed: bool, now_ms: i64) -> Self {
        BudgetStored { budget: BudgetShown::new(&view, now_ms), changed }
    }
}

impl SubjectView {
    fn new(row: &PeriodRow) -> Self {
        SubjectView {
            assumed: row.assumed.to_string(),
            assumed_micro_usd: row.assumed.micro_ceil(),
            calls: row.calls,
            held: row.held.to_string(),
            held_micro_usd: row.held.micro_ceil(),
            open_holds: row.open_holds,
            period: row.key.clone(),
            spent: row.spent.to_string(),
            spent_micro_usd: row.spent.micro_ceil(),
            subject: row.subject.clone(),
        }
    }
}

impl OpenHoldView {
    fn new(hold: &OpenHold, now_ms: i64) -> Self {
        OpenHoldView {
            age_secs: (now_ms - hold.reserved_at_ms).max(0) / 1000,
            amount: hold.amount.to_string(),
            amount_micro_usd: hold.amount.micro_ceil(),
            call_id: hold.call.to_string(),
            job_id: hold.job.map(|job| job.to_string()),
            key: hold.key.clone(),
            lease_until: hold.lease_until_ms.map(seconds),
            model: format!("{}/{}", hold.provider, hold.model),
            node: hold.node.clone(),
            reserved_at: seconds(hold.reserved_at_ms),
            state: hold.state.as_str(),
            step: hold.step.clone(),
            subject: hold.subject.clone(),
            user: hold.user.clone(),
            workflow: hold.workflow.clone(),
        }
    }
}
