#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::*;
use crate::money::{Lookup, PriceBook, Tier, Usage, bill, parse_price_list};

fn listed(provider: &str, model: &str) -> Price {
    let Lookup::Priced(price) = PriceBook::embedded().find(provider, model) else { panic!("{model}") };
    (*price).clone()
}

/// Nothing is added for what cannot be seen.
const BARE: Allowances =
    Allowances { framing_tokens: 0, structured_tokens: 0, search_tokens: 0, min_output_tokens: 256 };

fn text(text_bytes: u64) -> Shape {
    Shape { text_bytes, ..Shape::default() }
}

#[test]
fn the_worked_example_holds_what_the_design_says() {
    let sol = listed("openai", "gpt-6-sol");

    let bound = upper_bound(&sol, &text(4_096), &Terms::STANDARD, &BARE, 2_000).unwrap();

    assert_eq!(bound.amount, Nano::new(30_240_000));
    let typical = Usage { uncached_in: 800, out: 600, ..Usage::default() };
    assert_eq!(bill(&sol, &typical, &Terms::STANDARD).unwrap().total, Nano::new(7_600_000));
}

#[test]
fn each_thing_that_can_cost_more_raises_the_bound() {
    let sol = listed("openai", "gpt-6-sol");
    let bound = |shape: Shape, terms: Terms, output| {
        upper_bound(&sol, &shape, &terms, &Allowances::default(), output).unwrap().amount
    };
    let plain = Shape { text_bytes: 10_000, messages: 2, ..Shape::default() };
    let base = bound(plain, Terms::STANDARD, 1_000);

    for (what, amount) in [
        ("bytes", bound(Shape { text_bytes: 10_001, ..plain }, Terms::STANDARD, 1_000)),
        ("messages", bound(Shape { messages: 3, ..plain }, Terms::STANDARD, 1_000)),
        ("attachments", bound(Shape { attachment_tokens: 1, ..plain }, Terms::STANDARD, 1_000)),
        ("tools", bound(Shape { structured: true, ..plain }, Terms::STANDARD, 1_000)),
        ("choices", bound(Shape { choices: 2, ..plain }, Terms::STANDARD, 1_000)),
        ("searches", bound(Shape { searches: 1, ..plain }, Terms::STANDARD, 1_000)),
        ("output", bound(plain, Terms::STANDARD, 1_001)),
        ("long cache", bound(plain, Terms { long_cache: true, ..Terms::STANDARD }, 1_000)),
        ("region", bound(plain, Terms { region: true, ..Terms::STANDARD }, 1_000)),
        ("priority", bound(plain, Terms { tier: Tier::Priority, ..Terms::STANDARD }, 1_000)),
        ("long context", bound(Shape { text_bytes: 272_001, ..plain }, Terms::STANDARD, 1_000)),
    ] {
        assert!(amount > base, "{what}");
    }
}

#[test]
fn a_window_bounds_the_input_whatever_was_sent() {
    let sol = listed("openai", "gpt-6-sol");

    let bound = upper_bound(&sol, &text(u64::MAX), &Terms::STANDARD, &BARE, 1).unwrap();

    assert_eq!(bound.input_tokens, 922_000);
    assert_eq!(
        bound.amount,
        Nano::new(922_000 * 5_000 + 15_000),
        "the dearest write beyond the long-context step"
    );
}

#[test]
fn what_has_no_price_is_not_bounded_but_refused() {
    let gpt = listed("openai", "gpt-5");
    let refused =
        |shape: Shape, terms: Terms| upper_bound(&gpt, &shape, &terms, &BARE, 1).unwrap_err().to_string();

    assert_eq!(
        refused(Shape { has_audio: true, ..text(1) }, Terms::STANDARD),
        "openai/gpt-5 has no price for audio_in (standard)"
    );
    assert_eq!(
        refused(text(1), Terms { tier: Tier::Flex, ..Terms::STANDARD }),
        "openai/gpt-5 has no price for input (flex)"
    );
    assert_eq!(
        refused(text(1), Terms { region: true, ..Terms::STANDARD }),
        "openai/gpt-5 has no price for requests pinned to a region"
    );
    assert_eq!(
        refused(text(1), Terms { long_cache: true, ..Terms::STANDARD }),
        "openai/gpt-5 has no price for cache_write_long (standard)"
    );
    let sonar = parse_price_list(
        "provider,model,input_usd_per_mtok,output_usd_per_mtok,max_output_tokens\np,m,1,1,9\n",
    )
    .unwrap()
    .remove(0);
    let searching = upper_bound(&sonar, &Shape { searches: 1, ..text(1) }, &Terms::STANDARD, &BARE, 1);
    assert!(searching.is_err(), "{searching:?}");
}

#[test]
fn fit_mode_shrinks_the_request_and_not_only_the_hold() {
    let sol = listed("openai", "gpt-6-sol");
    let fit = |wish: Wish, room: i64| {
        fit(&sol, &text(4_096), &Terms::STANDARD, &BARE, &wish, Nano::new(room)).unwrap()
    };
    let input = 4_096 * 2_500;

    // Left open: as long as the model can, as far as the money goes.
    assert_eq!(
        fit(Wish::default(), 350_000_000),
        Fit::Fits(Bound { input_tokens: 4_096, output_tokens: 33_976, amount: Nano::new(350_000_000) })
    );
    let asked = Wish { requested: Some(2_000), usual: Some(9) };
    let Fit::Fits(bound) = fit(asked, 1_000_000_000) else { panic!() };
    assert_eq!((bound.output_tokens, bound.amount), (2_000, Nano::new(30_240_000)));
    let Fit::Fits(bound) = fit(Wish { requested: None, usual: Some(500) }, 1_000_000_000) else { panic!() };
    assert_eq!(bound.output_tokens, 500);
    let Fit::Fits(bound) = fit(Wish { requested: Some(u64::MAX), usual: None }, i64::MAX / 2) else {
        panic!()
    };
    assert_eq!(bound.output_tokens, 128_000, "never more than the model can");

    // The shortest answer worth having, to the nano-dollar.
    let least = input + 256 * 10_000;
    let Fit::Fits(bound) = fit(Wish::default(), least) else { panic!() };
    assert_eq!((bound.output_tokens, bound.amount), (256, Nano::new(least)));
    let Fit::TooDear(bound) = fit(Wish::default(), least - 1) else { panic!() };
    assert_eq!((bound.output_tokens, bound.amount), (256, Nano::new(least)), "what it would take");
    assert!(matches!(fit(Wish::default(), 0), Fit::TooDear(_)));
    assert!(matches!(fit(Wish::default(), -5), Fit::TooDear(_)));
    // Who asks for little gets little.
    let Fit::Fits(bound) = fit(Wish { requested: Some(10), usual: None }, input + 100_000) else { panic!() };
    assert_eq!(bound.output_tokens, 10);
}

#[test]
fn embeddings_and_free_models_are_bounded_too() {
    let small = listed("openai", "text-embedding-3-small");
    let free = parse_price_list("provider,model,status,max_output_tokens\np,m,free,900\n").unwrap().remove(0);

    let embedded =
        fit(&small, &text(1_000), &Terms::STANDARD, &BARE, &Wish::default(), Nano::new(20_000)).unwrap();
    let dear =
        fit(&small, &text(1_000), &Terms::STANDARD, &BARE, &Wish::default(), Nano::new(19_999)).unwrap();
    let free = fit(&free, &text(1_000), &Terms::STANDARD, &BARE, &Wish::default(), Nano::ZERO).unwrap();

    assert_eq!(
        embedded,
        Fit::Fits(Bound { input_tokens: 1_000, output_tokens: 0, amount: Nano::new(20_000) })
    );
    assert!(matches!(dear, Fit::TooDear(_)));
    assert_eq!(free, Fit::Fits(Bound { input_tokens: 1_000, output_tokens: 900, amount: Nano::ZERO }));
}

fn any_model() -> impl Strategy<Value = Price> {
    let priced = PriceBook::embedded()
        .list()
        .into_iter()
        .filter(|price| price.has_tier(Tier::Standard) && price.max_output_tokens.is_some());
    prop::sample::select(priced.cloned().collect::<Vec<_>>())
}

proptest! {
    /// However a provider attributes the tokens that it can count at most, the bound covers the bill.
    #[test]
    fn a_bound_covers_every_bill(
        price in any_model(),
        bytes in 0..600_000_u64,
        output in 1..50_000_u64,
        choices in 1..4_u64,
        searches in 0..3_u64,
        cuts in prop::collection::vec(0..=100_u64, 4),
        said in 0..=100_u64,
        (long_cache, region, fast) in any::<(bool, bool, bool)>(),
    ) {
        let shape = Shape { text_bytes: bytes, messages: 3, choices, searches, has_images: true, structured: true, ..Shape::default() };
        let terms = Terms { tier: Tier::Standard, region, fast, long_cache };
        let Ok(bound) = upper_bound(&price, &shape, &terms, &Allowances::default(), output) else { return Ok(()) };

        let mut left = bound.input_tokens;
        let mut take = |percent: u64| { let part = left * percent / 100; left -= part; part };
        let can_write = price.rate(Unit::CacheWriteShort, Tier::Standard, 1).is_some();
        let (cached_in, image_in) = (take(cuts[0]), take(cuts[1]));
        let (write_any, write_short) = if can_write { (take(cuts[2]), take(cuts[3])) } else { (0, 0) };
        let write_long = if long_cache { take(50) } else { 0 };
        let answer = output * choices;
        let usage = Usage {
            uncached_in: left, cached_in, image_in, write_any, write_short, write_long,
            out: answer * said / 100, reasoning: answer - answer * said / 100, searches,
            ..Usage::default()
        };
        let bill = bill(&price, &usage, &terms).unwrap();

        prop_assert!(bill.total <= bound.amount, "{:?} > {:?}", bill, bound);
    }

    #[test]
    fn what_fits_costs_no_more_than_the_room_and_one_more_token_would(
        price in any_model(),
        bytes in 0..100_000_u64,
        choices in 1..4_u64,
        region in any::<bool>(),
        room in 0..5_000_000_000_i64,
    ) {
        let shape = Shape { choices, ..text(bytes) };
        let terms = Terms { region, ..Terms::STANDARD };
        let Ok(fitted) = fit(&price, &shape, &terms, &BARE, &Wish::default(), Nano::new(room)) else { return Ok(()) };

        let at = |output| upper_bound(&price, &shape, &terms, &BARE, output).unwrap().amount;
        match fitted {
            Fit::Fits(bound) => {
                prop_assert!(bound.amount <= Nano::new(room));
                prop_assert!(Some(bound.output_tokens) == price.max_output_tokens || at(bound.output_tokens + 1) > Nano::new(room));
            }
            Fit::TooDear(bound) => prop_assert!(bound.amount > Nano::new(room)),
        }
    }
}
