//! Records that the database refuses for what they are: the job fails, and nobody else notices.

use levqor_core::state::State;
use levqor_testkit::wait_until;

use crate::support::{Database, LIMIT, NOOP, Node, TestClock, ask, code, settings};

each_engine!(
    a_step_that_cannot_be_recorded_fails_its_job_alone,
    a_job_whose_failure_cannot_be_recorded_holds_up_nobody,
);

const POISON: &str = "{steps: [{id: poison, transform: 1}]}";

/// Makes the table refuse rows of which `bad` holds.
async fn refuse(database: &Database, table: &str, bad: &str) {
    if database.is_postgres() {
        let rule = format!("alter table {table} add check (not ({bad}))");
        return database.execute(&rule).await;
    }
    database
        .execute(&format!(
            "create trigger refuse_{table} before insert on {table} when new.{bad} \
             begin select raise(abort, 'refused'); end"
        ))
        .await;
}

async fn a_step_that_cannot_be_recorded_fails_its_job_alone(database: Database) {
    let node = Node::start(&database, settings(), TestClock::running()).await;
    node.put("poison", POISON).await;
    node.put("noop", NOOP).await;
    refuse(&database, "steps", "step = 'poison'").await;

    let bad = node.submit(ask("poison")).await;
    let good = node.submit(ask("noop")).await;
    let row = node.ended(bad).await;

    assert_eq!((row.line.state, code(&row), row.deaths), (State::Failed, "internal_error", 0));
    assert!(row.steps.is_empty());
    assert_eq!(node.ended(good).await.line.state, State::Succeeded);
}

async fn a_job_whose_failure_cannot_be_recorded_holds_up_nobody(database: Database) {
    let node = Node::start(&database, settings(), TestClock::running()).await;
    node.put("poison", POISON).await;
    node.put("noop", NOOP).await;
    refuse(&database, "steps", "step = 'poison'").await;
    refuse(&database, "finished_jobs", "state = 'failed'").await;

    let bad = node.submit(ask("poison")).await;
    node.when(bad, |row| row.claim == 1).await;
    let good = node.submit(ask("noop")).await;

    assert_eq!(node.ended(good).await.line.state, State::Succeeded);
    wait_until(LIMIT, async || node.running_jobs() == 0).await;
    assert_eq!(node.row(bad).await.line.state, State::Running);
}
