//! What cannot be measured from outside is held at its dearest, and what may not leave is looked for in everything that is text.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use levqor_core::money::{Lookup, Nano, PriceBook, Tier, Unit};
use levqor_mock_ai::{MockAi, Rates, Script, Settings as Mock};
use levqor_testkit::{Answer, Receiver};
use serde_json::{Value, json};

use super::world::*;
use crate::support::*;

each_engine!(
    a_pdf_is_held_as_the_models_whole_window,
    what_is_denied_is_looked_for_in_documents_of_text,
    a_region_that_only_the_providers_settings_know_is_held_for,
);

const SONNET: &str = "anthropic/claude-sonnet-5";

fn price(name: &str) -> std::sync::Arc<levqor_core::money::Price> {
    let (provider, model) = name.split_once('/').unwrap();
    match PriceBook::embedded().find(provider, model) {
        Lookup::Priced(price) => price,
        other => panic!("{name}: {other:?}"),
    }
}

/// A mock that has these models at their list prices.
async fn mock_of(models: &[&str]) -> MockAi {
    let rates = |name: &&str| {
        let rate = |unit| price(name).rate(unit, Tier::Standard, 1).map_or(0, |rate| rate.pico() as u64);
        let rates = Rates::new(
            rate(Unit::Input),
            rate(Unit::CachedRead),
            rate(Unit::CacheWriteShort),
            rate(Unit::CacheWriteLong),
            rate(Unit::Output),
        );
        (name.split_once('/').unwrap().1.to_owned(), rates)
    };
    let models: BTreeMap<String, Rates> = models.iter().map(rates).collect();
    mock_with(Mock { models, ..Mock::default() }).await
}

/// One step that asks `model` about the payload's text, with these members beside it.
fn asks(model: &str, more: &str) -> String {
    one(more).replace("openai/gpt-6-sol", model)
}

/// A page may be a few bytes to us and hundreds of thousands of tokens to the provider.
async fn a_pdf_is_held_as_the_models_whole_window(database: Database) {
    let models = ["openai/gpt-6-sol", SONNET, "gemini/gemini-3.5-flash"];
    let mock = mock_of(&models).await;
    let files = Receiver::start().await;
    let pdf = b"%PDF-1.7\n1 0 obj\n";
    files.script("/a.pdf", vec![Answer::status(200).body(pdf.as_slice()); 3]);
    let node = Node::start(&database, with_limits(&mock.url(), "10", "100"), TestClock::running()).await;
    let plain = STANDARD.encode(pdf);

    for model in models {
        let window = price(model).max_input_tokens.unwrap();
        for document in [plain.clone(), format!("data:application/pdf;base64,{plain}"), files.url("/a.pdf")] {
            // The dearest that the provider may make of it: the window to its last token, all of it written to a cache.
            let (input_tokens, written_tokens) = (Some(window), if model == SONNET { window } else { 0 });
            mock.queue_replies([Script {
                input_tokens,
                written_tokens,
                output_tokens: Some(200),
                ..says("read")
            }]);
            let row = run(&node, &asks(model, &format!(", documents: [\"{document}\"]"))).await;
            assert_eq!(output(&row)["answer"], "read", "{model}");
        }
    }

    let windows: i64 = models.iter().map(|model| 3 * price(model).max_input_tokens.unwrap() as i64).sum();
    assert_eq!(database.number("select sum(est_input) from ai_calls").await, windows);
    let beyond = "select count(*) from ai_calls where settled_nano > reserved_nano or alarm is not null";
    assert_eq!(database.number(beyond).await, 0, "the bill of a whole window is within the hold");
    // The mock has no prices for long inputs, so it charges less than some of these models would.
    assert!(mock.bill().total_nano as i64 <= spent(&database).await);
    assert_eq!(database.number("select sum(held_nano) from budget_periods").await, 0);
    // What a job may cost by default affords no whole window, however short the document is.
    let calls = mock.bill().calls;
    drop(node);
    let node = Node::start(&Database::sqlite(), ai_settings(&mock.url()), TestClock::running()).await;
    let row = run(&node, &one(&format!(", documents: [\"{plain}\"]"))).await;
    assert_eq!((code(&row), mock.bill().calls), ("budget_exceeded", calls));
}

async fn what_is_denied_is_looked_for_in_documents_of_text(database: Database) {
    let mock = mock().await;
    let files = Receiver::start().await;
    let node = Node::start(&database, ai_settings(&mock.url()), TestClock::running()).await;
    let secret = "Minutes.\nOf project FALCON we say nothing.";
    let sent = |kind: &str| Answer::status(200).header("content-type", kind).body(secret);
    files.script("/plain", [sent("text/plain; charset=utf-8")]);
    files.script("/page", [sent("text/html")]);
    files.script("/json", [sent("application/json")]);
    let base64 = STANDARD.encode(secret);

    for document in [
        json!({ "text": secret }),
        json!({"data": base64, "media_type": "text/plain"}),
        json!({"data": base64, "media_type": "Text/Markdown; charset=utf-8"}),
        json!({"data": base64, "media_type": "application/json"}),
        json!(format!("data:text/csv;base64,{base64}")),
        json!(files.url("/plain")),
        json!({ "url": files.url("/page") }),
        json!(files.url("/json")),
    ] {
        // The harmless one before it does not hide it.
        let documents = json!([{"text": "harmless"}, document]);
        let row = run(&node, &one(&format!(", deny: [\"Project Falcon\"], documents: {documents}"))).await;
        assert_eq!(code(&row), "ai_input_denied", "{document}: {row:?}");
        assert!(
            !row.error.unwrap().message.to_lowercase().contains("falcon"),
            "the message keeps the secret"
        );
    }

    assert_eq!((mock.bill().calls, database.number("select count(*) from ai_calls").await), (0, 0));
    let row = run(&node, &one(", deny: [falcon], documents: [{text: \"Of eagles\"}]")).await;
    assert!(output(&row)["answer"].is_string());
}

/// A stream of Anthropic's kind, with usage as `told`.
fn stream(told: &Value) -> Answer {
    let message = json!({"type": "message_start", "message": {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude-sonnet-5",
        "content": [], "stop_reason": null, "usage": told}});
    let events = [
        message,
        json!({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}),
        json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "yes"}}),
        json!({"type": "content_block_stop", "index": 0}),
        json!({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": told}),
        json!({"type": "message_stop"}),
    ];
    let lines =
        events.iter().map(|event| format!("event: {}\ndata: {event}\n\n", event["type"].as_str().unwrap()));
    Answer::status(200).header("content-type", "text/event-stream").body(lines.collect::<String>())
}

/// Whoever pins a workspace to a region pays a tenth more, and no request says so: the answer does, when it is too late.
async fn a_region_that_only_the_providers_settings_know_is_held_for(database: Database) {
    let receiver = Receiver::start().await;
    let base = receiver.url("");
    let settings = ai_settings(base.trim_end_matches('/'));
    let node = Node::start(&database, settings, TestClock::running()).await;
    let price = price(SONNET);
    assert_eq!(price.region_ppm, Some(1_100_000));
    let rate = |unit| price.rate(unit, Tier::Standard, 1).unwrap().pico() as u64;

    // The first tells how many tokens are held for; the second is billed for all of them, in a region.
    let told = json!({"input_tokens": 10, "output_tokens": 5, "inference_geo": "global"});
    receiver.script("/v1/messages", [stream(&told)]);
    output(&run(&node, &asks(SONNET, "")).await);
    let held = database.number("select reserved_nano from ai_calls").await;
    let input = database.number("select est_input from ai_calls").await as u64;
    let dearest = input * rate(Unit::CacheWriteShort) + 200 * rate(Unit::Output);
    assert_eq!(held as u64, (dearest * 11).div_ceil(10 * 1_000), "held at the dearest, a tenth more");
    let global = 10 * rate(Unit::Input) + 5 * rate(Unit::Output);
    assert_eq!(spent(&database).await as u64, global / 1_000, "charged as served");

    let told = json!({"input_tokens": 0, "cache_creation_input_tokens": input, "output_tokens": 200, "inference_geo": "us"});
    receiver.script("/v1/messages", [stream(&told)]);
    output(&run(&node, &asks(SONNET, "")).await);

    let charged = Nano::new(spent(&database).await - (global / 1_000) as i64);
    assert_eq!(charged, Nano::new(held), "the dearest that it can be is the hold, to the nanodollar");
    assert_eq!(database.number("select count(*) from ai_calls where alarm is not null").await, 0);
    assert_eq!(database.number("select coalesce(sum(overrun_nano), 0) from budget_periods").await, 0);
}
