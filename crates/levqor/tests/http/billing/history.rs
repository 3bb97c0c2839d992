//! Payment history: what it shows, to whom, and that nobody rewrites it.

use serde_json::json;

use super::*;
use crate::server::check;

const UPSERT: &str = "/api/v1/users/upsert";

async fn patch(client: &Client, id: &str, body: &str) -> Reply {
    client.send("PATCH", &format!("/api/v1/users/{id}"), &[("Content-Type", "application/json")], body).await
}

#[tokio::test]
async fn the_history_is_whole_and_in_order_whatever_order_events_come_in() {
    let server = TestServer::start(&TAKING).await;
    let id = create_user(&server, "ada@example.org").await;
    let dispute = json!({"id": "dp_1", "amount": 1250, "currency": "eur", "payment_intent": "pi_1", "charge": "ch_1", "status": "lost"});
    let refund = json!({"id": "re_1", "amount": 300, "currency": "eur", "payment_intent": "pi_1", "charge": "ch_1", "status": "succeeded"});
    let charge = json!({"id": "ch_1", "amount_refunded": 300, "refunded": false, "currency": "eur", "payment_intent": "pi_1"});
    let paid = completed("evt_paid", &id, json!({}))["data"]["object"].clone();
    for (event_id, event_type, created, object) in [
        ("evt_5", "charge.dispute.closed", 1_790_000_500, &dispute),
        ("evt_3", "refund.created", 1_790_000_300, &refund),
        ("evt_4", "charge.refunded", 1_790_000_301, &charge),
        ("evt_2", "checkout.session.async_payment_succeeded", 1_790_000_200, &paid),
    ] {
        assert_eq!(deliver(&server, &event(event_id, event_type, created, object.clone())).await.status, 200);
    }
    let pending = completed("evt_1", &id, json!({"payment_status": "unpaid"}));
    assert_eq!(deliver(&server, &pending).await.status, 200);

    let lines = payments(&server, &id).await;

    let told: Vec<_> = lines
        .iter()
        .map(|line| (line["event_id"].as_str().unwrap(), line["kind"].as_str().unwrap()))
        .collect();
    let expected = [
        ("evt_1", "pending"),
        ("evt_2", "paid"),
        ("evt_3", "refund"),
        ("evt_4", "refund_total"),
        ("evt_5", "dispute"),
    ];
    assert_eq!(told, expected);
    let line = json!({"amount": 1250, "amount_text": "12.50 EUR", "currency": "EUR", "event_id": "evt_2",
        "event_type": "checkout.session.async_payment_succeeded", "kind": "paid", "object_id": "cs_1",
        "payment_intent": "pi_1", "session_id": "cs_1", "status": "paid", "timestamp": 1_790_000_200.0});
    assert_eq!(lines[1], line);
    let user = server.key("k").get(&format!("/api/v1/users/{id}")).await.json();
    let last = json!({"amount": 1250, "session_id": "cs_1", "timestamp": 1_790_000_200.0});
    assert_eq!(user["meta"], json!({"last_payment": last, "payments": lines}));
}

#[tokio::test]
async fn payments_are_shown_to_holders_of_a_key_only() {
    let server = TestServer::start(&TAKING).await;
    let id = create_user(&server, "ada@example.org").await;
    assert_eq!(deliver(&server, &completed("evt_1", &id, json!({}))).await.status, 200);
    let (by_id, by_email) = (format!("/api/v1/users/{id}"), "/api/v1/users?email=ada@example.org");
    patch(&server.key("k"), &id, r#"{"meta":{"plan":"pro"}}"#).await;

    for path in [by_id.as_str(), by_email] {
        assert_eq!(server.anon().get(path).await.json()["meta"], json!({"plan": "pro"}), "{path}");
        assert_eq!(server.key("wrong").get(path).await.json()["meta"], json!({"plan": "pro"}), "{path}");
        let meta = server.key("k").get(path).await.json()["meta"].clone();
        assert_eq!(meta.as_object().unwrap().len(), 3, "{path}: {meta}");
        assert_eq!(meta["last_payment"]["amount"], 1250);
    }
    let path = format!("/api/v1/users/{id}/payments");
    check("keyed", &server.anon().get(&path).await, 403, "{\"error\":\"forbidden\"}\n");
    let missing = "{\"error\":\"not_found\",\"message\":\"no such user\"}\n";
    for nobody in ["nobody", "a%00b", "%ff"] {
        check(nobody, &server.key("k").get(&format!("/api/v1/users/{nobody}/payments")).await, 404, missing);
    }
    assert_eq!(server.key("k").get(&format!("{path}?x=1")).await.error(), "invalid_query");

    let open = TestServer::start(&[("STRIPE_WEBHOOK_SECRET", SECRET)]).await;
    let id = create_user(&open, "ada@example.org").await;
    deliver(&open, &completed("evt_1", &id, json!({}))).await;
    let meta = open.anon().get(&format!("/api/v1/users/{id}")).await.json()["meta"].clone();
    assert_eq!(meta["last_payment"]["session_id"], "cs_1", "in development mode everybody holds a key");
}

#[tokio::test]
async fn wrong_keys_on_public_reads_are_counted_like_all_others() {
    let vars = [TAKING[0], TAKING[1], ("RATE_BURST", "3")];
    let server = TestServer::start(&vars).await;
    let id = create_user(&server, "ada@example.org").await;
    let path = format!("/api/v1/users/{id}");

    for _ in 0..3 {
        assert_eq!(server.key("wrong").get(&path).await.status, 200);
    }
    check("spent", &server.key("wrong").get(&path).await, 429, "{\"error\":\"rate_limited\"}\n");
    assert_eq!(server.key("wrong").get("/api/v1/jobs").await.status, 429, "one window for all of them");
    for _ in 0..3 {
        assert_eq!(server.anon().get(&path).await.status, 200);
        assert_eq!(server.key("k").get(&path).await.status, 200);
    }
}

#[tokio::test]
async fn no_upsert_and_no_patch_writes_or_wipes_history() {
    let server = TestServer::start(&TAKING).await;
    let key = server.key("k");
    let id = create_user(&server, "ada@example.org").await;
    assert_eq!(deliver(&server, &completed("evt_1", &id, json!({}))).await.status, 200);
    let path = format!("/api/v1/users/{id}");
    let before = key.get(&path).await.json()["meta"].clone();

    let forged = json!({"payments": [{"amount": 1}], "last_payment": {"amount": 1}, "plan": "pro"});
    let patched = patch(&key, &id, &json!({"meta": forged}).to_string()).await.json()["user"]["meta"].clone();
    assert_eq!((&patched["payments"], &patched["plan"]), (&before["payments"], &json!("pro")));
    let wiped = patch(&key, &id, r#"{"meta":{"payments":null,"last_payment":null}}"#).await.json();
    assert_eq!(wiped["user"]["meta"]["last_payment"], before["last_payment"]);
    let replaced = key.post(UPSERT, r#"{"email":"ada@example.org"}"#).await.json();
    assert_eq!(replaced["user"]["meta"], before);
    let echoed = json!({"email": "ada@example.org", "meta": before}).to_string();
    assert_eq!(
        key.post(UPSERT, &echoed).await.json()["user"]["meta"],
        before,
        "sending back what was read is fine"
    );
    assert_eq!(server.anon().get(&path).await.json()["meta"], json!({}));

    let other =
        key.post(UPSERT, &json!({"email": "bob@example.org", "meta": forged}).to_string()).await.json();
    assert_eq!(other["user"]["meta"], json!({"plan": "pro"}), "who paid nothing has no history");
}

#[tokio::test]
async fn a_history_of_hundreds_of_lines_can_be_sent_back() {
    let server = TestServer::start(&TAKING).await;
    let id = create_user(&server, "ada@example.org").await;
    for n in 0..120 {
        assert_eq!(deliver(&server, &completed(&format!("evt_{n}"), &id, json!({}))).await.status, 200);
    }
    let user = server.key("k").get(&format!("/api/v1/users/{id}")).await.json();
    assert!(user["meta"].to_string().len() > 16_384);

    let body = json!({"email": "ada@example.org", "meta": user["meta"]}).to_string();
    let reply = server.key("k").post(UPSERT, &body).await;

    assert_eq!((reply.status, &reply.json()["user"]["meta"]), (200, &user["meta"]));
}

#[tokio::test]
async fn an_export_tells_of_payments_and_an_erasure_keeps_them_without_a_name() {
    let server = TestServer::start(&TAKING).await;
    let id = create_user(&server, "ada@example.org").await;
    let paid = completed("evt_1", &id, json!({"customer_details": {"email": "private@example.com"}}));
    assert_eq!(deliver(&server, &paid).await.status, 200);
    let key = server.key("k");
    levqor_testkit::wait_until(crate::client::LIMIT, async || {
        key.get("/api/v1/emails").await.json()["emails"][0]["status"] == "failed"
    })
    .await;

    let export = key.get(&format!("/api/v1/users/{id}/export")).await.json();
    assert_eq!(export["payments"], json!(payments(&server, &id).await));
    assert_eq!(export["user"]["meta"]["payments"], export["payments"]);
    let mail = json!({"from": "billing", "template": "payment-received", "values": {"amount": "12.50 EUR", "reference": "cs_1"}});
    assert_eq!(export["mails"].as_array().unwrap().len(), 1, "{export}");
    assert_eq!(export["mails"][0]["mail"], mail, "it went to the address that was given at the checkout");
    assert_eq!(export["emails"][0]["to"], json!(["private@example.com"]), "{export}");

    assert_eq!(key.send("DELETE", &format!("/api/v1/users/{id}"), &[], "").await.status, 200);
    assert_eq!(key.get(&format!("/api/v1/users/{id}/payments")).await.status, 404);
    assert_eq!(deliver(&server, &paid).await.status, 200, "handled before");
    assert_eq!(mails(&server).await, [json!({})], "what was written is gone, and that it was stays");
    let emails = key.get("/api/v1/emails").await.json();
    assert_eq!((&emails["emails"][0]["to"], &emails["emails"][0]["subject"]), (&json!([""]), &json!("")));
    let again = create_user(&server, "ada@example.org").await;
    assert!(payments(&server, &again).await.is_empty(), "a new person has a new history");
}
