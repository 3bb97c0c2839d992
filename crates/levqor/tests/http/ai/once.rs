//! Questions with an `Idempotency-Key`: paid for once, told as often as they are asked.

use levqor_mock_ai::Fault;

use super::*;

const OWN: &str = "/api/v1/ai/complete";
const LONG: &str = "order-4711";

/// Each wire, in one piece and as a stream, in the provider's own words and translated; and our own.
fn ways() -> Vec<(&'static str, String)> {
    let mut ways = vec![(OWN, json!({"model": "openai/gpt-6-sol", "prompt": "Hello there"}).to_string())];
    for (path, model) in [
        (CHAT, "openai/gpt-6-sol"),
        (CHAT, "anthropic/claude-sonnet-5"),
        (MESSAGES, "anthropic/claude-sonnet-5"),
        (MESSAGES, "openai/gpt-6-sol"),
    ] {
        for is_stream in [false, true] {
            ways.push((path, hello(path, model, json!({"stream": is_stream}))));
        }
    }
    ways
}

/// An answer as a whole, whether it came as a stream or not.
async fn ask(client: &Client, path: &str, key: &str, body: &str) -> Reply {
    let headers = [("Content-Type", "application/json"), ("Idempotency-Key", key)];
    client.send("POST", path, &headers, body).await
}

fn code(reply: &Reply) -> String {
    let body = reply.json();
    body["error"]["code"].as_str().or(body["error"].as_str()).unwrap_or_else(|| panic!("{body}")).to_owned()
}

#[tokio::test]
async fn whoever_asks_again_gets_the_same_answer_and_pays_once() {
    let world = World::start(&[]).await;
    for (number, (path, body)) in ways().into_iter().enumerate() {
        let key = format!("k-{number}");
        let first = ask(&world.client(), path, &key, &body).await;
        let billed = world.billed();
        assert_eq!((first.status, first.header("x-levqor-replayed")), (200, None), "{path}: {first:?}");
        for _ in 0..2 {
            let again = ask(&world.client(), path, &key, &body).await;

            assert_eq!((again.status, again.text()), (200, first.text()), "{path} {body}");
            assert_eq!(again.header("x-levqor-replayed"), Some("true"));
            for header in ["content-type", "x-levqor-call"] {
                assert_eq!(again.header(header), first.header(header), "{header}");
            }
            assert_eq!(again.header("x-levqor-charge"), Some("settled"));
        }
        assert_eq!(world.billed(), billed, "{path} {body}");
    }
    assert_eq!(world.mock.bill().calls, ways().len() as u64);
    world.agrees().await;
}

#[tokio::test]
async fn another_request_under_the_same_key_is_refused_and_a_dry_run_leaves_the_key_alone() {
    let world = World::start(&[]).await;
    let dry = json!({"model": "openai/gpt-6-sol", "prompt": "Hello there", "dry_run": true}).to_string();
    assert_eq!(ask(&world.client(), OWN, LONG, &dry).await.status, 200);
    let body = hello(CHAT, "gpt-6-sol", json!({}));
    assert_eq!(ask(&world.client(), CHAT, LONG, &body).await.status, 200);

    let others = [
        (CHAT, hello(CHAT, "gpt-6-sol", json!({"max_tokens": 9}))),
        (CHAT, hello(CHAT, "gpt-6-sol", json!({"stream": true}))),
        (CHAT, format!("{body} ")),
        (MESSAGES, hello(MESSAGES, SONNET, json!({}))),
        (OWN, json!({"model": "openai/gpt-6-sol", "prompt": "Hello there"}).to_string()),
    ];
    for (path, other) in others {
        let reply = ask(&world.client(), path, LONG, &other).await;
        assert_eq!((reply.status, code(&reply).as_str()), (422, "idempotency_mismatch"), "{other}");
    }
    let headers = [("Content-Type", "application/json"), ("Idempotency-Key", LONG), ("x-levqor-tags", "a=b")];
    let tagged = world.client().send("POST", CHAT, &headers, &body).await;
    assert_eq!(tagged.status, 422, "another team pays for it: {tagged:?}");
    for bad in ["", "two words", "é", &"x".repeat(256)] {
        let reply = ask(&world.client(), CHAT, bad, &body).await;
        assert_eq!((reply.status, code(&reply).as_str()), (400, "invalid_idempotency_key"), "{bad:?}");
    }
    let twice = [("Content-Type", "application/json"), ("Idempotency-Key", "a"), ("Idempotency-Key", "a")];
    assert_eq!(world.client().send("POST", CHAT, &twice, &body).await.status, 400);
    assert_eq!(world.mock.bill().calls, 1);
    world.agrees().await;
}

#[tokio::test]
async fn the_key_of_another_caller_is_another_key_and_a_rotated_one_is_the_same() {
    let world = World::start(&[("API_KEYS", "root")]).await;
    let root = world.server.key("root");
    let mut made = Vec::new();
    for _ in 0..2 {
        made.push(root.post("/api/v1/keys", r#"{"name":"k","scopes":["ai"]}"#).await.json());
    }
    let text = |made: &Value, name: &str| made[name].as_str().unwrap().to_owned();
    let body = hello(CHAT, "gpt-6-sol", json!({}));
    let call = |reply: Reply| reply.header("x-levqor-call").unwrap_or_else(|| panic!("{reply:?}")).to_owned();

    let first = call(ask(&world.server.key(&text(&made[0], "key")), CHAT, LONG, &body).await);
    let second = call(ask(&world.server.key(&text(&made[1], "key")), CHAT, LONG, &body).await);
    let rotated = root.post(&format!("/api/v1/keys/{}/rotate", text(&made[0], "id")), "{}").await.json();
    let third = call(ask(&world.server.key(&text(&rotated, "key")), CHAT, LONG, &body).await);

    assert_ne!(first, second);
    assert_eq!(first, third);
    assert_eq!(world.mock.bill().calls, 2);
}

#[tokio::test]
async fn many_at_once_are_one_call_and_streams_are_told_to_come_back() {
    let slow = Mock { delay: Duration::from_millis(600), ..Mock::default() };
    let world = World::with(slow, &[]).await;
    let body = hello(CHAT, "gpt-6-sol", json!({}));
    let asking = (0..12).map(|_| {
        let (client, body) = (world.client(), body.clone());
        tokio::spawn(async move { ask(&client, CHAT, LONG, &body).await })
    });
    let mut texts = std::collections::BTreeSet::new();
    for asking in asking.collect::<Vec<_>>() {
        let reply = asking.await.unwrap();
        assert_eq!(reply.status, 200, "{reply:?}");
        texts.insert(reply.text());
    }
    assert_eq!((texts.len(), world.mock.bill().calls), (1, 1));

    let body = hello(MESSAGES, SONNET, json!({"stream": true}));
    let asking = (0..6).map(|_| {
        let (client, body) = (world.client(), body.clone());
        tokio::spawn(async move { ask(&client, MESSAGES, LONG, &body).await })
    });
    let asking: Vec<_> = asking.collect();
    let mut told = Vec::new();
    for asking in asking {
        let reply = asking.await.unwrap();
        if reply.status != 200 {
            assert_eq!((reply.status, code(&reply).as_str()), (422, "idempotency_mismatch"), "{reply:?}");
        }
        told.push(reply.status);
    }
    assert!(told.iter().all(|status| *status == 422), "the key belongs to another request: {told:?}");
    let asking = (0..6).map(|_| {
        let (client, body) = (world.client(), body.clone());
        tokio::spawn(async move { ask(&client, MESSAGES, "stream", &body).await })
    });
    let mut statuses = Vec::new();
    for asking in asking.collect::<Vec<_>>() {
        let reply = asking.await.unwrap();
        if reply.status == 409 {
            assert_eq!(code(&reply), "request_in_progress");
            assert!(reply.header("retry-after").is_some() && reply.header("x-should-retry").is_none());
        }
        statuses.push(reply.status);
    }
    assert!(statuses.iter().all(|status| matches!(status, 200 | 409)), "{statuses:?}");
    assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 1, "{statuses:?}");
    assert_eq!(world.mock.bill().calls, 2);
    world.agrees().await;
}

#[tokio::test]
async fn a_client_that_went_away_finds_its_answer_when_it_comes_back() {
    let slow = Mock { delay: Duration::from_millis(300), ..Mock::default() };
    let world = World::with(slow, &[("AI_RATE", "1000000")]).await;
    for (number, (path, body)) in ways().into_iter().enumerate() {
        let key = format!("gone-{number}");
        let head = format!("\r\nIdempotency-Key: {key}\r\nContent-Type:");
        let mut connection = Connection::open(world.server.address).await;
        connection.write(request(path, &body).replacen("\r\nContent-Type:", &head, 1).as_bytes()).await;
        let calls = number as u64 + 1;
        wait_until(crate::client::LIMIT, || async { world.mock.bill().calls >= calls }).await;
        drop(connection);

        let mut reply = ask(&world.client(), path, &key, &body).await;
        wait_until(crate::client::LIMIT, || async { world.mock.bill().calls == calls }).await;
        while reply.status == 409 && code(&reply) == "request_in_progress" {
            reply = ask(&world.client(), path, &key, &body).await;
        }
        assert_eq!(reply.status, 200, "{path} {body}: {reply:?}");
        assert!(reply.text().contains("there"), "{reply:?}");
        assert_eq!(world.mock.bill().calls, calls, "{path} {body}");
    }
    world.agrees().await;
}

#[tokio::test]
async fn what_was_not_charged_may_be_asked_again_and_what_was_is_told_again() {
    for (path, body) in ways() {
        let world = World::start(&[]).await;
        world.mock.queue_faults([Some(Fault::Status(404)), None]);
        let refused = ask(&world.client(), path, LONG, &body).await;
        assert_eq!(
            (refused.status, refused.header("x-levqor-charge")),
            (404, Some("released")),
            "{refused:?}"
        );
        let answered = ask(&world.client(), path, LONG, &body).await;
        assert_eq!((answered.status, answered.header("x-levqor-replayed")), (200, None), "{answered:?}");
        let again = ask(&world.client(), path, LONG, &body).await;
        assert_eq!((again.text(), world.mock.bill().calls), (answered.text(), 1));

        world.mock.queue_faults([Some(Fault::Status(500)), None]);
        let failed = ask(&world.client(), path, "fails", &body).await;
        assert_eq!((failed.status, failed.header("x-levqor-charge")), (502, Some("assumed")), "{failed:?}");
        let (spent, _) = world.day().await;
        let told = ask(&world.client(), path, "fails", &body).await;
        assert_eq!((told.status, told.text()), (502, failed.text()), "each try would cost");
        assert_eq!(told.header("x-should-retry"), Some("false"));
        assert_eq!(world.day().await.0, spent);
    }
}

#[tokio::test]
async fn a_spent_budget_and_a_stop_do_not_take_an_answer_away() {
    let world = World::start(&[]).await;
    let body = hello(CHAT, "gpt-6-sol", json!({}));
    let first = ask(&world.client(), CHAT, LONG, &body).await;
    assert_eq!(world.client().post("/api/v1/ai/stop", "{}").await.status, 200);

    let again = ask(&world.client(), CHAT, LONG, &body).await;
    let other = ask(&world.client(), CHAT, "another", &body).await;

    assert_eq!((again.status, again.text()), (200, first.text()));
    assert_eq!(other.status, 402, "{other:?}");
    assert_eq!(world.client().post("/api/v1/ai/start", "{}").await.status, 200);
    assert_eq!(ask(&world.client(), CHAT, "another", &body).await.status, 200, "a refusal keeps no key");
}

#[tokio::test]
async fn a_call_that_was_charged_without_an_answer_is_not_paid_for_again() {
    let world = World::start(&[]).await;
    let upsert = world.client().post("/api/v1/users/upsert", r#"{"email":"ada@example.org"}"#).await.json();
    let id = upsert["user"]["id"].as_str().unwrap_or_else(|| panic!("{upsert}")).to_owned();
    for (path, body) in [
        (CHAT, hello(CHAT, "gpt-6-sol", json!({"user": id}))),
        (MESSAGES, hello(MESSAGES, SONNET, json!({"metadata": {"user_id": id}, "stream": true}))),
        (OWN, json!({"model": "openai/gpt-6-sol", "prompt": "Hi", "user": id}).to_string()),
    ] {
        assert_eq!(ask(&world.client(), path, path, &body).await.status, 200);
    }
    // Their answers go with the person.
    let erased = world.client().send("DELETE", &format!("/api/v1/users/{id}"), &[], "").await;
    assert!(erased.status < 300, "{erased:?}");

    let body = hello(CHAT, "gpt-6-sol", json!({"user": id}));
    let again = ask(&world.client(), CHAT, CHAT, &body).await;

    assert_eq!((again.status, code(&again).as_str()), (409, "answer_lost"), "{again:?}");
    assert!(again.header("x-levqor-call").is_some());
    assert_eq!(again.header("x-should-retry"), Some("false"));
    assert_eq!(world.mock.bill().calls, 3);
}
