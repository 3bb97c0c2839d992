//! When calls wait without a hold: trouble in a row, a provider that asks for it or whose limit is reached, a model that broke
//! its price list, too much that nobody knows.

use levqor_core::id::JobId;
use levqor_core::money::Alarm;
use levqor_core::rate::MinuteLimits;
use levqor_engine::ai::{NotHeld, Order, Pause};
use levqor_mock_ai::Fault;
use levqor_store::CallPlace;
use levqor_testkit::wait_until;

use super::world::*;
use crate::support::*;

each_engine!(
    an_outage_stops_calls_after_three_and_one_call_finds_its_end,
    a_model_that_costs_more_than_its_price_list_says_waits_for_a_person,
    what_nobody_knows_takes_a_tenth_of_a_day_at_most,
    a_provider_is_left_alone_as_long_as_it_says,
    a_providers_minute_is_shared_by_all_nodes,
    tokens_that_were_not_used_make_room_again,
    what_is_never_sent_takes_no_place_in_the_minute,
);

fn pause(refused: Result<levqor_engine::ai::Over, NotHeld>) -> (Pause, Option<i64>) {
    match refused {
        Err(NotHeld::Busy { pause, until_ms }) => (pause, until_ms),
        Err(error) => panic!("{error}"),
        Ok(over) => panic!("called: {:?}", over.answer.ending),
    }
}

async fn an_outage_stops_calls_after_three_and_one_call_finds_its_end(database: Database) {
    let mock = mock().await;
    let clock = TestClock::running();
    let node = Node::start(&database, ai_settings(&mock.url()), clock.clone()).await;
    mock.queue_faults([Some(Fault::DropReply), Some(Fault::Cut), Some(Fault::DropReply), Some(Fault::Cut)]);

    for _ in 0..3 {
        call(&node, question(SOL, "Hello", 100)).await.unwrap();
    }
    let (waits, until_ms) = pause(call(&node, question(SOL, "Hello", 100)).await);
    assert!(matches!(waits, Pause::Breaker { .. }), "{waits}");
    assert!(until_ms.unwrap() > clock_ms(&*clock) + 20_000);
    assert_eq!((mock.bill().calls, counted(&database, "held_nano").await), (3, 0));
    // Another model of the same provider is another matter; it meets the fourth fault.
    call(&node, question("openai/gpt-6.1-terra", "Hello", 100)).await.unwrap();

    clock.advance(31_000);
    let trying = node.ai().hold(question(SOL, "Hello", 100)).await.unwrap();
    let (waits, _) = pause(call(&node, question(SOL, "Hello", 100)).await);
    assert!(matches!(waits, Pause::Breaker { .. }), "one call tries");
    let over = trying.send().await.end().await;
    over.settle().await.unwrap();
    call(&node, question(SOL, "Hello", 100)).await.unwrap();
    let broken = node.counters().ai_breaks.load(std::sync::atomic::Ordering::Relaxed);
    assert_eq!(broken, 1);
}

fn clock_ms(clock: &dyn levqor_core::clock::Clock) -> i64 {
    clock.now_ms()
}

async fn a_model_that_costs_more_than_its_price_list_says_waits_for_a_person(database: Database) {
    let mock = mock().await;
    let clock = TestClock::running();
    let node = Node::start(&database, ai_settings(&mock.url()), clock.clone()).await;
    mock.queue_faults([Some(Fault::Overlong)]);

    let over = call(&node, question(SOL, "Hello", 2_000)).await.unwrap();
    assert!(matches!(over.alarm(), Some(Alarm::Overrun { .. })), "{:?}", over.charge);
    assert_eq!(
        i64::try_from(mock.bill().total_nano).unwrap(),
        spent(&database).await,
        "it is counted all the same"
    );
    assert!(counted(&database, "overrun_nano").await > 0);
    let waits = |waits: (Pause, Option<i64>)| matches!(waits, (Pause::Quarantine { .. }, None));
    assert!(waits(pause(call(&node, question(SOL, "Hello", 100)).await)));
    let both = pause(call(&node, question("openai-responses/gpt-6-sol", "Hello", 100)).await);
    assert!(waits(both), "by whichever wire");

    node.stop().await;
    let node = Node::start(&database, ai_settings(&mock.url()), clock.clone()).await;
    assert!(waits(pause(call(&node, question(SOL, "Hello", 100)).await)), "also after a restart");
    let listed = node.ai().quarantines().await.unwrap();
    let found: Vec<_> = listed.iter().map(|it| (it.model.as_str(), it.call.clone())).collect();
    assert_eq!(found, [("gpt-6-sol", over.call().to_string())]);
    assert!(listed[0].reason.contains("more than its price list"), "{}", listed[0].reason);

    assert!(node.ai().lift_quarantine("openai", "gpt-6-sol", by()).await.unwrap());
    assert!(!node.ai().lift_quarantine("openai", "gpt-6-sol", by()).await.unwrap());
    call(&node, question(SOL, "Hello", 100)).await.unwrap();
    let lifts = "select count(*) from audit_entries where action = 'ai.quarantine.lift' and actor = 'dev'";
    assert_eq!(database.number(lifts).await, 1);
}

async fn what_nobody_knows_takes_a_tenth_of_a_day_at_most(database: Database) {
    let mock = mock().await;
    let node = Node::start(&database, with_limits(&mock.url(), "0.35", "1"), TestClock::running()).await;
    mock.queue_faults([Some(Fault::DropReply), Some(Fault::DropReply)]);

    // Each holds more than six cents.
    call(&node, question(SOL, "Hello", 6_000)).await.unwrap();
    call(&node, question(SOL, "Hello", 6_000)).await.unwrap();
    let refused = call(&node, question(SOL, "Hello", 100)).await.err().unwrap();

    assert_eq!(refused.code(), "budget_uncertain", "{refused}");
    let NotHeld::Budget(refusal) = refused else { panic!("{refused}") };
    assert!(refusal.budget.as_str() == "max-cost-per-day" && refusal.resets_at_ms.is_some());
    assert_eq!(mock.bill().calls, 2);
}

async fn a_provider_is_left_alone_as_long_as_it_says(database: Database) {
    let mock = mock().await;
    let clock = TestClock::still();
    let node = Node::start(&database, ai_settings(&mock.url()), clock.clone()).await;
    // The mock says: come back in a second.
    mock.queue_faults([Some(Fault::Status(429))]);

    let over = call(&node, question(SOL, "Hello", 100)).await.unwrap();
    let (waits, until_ms) = pause(call(&node, question(SOL, "Hello", 100)).await);
    assert!(matches!(waits, Pause::Told { .. }), "{waits}");
    assert_eq!((until_ms, over.cost.get()), (Some(clock_ms(&*clock) + 1_000), 0));

    clock.advance(1_000);
    call(&node, question(SOL, "Hello", 100)).await.unwrap();
}

async fn a_providers_minute_is_shared_by_all_nodes(database: Database) {
    let mock = mock().await;
    let mut settings = ai_settings(&mock.url());
    settings.ai.provider_limits.insert("openai".to_owned(), MinuteLimits { requests: Some(3), tokens: None });
    let clock = TestClock::running();
    let node = Node::start(&database, settings.clone(), clock.clone()).await;

    for model in [SOL, "openai-responses/gpt-6-sol", "openai/gpt-6.1-terra"] {
        call(&node, question(model, "Hello", 100)).await.unwrap();
    }
    let (waits, until_ms) = pause(call(&node, question(SOL, "Hello", 100)).await);
    assert!(matches!(waits, Pause::Limit { .. }), "{waits}");
    let wait_ms = until_ms.unwrap() - clock_ms(&*clock);
    assert!((30_000..=61_000).contains(&wait_ms), "{wait_ms}");
    if database.is_postgres() {
        let other = Node::start(&database, settings, clock.clone()).await;
        let (waits, _) = pause(call(&other, question(SOL, "Hello", 100)).await);
        assert!(matches!(waits, Pause::Limit { .. }), "{waits}");
    } else {
        clock.advance(61_000);
        call(&node, question(SOL, "Hello", 100)).await.unwrap();
    }
    assert_eq!(counted(&database, "held_nano").await, 0);
}

async fn tokens_that_were_not_used_make_room_again(database: Database) {
    let mock = mock().await;
    let mut settings = ai_settings(&mock.url());
    settings
        .ai
        .provider_limits
        .insert("openai".to_owned(), MinuteLimits { requests: None, tokens: Some(3_000) });
    let node = Node::start(&database, settings, TestClock::running()).await;

    // Each asks for up to 2,000 tokens and uses some dozens.
    for _ in 0..4 {
        wait_until(LIMIT, async || match call(&node, question(SOL, "Hello", 2_000)).await {
            Ok(_) => true,
            Err(NotHeld::Busy { pause: Pause::Limit { .. }, .. }) => false,
            Err(error) => panic!("{error}"),
        })
        .await;
    }
    let first = std::sync::Mutex::new(None);
    wait_until(LIMIT, async || {
        let held = node.ai().hold(question(SOL, "Hello", 2_000)).await.ok();
        let is_held = held.is_some();
        *first.lock().unwrap() = held;
        is_held
    })
    .await;
    let (waits, _) = pause(call(&node, question(SOL, "Hello", 2_000)).await);
    assert!(matches!(waits, Pause::Limit { .. }), "{waits}");
    drop(first);
}

async fn what_is_never_sent_takes_no_place_in_the_minute(database: Database) {
    let mock = mock().await;
    let mut settings = with_limits(&mock.url(), "0.35", "0.5");
    settings.ai.provider_limits.insert("openai".to_owned(), MinuteLimits { requests: Some(2), tokens: None });
    let node = Node::start(&database, settings, TestClock::running()).await;
    let job = JobId::new(0, [7; 10]);
    let place = |attempt| CallPlace {
        job,
        root_job: job,
        workflow: "w".to_owned(),
        step: "s".to_owned(),
        logical_call: 1,
        attempt,
    };
    let order = |attempt| Order { place: Some(place(attempt)), ..question(SOL, "Hello", 10) };
    // A place that is given back by a task is there within moments.
    let made = async |order: Order| {
        wait_until(LIMIT, async || match call(&node, order.clone()).await {
            Ok(_) | Err(NotHeld::Known { .. } | NotHeld::Budget(_)) => true,
            Err(NotHeld::Busy { pause: Pause::Limit { .. }, .. }) => false,
            Err(error) => panic!("{error}"),
        })
        .await;
    };

    made(order(1)).await;
    for lost in 2..5 {
        // There was a call at this place; the budget says no; somebody goes away before sending.
        made(order(1)).await;
        made(question(SOL, "Hello", 90_000)).await;
        wait_until(LIMIT, async || node.ai().hold(order(lost)).await.is_ok()).await;
    }
    made(order(5)).await;

    assert_eq!(mock.bill().calls, 2);
    let (waits, _) = pause(call(&node, order(6)).await);
    assert!(matches!(waits, Pause::Limit { .. }), "{waits}");
}
