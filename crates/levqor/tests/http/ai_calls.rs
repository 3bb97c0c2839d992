//! AI calls over HTTP: pages, filters, one call explained, and corrections.

use levqor_core::money::{Lookup, Nano, PriceBook, bill};
use levqor_store::NewCall;
use serde_json::{Value, json};

use crate::client::Client;
use crate::money::{call, cents, granted, in_job, settled};
use crate::server::TestServer;

async fn ids(client: &Client, query: &str) -> Vec<String> {
    let reply = client.get(&format!("/api/v1/ai/calls?{query}")).await;
    assert_eq!(reply.status, 200, "{query}: {reply:?}");
    let calls = reply.json()["calls"].as_array().unwrap().clone();
    calls.iter().map(|it| it["call_id"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn calls_are_listed_newest_first_page_by_page_and_by_what_they_are() {
    let server = TestServer::start(&[]).await;
    let (anon, store, now_ms) = (server.anon(), server.engine.store(), server.now_ms());
    let mut made = Vec::new();
    for place in 0..5_i64 {
        let call = call(now_ms + place, 1);
        let call = if place == 1 { in_job(call) } else { call };
        let user = (place == 2).then(|| "ada".to_owned());
        let model = if place == 3 { "gpt-6-astra" } else { "gpt-6-sol" }.to_owned();
        made.push(granted(store, NewCall { user, model, ..call }).await.spend());
    }
    settled(store, made[4], cents(1), now_ms).await;
    let newest: Vec<String> = made.iter().rev().map(ToString::to_string).collect();

    assert_eq!(ids(&anon, "").await, newest);
    let mut paged = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = anon.get(&format!("/api/v1/ai/calls?limit=2{cursor}")).await.json();
        paged.extend(
            page["calls"].as_array().unwrap().iter().map(|it| it["call_id"].as_str().unwrap().to_owned()),
        );
        match page["next"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(paged, newest);
    let job = anon.get(&format!("/api/v1/ai/calls/{}", made[1])).await.json()["job_id"]
        .as_str()
        .unwrap()
        .to_owned();
    for (query, places) in [
        (format!("job={job}"), &[1][..]),
        ("state=settled".to_owned(), &[4]),
        ("state=reserved".to_owned(), &[3, 2, 1, 0]),
        ("model=openai/gpt-6-astra".to_owned(), &[3]),
        ("user=ada".to_owned(), &[2]),
        ("key=key-1&state=settled".to_owned(), &[4]),
        ("key=other".to_owned(), &[]),
    ] {
        let expected: Vec<String> = places.iter().map(|place| made[*place].to_string()).collect();
        assert_eq!(ids(&anon, &query).await, expected, "{query}");
    }
    for query in [
        "job=x",
        "state=done",
        "model=gpt",
        "user=",
        "key=%00",
        "limit=0",
        "limit=501",
        "cursor=x",
        "page=2",
        "job=a&job=b",
    ] {
        assert_eq!(anon.get(&format!("/api/v1/ai/calls?{query}")).await.error(), "invalid_query", "{query}");
    }
}

#[tokio::test]
async fn a_call_is_explained_to_the_nano_dollar() {
    let server = TestServer::start(&[]).await;
    let (anon, store, now_ms) = (server.anon(), server.engine.store(), server.now_ms());
    let body = r#"{"scope":"global","window":"day","limit":"1"}"#;
    anon.send("PUT", "/api/v1/budgets/all", &[("Content-Type", "application/json")], body).await;
    let Lookup::Priced(price) = PriceBook::embedded().find("openai", "gpt-6-sol") else { panic!() };
    store.keep_price(&price).await.unwrap();
    let id = granted(store, NewCall { price_id: price.id(), ..in_job(call(now_ms, 5)) }).await.spend();
    let usage = levqor_core::money::Usage {
        uncached_in: 90,
        cached_in: 10,
        out: 40,
        reasoning: 2,
        ..Default::default()
    };
    let cost = bill(&price, &usage, &levqor_core::money::Terms::STANDARD).unwrap().total;
    settled(store, id, cost, now_ms).await;

    let shown = anon.get(&format!("/api/v1/ai/calls/{id}")).await.json();

    assert_eq!(
        (shown["cost_usd"].as_str().unwrap(), shown["priced"]["usd"].as_str().unwrap()),
        (cost.to_string().as_str(), cost.to_string().as_str())
    );
    let lines: Vec<(&str, u64, &str, &str)> = shown["priced"]["lines"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| {
            (
                it["class"].as_str().unwrap(),
                it["quantity"].as_u64().unwrap(),
                it["usd_per_unit"].as_str().unwrap(),
                it["usd"].as_str().unwrap(),
            )
        })
        .collect();
    assert_eq!(
        lines,
        [
            ("input", 90, "2.00", "0.00018"),
            ("cached_read", 10, "0.20", "0.000002"),
            ("output", 40, "10.00", "0.0004"),
            ("reasoning", 2, "10.00", "0.00002"),
        ]
    );
    assert_eq!(cost, Nano::parse("0.000602").unwrap());
    assert_eq!(
        (&shown["budgets"][0]["budget"], &shown["budgets"][0]["held_usd"]),
        (&json!("all"), &json!("0.05"))
    );
    let movements: Vec<&str> =
        shown["ledger"].as_array().unwrap().iter().map(|it| it["kind"].as_str().unwrap()).collect();
    assert_eq!((movements, &shown["usage_raw"]), (vec!["reserve", "settle"], &json!({"prompt_tokens": 100})));
    assert_eq!(
        (&shown["model"], &shown["overrun_usd"], &shown["priced"]["is_charged"]),
        (&json!("openai/gpt-6-sol"), &json!("0.00"), &json!(true))
    );
    for id in ["x", "%00", &"0".repeat(32), &"0".repeat(4_000)] {
        assert_eq!(anon.get(&format!("/api/v1/ai/calls/{id}")).await.error(), "not_found", "{id}");
    }
}

#[tokio::test]
async fn a_correction_moves_the_budgets_and_is_on_record_twice() {
    let server = TestServer::start(&[("API_KEYS", "root")]).await;
    let (root, store, now_ms) = (server.key("root"), server.engine.store(), server.now_ms());
    let headers = [("Content-Type", "application/json")];
    root.send("PUT", "/api/v1/budgets/all", &headers, r#"{"scope":"global","window":"total","limit":"1"}"#)
        .await;
    let id = granted(store, call(now_ms, 30)).await.spend();
    let path = format!("/api/v1/ai/calls/{id}/correct");
    let correct = async |body: Value| root.post(&path, &body.to_string()).await;
    let open = correct(json!({"cost": "0.05", "reason": "x"})).await;
    assert_eq!((open.status, open.error().as_str()), (409, "conflict"), "it is still open");
    settled(store, id, cents(10), now_ms).await;

    let corrected = correct(json!({"cost": "0.25", "reason": "as invoiced"})).await;
    let again = correct(json!({"cost": "0.25", "reason": "as invoiced"})).await;

    assert_eq!(
        (corrected.status, &corrected.json()["changed"], &corrected.json()["cost_usd"]),
        (200, &json!(true), &json!("0.25"))
    );
    assert_eq!(again.json()["changed"], false);
    assert_eq!(root.get("/api/v1/budgets/all").await.json()["spent"], "0.25");
    let ledger = root.get(&format!("/api/v1/ai/calls/{id}")).await.json()["ledger"].clone();
    assert_eq!(
        (&ledger[2]["kind"], &ledger[2]["usd"], &ledger[2]["reason"]),
        (&json!("adjust"), &json!("0.15"), &json!("as invoiced"))
    );
    let entries = root.get("/api/v1/audit?action=call.correct").await.json()["entries"].clone();
    assert_eq!((entries.as_array().unwrap().len(), &entries[0]["object"]), (1, &json!(id.to_string())));
    assert_eq!(
        (&entries[0]["actor"], &entries[0]["detail"]),
        (&ledger[2]["actor"], &json!({"cost_usd": "0.25"}))
    );

    for body in [
        json!({}),
        json!({"cost": "1"}),
        json!({"cost": "x", "reason": "y"}),
        json!({"cost": "1", "reason": "a\u{0}b"}),
        json!([]),
    ] {
        let reply = correct(body.clone()).await;
        assert_eq!((reply.status, reply.error().as_str()), (400, "invalid_request"), "{body}");
    }
    let unknown = root
        .post(&format!("/api/v1/ai/calls/{}/correct", "0".repeat(32)), r#"{"cost":"1","reason":"x"}"#)
        .await;
    assert_eq!(unknown.error(), "not_found");
}

#[tokio::test]
async fn a_model_that_cost_more_than_its_price_is_in_quarantine_until_somebody_lifts_it() {
    let server = TestServer::start(&[]).await;
    let (anon, store, now_ms) = (server.anon(), server.engine.store(), server.now_ms());
    assert_eq!(anon.get("/api/v1/ai/quarantine").await.json(), json!({"models": []}));
    let id = granted(store, call(now_ms, 10)).await.spend();
    settled(store, id, cents(12), now_ms).await;

    let listed = anon.get("/api/v1/ai/quarantine").await.json();

    assert_eq!(
        (&listed["models"][0]["model"], &listed["models"][0]["call_id"]),
        (&json!("openai/gpt-6-sol"), &json!(id.to_string()))
    );
    let lift =
        async |query: &str| anon.send("DELETE", &format!("/api/v1/ai/quarantine{query}"), &[], "").await;
    for query in ["", "?model=gpt", "?model=/x", "?model=a%00/b", "?model=a/b&x=1"] {
        assert_eq!(lift(query).await.error(), "invalid_query", "{query}");
    }
    assert_eq!(lift("?model=openai/other").await.error(), "not_found");
    assert_eq!(
        lift("?model=openai/gpt-6-sol").await.json(),
        json!({"lifted": true, "model": "openai/gpt-6-sol"})
    );
    assert_eq!(lift("?model=openai/gpt-6-sol").await.status, 404);
    let log = anon.get("/api/v1/audit?action=ai.quarantine.lift").await.json();
    assert_eq!(log["entries"][0]["object"], "openai/gpt-6-sol");
}
