//! How stored things are shown. Members stand in alphabetical order, times are seconds since 1970 with a fraction.

use levqor_core::job::{JobError, StepRow, Tags};
use levqor_core::json;
use levqor_engine::JobView;
use levqor_store::{CallbackRow, CallbackTry, JobLine};
use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::job_costs::JobCostsView;

/// A stored time as the API shows it.
pub fn seconds(at_ms: i64) -> f64 {
    at_ms as f64 / 1000.0
}

/// Stored JSON as it goes out: numbers verbatim, members sorted.
pub fn raw(stored: &str) -> Box<RawValue> {
    let null = || RawValue::from_string("null".to_owned()).expect("null is JSON");
    RawValue::from_string(json::sorted(stored)).unwrap_or_else(|_| null())
}

/// Why a job or an attempt failed.
#[derive(Serialize, ToSchema)]
pub struct ErrorView {
    /// A stable word, listed in docs/api.md.
    #[schema(example = "http_status")]
    pub code: String,
    /// JSON pointer → what is wrong there.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<std::collections::BTreeMap<String, String>>, nullable = false)]
    pub fields: Option<Map<String, Value>>,
    pub message: String,
    /// The step that failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub step: Option<String>,
}

impl From<&JobError> for ErrorView {
    fn from(error: &JobError) -> Self {
        let fields = error.fields.as_ref();
        ErrorView {
            code: error.code.clone(),
            fields: fields
                .map(|fields| fields.iter().map(|(at, what)| (at.clone(), what.clone().into())).collect()),
            message: error.message.clone(),
            step: error.step.clone(),
        }
    }
}

/// One line of a list of jobs.
#[derive(Serialize, ToSchema)]
pub struct JobLineView {
    created_at: f64,
    /// When a scheduled or waiting job goes on.
    due_at: Option<f64>,
    finished_at: Option<f64>,
    #[schema(example = "018bcfe5687b7fffbfffffffffffffff")]
    job_id: String,
    #[schema(example = "normal")]
    priority: &'static str,
    started_at: Option<f64>,
    /// What it does in full: `queued`, `scheduled`, `running`, `waiting`, `succeeded`, `failed`, `cancelled` or `expired`.
    #[schema(example = "waiting")]
    state: &'static str,
    /// `queued`, `running`, `succeeded` or `failed`.
    #[schema(example = "running")]
    status: &'static str,
    #[schema(value_type = std::collections::BTreeMap<String, String>)]
    tags: Tags,
    /// The version it runs on; null while the workflow has no definition.
    version: Option<i64>,
    workflow: String,
}

impl From<&JobLine> for JobLineView {
    fn from(line: &JobLine) -> Self {
        JobLineView {
            created_at: seconds(line.created_at_ms),
            due_at: line.due_at_ms.map(seconds),
            finished_at: line.finished_at_ms.map(seconds),
            job_id: line.id.to_string(),
            priority: line.priority.as_str(),
            started_at: line.started_at_ms.map(seconds),
            state: line.state.public(),
            status: line.state.status().as_str(),
            tags: line.tags.clone(),
            version: line.version,
            workflow: line.workflow.clone(),
        }
    }
}

/// All there is about a job.
#[derive(Serialize, ToSchema)]
pub struct JobDetail {
    callback_url: Option<String>,
    callbacks: Vec<CallbackView>,
    /// What its AI calls cost so far; null where it made none. Its calls: `GET /api/v1/jobs/<id>/costs`.
    costs: Option<JobCostsView>,
    created_at: f64,
    /// Process deaths while it was running.
    deaths: i64,
    due_at: Option<f64>,
    error: Option<ErrorView>,
    finished_at: Option<f64>,
    job_id: String,
    #[schema(value_type = Object)]
    payload: Box<RawValue>,
    priority: &'static str,
    #[schema(value_type = Option<Value>)]
    result: Option<Box<RawValue>>,
    started_at: Option<f64>,
    state: &'static str,
    status: &'static str,
    /// The steps of its definition, in their order, with every attempt.
    steps: Vec<StepDetail>,
    #[schema(value_type = std::collections::BTreeMap<String, String>)]
    tags: Tags,
    version: Option<i64>,
    /// Why it does not run at the moment; null while it runs or has ended.
    waits_for: Option<String>,
    workflow: String,
}

#[derive(Serialize, ToSchema)]
pub struct StepDetail {
    attempts: Vec<AttemptView>,
    id: String,
    /// `connect`, `http`, `email`, `ai`, `transform`, `wait`; null when the definition cannot be read any more.
    kind: Option<&'static str>,
    /// `pending`, `running`, `waiting`, `succeeded`, `failed` or `skipped`.
    status: &'static str,
    /// Of an `ai` step: each answer, each failure and each tool, in order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    turns: Vec<TurnView>,
}

/// One turn of a conversation with a model.
#[derive(Serialize, ToSchema)]
pub struct TurnView {
    finished_at: Option<f64>,
    started_at: f64,
    /// `started`, `succeeded`, `failed` or `retried`.
    status: &'static str,
    /// `kind` says what it was: `said`, `failed` or `tool`.
    #[schema(value_type = Option<Value>)]
    turn: Option<Box<RawValue>>,
}

#[derive(Serialize, ToSchema)]
pub struct AttemptView {
    /// Counts from 1.
    attempt: i64,
    error: Option<ErrorView>,
    finished_at: Option<f64>,
    #[schema(value_type = Option<Value>)]
    output: Option<Box<RawValue>>,
    started_at: f64,
    /// `started`, `waiting`, `succeeded`, `skipped`, `failed` or `retried`.
    status: &'static str,
    /// When it goes on or is tried again.
    until: Option<f64>,
}

/// A callback with every try.
#[derive(Serialize, ToSchema)]
pub struct CallbackView {
    created_at: f64,
    due_at: Option<f64>,
    /// The `webhook-id` that the receiver sees.
    id: String,
    /// `due`, `delivered`, `gone` or `exhausted`.
    state: &'static str,
    tries: Vec<TryView>,
    url: String,
}

#[derive(Serialize, ToSchema)]
pub struct TryView {
    at: f64,
    /// Counts from 1, redeliveries included.
    attempt: i64,
    duration_ms: i64,
    /// Why it failed; null on success.
    error: Option<String>,
    /// The receiver's HTTP status, if it answered.
    status: Option<i64>,
}

impl From<&JobView> for JobDetail {
    fn from(view: &JobView) -> Self {
        let row = &view.row;
        let line = JobLineView::from(&row.line);
        JobDetail {
            callback_url: row.callback_url.clone(),
            callbacks: row.callbacks.iter().map(CallbackView::from).collect(),
            costs: (view.costs.tree.calls > 0).then(|| JobCostsView::from(&view.costs)),
            created_at: line.created_at,
            deaths: row.deaths,
            due_at: line.due_at,
            error: row.error.as_ref().map(ErrorView::from),
            finished_at: line.finished_at,
            job_id: line.job_id,
            payload: raw(&row.payload),
            priority: line.priority,
            result: row.result.as_deref().map(raw),
            started_at: line.started_at,
            state: line.state,
            status: line.status,
            steps: steps(view),
            tags: line.tags,
            version: line.version,
            waits_for: view.waits_for.clone(),
            workflow: line.workflow,
        }
    }
}

/// The steps of the definition, then recorded ones that it does not name (it cannot be read any more).
fn steps(view: &JobView) -> Vec<StepDetail> {
    let rows = &view.row.steps;
    let attempts = |id: &str| rows.iter().filter(|row| row.step == id).map(AttemptView::from).collect();
    let mut steps: Vec<_> = view
        .steps
        .iter()
        .map(|step| StepDetail {
            attempts: attempts(&step.id),
            id: step.id.clone(),
            kind: Some(step.kind),
            status: step.status,
            turns: turns(rows, &step.id),
        })
        .collect();
    for row in rows.iter().filter(|row| !row.step.contains('/')) {
        if !steps.iter().any(|step| step.id == row.step) {
            let status = rows
                .iter()
                .rfind(|later| later.step == row.step)
                .map_or("pending", |last| last.status.as_str());
            steps.push(StepDetail {
                attempts: attempts(&row.step),
                id: row.step.clone(),
                kind: None,
                status,
                turns: turns(rows, &row.step),
            });
        }
    }
    steps
}

/// The rows `<step>/<number>`, by their number.
fn turns(rows: &[StepRow], step: &str) -> Vec<TurnView> {
    let number = |row: &StepRow| row.step.strip_prefix(step)?.strip_prefix('/')?.parse::<u32>().ok();
    let mut found: Vec<(u32, &StepRow)> = rows.iter().filter_map(|row| Some((number(row)?, row))).collect();
    found.sort_by_key(|(number, _)| *number);
    let view = |(_, row): (u32, &StepRow)| TurnView {
        finished_at: row.finished_at_ms.map(seconds),
        started_at: seconds(row.started_at_ms),
        status: row.status.as_str(),
        turn: row.output.as_deref().map(raw),
    };
    found.into_iter().map(view).collect()
}

impl From<&StepRow> for AttemptView {
    fn from(row: &StepRow) -> Self {
        AttemptView {
            attempt: row.attempt,
            error: row.error.as_ref().map(ErrorView::from),
            finished_at: row.finished_at_ms.map(seconds),
            output: row.output.as_deref().map(raw),
            started_at: seconds(row.started_at_ms),
            status: row.status.as_str(),
            until: row.until_ms.map(seconds),
        }
    }
}

impl From<&CallbackRow> for CallbackView {
    fn from(row: &CallbackRow) -> Self {
        CallbackView {
            created_at: seconds(row.created_at_ms),
            due_at: row.due_at_ms.map(seconds),
            id: row.id.clone(),
            state: row.state.as_str(),
            tries: row.tries.iter().map(TryView::from).collect(),
            url: row.url.clone(),
        }
    }
}

impl From<&CallbackTry> for TryView {
    fn from(tried: &CallbackTry) -> Self {
        TryView {
            at: seconds(tried.at_ms),
            attempt: tried.attempt,
            duration_ms: tried.duration_ms,
            error: tried.error.clone(),
            status: tried.status,
        }
    }
}
