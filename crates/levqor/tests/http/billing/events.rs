//! Events: which are believed, that each is handled once, and that none is lost.

use futures_util::future::join_all;
use levqor_testkit::{Answer, Receiver};
use serde_json::{Value, json};

use super::*;
use crate::client::LIMIT;
use crate::server::check;

const RECEIVED: &str = "{\"received\":true}\n";
const INVALID_SIGNATURE: &str = "{\"error\":\"invalid_signature\"}\n";
const INVALID_PAYLOAD: &str = "{\"error\":\"invalid_payload\"}\n";

#[tokio::test]
async fn only_what_stripe_signed_in_the_last_five_minutes_is_believed() {
    let server = TestServer::start(&TAKING).await;
    let (anon, now) = (server.anon(), now_secs());
    let text = json!({"id": "evt_1", "type": "invoice.paid", "data": {"object": {}}}).to_string();
    let body = text.as_bytes();
    let good = signed_at(now, body, SECRET);
    let v1 = good.split_once(',').unwrap().1;
    let refused = [
        ("empty", String::new()),
        ("junk", "junk".to_owned()),
        ("no number", format!("t=soon,{v1}")),
        ("no time", v1.to_owned()),
        ("v0 only", good.replace("v1=", "v0=")),
        ("another secret", signed_at(now, body, "whsec_other")),
        ("another body", signed_at(now, b"{}", SECRET)),
        ("another time", format!("t={},{v1}", now - 1)),
        ("too old", signed_at(now - 310, body, SECRET)),
    ];
    for (what, header) in refused {
        check(what, &post(&anon, &header, body).await, 400, INVALID_SIGNATURE);
    }
    check("missing", &anon.post(WEBHOOK, &text).await, 400, INVALID_SIGNATURE);
    let accepted = [
        ("good", good.clone()),
        ("old", signed_at(now - 290, body, SECRET)),
        ("ahead", signed_at(now + 100_000, body, SECRET)),
        ("two, the second good", format!("t={now},v1={},{v1}", "0".repeat(64))),
        ("two, the first good", format!("{good},v1={}", "0".repeat(64))),
        ("other order", format!("v0=00,{v1},t={now}")),
    ];
    for (what, header) in accepted {
        check(what, &post(&anon, &header, body).await, 200, RECEIVED);
    }
    let doubled = [("Stripe-Signature", "x=1"), ("Stripe-Signature", good.as_str())];
    check("in two lines", &anon.send_bytes("POST", WEBHOOK, &doubled, body).await, 200, RECEIVED);
    let reply = post(&anon, &good, body).await;
    assert_eq!(reply.header("x-content-type-options"), Some("nosniff"));
    assert_eq!(reply.header("strict-transport-security").map(|value| value.contains("max-age")), Some(true));
}

#[tokio::test]
async fn what_is_signed_but_no_event_is_400() {
    let server = TestServer::start(&TAKING).await;
    for body in [
        &b""[..],
        b"{",
        b"\xff",
        b"[]",
        b"null",
        b"{}",
        br#"{"type":"checkout.session.completed","data":null}"#,
        br#"{"type":"checkout.session.completed","data":{"object":[]}}"#,
    ] {
        let reply = post(&server.anon(), &signed_at(now_secs(), body, SECRET), body).await;
        check(&String::from_utf8_lossy(body), &reply, 400, INVALID_PAYLOAD);
    }
    let mut bare = completed("", "nobody", json!({}));
    bare.as_object_mut().unwrap().remove("id");
    check("no id", &deliver(&server, &bare).await, 200, RECEIVED);
    check(
        "unknown",
        &deliver(&server, &event("evt_9", "customer.created", 1, json!({}))).await,
        200,
        RECEIVED,
    );
}

#[tokio::test]
async fn without_a_secret_nothing_is_believed_and_one_of_two_is_enough() {
    for vars in [&[("API_KEYS", "k")][..], &[]] {
        let server = TestServer::start(vars).await;
        let reply = deliver(&server, &completed("evt_1", "u", json!({}))).await;
        assert_eq!((reply.status, reply.error().as_str()), (503, "not_configured"));
        assert!(reply.text().contains("STRIPE_WEBHOOK_SECRET"), "{}", reply.text());
    }
    let both = format!("whsec_canary-new, {SECRET}");
    let server = TestServer::start(&[("API_KEYS", "k"), ("STRIPE_WEBHOOK_SECRET", &both)]).await;
    check("old", &deliver(&server, &completed("evt_1", "u", json!({}))).await, 200, RECEIVED);
    let body = completed("evt_2", "u", json!({})).to_string();
    let reply =
        post(&server.anon(), &signed_at(now_secs(), body.as_bytes(), "whsec_canary-new"), body.as_bytes())
            .await;
    check("new", &reply, 200, RECEIVED);
}

#[tokio::test]
async fn the_webhook_is_not_limited_but_its_bodies_are() {
    let vars =
        [TAKING[0], TAKING[1], ("RATE_BURST", "1"), ("RATE_GLOBAL", "1"), ("MAX_CONTENT_LENGTH", "600")];
    let server = TestServer::start(&vars).await;
    for n in 0..5 {
        let reply = deliver(&server, &completed(&format!("evt_{n}"), "u", json!({}))).await;
        check("delivery", &reply, 200, RECEIVED);
        assert_eq!(reply.header("x-ratelimit-limit"), None);
    }
    let large = completed("evt_9", "u", json!({"note": "x".repeat(600)}));
    let reply = deliver(&server, &large).await;
    assert_eq!((reply.status, reply.error().as_str()), (413, "body_too_large"));
}

async fn twelve_deliveries_at_once_are_one(server: TestServer) {
    let id = create_user(&server, "ada@example.org").await;
    let event = completed("evt_1", &id, json!({"currency": "jpy", "amount_total": 500}));

    let replies = join_all((0..12).map(|_| deliver(&server, &event))).await;

    for reply in replies {
        check("delivery", &reply, 200, RECEIVED);
    }
    assert_eq!(payments(&server, &id).await.len(), 1);
    let expected = json!({"from": "billing", "to": ["ada@example.org"], "template": "payment-received",
        "values": {"amount": "500 JPY", "reference": "cs_1"}});
    assert_eq!(mails(&server).await, [expected]);
    let figures = server.key("k").get("/metrics").await.text();
    assert!(figures.contains("levqor_billing_webhook_events_total{verdict=\"recorded\"} 1\n"), "{figures}");
    assert!(figures.contains("levqor_billing_webhook_events_total{verdict=\"repeated\"} 11\n"), "{figures}");
}

#[tokio::test]
async fn deliveries_at_once_are_handled_once_on_sqlite() {
    twelve_deliveries_at_once_are_one(TestServer::start(&TAKING).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deliveries_at_once_are_handled_once_on_postgres() {
    let url = levqor_testkit::postgres_url().await;
    let server = TestServer::start(&[TAKING[0], TAKING[1], ("DATABASE_URL", &url)]).await;
    twelve_deliveries_at_once_are_one(server).await;
}

#[tokio::test]
async fn an_event_that_could_not_be_recorded_is_refused_and_taken_when_it_comes_again() {
    let server = TestServer::start(&TAKING).await;
    let id = create_user(&server, "ada@example.org").await;
    let event = completed("evt_1", &id, json!({}));
    server.engine.store().close().await;
    let lost = deliver(&server, &event).await;
    assert_eq!((lost.status, lost.error().as_str()), (503, "unavailable"));

    let server = server.restarted(&TAKING).await;
    check("again", &deliver(&server, &event).await, 200, RECEIVED);
    // The answer may have got lost on its way: Stripe sends once more, to a process that remembers nothing.
    let server = server.restarted(&TAKING).await;
    check("and again", &deliver(&server, &event).await, 200, RECEIVED);

    assert_eq!(payments(&server, &id).await.len(), 1);
    assert_eq!(mails(&server).await.len(), 1);
}

#[tokio::test]
async fn mails_go_out_for_money_that_came_or_failed_and_for_nothing_else() {
    let server = TestServer::start(&TAKING).await;
    let session = completed("", "u", json!({}))["data"]["object"].clone();
    let of_session = |event_id: &str, event_type: &str| {
        event(event_id, &format!("checkout.session.{event_type}"), 1_790_000_000, session.clone())
    };
    let deliveries = [
        (completed("evt_1", "u", json!({"payment_status": "unpaid"})), None),
        (completed("evt_2", "u", json!({"payment_status": "no_payment_required", "amount_total": 0})), None),
        (completed("evt_3", "u", json!({"customer_details": {"email": "x\r\nbcc: y@z.co"}})), None),
        (completed("evt_4", "u", json!({"currency": null})), None),
        (completed("evt_5", "u", json!({"currency": "kwd", "amount_total": 5120})), Some("5.120 KWD")),
        (completed("evt_6", "u", json!({"currency": "isk", "amount_total": 500})), Some("5 ISK")),
        (of_session("evt_7", "async_payment_succeeded"), Some("12.50 EUR")),
        (of_session("evt_8", "async_payment_failed"), Some("12.50 EUR")),
        (of_session("evt_9", "expired"), None),
        (
            event(
                "evt_10",
                "charge.refunded",
                1,
                json!({"id": "ch_1", "amount_refunded": 5, "currency": "eur"}),
            ),
            None,
        ),
    ];
    let expected: Vec<&str> = deliveries.iter().filter_map(|(_, amount)| *amount).rev().collect();
    for (event, _) in &deliveries {
        check("delivery", &deliver(&server, event).await, 200, RECEIVED);
    }

    let mails = mails(&server).await;

    let amounts: Vec<&Value> = mails.iter().map(|mail| &mail["values"]["amount"]).collect();
    assert_eq!(amounts, expected);
    assert_eq!(mails[0]["template"], "payment-failed");
    assert!(mails[1..].iter().all(|mail| mail["template"] == "payment-received"), "{mails:?}");
}

#[tokio::test]
async fn no_secret_is_told_or_logged() {
    let server = TestServer::start(&TAKING).await;
    let mut texts = deliver(&server, &completed("evt_1", "u", json!({}))).await.text();
    texts += &post(&server.anon(), &format!("t=1,v1={SECRET}"), b"{}").await.text();
    texts += &server.key("k").get("/metrics").await.text();

    server.log.close();
    texts += &server.logged.text();
    assert!(!texts.contains("canary") && texts.contains("/billing/webhook"), "{texts}");
}

#[tokio::test]
async fn the_customer_is_written_to_once_with_the_right_amount() {
    let resend = Receiver::start().await;
    resend.script("/emails", [Answer::json(&json!({"id": "m-1"}))]);
    let url = resend.url("");
    let mail =
        [("RESEND_API_KEY", "re_canary-1"), ("RESEND_BASE_URL", &url), ("EMAIL_DOMAIN", "example.com")];
    let server = TestServer::start(&[&TAKING[..], &mail].concat()).await;
    let event = completed("evt_1", "u", json!({"currency": "isk", "amount_total": 500}));

    for _ in 0..3 {
        check("delivery", &deliver(&server, &event).await, 200, RECEIVED);
    }

    let sent = resend.wait_for(1, LIMIT).await;
    assert_eq!((sent.len(), &sent[0].json()["from"]), (1, &json!("billing@example.com")));
    assert_eq!(sent[0].json()["to"], json!(["ada@example.org"]));
    assert!(
        sent[0].json()["text"].as_str().unwrap().contains("Your payment of 5 ISK has arrived"),
        "{sent:?}"
    );
    assert_eq!(mails(&server).await.len(), 1);
}
