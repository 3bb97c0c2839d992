//! Which steps run, in which order, and what later ones see of them.

use levqor_core::state::State;
use levqor_testkit::{Answer, Receiver, Script, wait_until};
use serde_json::json;

use crate::support::{Database, LIMIT, Node, TestClock, ask, ask_with, attempts, by, code, result, settings};

each_engine!(
    steps_run_one_after_the_other_unless_needs_says_otherwise,
    steps_with_the_same_needs_are_out_at_the_same_time,
    a_step_whose_condition_is_false_is_skipped_and_null_later_on,
    a_condition_that_gives_no_boolean_fails_the_job_at_that_step,
    an_unsafe_call_carries_the_same_idempotency_key_in_every_attempt,
    a_step_that_fails_for_good_gives_up_the_calls_beside_it,
    a_wait_that_begins_beside_a_call_is_on_record_at_once,
    a_pause_before_the_next_attempt_runs_out_while_another_call_is_out,
    hostile_answers_end_their_job_in_words_that_can_be_stored,
);

async fn steps_run_one_after_the_other_unless_needs_says_otherwise(database: Database) {
    let receiver = Receiver::start().await;
    let node = Node::start(&database, settings(), TestClock::running()).await;
    let source = r#"
steps:
  - {id: last, needs: [second], http: {url: "{{ payload.base }}/last"}}
  - {id: first, needs: [], http: {url: "{{ payload.base }}/first"}}
  - {id: second, http: {url: "{{ payload.base }}/second"}}
"#;
    node.put("order", source).await;

    let id = node.submit(ask_with("order", &receiver)).await;
    let row = node.ended(id).await;

    let paths: Vec<String> = receiver.received().into_iter().map(|request| request.path).collect();
    assert_eq!(paths, ["/first", "/second", "/last"]);
    assert_eq!(row.line.state, State::Succeeded);
}

async fn steps_with_the_same_needs_are_out_at_the_same_time(database: Database) {
    let receiver = Receiver::start().await;
    receiver.script("/a", [Answer::hang()]);
    receiver.script("/b", [Answer::hang()]);
    let node = Node::start(&database, settings(), TestClock::running()).await;
    let source = r#"
steps:
  - {id: a, needs: [], http: {url: "{{ payload.base }}/a"}}
  - {id: b, needs: [], http: {url: "{{ payload.base }}/b"}}
"#;
    node.put("both", source).await;

    let id = node.submit(ask_with("both", &receiver)).await;

    // Neither is ever answered, so both being there is the proof.
    receiver.wait_for(2, LIMIT).await;
    node.cancel_job(id, by()).await.unwrap();
}

async fn a_step_whose_condition_is_false_is_skipped_and_null_later_on(database: Database) {
    let receiver = Receiver::start().await;
    let node = Node::start(&database, settings(), TestClock::running()).await;
    let source = r#"
steps:
  - {id: maybe, if: "{{ payload.base == \"\" }}", http: {url: "{{ payload.base }}/maybe"}}
  - {id: after, transform: {seen: "{{ steps.maybe.output }}", deep: "{{ steps.maybe.output.body.x }}"}}
"#;
    node.put("skips", source).await;

    let id = node.submit(ask_with("skips", &receiver)).await;
    let row = node.ended(id).await;

    assert_eq!(attempts(&row, "maybe"), [("skipped", 1)]);
    assert_eq!(result(&row), json!({"maybe": null, "after": {"seen": null, "deep": null}}));
    assert!(receiver.received().is_empty());
}

async fn a_condition_that_gives_no_boolean_fails_the_job_at_that_step(database: Database) {
    let node = Node::start(&database, settings(), TestClock::running()).await;
    node.put("odd", r#"{steps: [{id: odd, if: "{{ job.workflow }}", transform: 1}]}"#).await;

    let id = node.submit(ask("odd")).await;
    let row = node.ended(id).await;

    let error = row.error.clone().unwrap();
    assert_eq!(
        (row.line.state, code(&row), error.step.as_deref()),
        (State::Failed, "bad_condition", Some("odd"))
    );
}

async fn an_unsafe_call_carries_the_same_idempotency_key_in_every_attempt(database: Database) {
    let receiver = Receiver::start().await;
    receiver.statuses("/pay", &[500, 503, 200]);
    let node = Node::start(&database, settings(), TestClock::running()).await;
    let source = r#"
retry: {attempts: 3, backoff: fixed, first: 0s}
steps:
  - {id: pay, http: {method: POST, url: "{{ payload.base }}/pay"}}
  - {id: look, http: {url: "{{ payload.base }}/look"}}
  - {id: own, http: {method: PUT, url: "{{ payload.base }}/own", headers: {Idempotency-Key: mine}}}
"#;
    node.put("pays", source).await;

    let id = node.submit(ask_with("pays", &receiver)).await;
    let row = node.ended(id).await;

    let keys = |path: &str| -> Vec<String> {
        let calls = receiver.received_at(path).into_iter();
        calls.map(|call| call.header("idempotency-key").to_owned()).collect()
    };
    assert_eq!(keys("/pay"), vec![format!("{id}-pay"); 3], "{row:?}");
    assert_eq!(keys("/look"), [""], "a safe method needs none");
    assert_eq!(keys("/own"), ["mine"]);
    assert_eq!(attempts(&row, "pay"), [("failed", 1), ("failed", 2), ("succeeded", 3)]);
}

async fn a_step_that_fails_for_good_gives_up_the_calls_beside_it(database: Database) {
    let receiver = Receiver::start().await;
    receiver.script("/slow", [Answer::hang()]);
    receiver.script("/bad", [Answer::status(400).after(std::time::Duration::from_millis(50))]);
    let node = Node::start(&database, settings(), TestClock::running()).await;
    let source = r#"
steps:
  - {id: slow, needs: [], http: {url: "{{ payload.base }}/slow"}}
  - {id: bad, needs: [], http: {url: "{{ payload.base }}/bad"}}
"#;
    node.put("pair", source).await;

    let id = node.submit(ask_with("pair", &receiver)).await;
    let row = node.ended(id).await;

    assert_eq!((row.line.state, code(&row)), (State::Failed, "http_status"));
    assert_eq!(row.error.unwrap().step.as_deref(), Some("bad"));
    wait_until(LIMIT, async || node.running_jobs() == 0).await;
}

async fn a_wait_that_begins_beside_a_call_is_on_record_at_once(database: Database) {
    let receiver = Receiver::start().await;
    receiver.script("/slow", [Answer::hang()]);
    let node = Node::start(&database, settings(), TestClock::running()).await;
    let source = r#"
steps:
  - {id: slow, needs: [], http: {url: "{{ payload.base }}/slow"}}
  - {id: quick, needs: [], http: {url: "{{ payload.base }}/quick"}}
  - {id: rest, needs: [quick], wait: 1h}
"#;
    node.put("beside", source).await;

    let id = node.submit(ask_with("beside", &receiver)).await;
    let row = node.when(id, |row| !attempts(row, "rest").is_empty()).await;

    assert_eq!(attempts(&row, "rest"), [("waiting", 1)]);
    assert_eq!(row.line.state, State::Running);
}

async fn a_pause_before_the_next_attempt_runs_out_while_another_call_is_out(database: Database) {
    let receiver = Receiver::start().await;
    receiver.script("/slow", [Answer::hang()]);
    receiver.statuses("/shaky", &[500, 500, 200]);
    let node = Node::start(&database, settings(), TestClock::running()).await;
    let source = r#"
retry: {attempts: 3, backoff: fixed, first: 50ms}
steps:
  - {id: slow, needs: [], http: {url: "{{ payload.base }}/slow"}}
  - {id: shaky, needs: [], http: {url: "{{ payload.base }}/shaky"}}
"#;
    node.put("beside", source).await;

    let id = node.submit(ask_with("beside", &receiver)).await;
    let row = node.when(id, |row| attempts(row, "shaky").len() == 3).await;

    assert_eq!(attempts(&row, "shaky"), [("failed", 1), ("failed", 2), ("succeeded", 3)]);
    assert_eq!(attempts(&row, "slow"), [], "it is out all the time");
}

async fn hostile_answers_end_their_job_in_words_that_can_be_stored(database: Database) {
    let node = Node::start(&database, settings(), TestClock::running()).await;
    node.put("reads", r#"{steps: [{id: call, http: {url: "{{ payload.url }}"}}]}"#).await;
    let json = |body: &[u8]| {
        let head = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        [head.as_bytes(), body].concat()
    };
    let large = [b"HTTP/1.1 200 OK\r\n\r\n".to_vec(), vec![b'a'; 1_100_000]].concat();
    for (answer, expected) in [
        (json(b"{\"a\":\"\\u0000\"}"), ""),
        (json(b"{\"a\":\"\\ud800\"}"), ""),
        (json(b"\0\xff\xfe{"), ""),
        (json("[".repeat(100_000).as_bytes()), ""),
        (json(b"[1e999,-0,123456789012345678901234567890]"), ""),
        (b"HTTP/1.1 200 OK\r\nx-odd: \xff\xfe\r\ncontent-length: 0\r\n\r\n".to_vec(), ""),
        (large, "response_too_large"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc".to_vec(), "connection_broken"),
        (b"SSH-2.0-OpenSSH_9.7\r\n".to_vec(), "connection_broken"),
        (Vec::new(), "connection_broken"),
    ] {
        let shown = String::from_utf8_lossy(&answer[..answer.len().min(80)]).into_owned();
        let peer = Script::answer(&answer).await;
        let mut request = ask("reads");
        request.payload = format!(r#"{{"url":"{}"}}"#, peer.url("/"));
        let id = node.submit(request).await;
        let row = node.ended(id).await;
        assert_eq!(code(&row), expected, "{shown:?}");
        if expected.is_empty() {
            assert_eq!(result(&row)["call"]["status"], 200, "{shown:?}");
        }
    }
}
