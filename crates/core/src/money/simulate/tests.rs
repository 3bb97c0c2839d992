#![allow(clippy::unwrap_used)]

use super::*;
use crate::money::parse_price_list;

fn cents(cents: i64) -> Nano {
    Nano::new(cents * 10_000_000)
}

fn past(job: &str, at_ms: i64, charged: Nano) -> PastCall {
    PastCall {
        job: job.to_owned(),
        provider: "openai".to_owned(),
        model: "gpt-6-sol".to_owned(),
        terms: Terms::STANDARD,
        state: CallState::Settled,
        input_tokens: 2_000,
        output_tokens: 1_000,
        reserved: cents(10),
        settled: Some(charged),
        usage: Some(Usage { uncached_in: 1_000, out: 500, ..Usage::default() }),
        reserved_at_ms: at_ms,
        settled_at_ms: Some(at_ms + 10),
    }
}

fn book(lines: &str) -> PriceBook {
    let head = "provider,model,status,input_usd_per_mtok,output_usd_per_mtok,max_output_tokens\n";
    PriceBook::new(parse_price_list(&format!("{head}{lines}")).unwrap())
}

#[test]
fn nothing_changed_costs_what_it_cost() {
    let calls = [past("a", 1, cents(3)), past("b", 2, cents(4))];

    let out = simulate(&calls, &Scenario::default());

    assert_eq!(out.total, Sums { calls: 2, past: cents(7), simulated: cents(7) });
    assert_eq!((out.repriced, out.refused), (0, Refusals::default()));
    assert_eq!(out.cannot_know.len(), 1);
}

#[test]
fn other_prices_are_reckoned_exactly_and_for_their_models_alone() {
    let elsewhere = PastCall { model: "other".to_owned(), ..past("a", 3, cents(5)) };
    let calls = [past("a", 1, cents(3)), elsewhere];
    let prices = book("openai,gpt-6-sol,priced,1.5,8,128000\n");

    let out = simulate(&calls, &Scenario { prices, ..Scenario::default() });

    // 1,000 × 1.5 and 500 × 8 micro-dollars.
    let expected = Nano::new(5_500_000);
    assert_eq!(out.models["openai/gpt-6-sol"], Sums { calls: 1, past: cents(3), simulated: expected });
    assert_eq!(out.models["openai/other"], Sums { calls: 1, past: cents(5), simulated: cents(5) });
    assert_eq!((out.repriced, out.total.simulated), (1, Nano::new(55_500_000)));
}

#[test]
fn another_model_is_priced_by_the_list_in_force() {
    let models = BTreeMap::from([("openai/gpt-6-sol".to_owned(), "local/llama".to_owned())]);
    let current = book("local,llama,free,,,4096\n");

    let out = simulate(&[past("a", 1, cents(3))], &Scenario { models, current, ..Scenario::default() });

    assert_eq!(out.models["local/llama"], Sums { calls: 1, past: cents(3), simulated: Nano::ZERO });
    assert!(out.cannot_know[0].starts_with("Another model"));
}

#[test]
fn what_is_not_known_stays_as_it_was_and_is_said() {
    let silent = PastCall { usage: None, state: CallState::Assumed, ..past("a", 1, cents(10)) };
    let released = PastCall {
        usage: None,
        state: CallState::Released,
        settled: Some(Nano::ZERO),
        ..past("a", 2, cents(0))
    };
    let open = PastCall { settled: None, settled_at_ms: None, ..past("a", 3, cents(0)) };
    let searched =
        PastCall { usage: Some(Usage { searches: 7, ..Usage::default() }), ..past("a", 4, cents(2)) };
    let prices = book("openai,gpt-6-sol,priced,1,1,128000\n");

    let out = simulate(&[silent, released, open, searched], &Scenario { prices, ..Scenario::default() });

    assert_eq!((out.total.simulated, out.open), (cents(12), 1));
    assert_eq!(out.unmeasured, Sums { calls: 1, past: cents(10), simulated: cents(10) });
    assert_eq!(out.unpriced, BTreeMap::from([("openai/gpt-6-sol".to_owned(), 1)]));
    let said = out.cannot_know.join("\n");
    assert!(
        said.contains("1 of the repriced calls told no usage")
            && said.contains("has no price for what 1 calls used")
    );
    assert!(said.contains("1 calls are still open"), "{said}");
}

#[test]
fn limits_refuse_what_would_not_have_fitted_in_its_moment() {
    // One after the other: what is not used comes back before the next. The fourth is at the same time as the third.
    let calls = [
        past("a", 0, cents(4)),
        past("a", 100, cents(4)),
        past("a", 200, cents(4)),
        past("b", 205, cents(4)),
    ];
    let limits = |per_job, per_day| Scenario {
        per_job: Some(cents(per_job)),
        per_day: Some(cents(per_day)),
        ..Scenario::default()
    };

    let wide = simulate(&calls, &limits(18, 100));
    assert_eq!((wide.refused.calls, wide.total.simulated), (0, cents(16)));
    let job = simulate(&calls, &limits(17, 100));
    assert_eq!(job.refused, Refusals { calls: 1, jobs: 1, first_at_ms: Some(200) });
    assert_eq!(job.total.simulated, cents(12));
    let day = simulate(&calls, &limits(100, 27));
    assert_eq!(
        day.refused,
        Refusals { calls: 1, jobs: 1, first_at_ms: Some(205) },
        "8 spent, 10 and 10 held"
    );
    let nothing = simulate(&calls, &limits(0, 0));
    assert_eq!((nothing.refused.calls, nothing.total.simulated), (4, Nano::ZERO));
}

#[test]
fn order_does_not_matter_and_no_number_makes_it_panic() {
    let huge = PastCall {
        settled: Some(Nano::new(i64::MAX)),
        reserved: Nano::new(i64::MAX),
        reserved_at_ms: i64::MIN,
        settled_at_ms: Some(i64::MAX),
        input_tokens: u64::MAX,
        output_tokens: u64::MAX,
        usage: Some(Usage { uncached_in: u64::MAX / 16, ..Usage::default() }),
        ..past("a", 0, cents(1))
    };
    let mut calls = vec![huge.clone(), past("a", 1, cents(1)), huge];
    let prices = book("openai,gpt-6-sol,priced,1000000,1000000,128000\n");
    let scenario =
        Scenario { prices, per_job: Some(cents(5)), per_day: Some(cents(5)), ..Scenario::default() };

    let out = simulate(&calls, &scenario);
    calls.reverse();

    assert_eq!(simulate(&calls, &scenario), out);
}
