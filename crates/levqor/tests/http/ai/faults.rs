//! What goes wrong at the provider or at the client: the client is told rightly, and every cent is accounted for.

use levqor_mock_ai::Fault;

use super::*;

const WAYS: [(&str, &str); 4] = [
    (CHAT, "openai/gpt-6-sol"),
    (MESSAGES, "anthropic/claude-sonnet-5"),
    (CHAT, "anthropic/claude-sonnet-5"),
    (MESSAGES, "openai/gpt-6-sol"),
];

#[tokio::test]
async fn a_refusal_of_the_provider_becomes_what_the_callers_sdk_knows() {
    let shared = World::start(&[]).await;
    for (path, model) in WAYS {
        for (fault, status, code) in [
            (400, 400, "provider_refused"),
            (404, 404, "provider_refused"),
            (422, 422, "provider_refused"),
            (401, 502, "provider_failed"),
            (403, 502, "provider_failed"),
            (429, 429, "provider_rate_limited"),
            (529, 503, "provider_overloaded"),
        ] {
            // A provider that asks for peace gets it: the next call would wait.
            let asks_for_peace = matches!(status, 429 | 503);
            // A server for each of them is dear; the other ways stream in turn.
            let both = [false, true];
            let streams = if asks_for_peace && path != WAYS[0].0 { &both[1..] } else { &both[..] };
            for &is_stream in streams {
                let own = if asks_for_peace { Some(World::start(&[]).await) } else { None };
                let world = own.as_ref().unwrap_or(&shared);
                world.mock.queue_faults([Some(Fault::Status(fault))]);
                let reply =
                    world.client().post(path, &hello(path, model, json!({"stream": is_stream}))).await;

                assert_eq!(reply.status, status, "{path} {model} {fault}: {reply:?}");
                assert_eq!(reply.json()["error"]["code"], code, "{reply:?}");
                assert_eq!(reply.header("x-levqor-charge"), Some("released"), "{fault}");
                assert_eq!(reply.header("x-should-retry"), None);
                assert_eq!(reply.header("retry-after").is_some(), matches!(status, 429 | 503), "{fault}");
                let has_words = reply.text().contains("a fault that was asked for");
                assert_eq!(has_words, code == "provider_refused", "{reply:?}");
                assert!(
                    !reply.text().contains("provider\"") && !reply.text().contains("sk-provider"),
                    "{reply:?}"
                );
            }
        }
    }
    assert_eq!(shared.mock.bill().calls, 0);
    shared.agrees().await;
}

#[tokio::test]
async fn an_answer_that_is_lost_is_charged_in_full_and_not_asked_for_again() {
    for (path, model) in WAYS {
        for (fault, status) in
            [(Fault::DropReply, 502), (Fault::ResetBefore, 502), (Fault::Cut, 502), (Fault::Status(500), 502)]
        {
            // One that fails time after time is left alone for a while.
            let world = World::start(&[]).await;
            world.mock.queue_faults([Some(fault)]);
            let reply = world.client().post(path, &hello(path, model, json!({}))).await;

            assert_eq!(reply.status, status, "{path} {model} {fault:?}: {reply:?}");
            assert_eq!(reply.header("x-levqor-charge"), Some("assumed"), "{fault:?}");
            assert_eq!(reply.header("x-should-retry"), Some("false"), "{fault:?}");
            let (spent, held) = world.day().await;
            assert!(spent >= world.billed() && held == Nano::ZERO, "{spent} {}", world.billed());
        }
    }
}

#[tokio::test]
async fn a_stream_that_is_cut_ends_with_an_error_and_not_as_if_it_were_whole() {
    for (path, model) in WAYS {
        let world = World::start(&[("AI_FIRST_BYTE", "500ms"), ("AI_TIMEOUT", "1s")]).await;
        for fault in [Fault::Cut, Fault::Stall] {
            world.mock.queue_faults([Some(fault)]);
            let streamed = stream(&world.server, path, &hello(path, model, json!({"stream": true}))).await;

            let (name, data) = streamed.events.last().unwrap();
            let data: Value = serde_json::from_str(data).unwrap_or_else(|_| panic!("{:?}", streamed.events));
            assert!(data["error"]["message"].is_string(), "{path} {model} {fault:?}: {data}");
            assert_eq!(name, if path == MESSAGES { "error" } else { "" });
            let is_ended =
                streamed.events.iter().any(|(name, data)| name == "message_stop" || data == "[DONE]");
            assert!(!is_ended, "{:?}", streamed.events);
        }
        let (spent, held) = world.day().await;
        assert!(spent >= world.billed() && held == Nano::ZERO, "{spent} {}", world.billed());
    }
}

#[tokio::test]
async fn an_answer_without_usage_arrives_and_is_charged_in_full() {
    for (path, model) in WAYS {
        let world = World::start(&[]).await;
        world.mock.queue_faults([Some(Fault::NoUsage), Some(Fault::NoUsage)]);
        let reply = world.client().post(path, &hello(path, model, json!({}))).await;
        assert_eq!(
            (reply.status, reply.header("x-levqor-charge")),
            (200, Some("assumed")),
            "{path} {model}: {reply:?}"
        );
        let streamed = stream(&world.server, path, &hello(path, model, json!({"stream": true}))).await;
        assert!(streamed.text(path).contains("mock model") && streamed.is_whole, "{path} {model}");
        let (spent, held) = world.day().await;
        assert!(spent > world.billed() && held == Nano::ZERO);
    }
}

#[tokio::test]
async fn whoever_goes_away_leaves_a_call_that_is_read_to_its_end_and_charged() {
    let slow = Mock { pace: Duration::from_millis(30), delay: Duration::from_millis(50), ..Mock::default() };
    let world = World::with(slow, &[]).await;
    for (path, model) in WAYS {
        for is_stream in [false, true] {
            let before = world.mock.bill().calls;
            let body = hello(path, model, json!({"stream": is_stream}));
            let mut connection = Connection::open(world.server.address).await;
            connection.write(request(path, &body).as_bytes()).await;
            // The provider has it, and the client is gone.
            wait_until(Duration::from_secs(10), || async { world.mock.bill().calls == before + 1 }).await;
            drop(connection);
            world.agrees().await;
        }
    }
    let view = world.server.engine.store().find_budget("max-cost-per-day", now_ms()).await.unwrap().unwrap();
    assert_eq!(
        view.periods.iter().map(|period| period.assumed.get()).sum::<i64>(),
        0,
        "all of it is known exactly"
    );
}
