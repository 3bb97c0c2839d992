//! Crashes while a step is out: what may run again runs again, what must not fails as `lost`, and no job kills for ever.

use levqor_core::state::State;
use levqor_testkit::{Answer, Receiver, wait_until};

use crate::support::{CALL, Database, LIMIT, Node, TestClock, ask_with, attempts, code, settings};

each_engine!(
    a_step_that_must_not_run_twice_is_lost_with_its_process,
    a_step_that_may_run_again_does_after_a_crash,
    a_job_that_saw_five_processes_die_is_given_up,
);

async fn a_step_that_must_not_run_twice_is_lost_with_its_process(database: Database) {
    let receiver = Receiver::start().await;
    receiver.script("/call", [Answer::hang(), Answer::status(200)]);
    let node = Node::start(&database, settings(), TestClock::running()).await;
    let source = r#"
steps:
  - {id: before, transform: 1}
  - {id: call, rerun: never, http: {method: POST, url: "{{ payload.base }}/call"}}
"#;
    node.put("once", source).await;
    let id = node.submit(ask_with("once", &receiver)).await;
    receiver.wait_for(1, LIMIT).await;
    let out = node.row(id).await;
    node.crash(&database).await;

    let node = Node::start(&database, settings(), TestClock::running()).await;
    let row = node.ended(id).await;

    assert_eq!(attempts(&out, "call"), [("started", 1)], "the start is on record before the call is out");
    assert_eq!((row.line.state, code(&row)), (State::Failed, "lost"));
    assert_eq!(row.error.unwrap().step.as_deref(), Some("call"));
    assert_eq!(receiver.received().len(), 1);
}

async fn a_step_that_may_run_again_does_after_a_crash(database: Database) {
    let receiver = Receiver::start().await;
    receiver.script("/call", [Answer::hang(), Answer::status(200)]);
    let node = Node::start(&database, settings(), TestClock::running()).await;
    node.put("call", CALL).await;
    let id = node.submit(ask_with("call", &receiver)).await;
    receiver.wait_for(1, LIMIT).await;
    node.crash(&database).await;

    let node = Node::start(&database, settings(), TestClock::running()).await;
    let row = node.ended(id).await;

    assert_eq!((row.line.state, row.deaths, row.claim), (State::Succeeded, 1, 2));
    assert_eq!(receiver.received().len(), 2);
}

async fn a_job_that_saw_five_processes_die_is_given_up(database: Database) {
    let receiver = Receiver::start().await;
    receiver.script("/call", [Answer::hang()]);
    let node = Node::start(&database, settings(), TestClock::running()).await;
    node.put("call", CALL).await;
    let id = node.submit(ask_with("call", &receiver)).await;
    receiver.wait_for(1, LIMIT).await;
    node.crash(&database).await;
    for calls in 2..=5 {
        let node = Node::start(&database, settings(), TestClock::running()).await;
        receiver.wait_for(calls, LIMIT).await;
        node.crash(&database).await;
    }

    let node = Node::start(&database, settings(), TestClock::running()).await;
    let row = node.ended(id).await;

    assert_eq!((row.line.state, code(&row), row.deaths), (State::Failed, "lost", 5));
    assert_eq!(receiver.received().len(), 5);
    wait_until(LIMIT, async || node.running_jobs() == 0).await;
}
