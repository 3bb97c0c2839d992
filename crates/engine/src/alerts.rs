//! Tells of thresholds that were passed. Everything that is told is a job, stored in the commit that closes the alert: so it is
//! told once, whichever node is first and wherever one dies, and it is retried and on record like any other work.
//!
//! One job is always made, of `levqor-alert`: the record, whose callback goes to the URL of the recipients. Mails, Slack and
//! a workflow of one's own get a job each, so that none of them holds up another.

use std::sync::Arc;

use levqor_core::audit::Actor;
use levqor_core::budget::{Passed, Recipients, SlackChannel};
use levqor_core::intake::IntakeRequest;
use levqor_core::job::{NewJob, Priority, Tags};
use levqor_core::mail;
use levqor_store::{Alert, BudgetRow};
use serde_json::{Value, json};

use crate::figures::Counters;
use crate::{Engine, IntakeError, Shared, built_in};

/// The built-in workflow that every alert is a job of.
pub(crate) const WORKFLOW: &str = "levqor-alert";
const SLACK: &str = include_str!("built_in/levqor-alert-slack.yaml");

/// The caller of jobs that the service submits on its own.
const OURSELVES: &str = "levqor";

const AT_ONCE: usize = 50;

impl Engine {
    /// Tells what is open, for tests and tools that turn an engine by hand. Returns how many alerts this node told.
    pub async fn turn_alerts(&self) -> levqor_store::Result<usize> {
        tell_open(&self.shared).await
    }
}

/// One turn of the loop.
pub(crate) async fn tell(shared: Arc<Shared>) -> levqor_store::Result<()> {
    tell_open(&shared).await?;
    Ok(())
}

async fn tell_open(shared: &Arc<Shared>) -> levqor_store::Result<usize> {
    let mut told = 0;
    loop {
        let alerts = shared.store.list_alerts(AT_ONCE).await?;
        if alerts.is_empty() {
            return Ok(told);
        }
        let budgets = shared.store.list_budgets().await?;
        for alert in &alerts {
            let row = budgets.iter().find(|row| row.budget.id == alert.budget);
            told += usize::from(close(shared, alert, row).await?);
        }
        if alerts.len() < AT_ONCE || shared.stopping.is_cancelled() {
            return Ok(told);
        }
    }
}

/// True for the node that told it.
async fn close(shared: &Arc<Shared>, alert: &Alert, row: Option<&BudgetRow>) -> levqor_store::Result<bool> {
    let now_ms = shared.clock.now_ms();
    let Some(row) = row else {
        // It was deleted meanwhile: whoever did that knows.
        return shared.store.close_alert(alert, Vec::new(), now_ms).await;
    };
    let passed = Passed {
        budget: &row.budget,
        subject: &alert.subject,
        period: &alert.period_key,
        threshold_ppm: u32::try_from(alert.threshold_ppm).unwrap_or(u32::MAX),
        spent: alert.spent,
        limit: alert.limit,
        at_ms: alert.at_ms,
    };
    let jobs = jobs(shared, &passed, &recipients(shared, row)).await?;
    let count = jobs.len() as u64;
    let is_mine = shared.store.close_alert(alert, jobs, now_ms).await?;
    if is_mine {
        Counters::add(&shared.counters.accepted, count);
        tracing::warn!(budget = %row.budget.id, "{}", passed.line());
    }
    Ok(is_mine)
}

/// Those of the budget, or of the settings.
fn recipients(shared: &Shared, row: &BudgetRow) -> Recipients {
    let Some(stored) = &row.recipients else { return shared.settings.alerts.clone() };
    serde_json::from_str(stored).unwrap_or_else(|error| {
        tracing::error!(budget = %row.budget.id, %error, "who is told of a budget cannot be read: those of the settings are");
        shared.settings.alerts.clone()
    })
}

async fn jobs(
    shared: &Arc<Shared>,
    passed: &Passed<'_>,
    recipients: &Recipients,
) -> levqor_store::Result<Vec<NewJob>> {
    let engine = Engine { shared: shared.clone() };
    let tags = Tags::from([("budget".to_owned(), passed.budget.id.to_string())]);
    let ask = |workflow: &str, payload: Value| IntakeRequest {
        workflow: workflow.to_owned(),
        payload: payload.to_string(),
        callback_url: None,
        priority: Priority::High,
        run_at_ms: None,
        tags: tags.clone(),
        dry_run: false,
        idempotency_key: None,
    };
    let alert = passed.payload();
    let mut asked = Vec::new();
    if !recipients.email.is_empty() {
        let text = format!("{}\n\n{}\n", passed.line(), passed.outlook());
        let mail = json!({ "to": recipients.email, "subject": passed.line(), "text": text });
        asked.push(("email", ask(mail::WORKFLOW, mail)));
    }
    if let Some(SlackChannel { connection, channel }) = &recipients.slack {
        let workflow = slack_workflow(shared, connection).await?;
        asked.push(("slack", ask(&workflow, json!({ "channel": channel, "text": passed.line() }))));
    }
    if let Some(workflow) = &recipients.workflow {
        asked.push(("workflow", ask(workflow, alert.clone())));
    }
    let (mut jobs, mut told, mut untold) = (Vec::new(), Vec::new(), Vec::new());
    for (what, request) in asked {
        match engine.new_job(request, OURSELVES, None) {
            Ok(job) => {
                told.push(what.to_owned());
                jobs.push(job);
            }
            Err(IntakeError::Store(error)) => return Err(error),
            // The others are told all the same, and the record says who was not.
            Err(error) => {
                tracing::error!(budget = %passed.budget.id, %error, "an alert cannot be told by {what}");
                untold.push(format!("{what}: {error}"));
            }
        }
    }
    if recipients.callback.is_some() {
        told.push("callback".to_owned());
    }
    let record = json!({ "alert": alert, "told": told, "untold": untold });
    let record = IntakeRequest { callback_url: recipients.callback.clone(), ..ask(WORKFLOW, record) };
    match engine.new_job(record, OURSELVES, None) {
        Ok(job) => jobs.insert(0, job),
        Err(IntakeError::Store(error)) => return Err(error),
        Err(error) => tracing::error!(budget = %passed.budget.id, %error, "an alert has no record"),
    }
    Ok(jobs)
}

/// A workflow for this connection: whose credentials are used stands in a definition, and in no payload.
async fn slack_workflow(shared: &Shared, connection: &str) -> levqor_store::Result<String> {
    let name = format!("{WORKFLOW}-slack-{connection}");
    // The name of a connection needs no quotes in YAML but where it could be read as something else.
    let source = format!("name: {name}\n{}", SLACK.replace("CONNECTION", &format!("\"{connection}\"")));
    let (by, now_ms) = (Actor::system(), shared.clock.now_ms());
    let (_, is_new) = shared.store.put_workflow(&name, &source, built_in::ORIGIN, &by, now_ms).await?;
    if is_new {
        shared.definitions.refresh(&shared.store).await?;
    }
    Ok(name)
}

#[cfg(test)]
mod tests {
    use levqor_core::workflow::Definition;

    use super::*;

    #[test]
    fn the_workflow_for_a_connection_is_right_whatever_its_name() {
        for connection in ["team-slack", "7", "true", "null", "1e3", "a.b_c-d"] {
            let name = format!("{WORKFLOW}-slack-{connection}");
            let source =
                format!("name: {name}\n{}", SLACK.replace("CONNECTION", &format!("\"{connection}\"")));

            let definition = crate::parse_definition(&source, Some(&name));

            assert!(definition.is_ok(), "{source}: {definition:?}");
        }
        assert!(Definition::parse(include_str!("built_in/levqor-alert.yaml"), Some(WORKFLOW)).is_ok());
    }
}
