#![allow(clippy::unwrap_used)]

use serde_json::json;

use super::*;

const NOW: i64 = 1_800_000_000_123;

fn event(event_type: &str, object: Value) -> Value {
    json!({"id": "evt_1", "object": "event", "type": event_type, "created": 1_790_000_000, "data": {"object": object}})
}

fn payment(event: &Value) -> (Payment, Option<String>) {
    match super::read(event.to_string().as_bytes(), NOW).unwrap() {
        Event::Payment { payment, email } => (*payment, email),
        Event::Other => panic!("{event} tells of no payment"),
    }
}

fn session(payment_status: &str) -> Value {
    json!({"id": "cs_1", "object": "checkout.session", "amount_total": 1250, "currency": "eur", "mode": "payment",
        "client_reference_id": "u1", "customer": "cus_1", "payment_intent": "pi_1", "payment_status": payment_status,
        "customer_details": {"email": "Ada@Example.org"}, "customer_email": null})
}

#[test]
fn a_session_tells_whether_money_arrived() {
    let paid = Payment {
        event_id: "evt_1".to_owned(),
        event_type: "checkout.session.completed".to_owned(),
        kind: PaymentKind::Paid,
        object_id: Some("cs_1".to_owned()),
        session_id: Some("cs_1".to_owned()),
        payment_intent: Some("pi_1".to_owned()),
        charge: None,
        customer: Some("cus_1".to_owned()),
        user_id: Some("u1".to_owned()),
        amount: Some(1250),
        currency: Some("EUR".to_owned()),
        status: Some("paid".to_owned()),
        happened_at_ms: 1_790_000_000_000,
    };
    let email = Some("ada@example.org".to_owned());
    assert_eq!(payment(&event("checkout.session.completed", session("paid"))), (paid, email));

    for (event_type, status, kind) in [
        ("checkout.session.completed", "unpaid", PaymentKind::Pending),
        ("checkout.session.completed", "no_payment_required", PaymentKind::Free),
        ("checkout.session.async_payment_succeeded", "paid", PaymentKind::Paid),
        ("checkout.session.async_payment_failed", "unpaid", PaymentKind::Failed),
    ] {
        assert_eq!(payment(&event(event_type, session(status))).0.kind, kind, "{event_type} {status}");
    }
    let mut bare = session("paid");
    bare.as_object_mut().unwrap().remove("payment_status");
    assert_eq!(payment(&event("checkout.session.completed", bare)).0.kind, PaymentKind::Paid, "as ever");
}

#[test]
fn refunds_and_disputes_are_read_and_know_their_payment() {
    let refund = json!({"id": "re_1", "amount": 300, "currency": "eur", "charge": "ch_1", "payment_intent": "pi_1",
        "status": "succeeded", "customer": "cus_1", "metadata": {"user_id": "u1"}});
    for event_type in ["refund.created", "refund.updated", "refund.failed", "charge.refund.updated"] {
        let (line, email) = payment(&event(event_type, refund.clone()));
        assert_eq!(
            (line.kind, line.amount, line.status.as_deref()),
            (PaymentKind::Refund, Some(300), Some("succeeded"))
        );
        assert_eq!((line.object_id.as_deref(), line.charge.as_deref()), (Some("re_1"), Some("ch_1")));
        assert_eq!((line.payment_intent.as_deref(), line.session_id, email), (Some("pi_1"), None, None));
        assert_eq!((line.user_id, line.customer), (None, None), "whose it is stands at the payment alone");
    }
    for (refunded, status) in [(true, "full"), (false, "partial")] {
        let charge = json!({"id": "ch_1", "amount": 1250, "amount_refunded": 400, "refunded": refunded, "currency": "eur",
            "payment_intent": {"id": "pi_1", "object": "payment_intent"}});
        let (line, _) = payment(&event("charge.refunded", charge));
        assert_eq!(
            (line.kind, line.amount, line.status.as_deref()),
            (PaymentKind::RefundTotal, Some(400), Some(status))
        );
        assert_eq!((line.charge.as_deref(), line.payment_intent.as_deref()), (Some("ch_1"), Some("pi_1")));
    }
    for event_type in ["created", "updated", "closed", "funds_withdrawn", "funds_reinstated"] {
        let dispute = json!({"id": "dp_1", "amount": 1250, "currency": "eur", "charge": "ch_1", "payment_intent": "pi_1", "status": "lost"});
        let (line, _) = payment(&event(&format!("charge.dispute.{event_type}"), dispute));
        assert_eq!(
            (line.kind, line.amount, line.status.as_deref()),
            (PaymentKind::Dispute, Some(1250), Some("lost"))
        );
    }
}

#[test]
fn what_reads_oddly_is_left_out_and_the_rest_is_kept() {
    let odd = json!({"id": 7, "client_reference_id": "a\u{0}b", "amount_total": "12.50", "currency": "euro", "payment_intent": [],
        "customer_details": {"email": "a@b.co\r\nbcc: c@d.co"}, "customer_email": " Bob@Example.org", "metadata": {"user_id": "u2"}});
    let mut whole = event("checkout.session.completed", odd);
    whole["id"] = json!("x".repeat(256));
    whole["created"] = json!(-1);

    let (line, email) = payment(&whole);

    assert!(line.event_id.starts_with("sha256:") && line.event_id.len() == 71, "{}", line.event_id);
    assert_eq!((line.object_id, line.payment_intent, line.amount, line.currency), (None, None, None, None));
    assert_eq!((line.user_id.as_deref(), line.happened_at_ms), (Some("u2"), NOW));
    assert_eq!(email, None, "what has no session has nobody to write to");
    let mut session = session("paid");
    session["customer_details"] = json!({"email": "a@b.co\r\nbcc: c@d.co"});
    session["customer_email"] = json!(" Bob@Example.org");
    let (_, email) = payment(&event("checkout.session.completed", session));
    assert_eq!(email.as_deref(), Some("bob@example.org"), "the first address that is one");
}

#[test]
fn the_same_body_without_an_id_is_the_same_event() {
    let mut bare = event("checkout.session.completed", session("paid"));
    bare.as_object_mut().unwrap().remove("id");
    let mut other = bare.clone();
    other["created"] = json!(5);

    assert_eq!(payment(&bare).0.event_id, payment(&bare).0.event_id);
    assert_ne!(payment(&bare).0.event_id, payment(&other).0.event_id);
}

#[test]
fn other_types_tell_nothing_and_no_event_is_refused() {
    for event_type in ["invoice.paid", "checkout.session.expired", "customer.created", "", "\u{0}"] {
        let read = super::read(event(event_type, json!({})).to_string().as_bytes(), NOW);
        assert_eq!(read, Ok(Event::Other), "{event_type:?}");
    }
    assert_eq!(super::read(br#"{"data":{"object":{}}}"#, NOW), Ok(Event::Other), "no type");
    let deep = format!(r#"{{"data":{{"object":{{"a":{}{}}}}}}}"#, "[".repeat(50_000), "]".repeat(50_000));
    for body in [
        &b""[..],
        b"{",
        b"\xff\xfe",
        b"[]",
        b"null",
        b"7",
        br#"{"type":"checkout.session.completed"}"#,
        br#"{"type":"checkout.session.completed","data":null}"#,
        br#"{"type":"checkout.session.completed","data":{}}"#,
        br#"{"type":"checkout.session.completed","data":{"object":null}}"#,
        br#"{"type":"checkout.session.completed","data":{"object":[]}}"#,
        br#"{"type":"checkout.session.completed","data":{"object":{"amount_total":NaN}}}"#,
        deep.as_bytes(),
    ] {
        assert!(super::read(body, NOW).is_err(), "{}", String::from_utf8_lossy(&body[..body.len().min(80)]));
    }
}
