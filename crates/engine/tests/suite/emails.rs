//! Mails: the built-in workflow and the step `email`, against a Resend that answers by script; what a crash leaves behind.

use std::sync::Arc;

use levqor_connectors::email::{Mailer, Provider};
use levqor_core::intake::IntakeRequest;
use levqor_core::state::State;
use levqor_engine::{DefinitionError, IntakeError, Settings};
use levqor_store::{EmailFilter, EmailOutcome, EmailRow};
use levqor_testkit::{Answer, Receiver, Say, SmtpServer, wait_until};
use serde_json::{Value, json};

use crate::support::{Database, LIMIT, NOOP, Node, TestClock, ask, attempts, by, code, result, settings};

each_engine!(
    a_mail_is_sent_by_the_built_in_workflow_and_its_try_is_on_record,
    a_mail_survives_a_crash_and_goes_out_again_under_the_same_key,
    a_provider_that_is_busy_is_tried_again_when_it_says,
    a_mail_that_is_refused_fails_for_good_and_says_why,
    without_a_provider_the_job_fails_clearly_and_can_be_retried_once_there_is_one,
    a_step_of_ones_own_fills_in_its_mail_and_hands_on_its_output,
    what_was_filled_in_cannot_add_a_header_or_a_recipient,
    a_mail_that_cannot_be_one_is_refused_at_intake,
    built_in_names_are_kept,
    a_cancelled_job_sends_nothing_more,
    a_mail_goes_out_by_smtp_as_well,
);

fn mailed(provider: &Provider) -> Settings {
    let agent = http::HeaderValue::from_static("levqor-test/1");
    Settings { mailer: Some(Arc::new(Mailer::new(provider, "example.com", &[], agent))), ..settings() }
}

fn through(resend: &Receiver) -> Settings {
    mailed(&Provider::Resend { api_key: "re_canary".to_owned(), base_url: resend.url("") })
}

fn mail() -> Value {
    json!({"from": "billing", "to": ["Ada@example.org"], "bcc": ["b@example.org"], "template": "payment-received",
        "values": {"amount": "€12.00", "reference": "cs_1", "name": "Ada"}})
}

fn request(payload: &Value) -> IntakeRequest {
    IntakeRequest { payload: payload.to_string(), ..ask("levqor-email") }
}

fn taken() -> Answer {
    Answer::json(&json!({"id": "m-1"}))
}

async fn tries(node: &Node) -> Vec<EmailRow> {
    let filter = EmailFilter { limit: 500, ..EmailFilter::default() };
    let mut emails = node.store().list_emails(&filter).await.unwrap().emails;
    emails.reverse();
    emails
}

fn outcomes(tries: &[EmailRow]) -> Vec<EmailOutcome> {
    tries.iter().map(|row| row.outcome).collect()
}

async fn a_mail_is_sent_by_the_built_in_workflow_and_its_try_is_on_record(database: Database) {
    let resend = Receiver::start().await;
    resend.script("/emails", [taken()]);
    let node = Node::start(&database, through(&resend), TestClock::running()).await;

    let id = node.submit(request(&mail())).await;
    let row = node.ended(id).await;

    assert_eq!(result(&row), json!({"send": {"provider": "resend", "message_id": "m-1", "recipients": 2}}));
    let received = resend.received().remove(0);
    assert_eq!(received.header("idempotency-key"), format!("{id}-send"));
    let sent = received.json();
    assert_eq!(
        (&sent["from"], &sent["to"], &sent["bcc"]),
        (&json!("billing@example.com"), &json!(["Ada@example.org"]), &json!(["b@example.org"]))
    );
    assert_eq!(sent["subject"], "Payment received: €12.00");
    assert!(
        sent["text"].as_str().unwrap().contains("Hello Ada,")
            && sent["html"].as_str().unwrap().contains("cs_1")
    );
    let tried = tries(&node).await.remove(0);
    assert_eq!(
        (tried.job_id, tried.step.as_str(), tried.attempt, tried.outcome),
        (id, "send", 1, EmailOutcome::Sent)
    );
    assert_eq!(
        (tried.sender.as_str(), tried.provider.as_str(), tried.message_id.as_deref()),
        ("billing@example.com", "resend", Some("m-1"))
    );
    let recipients = [("to", "ada@example.org"), ("bcc", "b@example.org")];
    assert_eq!(tried.recipients, recipients.map(|(kind, address)| (kind.to_owned(), address.to_owned())));
    assert_eq!(node.counters().emails_sent.load(std::sync::atomic::Ordering::Relaxed), 1);
}

async fn a_mail_survives_a_crash_and_goes_out_again_under_the_same_key(database: Database) {
    let resend = Receiver::start().await;
    resend.script("/emails", [Answer::hang(), taken()]);
    let first = Node::start(&database, through(&resend), TestClock::running()).await;
    let id = first.submit(request(&mail())).await;
    resend.wait_for(1, LIMIT).await;
    let before = tries(&first).await;
    first.crash(&database).await;

    let second = Node::start(&database, through(&resend), TestClock::running()).await;
    let row = second.ended(id).await;

    assert_eq!(row.line.state, State::Succeeded);
    let received = resend.received();
    assert_eq!(received.len(), 2);
    assert_eq!(received[0].header("idempotency-key"), received[1].header("idempotency-key"));
    assert_eq!(received[0].body, received[1].body, "Resend compares the bodies under one key");
    assert_eq!(outcomes(&before), [EmailOutcome::Sending]);
    assert_eq!(outcomes(&tries(&second).await), [EmailOutcome::Lost, EmailOutcome::Sent]);
}

async fn a_provider_that_is_busy_is_tried_again_when_it_says(database: Database) {
    let resend = Receiver::start().await;
    resend.script("/emails", [Answer::status(500), Answer::status(429).retry_after("7200"), taken()]);
    let clock = TestClock::still();
    let node = Node::by_hand(&database, through(&resend), clock.clone()).await;
    let id = node.submit(request(&mail())).await;

    node.turn_jobs(10).await.unwrap();
    clock.advance(20_000);
    assert_eq!(node.move_due(&clock).await, 1, "20 s after the first failure");
    node.turn_jobs(10).await.unwrap();
    clock.advance(7_199_000);
    assert_eq!(node.move_due(&clock).await, 0, "Resend wants two hours");
    clock.advance(1_000);
    assert_eq!(node.move_due(&clock).await, 1);
    node.turn_jobs(10).await.unwrap();

    let row = node.row(id).await;
    assert_eq!(attempts(&row, "send"), [("failed", 1), ("failed", 2), ("succeeded", 3)]);
    let tried = tries(&node).await;
    let codes: Vec<_> = tried.iter().map(|row| row.code.as_deref()).collect();
    assert_eq!(codes, [Some("email_busy"), Some("email_rate_limited"), None]);
    assert_eq!(tried.iter().map(|row| row.attempt).collect::<Vec<_>>(), [1, 2, 3]);
}

async fn a_mail_that_is_refused_fails_for_good_and_says_why(database: Database) {
    let resend = Receiver::start().await;
    let refusal =
        json!({"statusCode": 403, "name": "validation_error", "message": "Ada@example.org is not yours"});
    resend.script("/emails", [Answer::status(403).body(refusal.to_string())]);
    let node = Node::start(&database, through(&resend), TestClock::running()).await;

    let id = node.submit(request(&mail())).await;
    let row = node.ended(id).await;

    assert_eq!((row.line.state, code(&row)), (State::Failed, "email_refused"));
    assert_eq!(row.error.unwrap().message, "resend refused the mail: validation_error");
    let tried = tries(&node).await.remove(0);
    assert_eq!((tried.outcome, tried.code.as_deref()), (EmailOutcome::Failed, Some("email_refused")));
    assert_eq!(tried.error.as_deref(), Some("resend refused the mail: validation_error"));
    assert_eq!(resend.received().len(), 1);
}

async fn without_a_provider_the_job_fails_clearly_and_can_be_retried_once_there_is_one(database: Database) {
    let resend = Receiver::start().await;
    resend.script("/emails", [taken()]);
    let node = Node::start(&database, settings(), TestClock::running()).await;
    let id = node.submit(request(&mail())).await;
    let failed = node.ended(id).await;
    node.stop().await;

    let node = Node::start(&database, through(&resend), TestClock::running()).await;
    node.retry_job(id, by()).await.unwrap();
    let row = node.ended(id).await;

    assert_eq!((failed.line.state, code(&failed)), (State::Failed, "email_not_configured"));
    assert!(failed.error.unwrap().message.contains("RESEND_API_KEY or SMTP_URL"));
    assert_eq!(row.line.state, State::Succeeded);
    let tried = tries(&node).await;
    let providers: Vec<_> = tried.iter().map(|row| row.provider.as_str()).collect();
    assert_eq!(
        (providers, outcomes(&tried)),
        (vec!["none", "resend"], vec![EmailOutcome::Failed, EmailOutcome::Sent])
    );
}

async fn a_step_of_ones_own_fills_in_its_mail_and_hands_on_its_output(database: Database) {
    let resend = Receiver::start().await;
    resend.script("/emails", [taken()]);
    let node = Node::start(&database, through(&resend), TestClock::running()).await;
    let source = r#"
steps:
  - id: tell
    email:
      from: support
      to: "{{ payload.to }}"
      cc: "{{ payload?.cc }}"
      subject: "Order {{ payload.n }}"
      text: "{{ payload.n }}"
output: "{{ steps.tell.output.message_id }}"
"#;
    node.put("order", source).await;

    let payload = json!({"to": ["a@example.org"], "n": 12345678901234567890u64});
    let id = node.submit(IntakeRequest { payload: payload.to_string(), ..ask("order") }).await;
    let row = node.ended(id).await;

    assert_eq!(result(&row), json!("m-1"));
    let expected = json!({"from": "support@example.com", "to": ["a@example.org"], "subject": "Order 12345678901234567890",
        "text": "12345678901234567890"});
    assert_eq!(resend.received()[0].json(), expected);
    assert_eq!(resend.received()[0].header("idempotency-key"), format!("{id}-tell"));
}

async fn what_was_filled_in_cannot_add_a_header_or_a_recipient(database: Database) {
    let resend = Receiver::start().await;
    let node = Node::start(&database, through(&resend), TestClock::running()).await;
    let source = r#"{steps: [{id: tell, email: {to: "{{ payload.to }}", subject: "Hi {{ payload.name }}", text: t}}]}"#;
    node.put("greet", source).await;

    for (payload, place) in [
        (json!({"to": "a@example.org", "name": "x\r\nBcc: evil@example.org"}), "/subject"),
        (json!({"to": "a@example.org\r\nBcc: evil@example.org", "name": "x"}), "/to"),
        (json!({"to": "a@example.org,evil@example.org", "name": "x"}), "/to"),
        (json!({"to": (0..51).map(|n| format!("a{n}@example.org")).collect::<Vec<_>>(), "name": "x"}), "/to"),
        (json!({"to": [], "name": "x"}), "/to"),
    ] {
        let id = node.submit(IntakeRequest { payload: payload.to_string(), ..ask("greet") }).await;
        let row = node.ended(id).await;

        assert_eq!((row.line.state, code(&row)), (State::Failed, "invalid_email"), "{payload}");
        let fields = row.error.unwrap().fields.unwrap();
        assert_eq!(fields.keys().collect::<Vec<_>>(), [place], "{payload}");
    }
    assert!(resend.received().is_empty() && tries(&node).await.is_empty());
}

async fn a_mail_that_cannot_be_one_is_refused_at_intake(database: Database) {
    let node = Node::by_hand(&database, settings(), TestClock::still()).await;
    for (member, value) in [
        ("to", json!("nobody")),
        ("to", json!([])),
        ("to", json!("a@example.org\r\nBcc: b@example.org")),
        ("cc", json!(["a@example.org", "b@example.org\n"])),
        ("from", json!("root")),
        ("template", json!("nope")),
        ("subject", json!("beside a template")),
        ("attachments", json!([])),
    ] {
        let mut mail = mail();
        mail[member] = value.clone();

        let refused = node.intake(request(&mail), "tester", None).await;

        assert!(matches!(refused, Err(IntakeError::InvalidPayload(_))), "{member} {value}: {refused:?}");
    }
    for mail in [mail(), json!({"to": "a@example.org", "subject": "s", "text": "t", "html": "<p>"})] {
        node.intake(request(&mail), "tester", None).await.unwrap();
    }
}

async fn built_in_names_are_kept(database: Database) {
    let node = Node::by_hand(&database, settings(), TestClock::still()).await;

    for name in ["levqor-email", "levqor-other"] {
        match node.put_workflow(name, NOOP, "api", by()).await {
            Err(DefinitionError::Invalid(problems)) => assert!(problems[0].message.contains("`levqor-`")),
            other => panic!("{name}: {:?}", other.err()),
        }
        let kept = node.delete_workflow(name, by()).await.unwrap_err().to_string();
        assert!(kept.contains("built in"), "{kept}");
    }
    let row = node.find_workflow("levqor-email", None).await.unwrap().unwrap();
    assert_eq!((row.version, row.origin.as_str()), (1, "built-in"));
    node.stop().await;
    let node = Node::by_hand(&database, settings(), TestClock::still()).await;
    assert_eq!(
        node.find_workflow("levqor-email", None).await.unwrap().unwrap().version,
        1,
        "a start changes nothing"
    );
}

async fn a_cancelled_job_sends_nothing_more(database: Database) {
    let resend = Receiver::start().await;
    resend.script("/emails", [Answer::status(503), taken()]);
    let clock = TestClock::still();
    let node = Node::by_hand(&database, through(&resend), clock.clone()).await;
    let id = node.submit(request(&mail())).await;
    node.turn_jobs(10).await.unwrap();

    node.cancel_job(id, by()).await.unwrap();
    clock.advance(86_400_000);
    node.move_due(&clock).await;

    assert_eq!(node.row(id).await.line.state, State::Cancelled);
    assert_eq!(resend.received().len(), 1);
}

async fn a_mail_goes_out_by_smtp_as_well(database: Database) {
    let smtp = SmtpServer::start().await;
    smtp.say("RCPT", [Say::reply("450 4.2.0 greylisted"), Say::reply("250 ok")]);
    let url = format!("smtp://{}?tls=none", smtp.address());
    let provider = Provider::Smtp(levqor_connectors::smtp::SmtpUrl::parse(&url).unwrap());
    let clock = TestClock::running();
    let node = Node::start(&database, mailed(&provider), clock.clone()).await;

    let id = node.submit(request(&mail())).await;
    wait_until(LIMIT, async || tries(&node).await.iter().any(|row| row.outcome == EmailOutcome::Failed))
        .await;
    clock.advance(60_000);
    wait_until(LIMIT, async || {
        node.move_due(&clock).await;
        node.row(id).await.line.state.is_final()
    })
    .await;

    let row = node.row(id).await;
    let message_id = result(&row)["send"]["message_id"].as_str().unwrap().to_owned();
    assert!(smtp.messages()[0].contains(&format!("Message-ID: {message_id}")), "{message_id}");
    assert_eq!(outcomes(&tries(&node).await), [EmailOutcome::Failed, EmailOutcome::Sent]);
}
