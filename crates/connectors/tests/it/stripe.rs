//! What Stripe is sent, field by field as its API reference has it, and what becomes of its answers.

use http::HeaderValue;
use levqor_connectors::stripe::{API_VERSION, Checkout, Error, Session, Stripe};
use levqor_connectors::{Bases, Connectors, Failure};
use levqor_core::address::OutboundPolicy;
use levqor_testkit::{Act, Answer, Received, Receiver, Script};
use serde_json::json;

const KEY: &str = "sk_test_canary-88";
const CHECKOUT: &str = "/v1/checkout/sessions";
const PORTAL: &str = "/v1/billing_portal/sessions";

fn connectors(base: &str) -> Connectors {
    let bases = Bases { stripe: base.to_owned(), ..Bases::default() };
    Connectors::new(&OutboundPolicy::default(), HeaderValue::from_static("levqor-test/1"), bases)
}

async fn buy(connectors: &Connectors) -> Result<Session, Error> {
    buy_within(connectors, 5_000).await
}

async fn buy_within(connectors: &Connectors, limit_ms: u64) -> Result<Session, Error> {
    let stripe = Stripe { connectors, secret_key: KEY, limit_ms, now_ms: 0 };
    let checkout = Checkout {
        price_id: "price_1",
        email: Some("a+b@example.org"),
        user_id: Some("u 1&x=y"),
        success_url: "https://shop.example/done",
        cancel_url: "https://shop.example/not",
    };
    stripe.create_checkout(&checkout, "idem-1").await
}

fn form(sent: &Received) -> Vec<(String, String)> {
    url::form_urlencoded::parse(&sent.body).into_owned().collect()
}

fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    expected.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn session(id: &str) -> Answer {
    Answer::json(
        &json!({"id": id, "object": "checkout.session", "url": "https://checkout.stripe.com/c/pay/cs_1#x", "status": "open"}),
    )
}

#[tokio::test]
async fn a_checkout_is_asked_for_as_the_reference_has_it() {
    let server = Receiver::start().await;
    server.script(CHECKOUT, [session("cs_1")]);
    let connectors = connectors(&server.url(""));

    let made = buy(&connectors).await.unwrap();

    let url = "https://checkout.stripe.com/c/pay/cs_1#x".to_owned();
    assert_eq!(made, Session { id: "cs_1".to_owned(), url });
    let sent = &server.received()[0];
    assert_eq!((sent.method.as_str(), sent.path.as_str(), sent.query.as_str()), ("POST", CHECKOUT, ""));
    assert_eq!(sent.header("authorization"), format!("Bearer {KEY}"));
    assert_eq!(sent.header("content-type"), "application/x-www-form-urlencoded");
    assert_eq!(sent.header("stripe-version"), API_VERSION);
    assert_eq!(sent.header("idempotency-key"), "idem-1");
    let expected = [
        ("mode", "payment"),
        ("line_items[0][price]", "price_1"),
        ("line_items[0][quantity]", "1"),
        ("success_url", "https://shop.example/done"),
        ("cancel_url", "https://shop.example/not"),
        ("customer_email", "a+b@example.org"),
        ("client_reference_id", "u 1&x=y"),
        ("metadata[user_id]", "u 1&x=y"),
        ("customer_creation", "always"),
    ];
    assert_eq!(form(sent), pairs(&expected));
}

#[tokio::test]
async fn a_guest_is_sent_without_what_is_not_known() {
    let server = Receiver::start().await;
    server.script(CHECKOUT, [session("cs_1")]);
    let connectors = connectors(&server.url(""));
    let stripe = Stripe { connectors: &connectors, secret_key: KEY, limit_ms: 5_000, now_ms: 0 };

    let checkout = Checkout {
        price_id: "price_1",
        email: None,
        user_id: None,
        success_url: "http://a",
        cancel_url: "http://b",
    };
    stripe.create_checkout(&checkout, "k").await.unwrap();

    let names: Vec<String> = form(&server.received()[0]).into_iter().map(|(name, _)| name).collect();
    assert_eq!(
        names,
        ["mode", "line_items[0][price]", "line_items[0][quantity]", "success_url", "cancel_url"]
    );
}

#[tokio::test]
async fn a_portal_is_opened_for_a_customer() {
    let server = Receiver::start().await;
    server.script(
        PORTAL,
        [Answer::json(&json!({"id": "bps_1", "url": "https://billing.stripe.com/p/session/x"}))],
    );
    let connectors = connectors(&server.url(""));
    let stripe = Stripe { connectors: &connectors, secret_key: KEY, limit_ms: 5_000, now_ms: 0 };

    let made = stripe.create_portal("cus_1", "https://shop.example/", "k").await.unwrap();

    assert_eq!(made.url, "https://billing.stripe.com/p/session/x");
    let sent = &server.received()[0];
    assert_eq!(form(sent), pairs(&[("customer", "cus_1"), ("return_url", "https://shop.example/")]));
    assert_eq!((sent.header("stripe-version"), sent.header("idempotency-key")), (API_VERSION, "k"));
}

#[tokio::test]
async fn refusals_are_told_by_their_code_and_never_with_the_key() {
    let server = Receiver::start().await;
    let connectors = connectors(&server.url(""));
    let said = |kind: &str, code: &str| {
        let message = format!("Invalid API Key provided: {KEY}");
        json!({"error": {"type": kind, "code": code, "message": message, "doc_url": "x"}}).to_string()
    };
    let bare = json!({"error": {"type": "invalid_request_error", "message": KEY}}).to_string();
    let refused = |word: &str| Error::Vendor(Failure::Refused { word: Some(word.to_owned()) });
    let unauthorized = |word: &str| Error::Vendor(Failure::Unauthorized { word: Some(word.to_owned()) });
    let limited = |retry_after_secs| {
        let word = Some("rate_limit".to_owned());
        Error::Vendor(Failure::RateLimited { retry_after_secs, word })
    };
    let key = said("invalid_request_error", KEY);
    for (answer, expected) in [
        (Answer::status(401).body(bare), unauthorized("invalid_request_error")),
        (Answer::status(401).body(key), unauthorized("(hidden)")),
        (Answer::status(402).body(said("card_error", "card_declined")), refused("card_declined")),
        (
            Answer::status(400).body(said("invalid_request_error", "resource_missing")),
            refused("resource_missing"),
        ),
        (Answer::status(400).body(said("idempotency_error", "x")), Error::IdempotencyMismatch),
        (Answer::status(429).retry_after("9").body(said("rate_limit_error", "rate_limit")), limited(9)),
        (Answer::status(429).body(said("rate_limit_error", "rate_limit")), limited(30)),
        (Answer::status(500), Error::Vendor(Failure::Failed { word: None })),
        (
            Answer::status(302).header("location", "http://127.0.0.1/"),
            Error::Vendor(Failure::Refused { word: None }),
        ),
        (Answer::status(200).body("garbage"), Failure::BadAnswer.into()),
        (Answer::status(200).body("[]"), Failure::BadAnswer.into()),
        (Answer::json(&json!({"id": "cs_1", "url": null})), Failure::BadAnswer.into()),
        (Answer::json(&json!({"id": "cs_1", "url": "javascript:alert(1)"})), Failure::BadAnswer.into()),
        (Answer::json(&json!({"url": "https://x"})), Failure::BadAnswer.into()),
        (Answer::status(200).body(vec![b' '; (1 << 20) + 1]), Failure::BadAnswer.into()),
    ] {
        server.script(CHECKOUT, [answer.clone()]);
        let error = buy(&connectors).await.unwrap_err();
        assert_eq!(error, expected, "{answer:?}");
        assert!(!format!("{error} {error:?}").contains("canary"), "{error:?}");
    }
}

#[tokio::test]
async fn who_is_slow_cuts_off_or_is_not_there_is_told_apart() {
    let silent = Receiver::start().await;
    silent.script(CHECKOUT, [Answer::hang()]);
    let slow = buy_within(&connectors(&silent.url("")), 200).await;
    assert_eq!(slow, Err(Failure::Timeout { limit_ms: 200 }.into()));

    let cut =
        Script::start(vec![Act::ReadRequest, Act::send("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{")])
            .await;
    assert_eq!(buy(&connectors(&cut.url(""))).await, Err(Failure::BadAnswer.into()));
    assert_eq!(cut.accepted(), 1, "no call is repeated behind the caller's back");

    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let failed = buy(&connectors(&format!("http://{closed}"))).await;
    assert_eq!(failed, Err(Failure::Unreachable { code: "connect_failed" }.into()));
}
