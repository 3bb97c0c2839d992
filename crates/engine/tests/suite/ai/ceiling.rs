//! The ledger is the provider's bill, and what is not held is not sent.

use std::net::TcpListener;

use levqor_connectors::ai::Provider;
use levqor_core::gateway::vet_chat;
use levqor_core::money::{CallState, Nano, Wish};
use levqor_engine::ai::{Body, NotHeld, Order, RawBody};
use levqor_store::{BookKind, CallPlace, Reason};
use levqor_testkit::{Receiver, wait_until};
use serde_json::json;

use super::world::*;
use crate::support::*;

each_engine!(
    the_ledger_is_the_providers_bill_to_the_nanodollar_on_every_wire,
    what_does_not_fit_opens_no_socket,
    what_has_no_price_opens_no_socket,
    a_body_never_asks_for_more_than_its_permit_allows,
    many_at_once_stay_below_the_limit_and_use_most_of_it,
    a_place_makes_one_call,
    no_call_is_held_before_the_budgets_of_the_settings_are_stored,
    prices_that_are_put_in_force_count_from_the_next_call_on,
);

async fn the_ledger_is_the_providers_bill_to_the_nanodollar_on_every_wire(database: Database) {
    let mock = mock().await;
    let node = Node::start(&database, ai_settings(&mock.url()), TestClock::running()).await;

    let own = "provider,model,status,input_usd_per_mtok,output_usd_per_mtok,max_output_tokens\n\
        openai,mock-small,priced,0.15,0.6,4096\nanthropic,mock-large,priced,3,15,4096\n\
        gemini,mock-small,priced,0.15,0.6,4096\nown,mock-free,free,,,4096\n";
    let book = node.store().import_prices(BookKind::Own, "test", own, by(), 1).await.unwrap();
    node.store().activate_prices(&book.id, by(), 2).await.unwrap();
    let mut told = Nano::ZERO;
    for model in [
        SOL,
        "openai-responses/gpt-6-sol",
        "openai/mock-small",
        "anthropic/mock-large",
        "gemini/mock-small",
        "own/mock-free",
    ] {
        let over = call(&node, question(model, "How are you? 你好 😀", 300)).await.unwrap();
        assert!(over.answer.error.is_none(), "{model}: {:?}", over.answer);
        told = told.checked_add(over.cost).unwrap();
    }

    let bill = mock.bill();
    assert_eq!((bill.calls, i64::try_from(bill.total_nano).unwrap()), (6, told.get()));
    assert_eq!(spent(&database).await, told.get());
    assert_eq!(
        (counted(&database, "spent_nano").await, counted(&database, "held_nano").await),
        (told.get(), 0)
    );
    assert_eq!((calls_in(&database, "settled").await, calls_in(&database, "released").await), (6, 0));
    let same = "select count(distinct model) from ai_calls where provider = 'openai' and model = 'gpt-6-sol'";
    assert_eq!(database.number(same).await, 1, "both wires of one vendor count as one model");
}

/// A provider's address that tells whether anybody connected.
fn listener() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    (listener, url)
}

fn nobody_came(listener: &TcpListener) -> bool {
    listener.accept().is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock)
}

async fn what_does_not_fit_opens_no_socket(database: Database) {
    let (socket, url) = listener();
    let node = Node::start(&database, with_limits(&url, "0.35", "0.001"), TestClock::running()).await;

    let refused = call(&node, question(SOL, "Hello", 1_000)).await.err().unwrap();
    let fitted = call(&node, Order { fit: true, ..question(SOL, "Hello", 1_000) }).await.err().unwrap();

    let NotHeld::Budget(refusal) = &refused else { panic!("{refused}") };
    assert_eq!((refusal.budget.as_str(), refusal.reason), ("max-cost-per-day", Reason::SpentOut));
    assert!(refusal.wanted > refusal.limit && refusal.resets_at_ms.is_some());
    assert_eq!(refused.code(), "budget_exceeded");
    assert!(refused.to_string().contains("allows $0.001"), "{refused}");
    let NotHeld::Budget(fitted) = fitted else { panic!("{fitted}") };
    assert!(fitted.wanted < refusal.wanted, "it speaks of the shortest answer worth having");
    assert!(nobody_came(&socket));
    assert_eq!(database.number("select count(*) from ai_calls").await, 0);
    let refused = node.counters().ai_refused.load(std::sync::atomic::Ordering::Relaxed);
    assert_eq!(refused, 2);
}

async fn what_has_no_price_opens_no_socket(database: Database) {
    let (socket, url) = listener();
    let mut settings = ai_settings(&url);
    settings.ai.providers.retain(|provider: &Provider| provider.name != "gemini");
    let node = Node::start(&database, settings, TestClock::running()).await;

    for (model, code) in [
        ("openai/gpt-6-sol-2027", "price_unknown"),
        ("openai/", "price_unknown"),
        ("own/llama", "price_unknown"),
        ("gemini/gemini-3-pro", "provider_not_configured"),
        ("acme/gpt-6-sol", "unknown_provider"),
        ("gpt-6-sol", "unknown_provider"),
        ("openai/text-embedding-3-small", "model_not_served"),
    ] {
        let error = call(&node, question(model, "Hello", 10)).await.err().unwrap();
        assert_eq!(error.code(), code, "{model}: {error}");
    }
    let long = "x".repeat(20_000_000);
    let error = call(&node, question(SOL, &long, 10)).await.err().unwrap();
    assert_eq!(error.code(), "input_too_long", "{error}");
    assert!(nobody_came(&socket));
    assert_eq!(database.number("select count(*) from ai_calls").await, 0);
}

async fn a_body_never_asks_for_more_than_its_permit_allows(database: Database) {
    let receiver = Receiver::start().await;
    let base = receiver.url("");
    let node = Node::start(&database, ai_settings(base.trim_end_matches('/')), TestClock::running()).await;
    let raw = json!({"model": "another", "messages": [{"role": "user", "content": "Hi"}],
        "max_tokens": 1_000_000, "max_completion_tokens": 1_000_000});
    let vetted = vet_chat(&raw.to_string()).unwrap();
    let raw = Body::Raw(RawBody { vetted, headers: vec![("x-test".to_owned(), "1".to_owned())] });

    let open_ended = Order { wish: Wish::default(), fit: true, ..question(SOL, "Hello", 1) };
    for order in [open_ended.clone(), Order { body: raw, ..open_ended }] {
        let ready = node.ai().hold(order).await.unwrap();
        let bound = ready.bound();
        // The model's own limit costs $1.28: a job may cost $0.35.
        assert!(bound.amount <= Nano::parse("0.35").unwrap() && bound.amount > Nano::parse("0.34").unwrap());
        let over = ready.send().await.end().await;
        assert_eq!(over.cost, bound.amount, "an answer without a usage is charged in full");
        over.settle().await.unwrap();

        let received = receiver.received_at("/v1/chat/completions").pop().unwrap().json();
        assert_eq!(received["max_completion_tokens"], json!(bound.output_tokens));
        assert_eq!((&received["max_tokens"], &received["model"]), (&json!(null), &json!("gpt-6-sol")));
    }
    let last = receiver.received().pop().unwrap();
    assert_eq!((last.header("x-test"), &last.json()["stream"]), ("1", &json!(null)));
}

async fn many_at_once_stay_below_the_limit_and_use_most_of_it(database: Database) {
    let mock = mock().await;
    let node = Node::start(&database, with_limits(&mock.url(), "1", "0.2"), TestClock::running()).await;

    let work = (0..32).map(|_| async {
        let mut refused = 0;
        while refused < 3 {
            match call(&node, Order { fit: true, ..question(SOL, "Tell me more", 2_000) }).await {
                Ok(_) => {}
                Err(NotHeld::Budget(refusal)) if refusal.reason == Reason::HeldOut => {
                    tokio::task::yield_now().await;
                }
                Err(NotHeld::Budget(_)) => refused += 1,
                Err(error) => panic!("{error}"),
            }
        }
    });
    futures_util::future::join_all(work).await;

    let bill = i64::try_from(mock.bill().total_nano).unwrap();
    assert_eq!(spent(&database).await, bill);
    assert!(bill <= 200_000_000 && bill > 180_000_000, "{bill}");
    assert_eq!(counted(&database, "held_nano").await, 0);
}

async fn a_place_makes_one_call(database: Database) {
    let mock = mock().await;
    let node = Node::start(&database, ai_settings(&mock.url()), TestClock::running()).await;
    let job = levqor_core::id::JobId::new(1, [1; 10]);
    let place = |attempt| CallPlace {
        job,
        root_job: job,
        workflow: "w".to_owned(),
        step: "s".to_owned(),
        logical_call: 1,
        attempt,
    };
    let order = |attempt| Order { place: Some(place(attempt)), ..question(SOL, "Hello", 10) };

    call(&node, order(1)).await.unwrap();
    let again = call(&node, order(1)).await.err().unwrap();
    call(&node, order(2)).await.unwrap();

    assert!(matches!(again, NotHeld::Known { state: CallState::Settled, .. }), "{again}");
    assert_eq!(mock.bill().calls, 2);
}

async fn no_call_is_held_before_the_budgets_of_the_settings_are_stored(database: Database) {
    let mock = mock().await;
    database_refuses_budgets(&database).await;
    let node = Node::start(&database, ai_settings(&mock.url()), TestClock::running()).await;

    let refused = call(&node, question(SOL, "Hello", 10)).await.err().unwrap();
    assert!(matches!(refused, NotHeld::Store(_)), "{refused}");
    assert_eq!(mock.bill().calls, 0);

    match database.is_postgres() {
        true => database.execute("drop trigger refuse on budgets").await,
        false => database.execute("drop trigger refuse").await,
    }
    wait_until(LIMIT, async || call(&node, question(SOL, "Hello", 10)).await.is_ok()).await;
    assert_eq!(database.number("select count(*) from budgets").await, 2);
}

async fn database_refuses_budgets(database: &Database) {
    // The tables must be there first.
    Node::by_hand(database, settings(), TestClock::running()).await.stop().await;
    match database.is_postgres() {
        true => {
            let function = "create function refuse() returns trigger language plpgsql as 'begin raise exception ''no''; end'";
            let trigger = "create trigger refuse before insert on budgets execute function refuse()";
            database.execute(&format!("{function}; {trigger}")).await;
        }
        false => {
            let trigger =
                "create trigger refuse before insert on budgets begin select raise(abort, 'no'); end";
            database.execute(trigger).await;
        }
    }
}

async fn prices_that_are_put_in_force_count_from_the_next_call_on(database: Database) {
    let mock = mock().await;
    let node = Node::start(&database, ai_settings(&mock.url()), TestClock::running()).await;
    let before = call(&node, question("openai/mock-small", "Hello", 10)).await.err().unwrap();

    let own = "provider,model,status,input_usd_per_mtok,output_usd_per_mtok,max_output_tokens\n\
        openai,mock-small,priced,0.15,0.6,4096\n";
    let book = node.store().import_prices(BookKind::Own, "test", own, by(), 1).await.unwrap();
    node.store().activate_prices(&book.id, by(), 2).await.unwrap();
    node.ai().forget_prices().await;
    let over = call(&node, question("openai/mock-small", "Hello", 10)).await.unwrap();

    assert_eq!(before.code(), "price_unknown");
    assert_eq!(i64::try_from(mock.bill().total_nano).unwrap(), over.cost.get());
    assert_eq!(over.settlement.charge, over.charge);
    let models = node.ai().models().await.unwrap();
    let own = models.iter().find(|model| model.price.model == "mock-small").unwrap();
    assert_eq!((own.provider.as_str(), over.price().name()), ("openai", "openai/mock-small".to_owned()));
    let bound = node.ai().bound(question("openai/mock-small", "Hello", 10)).await.unwrap();
    assert_eq!(bound.output_tokens, 10);
    let room = node.ai().room(&question(SOL, "Hello", 10)).await.unwrap();
    assert_eq!(room.room, Some(Nano::parse("0.35").unwrap()));
}
