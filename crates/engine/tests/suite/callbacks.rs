//! What a callback is: signed so that the published library believes it, tried by the published schedule, the same in
//! every try.

use levqor_core::callback::{MAX_BODY_BYTES, SCHEDULE_MS};
use levqor_core::clock::Clock;
use levqor_core::id::JobId;
use levqor_engine::Settings;
use levqor_store::{CallbackRow, CallbackState, Error};
use levqor_testkit::{Answer, Received, Receiver};
use standardwebhooks::Webhook;

use crate::support::{Database, NOOP, Node, TestClock, ask, by, secret, settings};

each_engine!(
    a_callback_is_believed_by_the_published_library,
    a_failing_callback_is_tried_eight_times_by_the_schedule_with_the_same_id_and_body,
    a_redirect_is_a_failure_and_is_not_followed,
    a_receiver_that_answers_410_is_left_alone,
    an_answer_counts_by_its_status_whatever_its_body,
    a_receiver_that_asks_for_time_gets_it,
    a_redelivery_has_the_same_id_and_body_and_a_new_signature,
    during_a_rotation_both_secrets_sign,
    a_large_result_is_replaced_by_where_to_fetch_it,
    every_kind_of_end_is_called_back,
);

/// A job that has ended, whose callback is due.
async fn end_a_job(node: &Node, receiver: &Receiver) -> JobId {
    node.put("noop", NOOP).await;
    let mut request = ask("noop");
    request.callback_url = Some(receiver.url("/callback"));
    request.tags.insert("team".to_owned(), "a".to_owned());
    let id = node.submit(request).await;
    node.turn_jobs(1).await.unwrap();
    id
}

async fn callback(node: &Node, id: JobId) -> CallbackRow {
    let mut row = node.row(id).await;
    assert_eq!(row.callbacks.len(), 1);
    row.callbacks.remove(0)
}

fn verify(received: &Received, byte: u8) -> Result<(), standardwebhooks::WebhookError> {
    Webhook::new(&secret(byte).expose()).unwrap().verify(&received.body, &received.headers)
}

async fn a_callback_is_believed_by_the_published_library(database: Database) {
    let receiver = Receiver::start().await;
    let node = Node::by_hand(&database, settings(), TestClock::still()).await;

    let id = end_a_job(&node, &receiver).await;
    let tried = node.turn_callbacks(10).await.unwrap();

    let received = &receiver.received()[0];
    verify(received, 1).unwrap();
    assert!(verify(received, 2).is_err(), "another secret must not do");
    let body = received.json();
    assert_eq!((tried, received.header("content-type")), (1, "application/json"));
    assert_eq!((&body["type"], &body["data"]["job_id"]), (&"job.succeeded".into(), &id.to_string().into()));
    assert_eq!(body["data"]["result"]["only"]["done"], true);
    assert_eq!(body["data"]["tags"]["team"], "a");
    let callback = callback(&node, id).await;
    assert_eq!(
        (callback.state, callback.id.as_str()),
        (CallbackState::Delivered, received.header("webhook-id"))
    );
    assert_eq!((callback.tries.len(), callback.tries[0].status), (1, Some(200)));
}

async fn a_failing_callback_is_tried_eight_times_by_the_schedule_with_the_same_id_and_body(
    database: Database,
) {
    let receiver = Receiver::start().await;
    receiver.statuses("/callback", &[500]);
    let clock = TestClock::still();
    let node = Node::by_hand(&database, settings(), clock.clone()).await;
    let id = end_a_job(&node, &receiver).await;

    for pause_ms in SCHEDULE_MS {
        assert_eq!(node.turn_callbacks(10).await.unwrap(), 1);
        let due_ms = callback(&node, id).await.due_at_ms.unwrap();
        let wait_ms = due_ms - clock.now_ms();
        assert!((pause_ms..=pause_ms * 6 / 5).contains(&wait_ms), "{wait_ms} for {pause_ms}");
        clock.advance(wait_ms - 1);
        assert_eq!(node.turn_callbacks(10).await.unwrap(), 0, "not a moment earlier");
        clock.advance(1);
    }
    assert_eq!(node.turn_callbacks(10).await.unwrap(), 1);
    clock.advance(1_000 * 86_400_000);
    assert_eq!(node.turn_callbacks(10).await.unwrap(), 0);

    let callback = callback(&node, id).await;
    let received = receiver.received();
    assert_eq!((callback.state, callback.tries.len(), received.len()), (CallbackState::Exhausted, 8, 8));
    assert!(callback.tries.iter().all(|it| it.status == Some(500) && it.error.is_some()));
    assert!(received.iter().all(|it| it.body == received[0].body));
    assert!(received.iter().all(|it| it.header("webhook-id") == received[0].header("webhook-id")));
    assert_ne!(received[0].header("webhook-timestamp"), received[7].header("webhook-timestamp"));
}

async fn a_redirect_is_a_failure_and_is_not_followed(database: Database) {
    let receiver = Receiver::start().await;
    let inside = receiver.url("/inside");
    receiver.script("/callback", [Answer::status(302).header("location", &inside)]);
    let node = Node::by_hand(&database, settings(), TestClock::still()).await;

    let id = end_a_job(&node, &receiver).await;
    node.turn_callbacks(10).await.unwrap();

    let callback = callback(&node, id).await;
    assert_eq!((callback.state, callback.tries[0].status), (CallbackState::Due, Some(302)));
    assert!(receiver.received_at("/inside").is_empty());
}

async fn a_receiver_that_answers_410_is_left_alone(database: Database) {
    let receiver = Receiver::start().await;
    receiver.statuses("/callback", &[410]);
    let clock = TestClock::still();
    let node = Node::by_hand(&database, settings(), clock.clone()).await;

    let id = end_a_job(&node, &receiver).await;
    node.turn_callbacks(10).await.unwrap();
    clock.advance(1_000 * 86_400_000);

    assert_eq!(node.turn_callbacks(10).await.unwrap(), 0);
    assert_eq!(callback(&node, id).await.state, CallbackState::Gone);
}

async fn an_answer_counts_by_its_status_whatever_its_body(database: Database) {
    let receiver = Receiver::start().await;
    let long = "x".repeat(200_000);
    receiver.script("/callback", [Answer::status(200).body(long.clone()), Answer::status(410).body(long)]);
    let node = Node::by_hand(&database, settings(), TestClock::still()).await;

    for expected in [CallbackState::Delivered, CallbackState::Gone] {
        let id = end_a_job(&node, &receiver).await;
        node.turn_callbacks(10).await.unwrap();
        assert_eq!(callback(&node, id).await.state, expected);
    }
}

async fn a_receiver_that_asks_for_time_gets_it(database: Database) {
    let receiver = Receiver::start().await;
    let busy = Answer::status(429).retry_after("600");
    let down = Answer::status(503).retry_after("1000");
    let broken = Answer::status(500).retry_after("86400");
    receiver.script("/callback", [busy, down, broken]);
    let clock = TestClock::still();
    let node = Node::by_hand(&database, settings(), clock.clone()).await;
    let id = end_a_job(&node, &receiver).await;

    let mut waits_ms = Vec::new();
    for _ in 0..3 {
        assert_eq!(node.turn_callbacks(10).await.unwrap(), 1);
        let wait_ms = callback(&node, id).await.due_at_ms.unwrap() - clock.now_ms();
        waits_ms.push(wait_ms);
        clock.advance(wait_ms);
    }

    assert_eq!(waits_ms[..2], [600_000, 1_000_000]);
    assert!(waits_ms[2] <= SCHEDULE_MS[2] * 6 / 5, "only 429 and 503 are obeyed: {}", waits_ms[2]);
}

async fn a_redelivery_has_the_same_id_and_body_and_a_new_signature(database: Database) {
    let receiver = Receiver::start().await;
    let clock = TestClock::still();
    let node = Node::by_hand(&database, settings(), clock.clone()).await;
    let id = end_a_job(&node, &receiver).await;
    node.turn_callbacks(10).await.unwrap();

    clock.advance(60_000);
    let webhook_id = node.redeliver_callback(id, by()).await.unwrap();
    assert_eq!(node.turn_callbacks(10).await.unwrap(), 1);

    let received = receiver.received();
    verify(&received[1], 1).unwrap();
    assert_eq!(received[1].header("webhook-id"), webhook_id);
    assert_eq!(received[0].header("webhook-id"), webhook_id);
    assert_eq!(received[0].body, received[1].body);
    assert_ne!(received[0].header("webhook-signature"), received[1].header("webhook-signature"));
    let callback = callback(&node, id).await;
    let numbers: Vec<i64> = callback.tries.iter().map(|it| it.attempt).collect();
    assert_eq!((callback.state, numbers), (CallbackState::Delivered, vec![1, 2]));
    let silent = node.submit(ask("noop")).await;
    assert!(matches!(node.redeliver_callback(silent, by()).await, Err(Error::Conflict { .. })));
}

async fn during_a_rotation_both_secrets_sign(database: Database) {
    let receiver = Receiver::start().await;
    let settings = Settings { callback_secrets: vec![secret(2), secret(1)], ..settings() };
    let node = Node::by_hand(&database, settings, TestClock::still()).await;

    end_a_job(&node, &receiver).await;
    node.turn_callbacks(10).await.unwrap();

    let received = &receiver.received()[0];
    verify(received, 1).unwrap();
    verify(received, 2).unwrap();
    assert!(verify(received, 3).is_err());
}

async fn a_large_result_is_replaced_by_where_to_fetch_it(database: Database) {
    let receiver = Receiver::start().await;
    let node = Node::by_hand(&database, settings(), TestClock::still()).await;
    node.put("echo", r#"{steps: [{id: only, transform: "{{ payload }}"}]}"#).await;
    let mut request = ask("echo");
    request.payload = format!(r#"{{"text":"{}"}}"#, "ä".repeat(50_000));
    request.callback_url = Some(receiver.url("/callback"));

    let id = node.submit(request).await;
    node.turn_jobs(1).await.unwrap();
    node.turn_callbacks(10).await.unwrap();

    let received = &receiver.received()[0];
    verify(received, 1).unwrap();
    assert!(received.body.len() <= MAX_BODY_BYTES, "{} bytes", received.body.len());
    let data = &received.json()["data"];
    assert_eq!(data["result"], serde_json::Value::Null);
    assert_eq!(data["result_url"], format!("/api/v1/status/{id}"));
    assert!(node.row(id).await.result.unwrap().len() > 100_000, "it is all there");
}

async fn every_kind_of_end_is_called_back(database: Database) {
    let receiver = Receiver::start().await;
    let clock = TestClock::still();
    let node = Node::by_hand(&database, settings(), clock.clone()).await;
    node.put("fails", "{steps: [{id: only, transform: \"{{ payload.missing }}\"}]}").await;
    node.put("slow", "{timeout: 1s, steps: [{id: only, wait: 1s}, {id: more, wait: 1s}]}").await;
    let mut ids = Vec::new();
    for workflow in ["fails", "slow", "cancelled", "completed"] {
        let mut request = ask(workflow);
        request.callback_url = Some(receiver.url(&format!("/{workflow}")));
        ids.push(node.submit(request).await);
    }

    node.turn_jobs(10).await.unwrap();
    node.cancel_job(ids[2], by()).await.unwrap();
    node.complete_job(ids[3], "{}".to_owned(), by()).await.unwrap();
    clock.advance(1_000);
    node.move_due(&clock).await;
    node.turn_jobs(10).await.unwrap();
    node.turn_callbacks(10).await.unwrap();

    for (workflow, kind) in [
        ("fails", "job.failed"),
        ("slow", "job.expired"),
        ("cancelled", "job.cancelled"),
        ("completed", "job.succeeded"),
    ] {
        let received = receiver.received_at(&format!("/{workflow}"));
        assert_eq!(received.len(), 1, "{workflow}");
        verify(&received[0], 1).unwrap();
        assert_eq!(received[0].json()["type"], kind);
    }
}
