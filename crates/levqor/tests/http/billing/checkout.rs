//! Checkout and portal: who may, with what, where customers come back to, and what Stripe's faults become.

use levqor_testkit::{Answer, Received, Receiver};
use serde_json::json;

use super::*;
use crate::server::check;

const CHECKOUT: &str = "/billing/create-checkout-session";
const PORTAL: &str = "/billing/portal";
const KEY: &str = "sk_test_canary-66";

async fn start(stripe: &Receiver, more: &[(&str, &str)]) -> TestServer {
    let url = stripe.url("");
    let mut vars = vec![
        ("API_KEYS", "k"),
        ("STRIPE_SECRET_KEY", KEY),
        ("STRIPE_WEBHOOK_SECRET", SECRET),
        ("STRIPE_PRICES", "price_1, price_2"),
        ("STRIPE_BASE_URL", url.as_str()),
        ("PUBLIC_BASE_URL", "https://shop.example"),
    ];
    vars.extend(more);
    TestServer::start(&vars).await
}

async fn stripe() -> Receiver {
    let stripe = Receiver::start().await;
    let session =
        json!({"id": "cs_1", "object": "checkout.session", "url": "https://checkout.stripe.com/c/pay/cs_1"});
    stripe.script("/v1/checkout/sessions", [Answer::json(&session)]);
    let portal = json!({"id": "bps_1", "object": "billing_portal.session", "url": "https://billing.stripe.com/p/session/x"});
    stripe.script("/v1/billing_portal/sessions", [Answer::json(&portal)]);
    stripe
}

fn field(sent: &Received, name: &str) -> Option<String> {
    let mut pairs = url::form_urlencoded::parse(&sent.body).into_owned();
    pairs.find(|(known, _)| known == name).map(|(_, value)| value)
}

#[tokio::test]
async fn a_checkout_is_made_with_the_first_price_unless_another_is_named() {
    let stripe = stripe().await;
    let server = start(&stripe, &[]).await;
    let key = server.key("k");

    let reply = key.post(CHECKOUT, "{}").await;
    let body = "{\"sessionId\":\"cs_1\",\"url\":\"https://checkout.stripe.com/c/pay/cs_1\"}\n";
    check("made", &reply, 200, body);
    assert_eq!(reply.header("x-ratelimit-remaining"), Some("99999"));
    let all = r#"{"price_id":"price_2","email":" Ada@Example.org","user_id":"u1"}"#;
    check("all of it", &key.post(CHECKOUT, all).await, 200, body);

    let sent = stripe.received();
    assert_eq!(field(&sent[0], "line_items[0][price]").as_deref(), Some("price_1"));
    assert_eq!(
        field(&sent[0], "success_url").as_deref(),
        Some("https://shop.example/public/billing/success")
    );
    assert_eq!(field(&sent[0], "cancel_url").as_deref(), Some("https://shop.example/public/billing/cancel"));
    assert_eq!((field(&sent[0], "customer_email"), field(&sent[0], "client_reference_id")), (None, None));
    assert_eq!(field(&sent[1], "line_items[0][price]").as_deref(), Some("price_2"));
    assert_eq!(field(&sent[1], "customer_email").as_deref(), Some("ada@example.org"));
    assert_eq!(field(&sent[1], "client_reference_id").as_deref(), Some("u1"));
    assert_eq!(field(&sent[1], "metadata[user_id]").as_deref(), Some("u1"));
    assert_eq!(sent[0].header("authorization"), format!("Bearer {KEY}"));
    for path in ["/public/billing/success", "/public/billing/cancel", "/public/billing/return"] {
        let page = server.anon().get(path).await;
        assert_eq!(
            (page.status, page.header("content-type")),
            (200, Some("text/html; charset=utf-8")),
            "{path}"
        );
    }
}

#[tokio::test]
async fn checks_come_in_their_order_and_stripe_hears_of_none_that_failed() {
    let stripe = stripe().await;
    let server = start(&stripe, &[]).await;
    let (anon, key) = (server.anon(), server.key("k"));
    check("key first", &anon.post(CHECKOUT, "{").await, 403, "{\"error\":\"forbidden\"}\n");
    let wrong_type = "{\"details\":null,\"error\":\"Content-Type must be application/json\"}\n";
    for kind in ["application/x-www-form-urlencoded", "text/plain"] {
        check(kind, &key.send("POST", CHECKOUT, &[("Content-Type", kind)], "a=b").await, 400, wrong_type);
    }
    check("no type", &key.send("POST", CHECKOUT, &[], "").await, 400, wrong_type);
    for (body, error) in [
        ("", "invalid JSON"),
        ("{", "invalid JSON"),
        ("[]", "Invalid checkout payload"),
        (r#"{"price_id":7}"#, "Invalid checkout payload"),
        (r#"{"email":"nobody"}"#, "Invalid checkout payload"),
        (r#"{"quantity":2}"#, "Invalid checkout payload"),
        (r#"{"price_id":"price_3"}"#, "Invalid checkout payload"),
        (r#"{"price_id":"price_1,price_2"}"#, "Invalid checkout payload"),
    ] {
        let reply = key.post(CHECKOUT, body).await;
        assert_eq!((reply.status, reply.error().as_str()), (400, error), "{body}");
        assert!(
            reply.json()["details"].is_string() && reply.json().as_object().unwrap().len() == 2,
            "{body}"
        );
    }
    let headers = [("Content-Type", "application/json"), ("Idempotency-Key", "a b")];
    let reply = key.send("POST", CHECKOUT, &headers, "{}").await;
    assert_eq!((reply.status, reply.error().as_str()), (400, "invalid_idempotency_key"));
    assert!(stripe.received().is_empty());

    for (missing, name) in [("STRIPE_SECRET_KEY", "STRIPE_SECRET_KEY"), ("STRIPE_PRICES", "STRIPE_PRICES")] {
        let server = start(&stripe, &[(missing, "")]).await;
        let reply = server.key("k").post(CHECKOUT, r#"{"price_id":"price_9"}"#).await;
        assert_eq!((reply.status, reply.error().as_str()), (503, "not_configured"), "{missing}");
        assert!(reply.text().contains(name), "{}", reply.text());
        assert_eq!(server.key("k").post(CHECKOUT, "[]").await.status, 400, "the shape is judged first");
    }
}

#[tokio::test]
async fn an_idempotency_key_is_handed_on_within_its_callers_space() {
    let stripe = stripe().await;
    let closed = start(&stripe, &[]).await;
    let open = start(&stripe, &[("PUBLIC_CHECKOUT", "true")]).await;
    let headers = [("Content-Type", "application/json"), ("Idempotency-Key", "order-1")];
    for client in [closed.key("k"), closed.key("k"), open.anon(), open.key("k")] {
        assert_eq!(client.send("POST", CHECKOUT, &headers, "{}").await.status, 200);
    }
    for _ in 0..2 {
        assert_eq!(closed.key("k").post(CHECKOUT, "{}").await.status, 200);
    }

    let keys: Vec<String> =
        stripe.received().iter().map(|sent| sent.header("idempotency-key").to_owned()).collect();

    assert_eq!(keys[0], keys[1]);
    assert_eq!(keys[0], keys[3], "a key makes the caller, whoever else is let in");
    assert_ne!(keys[0], keys[2]);
    assert_ne!(keys[4], keys[5], "one for each request");
    assert!(keys.iter().all(|key| key.starts_with("levqor-") && !key.contains("order-1") && key.len() < 255));

    let mismatch = json!({"error": {"type": "idempotency_error", "message": "x"}}).to_string();
    stripe.script("/v1/checkout/sessions", [Answer::status(400).body(mismatch)]);
    let reply = closed.key("k").send("POST", CHECKOUT, &headers, "{}").await;
    assert_eq!((reply.status, reply.error().as_str()), (422, "idempotency_mismatch"));
}

#[tokio::test]
async fn an_open_checkout_needs_no_key_is_limited_and_lets_browsers_in() {
    let stripe = stripe().await;
    let server = start(&stripe, &[("PUBLIC_CHECKOUT", "true"), ("RATE_BURST", "2")]).await;

    let preflight = [("Origin", "https://levqor.ai"), ("Access-Control-Request-Method", "POST")];
    let allowed = server.anon().send("OPTIONS", CHECKOUT, &preflight, "").await;
    assert_eq!(allowed.status, 200);
    assert_eq!(allowed.header("access-control-allow-origin"), Some("https://levqor.ai"));
    assert!(allowed.header("access-control-allow-methods").unwrap().contains("POST"));
    assert!(allowed.header("access-control-allow-headers").unwrap().contains("Content-Type"));
    for client in [server.anon(), server.key("wrong")] {
        assert_eq!(client.post(CHECKOUT, "{}").await.status, 200);
    }
    check("limited", &server.anon().post(CHECKOUT, "{}").await, 429, "{\"error\":\"rate_limited\"}\n");
    assert_eq!(
        server.anon().post(PORTAL, r#"{"user_id":"u"}"#).await.status,
        403,
        "the portal is never open"
    );
    assert_eq!(stripe.received().len(), 2);
}

#[tokio::test]
async fn stripes_faults_become_gateway_errors_that_hold_no_secret() {
    let stripe = stripe().await;
    let server = start(&stripe, &[]).await;
    let key = server.key("k");
    let said = |code: &str| {
        let message = format!("Invalid API Key provided: {KEY}");
        json!({"error": {"type": "invalid_request_error", "code": code, "message": message}}).to_string()
    };
    let mut texts = String::new();
    for (answer, status, code, word) in [
        (
            Answer::status(401).body(said("api_key_invalid")),
            502,
            "stripe_api_error",
            json!("api_key_invalid"),
        ),
        (Answer::status(402).body(said("card_declined")), 502, "stripe_api_error", json!("card_declined")),
        (Answer::status(404).body(said(KEY)), 502, "stripe_api_error", json!("(hidden)")),
        (Answer::status(429).retry_after("9"), 429, "connector_rate_limited", json!(null)),
        (Answer::status(500), 502, "stripe_api_error", json!(null)),
        (Answer::status(200).body("garbage"), 502, "connector_bad_answer", json!(null)),
        (Answer::status(200).body(vec![b' '; 2 << 20]), 502, "connector_bad_answer", json!(null)),
        (Answer::hang(), 504, "connector_timeout", json!(null)),
    ] {
        stripe.script("/v1/checkout/sessions", [answer]);
        let reply = key.post(CHECKOUT, "{}").await;
        assert_eq!((reply.status, reply.error().as_str()), (status, code), "{}", reply.text());
        assert_eq!((&reply.json()["vendor_error"], &reply.json()["connector"]), (&word, &json!("stripe")));
        assert_eq!(reply.header("retry-after"), (status == 429).then_some("9"));
        texts.push_str(&reply.text());
    }
    drop(stripe);
    let reply = key.post(CHECKOUT, "{}").await;
    assert_eq!((reply.status, reply.error().as_str()), (502, "connector_unreachable"));
    texts.push_str(&reply.text());

    server.log.close();
    for text in [texts, server.logged.text()] {
        assert!(!text.is_empty() && !text.contains("canary"), "{text}");
    }
}

#[tokio::test]
async fn the_portal_is_opened_for_the_customer_that_a_person_is() {
    let stripe = stripe().await;
    let server = start(&stripe, &[]).await;
    let key = server.key("k");
    let id = create_user(&server, "ada@example.org").await;
    let body = json!({"user_id": id}).to_string();

    let none = key.post(PORTAL, &body).await;
    assert_eq!((none.status, none.error().as_str()), (409, "conflict"));
    let missing = "{\"error\":\"not_found\",\"message\":\"no such user\"}\n";
    check("nobody", &key.post(PORTAL, r#"{"user_id":"nobody"}"#).await, 404, missing);
    for (body, word) in
        [("{", "line 1"), ("{}", "user_id"), ("[]", "object"), (r#"{"user_id":7}"#, "user_id")]
    {
        let reply = key.post(PORTAL, body).await;
        assert_eq!((reply.status, reply.error().as_str()), (400, "invalid_request"), "{body}");
        assert!(reply.json()["message"].as_str().unwrap().contains(word), "{body}");
    }
    assert_eq!(key.send("POST", PORTAL, &[], "{}").await.error(), "wrong_content_type");
    assert!(stripe.received().is_empty());

    assert_eq!(deliver(&server, &completed("evt_1", &id, json!({"customer": "cus_7"}))).await.status, 200);
    check(
        "opened",
        &key.post(PORTAL, &body).await,
        200,
        "{\"url\":\"https://billing.stripe.com/p/session/x\"}\n",
    );
    let sent = &stripe.received()[0];
    assert_eq!(field(sent, "customer").as_deref(), Some("cus_7"));
    assert_eq!(field(sent, "return_url").as_deref(), Some("https://shop.example/public/billing/return"));

    let bare = start(&stripe, &[("STRIPE_SECRET_KEY", "")]).await;
    assert_eq!(bare.key("k").post(PORTAL, &body).await.error(), "not_configured");
}
