//! That the ceiling holds: many at once at a small budget, and bodies of all kinds against what they really cost.

use rand::RngExt as _;
use rand::seq::IndexedRandom as _;

use super::*;

#[tokio::test]
async fn many_at_once_spend_what_there_is_and_not_one_nanodollar_more() {
    let world = World::start(&[("MAX_COST_PER_DAY", "0.01")]).await;
    let limit = Nano::parse("0.01").unwrap();

    let calls = (0..60).map(|number| {
        let (path, model) = if number % 2 == 0 { (CHAT, "gpt-6-sol") } else { (MESSAGES, SONNET) };
        let client = world.client();
        async move {
            client
                .post(path, &hello(path, model, json!({"max_tokens": 300, "stream": number % 3 == 0})))
                .await
                .status
        }
    });
    let mut statuses = BTreeMap::<u16, usize>::new();
    for status in futures_util::future::join_all(calls).await {
        *statuses.entry(status).or_default() += 1;
    }

    assert!(statuses.keys().all(|status| matches!(status, 200 | 402 | 429)), "{statuses:?}");
    assert!(statuses.contains_key(&200) && statuses.len() > 1, "{statuses:?}");
    world.agrees().await;
    assert!(world.billed() <= limit && world.billed() > Nano::ZERO, "{}", world.billed());
}

#[tokio::test]
async fn whom_a_call_is_for_is_counted_by_the_budgets_of_keys_users_and_tags() {
    use levqor_core::audit::Actor;
    use levqor_core::budget::{Budget, BudgetId, Mode, Scope, ScopeKind, Window};
    let world = World::start(&[("API_KEYS", "root")]).await;
    let made = world.server.key("root").post("/api/v1/keys", r#"{"name":"k","scopes":["ai"]}"#).await.json();
    let (id, key) = (made["id"].as_str().unwrap(), made["key"].as_str().unwrap());
    let user = Scope { kind: ScopeKind::User, id: "u-1".to_owned() };
    let tag = Scope { kind: ScopeKind::Tag, id: "team=a".to_owned() };
    let own_key = Scope { kind: ScopeKind::Key, id: id.to_owned() };
    for (name, scope) in [("of-user", user), ("of-tag", tag), ("of-key", own_key)] {
        let budget = Budget {
            scope,
            window: Window::Total,
            mode: Mode::Hard,
            ..levqor_core::budget::default_day(Nano::parse("0.5").unwrap())
        };
        let budget = Budget { id: BudgetId::parse(name).unwrap(), ..budget };
        world.server.engine.store().put_budget(&budget, "api", &Actor::cli(), now_ms()).await.unwrap();
    }
    let spent = |name: &'static str| async {
        let view = world.server.engine.store().find_budget(name, now_ms()).await.unwrap().unwrap();
        Nano::new(view.periods.iter().map(|period| period.spent.get()).sum())
    };
    let ask = |path: &'static str, model: &'static str, changes: Value| {
        let client = world.server.key(key);
        async move {
            let headers = [("Content-Type", "application/json"), ("x-levqor-tags", "team=a, env=prod")];
            let reply = client.send("POST", path, &headers, &hello(path, model, changes)).await;
            assert_eq!(reply.status, 200, "{reply:?}");
        }
    };

    ask(CHAT, "gpt-6-sol", json!({"user": "u-1"})).await;
    ask(MESSAGES, SONNET, json!({"metadata": {"user_id": "u-1"}})).await;
    let of_user = world.billed();
    ask(CHAT, "gpt-6-sol", json!({"user": "u-2"})).await;
    world.agrees().await;

    assert_eq!(
        (spent("of-user").await, spent("of-tag").await, spent("of-key").await),
        (of_user, world.billed(), world.billed())
    );
}

/// A body that somebody might send, with nothing wrong in it.
fn any_body(path: &str) -> Value {
    let mut rng = rand::rng();
    let scripts = ["word ", "слово ", "語", "🙂", "\u{0}\u{7}", "\\\"", "e\u{301}", "0", " ", "<|end|>"];
    let text = || -> String {
        let mut rng = rand::rng();
        (0..rng.random_range(0..400)).map(|_| *scripts.choose(&mut rng).unwrap()).collect()
    };
    let mut body = json!({"messages": []});
    for _ in 0..rng.random_range(1..5) {
        let said = text();
        let content = if rng.random() {
            json!(said)
        } else {
            json!([{"type": "text", "text": said}, {"type": "text", "text": text()}])
        };
        body["messages"].as_array_mut().unwrap().push(json!({"role": "user", "content": content}));
    }
    if rng.random() {
        body["max_tokens"] = json!(rng.random_range(1..600));
    }
    if rng.random() {
        let parameters =
            json!({"type": "object", "properties": {text(): {"type": "string", "description": text()}}});
        body["tools"] = match path {
            CHAT => {
                json!([{"type": "function", "function": {"name": "f", "description": text(), "parameters": parameters}}])
            }
            _ => json!([{"name": "f", "description": text(), "input_schema": parameters}]),
        };
    }
    match path {
        CHAT => {
            if rng.random() {
                body["n"] = json!(rng.random_range(1..=4));
            }
            if rng.random() {
                body["response_format"] = json!({"type": "json_object"});
            }
        }
        _ => {
            body["max_tokens"] = json!(rng.random_range(1..600));
            if rng.random() {
                body["system"] = json!([{"type": "text", "text": text(), "cache_control": {"type": "ephemeral", "ttl": "1h"}}]);
            }
        }
    }
    body
}

#[tokio::test]
async fn no_body_costs_more_than_was_held_for_it() {
    let world =
        World::start(&[("MAX_COST_PER_DAY", "1000"), ("MAX_COST_PER_JOB", "10"), ("AI_RATE", "100000")])
            .await;
    for number in 0..150 {
        let (path, model) = if number % 2 == 0 { (CHAT, "gpt-6-sol") } else { (MESSAGES, SONNET) };
        let mut body = any_body(path);
        body["model"] = json!(model);
        // The dearest that this model can do with its input: write all of it to its cache.
        world.mock.queue_replies([levqor_mock_ai::Script {
            written_tokens: if number % 3 == 0 { u64::MAX } else { 0 },
            output_tokens: Some(if number % 5 == 0 { u64::MAX } else { 20 }),
            text: Some("said".to_owned()),
            ..Default::default()
        }]);
        let reply = world.client().post(path, &body.to_string()).await;
        assert_eq!(
            (reply.status, reply.header("x-levqor-charge")),
            (200, Some("settled")),
            "{body}: {reply:?}"
        );
    }
    let view = world.server.engine.store().find_budget("max-cost-per-day", now_ms()).await.unwrap().unwrap();
    assert_eq!(view.periods.iter().map(|period| period.overrun.get()).sum::<i64>(), 0);
    world.agrees().await;
}
