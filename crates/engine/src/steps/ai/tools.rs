//! The tools that a model asks for: only those of the step's list, each on record before it runs and when it is over.
//!
//! A tool of which nobody knows whether it ran is not run again; the model is told so. A workflow is a job of its own under
//! the budgets of the same tree; while it runs, the step rests without a slot.

use levqor_connectors::catalogue::Vendor;
use levqor_core::answer::{Verdict, judge};
use levqor_core::id::JobId;
use levqor_core::intake::IntakeRequest;
use levqor_core::job::JobError;
use levqor_core::outcome::Outcome;
use levqor_core::schema::Schema;
use levqor_core::state::State;
use levqor_core::talk::{ToolRun, Wanted};
use levqor_core::workflow::ConnectStep;
use levqor_core::workflow::ai::{Runs, Tool};
use serde_json::{Map, Value, json};

use super::render::denied;
use super::{Conversation, Stop, budget_key};
use crate::ai::{Fare, Owed, Paid};
use crate::definitions::{Current, check_payload};
use crate::steps::{connect, cost};

/// How long one call of a connector may take.
const LIMIT_MS: u64 = 60_000;
/// Paid runs of tools stand behind all calls to models at their question, each with room for calls that died.
const FIRST_ATTEMPT: i64 = 1_000;
const ATTEMPTS_EACH: i64 = 200;
/// How deep workflows may ask models that run workflows.
const MAX_DEPTH: u32 = 4;
/// The end of a job wakes whoever waits for it; on another node this look finds it.
const LOOK_MS: i64 = 2_000;

/// What a tool gave.
struct Given {
    content: String,
    is_error: bool,
}

impl Given {
    fn error(error: &JobError) -> Self {
        let mut told = json!({"error": error.code, "message": error.message});
        if let Some(fields) = &error.fields {
            told["fields"] = json!(fields);
        }
        Given { content: told.to_string(), is_error: true }
    }

    fn wrong(code: &str, message: impl Into<String>) -> Self {
        Given { content: json!({"error": code, "message": message.into()}).to_string(), is_error: true }
    }
}

impl Conversation<'_> {
    pub(super) async fn run_tool(
        &mut self,
        question: i64,
        index: usize,
        wanted: &Wanted,
    ) -> Result<(), Stop> {
        let step = self.step.clone();
        let place = step.tools.iter().position(|tool| tool.name == wanted.name);
        let begun = self.turns.begun(self.place.round, question, index).map(|(at, run)| (at, run.clone()));
        let arguments = match &begun {
            Some((_, run)) => run.arguments.clone(),
            None => self.arguments(question, wanted, place),
        };
        let run = ToolRun {
            round: self.place.round,
            question,
            place: index,
            name: wanted.name.clone(),
            arguments: arguments.clone(),
            job: match (&begun, place.map(|place| &step.tools[place].runs)) {
                (Some((_, run)), _) => run.job.clone(),
                (None, Some(Runs::Workflow(_))) => Some(self.new_id().to_string()),
                (None, _) => None,
            },
            content: None,
            is_error: false,
            cost_nano: None,
        };
        let is_new = begun.is_none();
        // Before its start is on record: a run that rests for money has not begun.
        let mut paid = match place.map(|place| &step.tools[place]) {
            Some(tool) if is_new => self.hold_tool(tool, question, index).await?,
            _ => None,
        };
        let at = match begun {
            Some((at, _)) => at,
            None => self.turns.begin_tool(self.shared, &self.place, run.clone()).await?,
        };
        let given = match place.map(|place| &step.tools[place]) {
            None => {
                let names: Vec<&str> = step.tools.iter().map(|tool| tool.name.as_str()).collect();
                Given::wrong("unknown_tool", format!("there is no such tool; there are {}", names.join(", ")))
            }
            Some(Tool { runs: Runs::Workflow(workflow), .. }) => {
                let child =
                    run.job.as_deref().and_then(|id| id.parse().ok()).unwrap_or_else(|| self.new_id());
                self.run_workflow(workflow, &arguments, child).await?
            }
            Some(Tool { runs: Runs::Connect(_), .. }) if !is_new => Given::wrong(
                "outcome_unknown",
                "the process died while this tool ran: it may or may not have happened, and was not repeated",
            ),
            Some(Tool { runs: Runs::Connect(connect), .. }) => {
                let key = format!("{}-{}-{question}-{index}", self.place.job, self.place.step);
                self.run_connector(connect, &arguments, key, paid.as_mut()).await?
            }
        };
        let owed = paid.and_then(Paid::end);
        let cost_nano = owed.as_ref().map(Owed::cost);
        let given = self.bounded(given)?;
        let run = ToolRun { content: Some(given.content), is_error: given.is_error, cost_nano, ..run };
        self.turns.end_tool(self.shared, &self.place, at, run, owed).await
    }

    /// What one run of the tool costs, held in every budget that binds it.
    async fn hold_tool(&self, tool: &Tool, question: i64, index: usize) -> Result<Option<Paid>, Stop> {
        let (Some(amount), Runs::Connect(connect)) = (tool.cost, &tool.runs) else { return Ok(None) };
        let attempt = FIRST_ATTEMPT + ATTEMPTS_EACH * index as i64;
        let fare = Fare {
            key: budget_key(&self.place.caller).to_owned(),
            tags: self.place.tags.clone(),
            place: self.place.call(question, attempt),
            provider: connect.connector.clone(),
            model: connect.action.clone(),
            amount,
            limit_ms: LIMIT_MS as i64,
        };
        cost::hold(self.shared, fare).await.map(Some).map_err(Stop::Outcome)
    }

    /// The arguments with what was taken out put back, and what is fixed put over them.
    fn arguments(&self, question: i64, wanted: &Wanted, place: Option<usize>) -> String {
        let anything = Schema::compile("true").ok();
        let vault = self.vault(question);
        let read =
            anything.map(|anything| judge(&wanted.arguments, true, &anything, |raw| vault.restore_json(raw)));
        let mut given: Map<String, Value> = match read {
            Some(Verdict::Fits { json, .. }) => serde_json::from_str(&json).unwrap_or_default(),
            _ => Map::new(),
        };
        if let Some(fixed) = place.and_then(|place| self.rendered.fixed.get(place)) {
            given.extend(fixed.clone());
        }
        Value::Object(given).to_string()
    }

    /// A result that may be sent to a model.
    fn bounded(&self, given: Given) -> Result<Given, Stop> {
        let (bytes, most) = (given.content.len(), self.step.max_input_bytes);
        if bytes > most {
            let message = format!("the result has {bytes} bytes; `max_input_bytes` allows {most}");
            return Ok(Given::wrong("result_too_large", message));
        }
        denied(&self.step, &given.content)?;
        Ok(given)
    }

    async fn run_connector(
        &self,
        step: &ConnectStep,
        arguments: &str,
        key: String,
        paid: Option<&mut Paid>,
    ) -> Result<Given, Stop> {
        let vendor = Vendor::named(&step.connector).ok_or_else(|| {
            JobError::new("unknown_connector", format!("there is no connector `{}`", step.connector))
        })?;
        let params = serde_json::from_str(arguments).unwrap_or_default();
        let call = match connect::Call::new(vendor, &step.action, params, &step.connection, key, LIMIT_MS) {
            Ok(call) => call,
            Err(error) => return Ok(Given::error(&error)),
        };
        Ok(match connect::perform(self.shared, call, paid).await {
            Outcome::Done { output } => Given { content: output, is_error: false },
            // No model can mend these.
            Outcome::Fail { error }
                if error.code.contains("connection") || error.code == "internal_error" =>
            {
                return Err(error.into());
            }
            Outcome::Fail { error } | Outcome::Retry { error, .. } | Outcome::Pause { error, .. } => {
                Given::error(&error)
            }
            Outcome::Wait { .. } => Given::wrong("internal_error", "the tool gave nothing"),
        })
    }

    /// The result of a job of the workflow: made once, whoever asks, and waited for without a slot.
    async fn run_workflow(&self, workflow: &str, arguments: &str, child: JobId) -> Result<Given, Stop> {
        let shared = self.shared;
        // Before the look: an end in between wakes us.
        shared.short.await_child(child, self.place.job);
        let mut row = match shared.store.find_status(child).await {
            Ok(row) => row,
            Err(error) => return Err(self.unavailable(&error)),
        };
        if row.is_none() {
            if let Some(refused) = self.submit(workflow, arguments, child).await? {
                shared.short.forget_child(child);
                return Ok(refused);
            }
            row = shared.store.find_status(child).await.ok().flatten();
        }
        let Some(row) = row.filter(|row| row.state.is_final()) else {
            let message =
                format!("it waits for job {child} of workflow {workflow}, which its model asked for");
            return Err(self.look_again(JobError::new("ai_tool_waits", message)));
        };
        shared.short.forget_child(child);
        Ok(match (row.state, row.error) {
            (State::Succeeded, _) => {
                Given { content: row.result.unwrap_or_else(|| "null".to_owned()), is_error: false }
            }
            (_, Some(error)) => Given::error(&error),
            (state, None) => Given::wrong("failed", format!("the job has {}", state.as_str())),
        })
    }

    /// Submits the job under the id that is on record for it. `Some`: why there is none.
    async fn submit(&self, workflow: &str, arguments: &str, child: JobId) -> Result<Option<Given>, Stop> {
        let (shared, place) = (self.shared, &self.place);
        if place.depth >= MAX_DEPTH {
            let message = format!("workflows run each other {MAX_DEPTH} levels deep at most");
            return Ok(Some(Given::wrong("too_deep", message)));
        }
        let version = match shared.definitions.current(workflow) {
            Some(Current::Version(version, definition)) => {
                if let Err(problems) = check_payload(&definition, arguments) {
                    let mut error =
                        JobError::new("invalid_payload", "the payload does not fit the workflow's schema");
                    error.fields = Some(problems.into_iter().collect());
                    return Ok(Some(Given::error(&error)));
                }
                version
            }
            _ => {
                let message = format!("there is no workflow `{workflow}`");
                return Ok(Some(Given::wrong("unknown_workflow", message)));
            }
        };
        let now_ms = shared.clock.now_ms();
        let request = IntakeRequest {
            workflow: workflow.to_owned(),
            payload: arguments.to_owned(),
            callback_url: None,
            priority: place.priority,
            run_at_ms: None,
            tags: place.tags.clone(),
            dry_run: false,
            idempotency_key: None,
        };
        let caller = super::child_caller(place);
        let job = request.into_new_job(child, Some(version), caller, now_ms, None);
        match shared.store.intake(job).await {
            Ok(_) => Ok(None),
            Err(error) => Err(self.unavailable(&error)),
        }
    }

    fn new_id(&self) -> JobId {
        JobId::new(self.shared.clock.now_ms(), rand::random::<[u8; 10]>())
    }

    fn unavailable(&self, error: &levqor_store::Error) -> Stop {
        tracing::warn!(error = %crate::chain::chain(error), job.id = %self.place.job, "a workflow as a tool cannot be asked for; trying again");
        self.look_again(JobError::new("ai_tool_waits", "the database did not take the workflow's job yet"))
    }

    fn look_again(&self, error: JobError) -> Stop {
        Stop::Outcome(Outcome::Pause { until_ms: self.shared.clock.now_ms() + LOOK_MS, error })
    }
}
