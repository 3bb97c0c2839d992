//! Golden vectors, to the nano-dollar: what providers billed, and what others made of it.
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::*;
use crate::money::{Meter, Wire, parse_price_list};

/// Dollars for a million tokens: input, cached, cache write, long cache write, output. Blank: not priced.
fn price(rates: &str) -> Price {
    let header = "provider,model,input_usd_per_mtok,cached_input_usd_per_mtok,cache_write_usd_per_mtok,\
        cache_write_long_usd_per_mtok,output_usd_per_mtok,max_output_tokens,web_search_usd_per_query,region_multiplier,fast_multiplier";
    parse_price_list(&format!("{header}\np,m,{rates},128000,0.01,1.1,2\n")).unwrap().remove(0)
}

fn read(wire: Wire, events: &[&str]) -> Usage {
    let mut meter = Meter::new(wire);
    events.iter().for_each(|event| meter.see(event));
    meter.usage().unwrap().unwrap()
}

const LONG: Terms = Terms { long_cache: true, ..Terms::STANDARD };

fn nano(rates: &str, usage: &Usage) -> i64 {
    bill(&price(rates), usage, &LONG).unwrap().total.get()
}

#[test]
fn anthropic_cache_writes_cost_what_the_console_said() {
    let usage = read(
        Wire::Anthropic,
        &[
            r#"{"usage":{"input_tokens":3,"cache_creation_input_tokens":12304,"cache_read_input_tokens":0,"output_tokens":550}}"#,
        ],
    );

    assert_eq!(nano("3,,3.75,,15", &usage), 54_399_000);
}

#[test]
fn an_anthropic_stream_is_not_the_sum_of_its_snapshots() {
    let usage = read(
        Wire::Anthropic,
        &[
            r#"{"type":"message_start","message":{"usage":{"input_tokens":6,"cache_creation_input_tokens":159217,"cache_read_input_tokens":0,"output_tokens":4}}}"#,
            r#"{"type":"content_block_delta","delta":{"text":"\"usage\":{\"input_tokens\":1}"}}"#,
            r#"{"type":"message_delta","usage":{"input_tokens":6,"cache_creation_input_tokens":159217,"cache_read_input_tokens":0,"output_tokens":1200}}"#,
            r#"{"type":"message_delta","usage":{"output_tokens":2745}}"#,
        ],
    );

    assert_eq!(nano("5,,6.25,,25", &usage), 1_063_761_250);
}

#[test]
fn openai_cached_reads_are_part_of_the_prompt() {
    let usage = read(
        Wire::OpenAiChat,
        &[
            r#"{"choices":[],"usage":{"prompt_tokens":1239328,"completion_tokens":12909,"total_tokens":1252237,
            "prompt_tokens_details":{"cached_tokens":1188096}}}"#,
        ],
    );

    assert_eq!((usage.uncached_in, usage.cached_in), (51_232, 1_188_096));
    assert_eq!(nano("1.25,0.125,,,10", &usage), 341_642_000);
}

#[test]
fn writes_that_nobody_attributes_are_priced_at_the_dearest_write_in_reach() {
    let usage = read(
        Wire::Anthropic,
        &[r#"{"usage":{"input_tokens":0,"output_tokens":0,"cache_creation_input_tokens":184457,
            "cache_creation":{"ephemeral_5m_input_tokens":31490,"ephemeral_1h_input_tokens":0}}}"#],
    );

    assert_eq!((usage.write_short, usage.write_any), (31_490, 152_967));
    assert_eq!(nano("3,0.3,3.75,6,15", &usage), 31_490 * 3_750 + 152_967 * 6_000);
    // A request that asked for no long entries cannot have made one.
    let short = bill(&price("3,0.3,3.75,6,15"), &usage, &Terms::STANDARD).unwrap().total;
    assert_eq!(short.get(), 184_457 * 3_750);
    assert_eq!(nano("3,0.3,3.75,,15", &usage), 184_457 * 3_750, "no other write is priced");
}

#[test]
fn gemini_thoughts_cost_what_output_costs() {
    let usage = read(
        Wire::Gemini,
        &[
            r#"{"candidates":[],"usageMetadata":{"promptTokenCount":38651,"candidatesTokenCount":1301,"thoughtsTokenCount":355987,"totalTokenCount":395939}}"#,
        ],
    );

    assert_eq!((usage.out, usage.reasoning), (1_301, 355_987));
    assert_eq!(nano("1.25,,,,10", &usage), 38_651 * 1_250 + (1_301 + 355_987) * 10_000);
}

#[test]
fn there_is_one_ceiling_and_it_is_at_the_end() {
    let one = |uncached_in| Usage { uncached_in, ..Usage::default() };

    // 0.0375 dollars for a million: 37.5 pico-dollars of a nano-dollar for each token.
    assert_eq!(nano("0.0375,,,,1", &one(1)), 38);
    assert_eq!(nano("0.0375,,,,1", &one(2)), 75);
    let many = Usage { uncached_in: 1, cached_in: 1, out: 1, ..Usage::default() };
    assert_eq!(nano("0.0001,0.0001,,,0.0001", &many), 1, "three tenths of a nano-dollar are one, not three");
}

#[test]
fn a_class_that_was_used_and_has_no_price_is_an_error() {
    for (usage, unit) in [
        (Usage { write_short: 1, ..Usage::default() }, Unit::CacheWriteShort),
        (Usage { write_long: 1, ..Usage::default() }, Unit::CacheWriteLong),
        (Usage { write_any: 1, ..Usage::default() }, Unit::CacheWriteShort),
        (Usage { audio_in: 1, ..Usage::default() }, Unit::AudioIn),
        (Usage { audio_out: 1, ..Usage::default() }, Unit::AudioOut),
    ] {
        let error = bill(&price("3,,,,15"), &usage, &LONG).unwrap_err();
        assert_eq!(error, CostError::Unpriced { model: "p/m".to_owned(), unit, tier: Tier::Standard });
    }
    let flex = Usage { uncached_in: 1, tier: Some(Tier::Flex), ..Usage::default() };
    let error = bill(&price("3,,,,15"), &flex, &LONG).unwrap_err();
    assert_eq!(error.to_string(), "p/m has no price for input (flex)");
}

#[test]
fn multipliers_are_on_tokens_and_not_on_uses() {
    let usage = Usage { uncached_in: 1_000_000, searches: 2, ..Usage::default() };
    let total = |terms: Terms| bill(&price("3,,,,15"), &usage, &terms).unwrap().total.to_string();

    assert_eq!(total(Terms::STANDARD), "3.02");
    assert_eq!(total(Terms { region: true, ..Terms::STANDARD }), "3.32");
    assert_eq!(total(Terms { region: true, fast: true, ..Terms::STANDARD }), "6.62");
    let seen = Usage { fast: true, ..usage.clone() };
    assert_eq!(bill(&price("3,,,,15"), &seen, &Terms::STANDARD).unwrap().total.to_string(), "6.02");
}

#[test]
fn a_long_input_makes_all_of_the_call_dearer() {
    let list = "provider,model,input_usd_per_mtok,output_usd_per_mtok,max_output_tokens,cached_input_usd_per_mtok,\
        long_context_threshold_tokens,long_input_usd_per_mtok,long_output_usd_per_mtok\np,m,2,10,1000,0.2,1000,4,15\n";
    let price = parse_price_list(list).unwrap().remove(0);
    let cost = |uncached_in, cached_in, out| {
        bill(&price, &Usage { uncached_in, cached_in, out, ..Usage::default() }, &LONG).unwrap().total.get()
    };

    assert_eq!(cost(400, 600, 10), 400 * 2_000 + 600 * 200 + 10 * 10_000);
    assert_eq!(
        cost(401, 600, 10),
        401 * 4_000 + 600 * 400 + 10 * 15_000,
        "what was cached counts for the length"
    );
}

#[test]
fn what_costs_nothing_says_so() {
    let price = parse_price_list("provider,model,status\np,m,free\n").unwrap().remove(0);
    let usage = Usage { uncached_in: 5, audio_in: 1, write_any: 3, fast: true, ..Usage::default() };

    assert_eq!(bill(&price, &usage, &LONG).unwrap().total, Nano::ZERO);
}

#[test]
fn a_cost_that_cannot_be_true_is_an_error() {
    let usage = Usage { uncached_in: 1_000_000_000_000, ..Usage::default() };

    assert_eq!(bill(&price("9000,,,,9000"), &usage, &LONG), Err(CostError::TooLarge));
}

proptest! {
    #[test]
    fn a_bill_is_the_ceiling_of_its_lines(
        uncached_in in 0..10_000_000_u64,
        cached_in in 0..10_000_000_u64,
        out in 0..1_000_000_u64,
        input_micro in 1..100_000_000_i64,
        output_micro in 1..1_000_000_000_i64,
    ) {
        let dollars = |micro: i64| Nano::new(micro * 1_000).to_string();
        let price = price(&format!("{},,,,{}", dollars(input_micro), dollars(output_micro)));
        let usage = Usage { uncached_in, cached_in, out, ..Usage::default() };

        let bill = bill(&price, &usage, &Terms::STANDARD).unwrap();

        let pico: i128 = bill.lines.iter().map(|line| i128::from(line.quantity) * i128::from(line.rate.pico())).sum();
        let total = i128::from(bill.total.get());
        prop_assert!(total * 1_000 >= pico && (total - 1) * 1_000 < pico);
        prop_assert_eq!(pico, i128::from(uncached_in + cached_in) * i128::from(input_micro) + i128::from(out) * i128::from(output_micro));
    }

    #[test]
    fn more_of_anything_never_costs_less(
        base in 0..1_000_000_u64,
        more in 0..1_000_000_u64,
        class in 0..5_usize,
    ) {
        let price = price("3,0.3,3.75,6,15");
        let usage = |n: u64| {
            let mut usage = Usage { uncached_in: 7, ..Usage::default() };
            *[&mut usage.cached_in, &mut usage.write_short, &mut usage.write_long, &mut usage.write_any, &mut usage.out]
                .into_iter().nth(class).unwrap() = n;
            usage
        };
        let cost = |n| bill(&price, &usage(n), &LONG).unwrap().total;

        prop_assert!(cost(base + more) >= cost(base));
    }
}
