//! The whole walk of a job, with the process killed after each of its commits.
//!
//! A table in the test's database says how many commits are allowed; triggers refuse every one beyond that. When the number
//! is used up the node is killed, and a new one takes over with no such limit. Whatever the first node did on the way stands
//! in the database exactly up to that commit, as after a crash.

use std::collections::HashSet;

use levqor_core::id::JobId;
use levqor_core::job::StepStatus;
use levqor_core::state::State;
use levqor_engine::IntakeError;
use levqor_store::{CALLBACK_LEASE_MS, CallbackState, JobRow};
use levqor_testkit::{Answer, Receiver, wait_until};
use serde_json::json;
use standardwebhooks::Webhook;

use crate::support::{Database, LIMIT, Node, TestClock, ask_with, attempts, secret, settings};

const WALK: &str = r#"
steps:
  - id: greet
    transform: {text: "Hello {{ payload.name }}"}
  - id: call
    http: {method: POST, url: "{{ payload.base }}/call", json: "{{ steps.greet.output }}"}
  - id: pause
    wait: 20ms
  - id: left
    needs: [pause]
    http: {method: POST, url: "{{ payload.base }}/left"}
  - id: right
    needs: [pause]
    http: {method: POST, url: "{{ payload.base }}/right"}
  - id: join
    needs: [left, right]
    transform: {text: "{{ steps.greet.output.text }}", call: "{{ steps.call.output.body.n }}"}
output: "{{ steps.join.output }}"
"#;

/// Intake; claim; greet; call and the rest; due; claim; pause; left or right; the other and the end; the callback's claim;
/// its record.
const COMMITS: i64 = 11;
const PLENTY: i64 = 1_000_000;

/// Each op of the writer meets exactly one of these triggers once, since each of its records that lets the job run on holds
/// one row: an op that takes the job out of `running` changes `live_jobs` before `steps`.
const SQLITE_LIMIT: &str = "
create table allowed (n integer not null);
insert into allowed values (1000000);
create trigger limit_intake before insert on jobs begin
    select raise(abort, 'no commit is allowed any more') where (select n from allowed) <= 0;
    update allowed set n = n - 1;
end;
create trigger limit_move before update of state on live_jobs when old.state <> new.state begin
    select raise(abort, 'no commit is allowed any more') where (select n from allowed) <= 0;
    update allowed set n = n - 1;
end;
create trigger limit_end before delete on live_jobs begin
    select raise(abort, 'no commit is allowed any more') where (select n from allowed) <= 0;
    update allowed set n = n - 1;
end;
create trigger limit_stay before insert on steps
when exists (select 1 from live_jobs where id = new.job_id and state = 'running') begin
    select raise(abort, 'no commit is allowed any more') where (select n from allowed) <= 0;
    update allowed set n = n - 1;
end;
create trigger limit_callback before update on callbacks begin
    select raise(abort, 'no commit is allowed any more') where (select n from allowed) <= 0;
    update allowed set n = n - 1;
end;";

/// Here a transaction is told by its number.
const POSTGRES_LIMIT: &str = "
create table allowed (n bigint not null, last bigint not null);
insert into allowed values (1000000, 0);
create function limit_commits() returns trigger language plpgsql as $$
begin
    update allowed set n = n - 1, last = txid_current() where last <> txid_current();
    if (select n from allowed) < 0 then
        raise exception 'no commit is allowed any more';
    end if;
    return case when tg_op = 'DELETE' then old else new end;
end $$;
create trigger limit_jobs before insert on jobs for each row execute function limit_commits();
create trigger limit_live before update or delete on live_jobs for each row execute function limit_commits();
create trigger limit_steps before insert on steps for each row execute function limit_commits();
create trigger limit_callbacks before update on callbacks for each row execute function limit_commits();";

each_engine!(
    a_job_ends_exactly_once_whichever_commit_was_the_last_of_its_process,
    an_intake_that_was_not_committed_leaves_nothing,
);

async fn a_job_ends_exactly_once_whichever_commit_was_the_last_of_its_process(first: Database) {
    let receiver = Receiver::start().await;
    let node = Node::start(&first, settings(), TestClock::running()).await;
    let id = begin(&node, &first, &receiver, PLENTY).await;
    delivered(&node, id).await;
    let spent = PLENTY - first.number("select n from allowed").await;
    assert_eq!(spent, COMMITS, "the commits of a walk without a crash");

    for last in 1..=COMMITS {
        let database = if first.is_postgres() { Database::postgres().await } else { Database::sqlite() };
        crash_after(last, &database).await;
    }
}

/// Submits the job of the walk, after which so many commits are allowed, its own included.
async fn begin(node: &Node, database: &Database, receiver: &Receiver, commits: i64) -> JobId {
    receiver.script("/call", [Answer::json(&json!({"n": 12345678901234567890u64}))]);
    node.put("walk", WALK).await;
    limit(database).await;
    database.execute(&format!("update allowed set n = {commits}")).await;
    let mut request = ask_with("walk", receiver);
    request.payload = format!(r#"{{"name":"Ada","base":"{}"}}"#, receiver.url(""));
    request.callback_url = Some(receiver.url("/callback"));
    node.submit(request).await
}

async fn delivered(node: &Node, id: JobId) -> JobRow {
    node.when(id, |row| row.callbacks.first().is_some_and(|it| it.state == CallbackState::Delivered)).await
}

async fn crash_after(last: i64, database: &Database) {
    let receiver = Receiver::start().await;
    let clock = TestClock::running();
    let node = Node::start(database, settings(), clock.clone()).await;

    let id = begin(&node, database, &receiver, last).await;
    wait_until(LIMIT, async || database.number("select n from allowed").await == 0).await;
    node.crash(database).await;
    let called: Vec<usize> = STEPS.map(|step| receiver.received_at(&format!("/{step}")).len()).to_vec();
    let deliveries = receiver.received_at("/callback").len();
    database.execute(&format!("update allowed set n = {PLENTY}")).await;
    // A callback that was being tried is its process's until its lease is over.
    clock.advance(CALLBACK_LEASE_MS + 1_000);
    let node = Node::start(database, settings(), clock).await;
    let before = node.row(id).await;
    let row = delivered(&node, id).await;

    assert_eq!(row.line.state, State::Succeeded, "after commit {last}: {row:?}");
    assert_eq!(row.result.as_deref(), Some(r#"{"text":"Hello Ada","call":12345678901234567890}"#));
    assert_eq!(database.number("select count(*) from finished_jobs").await, 1);
    assert_eq!(database.number("select count(*) from live_jobs").await, 0);
    assert_eq!(row.callbacks.len(), 1);
    assert!(row.deaths <= 1, "after commit {last}: {} deaths", row.deaths);
    for (step, calls) in STEPS.iter().zip(called) {
        check_calls(step, &before, &row, &receiver, calls);
    }
    check_callback(last, &receiver, deliveries);
    node.stop().await;
}

const STEPS: [&str; 3] = ["call", "left", "right"];

/// What was on record as done is not done again; what was not may be, under the same key.
fn check_calls(step: &str, before: &JobRow, row: &JobRow, receiver: &Receiver, called: usize) {
    let calls = receiver.received_at(&format!("/{step}"));
    let was_done = before.steps.iter().any(|it| it.step == step && it.status == StepStatus::Succeeded);
    let succeeded = row.steps.iter().filter(|it| it.step == step && it.status == StepStatus::Succeeded);
    assert_eq!(succeeded.count(), 1, "{step}: {:?}", attempts(row, step));
    if was_done {
        assert_eq!(calls.len(), called, "{step} was on record");
    }
    assert!((1..=2).contains(&calls.len()), "{step} was called {} times", calls.len());
    let keys: HashSet<&str> = calls.iter().map(|call| call.header("idempotency-key")).collect();
    assert_eq!(keys, HashSet::from([format!("{}-{step}", row.line.id).as_str()]));
}

/// Delivered once; twice only where the crash came between the delivery and its record.
fn check_callback(last: i64, receiver: &Receiver, delivered: usize) {
    let callbacks = receiver.received_at("/callback");
    let most = if last == 10 { 2 } else { 1 };
    assert!((1..=most).contains(&callbacks.len()), "after commit {last}: {} deliveries", callbacks.len());
    assert!(last != 10 || callbacks.len() > delivered, "the try that died was not made again");
    for callback in &callbacks {
        let webhook = Webhook::new(&secret(1).expose()).unwrap();
        webhook.verify(&callback.body, &callback.headers).unwrap();
        assert_eq!(callback.header("webhook-id"), callbacks[0].header("webhook-id"));
        assert_eq!(callback.body, callbacks[0].body);
        assert_eq!(callback.json()["type"], "job.succeeded");
    }
}

async fn limit(database: &Database) {
    database.execute(if database.is_postgres() { POSTGRES_LIMIT } else { SQLITE_LIMIT }).await;
}

async fn an_intake_that_was_not_committed_leaves_nothing(database: Database) {
    let receiver = Receiver::start().await;
    let node = Node::start(&database, settings(), TestClock::running()).await;
    node.put("walk", WALK).await;
    limit(&database).await;
    database.execute("update allowed set n = 0").await;

    let refused = node.intake(ask_with("walk", &receiver), "tester", None).await;

    assert!(matches!(refused, Err(IntakeError::Store(_))), "{refused:?}");
    assert_eq!(database.number("select count(*) from jobs").await, 0);
    assert_eq!(database.number("select count(*) from live_jobs").await, 0);
}
