//! Budgets over HTTP: set, shown, changed in the middle of a period, and the switch that stops all calls.

use levqor_core::audit::Actor;
use levqor_store::{Location, Reserved, Store};
use levqor_testkit::wait_until;
use serde_json::{Value, json};

use crate::client::{Client, LIMIT, Reply};
use crate::money::{call, cents, granted, in_job, settled};
use crate::server::{TestServer, now_ms};

async fn put(client: &Client, id: &str, body: &Value) -> Reply {
    let headers = [("Content-Type", "application/json")];
    client.send("PUT", &format!("/api/v1/budgets/{id}"), &headers, &body.to_string()).await
}

async fn delete(client: &Client, id: &str) -> Reply {
    client.send("DELETE", &format!("/api/v1/budgets/{id}"), &[], "").await
}

fn day(limit: &str) -> Value {
    json!({"scope": "global", "window": "day", "limit": limit})
}

#[tokio::test]
async fn each_budget_that_goes_by_the_clock_has_its_figures_and_no_more_than_a_hundred_have() {
    let server = TestServer::start(&[]).await;
    let anon = server.anon();
    let store = server.engine.store();
    let each = json!({"scope": "user", "scope_id": "*", "window": "month", "limit": "20"});
    assert_eq!(put(&anon, "all", &day("5.5")).await.status, 201);
    assert_eq!(put(&anon, "each", &each).await.status, 201);
    let off = json!({"scope": "global", "window": "day", "limit": "1", "enabled": false});
    assert_eq!(put(&anon, "off", &off).await.status, 201);
    for (user, cents) in [("ada", 3), ("bob", 7)] {
        let user = Some(user.to_owned());
        granted(store, levqor_store::NewCall { user, ..call(now_ms(), cents) }).await.spend();
    }

    let page = anon.get("/metrics").await.text();
    for wanted in [
        r#"levqor_budget_limit_usd{budget="all",scope="global",window="day"} 5.50"#,
        r#"levqor_budget_held_usd{budget="all",scope="global",window="day"} 0.10"#,
        r#"levqor_budget_spent_usd{budget="all",scope="global",window="day"} 0.00"#,
        r#"levqor_budget_held_usd{budget="each",scope="user",window="month"} 0.07"#,
    ] {
        assert!(page.lines().any(|line| line == wanted), "{wanted} is not in\n{page}");
    }
    for hidden in ["ada", "bob", "max-cost-per-job", r#""off""#] {
        assert!(!page.contains(hidden), "{hidden} is in\n{page}");
    }
    for number in 0..110 {
        assert_eq!(put(&anon, &format!("b{number:03}"), &day("1")).await.status, 201);
    }
    let page = anon.get("/metrics").await.text();
    assert_eq!(page.matches("levqor_budget_limit_usd{").count(), 100);
}

#[tokio::test]
async fn a_budget_is_set_shown_changed_and_deleted() {
    let server = TestServer::start(&[]).await;
    let anon = server.anon();
    let body = json!({"scope": "tag", "scope_id": "team=blue", "window": "rolling:24h", "zone": "Europe/Berlin", "limit": "5.5",
        "mode": "soft", "thresholds": [50, "99.5"], "max_open_holds": 3, "alert": {"email": ["Ops@Example.com"]}});

    let made = put(&anon, "blue", &body).await;
    let again = put(&anon, "blue", &body).await;
    let changed = put(
        &anon,
        "blue",
        &json!({"scope": "tag", "scope_id": "team=blue", "window": "rolling:24h", "limit": 7}),
    )
    .await;

    assert_eq!((made.status, made.json()["changed"].as_bool()), (201, Some(true)), "{made:?}");
    let budget = &made.json()["budget"];
    assert_eq!(
        (budget["limit"].as_str(), budget["limit_micro_usd"].as_i64()),
        (Some("5.50"), Some(5_500_000))
    );
    assert_eq!((&budget["thresholds"], &budget["origin"]), (&json!([50, 99.5]), &json!("api")));
    assert_eq!(budget["alert"]["email"], json!(["ops@example.com"]));
    assert_eq!((&budget["forecast"]["method"], &budget["setting"]), (&json!("none"), &Value::Null));
    assert_eq!((again.status, again.json()["changed"].as_bool()), (200, Some(false)));
    let after = &changed.json()["budget"];
    assert_eq!(
        (changed.status, after["version"].as_i64(), after["limit"].as_str()),
        (200, Some(2), Some("7.00"))
    );
    assert_eq!(
        (&after["thresholds"], &after["mode"], &after["alert"]),
        (&json!([50, 80, 100]), &json!("hard"), &Value::Null)
    );
    let listed = anon.get("/api/v1/budgets").await.json();
    let ids: Vec<&str> =
        listed["budgets"].as_array().unwrap().iter().map(|it| it["id"].as_str().unwrap()).collect();
    assert!(ids.contains(&"blue") && listed["stopped"] == false, "{listed}");
    assert_eq!(anon.get("/api/v1/budgets/blue").await.json()["id"], "blue");

    assert_eq!(delete(&anon, "blue").await.json(), json!({"deleted": true, "id": "blue"}));
    assert_eq!(
        (delete(&anon, "blue").await.status, anon.get("/api/v1/budgets/blue").await.status),
        (404, 404)
    );
    let other = put(&anon, "blue", &day("1")).await;
    assert_eq!(
        (other.status, other.error().as_str()),
        (409, "conflict"),
        "its counters are still there: {other:?}"
    );
    assert_eq!(put(&anon, "blue", &body).await.status, 200);
}

#[tokio::test]
async fn what_is_no_budget_is_refused_with_the_field_the_value_and_what_is_allowed() {
    let server = TestServer::start(&[]).await;
    let anon = server.anon();
    let with = |member: &str, value: Value| {
        let mut body = day("1");
        body[member] = value;
        body
    };
    let deep = "[".repeat(200);
    for (body, at) in [
        (json!([]), ""),
        (json!("x"), ""),
        (json!({}), "/scope"),
        (with("scope", json!("team")), "/scope"),
        (with("scope_id", json!("x")), "/scope_id"),
        (with("scope_id", json!(7)), "/scope_id"),
        (with("window", json!("fortnight")), "/window"),
        (with("zone", json!("../etc/passwd")), "/zone"),
        (with("limit", json!("1e9")), "/limit"),
        (with("limit", json!("-0.01")), "/limit"),
        (with("limit", json!("9999999999999999999999999")), "/limit"),
        (with("limit", json!(null)), "/limit"),
        (with("thresholds", json!([100, 50])), "/thresholds"),
        (with("thresholds", json!((1..=11).collect::<Vec<_>>())), "/thresholds"),
        (with("max_open_holds", json!(-1)), "/max_open_holds"),
        (with("enabled", json!("true")), "/enabled"),
        (with("alert", json!({"callback": "http://169.254.169.254/latest"})), "/alert/callback"),
        (with("alert", json!({"email": ["a@example.com\r\nBcc: b@example.com"]})), "/alert/email"),
        (with("alert", json!({"slack": {"connection": "a/b", "channel": "c"}})), "/alert/slack"),
        (with("owner", json!("me")), ""),
    ] {
        let reply = put(&anon, "x", &body).await;
        assert_eq!((reply.status, reply.error().as_str()), (400, "invalid_budget"), "{body}: {reply:?}");
        assert_eq!(reply.json()["fields"].get(at).is_some(), !at.is_empty(), "{body}: {reply:?}");
    }
    let typed = [("Content-Type", "application/json")];
    for body in ["", "{", &deep, "{\"scope\":\"global\",\"limit\":NaN}"] {
        let reply = anon.send("PUT", "/api/v1/budgets/x", &typed, body).await;
        assert_eq!((reply.status, reply.error().as_str()), (400, "invalid_budget"), "{body}");
    }
    let long = "x".repeat(65);
    for id in ["X", "a.b", "a%20b", "%00", "%ff", "..", &long] {
        let reply = put(&anon, id, &day("1")).await;
        assert!(matches!(reply.status, 400 | 404), "{id}: {reply:?}");
        assert_eq!(
            (anon.get(&format!("/api/v1/budgets/{id}")).await.status, delete(&anon, id).await.status),
            (404, 404),
            "{id}"
        );
    }
    let plain =
        anon.send("PUT", "/api/v1/budgets/x", &[("Content-Type", "text/plain")], &day("1").to_string()).await;
    assert_eq!(plain.error(), "wrong_content_type");
    assert_eq!(anon.get("/api/v1/budgets?x=1").await.error(), "invalid_query");
    assert_eq!(anon.get("/api/v1/budgets/x").await.status, 404, "nothing was stored");
}

#[tokio::test]
async fn budgets_of_settings_name_their_setting_and_belong_to_it() {
    let server = TestServer::start(&[]).await;
    let anon = server.anon();
    let both = ["max-cost-per-job", "max-cost-per-day"].map(|id| format!("/api/v1/budgets/{id}"));
    for path in &both {
        wait_until(LIMIT, async || anon.get(path).await.status == 200).await;
    }

    let shown = anon.get("/api/v1/budgets/max-cost-per-day").await.json();
    assert_eq!((&shown["origin"], &shown["setting"]), (&json!("setting"), &json!("MAX_COST_PER_DAY")));
    for (id, setting) in [("max-cost-per-job", "MAX_COST_PER_JOB"), ("max-cost-per-day", "MAX_COST_PER_DAY")]
    {
        for reply in [put(&anon, id, &day("100")).await, delete(&anon, id).await] {
            assert_eq!((reply.status, reply.error().as_str()), (409, "conflict"), "{id}");
            assert!(reply.json()["message"].as_str().unwrap().contains(setting), "{reply:?}");
        }
    }

    // The strictest holds, wherever it stands.
    let room = async || {
        let list = anon.get("/api/v1/budgets").await.json();
        (list["room"].as_str().unwrap().to_owned(), list["room_budget"].as_str().unwrap().to_owned())
    };
    assert_eq!(room().await, ("0.35".to_owned(), "max-cost-per-job".to_owned()));
    put(&anon, "tight", &day("0.20")).await;
    assert_eq!(room().await, ("0.20".to_owned(), "tight".to_owned()));
    put(&anon, "tight", &json!({"scope": "global", "window": "day", "limit": "0.2", "mode": "soft"})).await;
    assert_eq!(room().await.1, "max-cost-per-job");
}

#[tokio::test]
async fn figures_are_those_of_the_ledger_and_a_changed_limit_counts_at_once() {
    let server = TestServer::start(&[]).await;
    let (anon, store) = (server.anon(), server.engine.store());
    put(&anon, "all", &day("1.00")).await;
    let now_ms = server.now_ms();
    let done = granted(store, call(now_ms, 30)).await.spend();
    settled(store, done, cents(12), now_ms).await;
    let doubted = granted(store, call(now_ms, 5)).await.spend();
    store
        .settle_call(levqor_store::Settlement::new(
            doubted,
            levqor_core::money::Charge::Assume { alarm: None },
            now_ms,
        ))
        .await
        .unwrap();
    let open = granted(store, in_job(call(now_ms - 5_000, 25))).await.spend();

    let shown = anon.get("/api/v1/budgets/all").await.json();

    for (member, amount) in [
        ("spent", "0.17"),
        ("held", "0.25"),
        ("assumed", "0.05"),
        ("left", "0.58"),
        ("limit", "1.00"),
        ("overrun", "0.00"),
    ] {
        assert_eq!(shown[member], amount, "{member}: {shown}");
    }
    assert_eq!(
        (shown["spent_micro_usd"].as_i64(), shown["calls"].as_i64(), shown["open_holds"].as_i64()),
        (Some(170_000), Some(3), Some(1))
    );
    let mut ledger = 0;
    for id in [done, doubted, open] {
        for row in &store.find_call(id).await.unwrap().unwrap().ledger {
            ledger += if row.kind == "reserve" { 0 } else { row.amount.get() };
        }
    }
    assert_eq!(ledger, 170_000_000, "spent is what the ledger says");
    let hold = &shown["holds"][0];
    assert_eq!(
        (hold["call_id"].as_str().unwrap(), hold["amount"].as_str()),
        (open.to_string().as_str(), Some("0.25"))
    );
    assert_eq!(
        (&hold["model"], &hold["workflow"], &hold["step"]),
        (&json!("openai/gpt-6-sol"), &json!("greet"), &json!("ask"))
    );
    assert!(hold["age_secs"].as_i64().unwrap() >= 5 && hold["job_id"].is_string(), "{hold}");
    assert!(
        shown["resets_at"].as_f64().unwrap() * 1e3 > now_ms as f64 && shown["forecast"]["method"] == "linear",
        "{shown}"
    );

    put(&anon, "all", &day("0.40")).await;
    assert!(matches!(store.reserve(call(now_ms, 1)).await.unwrap(), Reserved::Refused(_)));
    let lower = anon.get("/api/v1/budgets/all").await.json();
    assert_eq!(
        (&lower["left"], &lower["spent"], &lower["held"]),
        (&json!("0.00"), &json!("0.17"), &json!("0.25"))
    );
    put(&anon, "all", &day("0.60")).await;
    granted(store, call(now_ms, 3)).await.spend();
}

#[tokio::test]
async fn of_a_budget_for_each_one_can_be_asked_for() {
    let server = TestServer::start(&[]).await;
    let (anon, store, now_ms) = (server.anon(), server.engine.store(), server.now_ms());
    put(&anon, "users", &json!({"scope": "user", "scope_id": "*", "window": "month", "limit": "2"})).await;
    for (user, amount) in [("ada", 10), ("bob", 30), ("eve ü/%", 20)] {
        let call = levqor_store::NewCall { user: Some(user.to_owned()), ..call(now_ms, amount) };
        granted(store, call).await.spend();
    }

    let all = anon.get("/api/v1/budgets/users").await.json();
    let one = anon.get("/api/v1/budgets/users?subject=eve%20%C3%BC/%25").await.json();
    let none = anon.get("/api/v1/budgets/users?subject=zoe").await.json();

    let subjects: Vec<&str> =
        all["subjects"].as_array().unwrap().iter().map(|it| it["subject"].as_str().unwrap()).collect();
    assert_eq!(
        (subjects, all["subject"].as_str(), all["holds"].as_array().unwrap().len()),
        (vec!["bob", "eve ü/%", "ada"], Some("bob"), 3)
    );
    assert_eq!(
        (one["held"].as_str(), one["subject"].as_str(), one["holds"].as_array().unwrap().len()),
        (Some("0.20"), Some("eve ü/%"), 1)
    );
    assert_eq!((none["held"].as_str(), none["left"].as_str()), (Some("0.00"), Some("2.00")));
    assert_eq!(anon.get("/api/v1/budgets/users?subject=a%00b").await.error(), "invalid_query");
}

#[tokio::test]
async fn the_switch_stops_the_next_call_on_every_node() {
    let server = TestServer::start(&[]).await;
    let now_ms = server.now_ms();
    let open = granted(server.engine.store(), call(now_ms, 1)).await.spend();
    let other = match &server.location {
        Location::Postgres(_) => Some(Store::open(&server.location, "node-other").await.unwrap()),
        Location::Sqlite(_) => None,
    };

    let stopped = server.anon().send("POST", "/api/v1/ai/stop", &[], "").await;
    assert_eq!((stopped.status, stopped.json()), (200, json!({"changed": true, "stopped": true})));
    assert_eq!(server.anon().send("POST", "/api/v1/ai/stop", &[], "").await.json()["changed"], false);
    assert_eq!(server.anon().get("/api/v1/budgets").await.json()["stopped"], true);
    for store in [Some(&**server.engine.store()), other.as_ref()].into_iter().flatten() {
        match store.reserve(call(now_ms, 0)).await.unwrap() {
            Reserved::Refused(refusal) => {
                assert_eq!(refusal.budget.as_str(), "ai-stop", "what costs nothing is stopped, too")
            }
            more => panic!("{more:?}"),
        }
    }
    settled(server.engine.store(), open, cents(1), now_ms).await;
    for reply in [
        put(&server.anon(), "ai-stop", &json!({"scope": "global", "window": "total", "limit": "9"})).await,
        delete(&server.anon(), "ai-stop").await,
    ] {
        assert_eq!(reply.status, 409, "{reply:?}");
    }

    let started = server.anon().send("POST", "/api/v1/ai/start", &[], "").await;
    assert_eq!(started.json(), json!({"changed": true, "stopped": false}));
    assert_eq!(server.anon().send("POST", "/api/v1/ai/start", &[], "").await.json()["changed"], false);
    for store in [Some(&**server.engine.store()), other.as_ref()].into_iter().flatten() {
        granted(store, call(now_ms, 1)).await.spend();
    }
    let log = server.anon().get("/api/v1/audit?object=ai-stop").await.json();
    let actions: Vec<&str> =
        log["entries"].as_array().unwrap().iter().map(|it| it["action"].as_str().unwrap()).collect();
    assert_eq!(actions, ["ai.start", "ai.stop"]);
    if let Some(other) = other {
        other.close().await;
    }
}

#[tokio::test]
async fn money_is_changed_with_a_scope_of_its_own() {
    let server = TestServer::start(&[("API_KEYS", "root")]).await;
    let key = async |scopes: &[&str]| {
        let body = json!({"name": "k", "scopes": scopes}).to_string();
        server.key(server.key("root").post("/api/v1/keys", &body).await.json()["key"].as_str().unwrap())
    };
    let (reader, keeper, admin) =
        (key(&["read"]).await, key(&["budgets"]).await, key(&["admin", "operate"]).await);

    for refused in [&reader, &admin] {
        assert_eq!(put(refused, "x", &day("1")).await.status, 403);
        assert_eq!(refused.send("POST", "/api/v1/ai/stop", &[], "").await.status, 403);
    }
    assert_eq!(put(&keeper, "x", &day("1")).await.status, 201);
    assert_eq!(
        (keeper.get("/api/v1/budgets").await.status, reader.get("/api/v1/budgets/x").await.status),
        (403, 200)
    );
    let entry = server.key("root").get("/api/v1/audit?action=budget.put").await.json()["entries"][0].clone();
    assert!(entry["actor"].as_str().unwrap().starts_with("key:") && entry["object"] == "x", "{entry}");
    assert!(Actor::system().as_str() != entry["actor"]);
}
