//! Runs one claimed job: plan, perform, record, again; until it rests, ends, or is not ours any more.
//!
//! Everything that must survive a crash is recorded before anything that depends on it happens: attempts that ended
//! without the outside (`transform`, `if`, `wait`) are gathered and recorded together, at the latest before a call goes
//! out. The last step's record and the job's end are one commit. A record that meets a newer claim ends the run.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use levqor_core::duration::format_duration;
use levqor_core::job::{ClaimedJob, Fenced, JobError, Record, StepRow, StepStatus, Then};
use levqor_core::outcome::Outcome;
use levqor_core::plan::{self, Plan};
use levqor_core::state::State;
use levqor_core::workflow::{Definition, Rerun};
use tokio::task::JoinSet;

use crate::Shared;
use crate::ai::{Over, Owed};
use crate::chain::chain;
use crate::definitions::{Current, check_payload};
use crate::family;
use crate::figures::Counters;
use crate::record::{finish, record};
use crate::running::{Outside, Ran};
use crate::steps::{self, Attempt, Begun, Call, View};

/// A job that was running in this many processes that died is not tried again: it may be what kills them.
const MAX_DEATHS: i64 = 5;

pub(crate) async fn run_job(shared: &Arc<Shared>, job: &ClaimedJob) -> Ran {
    match prepare(shared, job).await {
        Prepared::Run(definition, pin) => Run::new(shared, job, definition, pin).drive().await,
        Prepared::Not(pin, then) => {
            let not_run = Record { id: job.id, claim: job.claim, pin, steps: Vec::new(), then: *then };
            record(shared, job, not_run, Vec::new()).await;
            Ran::Inside
        }
    }
}

enum Prepared {
    Run(Arc<Definition>, Option<i64>),
    /// It does not run now: the version it was pinned to on the way, and what becomes of it.
    Not(Option<i64>, Box<Then>),
}

/// Finds the version that the job runs on. A job that came before its definition gets the one that is current at its
/// first claim, and only now can its payload be checked.
async fn prepare(shared: &Shared, job: &ClaimedJob) -> Prepared {
    let failed = |pin: Option<i64>, error| {
        let now_ms = shared.clock.now_ms();
        let then = finish(job, pin.or(job.version), State::Failed, now_ms, None, Some(error));
        Prepared::Not(pin, Box::new(then))
    };
    if job.deaths >= MAX_DEATHS {
        let message =
            format!("the process died {MAX_DEATHS} times while this job was running; it is not tried again");
        return failed(None, JobError::new("lost", message));
    }
    if family::is_orphan(shared, job).await {
        let error = JobError::new("cancelled", "the job that asked for it is over");
        let then = finish(job, job.version, State::Cancelled, shared.clock.now_ms(), None, Some(error));
        return Prepared::Not(None, Box::new(then));
    }
    let Some(version) = job.version else {
        return match current(shared, &job.workflow).await {
            Some(Current::Version(version, definition)) => match check_payload(&definition, &job.payload) {
                Ok(()) => Prepared::Run(definition, Some(version)),
                Err(problems) => failed(Some(version), invalid_payload(problems)),
            },
            None | Some(Current::Deleted | Current::Unreadable) => Prepared::Not(None, Box::new(Then::Park)),
        };
    };
    match shared.definitions.version(&shared.store, &job.workflow, version).await {
        Ok(Some(definition)) => Prepared::Run(definition, None),
        Ok(None) => {
            let message = format!(
                "version {version} of workflow `{}` cannot be read by this version of Levqor",
                job.workflow
            );
            failed(None, JobError::new("workflow_unreadable", message))
        }
        Err(error) => {
            tracing::warn!(error = %chain(&error), job.id = %job.id, "a workflow could not be read; the job goes back");
            tokio::time::sleep(Duration::from_millis(200)).await;
            Prepared::Not(None, Box::new(Then::HandBack))
        }
    }
}

/// What is current for a job that has no version yet. Another node may have taken the definition in a moment ago, so a name
/// that is not known is looked up before its job is parked.
async fn current(shared: &Shared, workflow: &str) -> Option<Current> {
    let known = shared.definitions.current(workflow);
    if known.is_some() {
        return known;
    }
    if let Err(error) = shared.definitions.refresh(&shared.store).await {
        tracing::warn!(error = %chain(&error), "workflows could not be read again; trying later");
    }
    shared.definitions.current(workflow)
}

fn invalid_payload(problems: Vec<(String, String)>) -> JobError {
    let mut error = JobError::new("invalid_payload", "the payload does not fit the workflow's schema");
    error.fields = Some(problems.into_iter().collect());
    error
}

/// One claimed job in work.
struct Run<'a> {
    shared: &'a Arc<Shared>,
    job: &'a ClaimedJob,
    definition: Arc<Definition>,
    /// The version it runs on; `pin` until that is recorded.
    version: Option<i64>,
    pin: Option<i64>,
    /// All attempts so far, as they will stand in the store.
    rows: Vec<StepRow>,
    /// From here on `rows` is not recorded yet. A row that changes is moved behind this.
    recorded: usize,
    /// Indices of the steps whose calls are out.
    under_way: Vec<usize>,
    calls: JoinSet<Ended>,
    /// Calls that are over: their charges ride in the next record. Dropped, they are charged by tasks.
    owed: Vec<Owed>,
    slot: Option<Outside<'a>>,
    /// `Outside` from when it first wanted a slot, whether it got one or not: a job that is handed back for want of a slot
    /// is no quick one, and counting it as such would claim it again and again.
    ran: Ran,
    deadline_ms: i64,
}

/// A call that has ended: the step's row, and the turns that are on record or come with it.
struct Ended {
    row: StepRow,
    recorded: Vec<StepRow>,
    last: Option<(StepRow, Option<Over>)>,
    owed: Option<Owed>,
}

/// Whether the run goes on.
enum Next {
    Plan,
    Over,
}

impl<'a> Run<'a> {
    fn new(
        shared: &'a Arc<Shared>,
        job: &'a ClaimedJob,
        definition: Arc<Definition>,
        pin: Option<i64>,
    ) -> Self {
        let rows = job.steps.clone();
        Run {
            deadline_ms: job.started_at_ms.saturating_add(definition.timeout_ms),
            recorded: rows.len(),
            under_way: Vec::new(),
            calls: JoinSet::new(),
            owed: Vec::new(),
            slot: None,
            ran: Ran::Inside,
            shared,
            job,
            definition,
            version: pin.or(job.version),
            pin,
            rows,
        }
    }

    async fn drive(mut self) -> Ran {
        loop {
            if let Next::Over = self.turn().await {
                return self.ran;
            }
        }
    }

    /// Plans once and does what the plan says.
    async fn turn(&mut self) -> Next {
        let now_ms = self.shared.clock.now_ms();
        if now_ms >= self.deadline_ms {
            let message = format!(
                "the job took longer than its timeout of {}",
                format_duration(self.definition.timeout_ms)
            );
            return self.fail(State::Expired, now_ms, JobError::new("expired", message)).await;
        }
        if self.shared.giving_up.is_cancelled() {
            return self.end(Then::HandBack).await;
        }
        let definition = self.definition.clone();
        let under_way: HashSet<&str> =
            self.under_way.iter().map(|step| definition.steps[*step].id.as_str()).collect();
        match plan::plan(&definition, &self.rows, &under_way, now_ms) {
            Plan::Run(tasks) => self.begin(&definition, &tasks, now_ms).await,
            Plan::Wait { until_ms } if self.calls.is_empty() => {
                let until_ms = until_ms.unwrap_or(now_ms).min(self.deadline_ms);
                self.end(Then::Rest { until_ms }).await
            }
            // A wait that begins beside a call must not begin again after a crash.
            Plan::Wait { .. } if self.recorded < self.rows.len() => self.stay().await,
            Plan::Wait { until_ms } => self.next_call(&definition, until_ms).await,
            Plan::Done => {
                let view = View::new(self.job, &self.rows, &self.shared.settings.secrets.0);
                match steps::result(&definition, &view) {
                    Ok(result) => {
                        let then =
                            finish(self.job, self.version, State::Succeeded, now_ms, Some(result), None);
                        self.end(then).await
                    }
                    Err(error) => self.fail(State::Failed, now_ms, error).await,
                }
            }
            Plan::Failed { step, error } => {
                self.close_started(&step, &error, now_ms);
                self.fail(State::Failed, now_ms, error.at_step(&step)).await
            }
        }
    }

    /// Begins steps. What needs nothing from outside is over at once. Calls go out after everything gathered so far, and
    /// the start of those that must not run twice, is on disk.
    async fn begin(&mut self, definition: &Definition, tasks: &[plan::Task], now_ms: i64) -> Next {
        let mut over = Vec::new();
        let mut calls = Vec::new();
        {
            let view = View::new(self.job, &self.rows, &self.shared.settings.secrets.0);
            for task in tasks {
                let attempt = Attempt {
                    step: &definition.steps[task.step],
                    number: task.attempt,
                    in_budget: task.attempt_in_budget,
                    started_at_ms: now_ms,
                };
                match task.action {
                    plan::Action::EndWait => over.push(self.end_wait(&attempt)),
                    plan::Action::Perform => match steps::begin(&attempt, &view) {
                        Begun::Over(row) => over.push(row),
                        Begun::Call(call) => calls.push((task, call)),
                    },
                }
            }
        }
        over.into_iter().for_each(|row| self.push(row));
        if calls.is_empty() {
            return Next::Plan;
        }
        if self.slot.is_none() {
            self.ran = Ran::Outside;
            self.slot = self.shared.running.go_outside(self.job, self.shared.settings.workers);
            if self.slot.is_none() {
                return self.end(Then::HandBack).await;
            }
        }
        for (task, _) in &calls {
            let step = &definition.steps[task.step];
            if step.rerun == Rerun::Never {
                let attempt = Attempt {
                    step,
                    number: task.attempt,
                    in_budget: task.attempt_in_budget,
                    started_at_ms: now_ms,
                };
                self.push(attempt.row(StepStatus::Started));
            }
        }
        // A conversation is recorded turn by turn, and must be read again under the same version.
        let must_pin = self.pin.is_some() && calls.iter().any(|(_, call)| matches!(call, Call::Ai(_)));
        if (self.recorded < self.rows.len() || must_pin)
            && let Next::Over = self.stay().await
        {
            return Next::Over;
        }
        for (task, call) in calls {
            self.send(task, call);
        }
        Next::Plan
    }

    /// The wait of an attempt is over: its row becomes a success.
    fn end_wait(&self, attempt: &Attempt<'_>) -> StepRow {
        let began = self.rows.iter().find(|row| row.step == attempt.step.id && row.attempt == attempt.number);
        let began_at_ms = began.map_or(attempt.started_at_ms, |row| row.started_at_ms);
        let done = Outcome::Done { output: "null".to_owned() };
        Attempt { started_at_ms: began_at_ms, ..*attempt }.after(done, attempt.started_at_ms, 0.0)
    }

    /// Sends a call out, unless this node may have lost its jobs to others by now: then nothing leaves any more.
    fn send(&mut self, task: &plan::Task, call: Call) {
        let (shared, definition) = (self.shared.clone(), self.definition.clone());
        let (step, number, in_budget) = (task.step, task.attempt, task.attempt_in_budget);
        self.under_way.push(step);
        let attempt = Attempt { step: &definition.steps[step], number, in_budget, started_at_ms: 0 };
        let fare = steps::fare(&attempt, &call, self.job);
        self.calls.spawn(async move {
            shared.liveness.wait_until_it_holds().await;
            let step = &definition.steps[step];
            let attempt = Attempt { step, number, in_budget, started_at_ms: shared.clock.now_ms() };
            let performed = steps::perform(&shared, call, fare, step.timeout_ms).await;
            Counters::add(&shared.counters.steps_performed, 1);
            let row = attempt.after(performed.outcome, shared.clock.now_ms(), rand::random::<f64>());
            Ended { row, recorded: performed.recorded, last: performed.last, owed: performed.owed }
        });
    }

    /// Waits for the next call to end, until something else is due.
    async fn next_call(&mut self, definition: &Definition, until_ms: Option<i64>) -> Next {
        let now_ms = self.shared.clock.now_ms();
        let until_ms = until_ms.unwrap_or(i64::MAX).min(self.deadline_ms);
        let pause = Duration::from_millis(until_ms.saturating_sub(now_ms).clamp(0, 3_600_000) as u64);
        let taken_away = self.slot.as_ref().map(|slot| slot.token.clone()).unwrap_or_default();
        tokio::select! {
            ended = self.calls.join_next() => match ended {
                Some(Ok(ended)) => self.ended(definition, ended).await,
                Some(Err(error)) => std::panic::resume_unwind(error.into_panic()),
                None => Next::Plan,
            },
            _ = taken_away.cancelled() => Next::Over,
            _ = self.shared.giving_up.cancelled() => Next::Plan,
            _ = tokio::time::sleep(pause) => Next::Plan,
        }
    }

    /// A call has ended. Its record waits for the plan where that ends the job, so that both are one commit.
    async fn ended(&mut self, definition: &Definition, ended: Ended) -> Next {
        let Ended { row, recorded, last, owed } = ended;
        self.owed.extend(owed);
        for turn in recorded {
            self.take_recorded(turn);
        }
        if let Some((turn, over)) = last {
            self.push(turn);
            self.owed.extend(over.map(Owed::from));
        }
        self.under_way.retain(|step| definition.steps[*step].id != row.step);
        if row.status == StepStatus::Failed {
            Counters::add(&self.shared.counters.steps_failed, 1);
        }
        self.push(row);
        if self.under_way.is_empty() { Next::Plan } else { self.stay().await }
    }

    /// An attempt whose start alone is on record, and which may not run again, gets its end on record: a retry by a person
    /// then finds a failed step like any other.
    fn close_started(&mut self, step: &str, error: &JobError, now_ms: i64) {
        let started =
            self.rows.iter().find(|row| row.step == step && row.status == StepStatus::Started).cloned();
        if let Some(row) = started {
            let error = Some(error.clone());
            self.push(StepRow { status: StepStatus::Failed, finished_at_ms: Some(now_ms), error, ..row });
        }
    }

    /// Adds a row, or puts it in the place of an earlier one of the same attempt.
    fn push(&mut self, row: StepRow) {
        if let Some(at) = self.rows.iter().position(|old| old.step == row.step && old.attempt == row.attempt)
        {
            self.rows.remove(at);
            if at < self.recorded {
                self.recorded -= 1;
            }
        }
        self.rows.push(row);
    }

    /// Adds a row that its step has put on record by itself.
    fn take_recorded(&mut self, row: StepRow) {
        self.push(row);
        if let Some(row) = self.rows.pop() {
            self.rows.insert(self.recorded, row);
            self.recorded += 1;
        }
    }

    /// Records what was gathered; the job goes on.
    async fn stay(&mut self) -> Next {
        match self.record(Then::Stay).await {
            Fenced::Done => Next::Plan,
            Fenced::Stale => Next::Over,
        }
    }

    async fn fail(&mut self, state: State, now_ms: i64, error: JobError) -> Next {
        let then = finish(self.job, self.version, state, now_ms, None, Some(error));
        let has_children = family::has_children(&self.rows);
        let next = self.end(then).await;
        if has_children {
            family::end_children(self.shared, self.job.id).await;
        }
        next
    }

    /// Records what was gathered and how the run ends. Calls that are still out are given up.
    async fn end(&mut self, then: Then) -> Next {
        self.calls.abort_all();
        // Nothing is out any more that somebody could want to stop: the hint of this very end need not be looked into.
        self.slot = None;
        self.record(then).await;
        Next::Over
    }

    async fn record(&mut self, then: Then) -> Fenced {
        let steps = self.rows[self.recorded..].to_vec();
        self.recorded = self.rows.len();
        let gathered = Record { id: self.job.id, claim: self.job.claim, pin: self.pin.take(), steps, then };
        record(self.shared, self.job, gathered, std::mem::take(&mut self.owed)).await
    }
}
