//! What is told to Stripe, what providers say, and the figures of AI calls, through the real server.

use levqor_core::money::{Bound, CallId, Charge, Nano, Terms, Usage};
use levqor_core::payment::{Payment, PaymentKind};
use levqor_store::{NewCall, Reserved, Settlement, Store};
use levqor_testkit::{Answer, Receiver};
use serde_json::{Value, json};

use crate::server::TestServer;

const NOON: i64 = 1_795_348_800_000;
const EVENTS: &str = "/v1/billing/meter_events";
const SECRET: &str = "sk_canary_that_nobody_sees";

async fn start(stripe: &Receiver) -> TestServer {
    let url = stripe.url("");
    let vars = [
        ("API_KEYS", "k"),
        ("OUTBOUND_ALLOW", "127.0.0.0/8"),
        ("STRIPE_BASE_URL", &url),
        ("STRIPE_SECRET_KEY", SECRET),
        ("STRIPE_METER_EVENT", "ai_micro_usd"),
    ];
    TestServer::start(&vars).await
}

fn call(user: Option<&str>, nano: i64) -> NewCall {
    NewCall {
        id: CallId::new(NOON, rand::random()),
        place: None,
        ask: None,
        key: None,
        user: user.map(str::to_owned),
        tags: Default::default(),
        provider: "openai".to_owned(),
        model: "gpt-6-sol".to_owned(),
        price_id: "p".to_owned(),
        terms: Terms::STANDARD,
        bound: Bound { input_tokens: 1, output_tokens: 1, amount: Nano::new(nano) },
        at_ms: NOON,
        lease_ms: 600_000,
    }
}

async fn hold_and_settle(store: &Store, call: NewCall, nano: i64) {
    let at_ms = call.at_ms;
    let Reserved::Granted(permit) = store.reserve(call).await.unwrap() else { panic!() };
    let charge =
        Charge::Settle { cost: Nano::new(nano), usage: Usage { out: 3, ..Usage::default() }, alarm: None };
    store.settle_call(Settlement::new(permit.spend(), charge, at_ms)).await.unwrap();
}

async fn spend(store: &Store, user: Option<&str>, nano: i64) {
    hold_and_settle(store, call(user, nano), nano).await;
}

/// Somebody who has paid before.
async fn customer(server: &TestServer) -> String {
    let made = server.key("k").post("/api/v1/users/upsert", r#"{"email":"ada@example.org"}"#).await.json();
    let id = made["user"]["id"].as_str().unwrap().to_owned();
    let payment = Payment {
        event_id: "evt_1".to_owned(),
        event_type: "checkout.session.completed".to_owned(),
        kind: PaymentKind::Paid,
        object_id: None,
        session_id: None,
        payment_intent: None,
        charge: None,
        customer: Some("cus_9".to_owned()),
        user_id: Some(id.clone()),
        amount: None,
        currency: None,
        status: None,
        happened_at_ms: NOON,
    };
    server.engine.store().record_payment(payment, None, NOON).await.unwrap();
    id
}

fn member<'a>(form: &'a [(String, String)], name: &str) -> &'a str {
    form.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str()).unwrap()
}

#[tokio::test]
async fn usage_is_told_once_and_every_figure_adds_up() {
    let stripe = Receiver::start().await;
    stripe.script(EVENTS, [Answer::json(&json!({"object": "billing.meter_event"}))]);
    let server = start(&stripe).await;
    let user = customer(&server).await;
    spend(server.engine.store(), Some(&user), 7_600_400).await;

    assert_eq!(server.engine.turn_metering().await.unwrap(), 1);
    assert_eq!(server.engine.turn_metering().await.unwrap(), 0);

    let received = stripe.received_at(EVENTS);
    assert_eq!(received.len(), 1);
    let form: Vec<(String, String)> = url::form_urlencoded::parse(&received[0].body).into_owned().collect();
    assert_eq!(member(&form, "event_name"), "ai_micro_usd");
    assert_eq!(member(&form, "payload[stripe_customer_id]"), "cus_9");
    assert_eq!(member(&form, "payload[value]"), "7600");
    assert_eq!(received[0].header("idempotency-key"), member(&form, "identifier"));
    assert_eq!(received[0].header("authorization"), format!("Bearer {SECRET}"));
    let status = server.key("k").get("/api/v1/costs/meter").await.json();
    let expected = json!({"cost_usd": "0.0076004", "doubted_micro_usd": 0, "enabled": true, "events": [],
        "pending_micro_usd": 0, "told_micro_usd": 7600, "waiting_usd": "0.0000004"});
    assert_eq!(status, expected);
}

#[tokio::test]
async fn an_answer_that_says_it_was_there_before_is_a_success_and_others_are_not() {
    for (answer, state, error) in [
        (Answer::status(400).body(r#"{"error":{"type":"invalid_request_error","message":"An event already exists with identifier x."}}"#), None, ""),
        (Answer::status(400).body(r#"{"error":{"type":"invalid_request_error","code":"duplicate_meter_event"}}"#), None, ""),
        (Answer::status(404).body(r#"{"error":{"type":"invalid_request_error","code":"no_meter","message":"sk_canary_that_nobody_sees"}}"#), Some("pending"), "no_meter"),
        (Answer::status(401).body("{}"), Some("pending"), "credentials"),
        (Answer::status(503).body("{}"), Some("pending"), "failed"),
        (Answer::status(200).body("[]"), Some("pending"), "cannot be understood"),
        (Answer::json(&json!({"object": "billing.meter_event", "identifier": "another"})), Some("pending"), "cannot be understood"),
    ] {
        let stripe = Receiver::start().await;
        stripe.script(EVENTS, [answer]);
        let server = start(&stripe).await;
        let user = customer(&server).await;
        spend(server.engine.store(), Some(&user), 5_000).await;

        server.engine.turn_metering().await.unwrap();

        let status = server.key("k").get("/api/v1/costs/meter").await.json();
        assert!(!status.to_string().contains(SECRET) && !server.logged.text().contains(SECRET));
        match state {
            None => assert_eq!((&status["told_micro_usd"], &status["events"]), (&json!(5), &json!([]))),
            Some(state) => {
                let event = &status["events"][0];
                assert_eq!((&event["state"], &event["value_micro_usd"], &event["tries"]), (&json!(state), &json!(5), &json!(1)));
                assert!(event["error"].as_str().unwrap().contains(error), "{event}");
            }
        }
    }
}

#[tokio::test]
async fn what_is_not_in_doubt_is_settled_by_nobody() {
    let server = TestServer::start(&[]).await;
    let path = "/api/v1/costs/meter/levqor-0/settle";
    assert_eq!(server.anon().get("/api/v1/costs/meter").await.json()["enabled"], false);
    assert_eq!(server.anon().post(path, r#"{"arrived":true}"#).await.status, 404);
    for body in ["{}", r#"{"arrived":1}"#, r#"{"arrived":true,"x":1}"#, "", "[]x"] {
        assert_eq!(server.anon().post(path, body).await.error(), "invalid_request", "{body}");
    }
}

/// The names of figures that a dashboard or a page speaks of.
fn names(text: &str) -> std::collections::BTreeSet<String> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    words.filter(|word| word.starts_with("levqor_")).map(str::to_owned).collect()
}

#[tokio::test]
async fn every_figure_of_the_dashboard_is_there() {
    let server = TestServer::start(&[]).await;
    let usage = Usage { out: 3, ..Usage::default() };
    let charge = Charge::Settle { cost: Nano::new(7_600_000), usage, alarm: None };
    server.engine.ai_figures().charged("openai", "gpt-6-sol", &charge, Nano::ZERO, Some(900));
    server.engine.ai_figures().refused("job");
    let page = server.anon().get("/metrics").await.text();
    let dashboard: Value =
        serde_json::from_str(include_str!("../../../../docs/grafana-dashboard.json")).unwrap();
    let expressions: Vec<&str> = dashboard["panels"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|panel| panel["targets"].as_array().unwrap())
        .map(|target| target["expr"].as_str().unwrap())
        .collect();

    let shown = names(&page);
    let wanted = names(&expressions.join("\n"));

    assert!(wanted.len() > 9, "{wanted:?}");
    assert_eq!(wanted.difference(&shown).collect::<Vec<_>>(), [""; 0], "{page}");
    assert!(
        page.contains("levqor_ai_cost_usd_total{provider=\"openai\",model=\"gpt-6-sol\"} 0.0076\n"),
        "{page}"
    );
    assert!(page.ends_with("# EOF\n"));
}

const DAY: i64 = 86_400_000;

#[allow(clippy::disallowed_methods, reason = "reports are of the last days")]
fn last_midnight_ms() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    now.as_millis() as i64 / DAY * DAY
}

#[tokio::test]
async fn what_providers_say_is_held_against_the_books() {
    let vendor = Receiver::start().await;
    let yesterday = last_midnight_ms() - DAY;
    let bucket = |day_ms: i64, value: f64| json!({"start_time": day_ms / 1000, "results": [{"amount": {"value": value, "currency": "usd"}}]});
    // The daily comparison may be at it beside us, and gets the same.
    let page = json!({"data": [bucket(yesterday - DAY, 0.0), bucket(yesterday, 0.0076)], "has_more": false, "next_page": null});
    vendor.script("/v1/organization/costs", [Answer::json(&page)]);
    vendor.script("/v1/organizations/cost_report", [Answer::status(403).body("sk-ant-admin-canary")]);
    let url = vendor.url("");
    let server = TestServer::start(&[
        ("API_KEYS", "k"),
        ("OUTBOUND_ALLOW", "127.0.0.0/8"),
        ("OPENAI_ADMIN_KEY", "sk-admin-canary"),
        ("OPENAI_ADMIN_URL", &url),
        ("ANTHROPIC_ADMIN_KEY", "sk-ant-admin-canary"),
        ("ANTHROPIC_ADMIN_URL", &url),
    ])
    .await;
    let booked = |nano: i64| NewCall { at_ms: yesterday + 5, ..call(None, nano) };
    hold_and_settle(server.engine.store(), booked(7_600_000), 7_600_000).await;
    hold_and_settle(
        server.engine.store(),
        NewCall { provider: "openai-responses".to_owned(), ..booked(100_000) },
        100_000,
    )
    .await;

    let reply = server.key("k").post("/api/v1/costs/reconcile", "").await;

    assert_eq!(reply.status, 200, "{}", reply.text());
    let done = reply.json();
    let statements = done["statements"].as_array().unwrap();
    assert_eq!(statements.len(), 2, "{done}");
    assert_eq!((&statements[0]["stated_usd"], &statements[0]["drift_ppm"]), (&json!("0.00"), &json!(0)));
    let it = &statements[1];
    assert_eq!((&it["stated_usd"], &it["booked_usd"]), (&json!("0.0076"), &json!("0.0077")));
    assert_eq!((&it["drift_ppm"], &it["alarming"]), (&json!(13_157), &json!(true)));
    assert_eq!(done["failures"][0]["error"], "anthropic answered with status 403");
    let asked = vendor.received_at("/v1/organization/costs");
    assert_eq!(asked[0].header("authorization"), "Bearer sk-admin-canary");
    let anthropic = vendor.received_at("/v1/organizations/cost_report");
    assert_eq!(
        (anthropic[0].header("x-api-key"), anthropic[0].header("anthropic-version")),
        ("sk-ant-admin-canary", "2023-06-01")
    );
    let shown = server.key("k").get("/api/v1/costs/statements").await.json();
    assert_eq!(shown["providers"], json!(["openai", "anthropic"]));
    assert_eq!(shown["statements"][0]["booked_usd"], "0.0077");
    let page = server.key("k").get("/metrics").await.text();
    assert!(
        page.contains("levqor_cost_drifts_total ") && !page.contains("levqor_cost_drifts_total 0\n"),
        "{page}"
    );
    for text in [done.to_string(), server.logged.text(), page] {
        assert!(!text.contains("canary"), "{text}");
    }
}

#[tokio::test]
async fn without_an_admin_key_nobody_is_asked() {
    let server = TestServer::start(&[]).await;

    assert_eq!(server.anon().post("/api/v1/costs/reconcile", "").await.status, 503);
    let shown = server.anon().get("/api/v1/costs/statements").await.json();
    assert_eq!(shown, json!({"providers": [], "statements": []}));
    assert_eq!(server.anon().get("/api/v1/costs/statements?limit=0").await.error(), "invalid_query");
}
