#![allow(clippy::unwrap_used)]

use super::*;

fn one(header: &str, row: &str) -> Result<Price, String> {
    match parse_price_list(&format!("provider,model,{header}\np,m,{row}\n")) {
        Ok(mut prices) => Ok(prices.remove(0)),
        Err(problems) => Err(problems[0].problem.clone()),
    }
}

fn pico(price: &Price, unit: Unit, tier: Tier, input_tokens: u64) -> Option<i64> {
    price.rate(unit, tier, input_tokens).map(Rate::pico)
}

const BASIC: &str = "input_usd_per_mtok,output_usd_per_mtok,max_output_tokens";

#[test]
fn blanks_are_filled_only_where_that_is_not_cheaper() {
    let price = one(BASIC, "3,15,1000").unwrap();

    let rates =
        [Unit::CachedRead, Unit::ImageIn, Unit::Reasoning].map(|unit| pico(&price, unit, Tier::Standard, 1));
    assert_eq!(rates, [Some(3_000_000), Some(3_000_000), Some(15_000_000)]);
    for unit in [
        Unit::CacheWriteShort,
        Unit::CacheWriteLong,
        Unit::AudioIn,
        Unit::AudioOut,
        Unit::WebSearch,
        Unit::Request,
    ] {
        assert_eq!(pico(&price, unit, Tier::Standard, 1), None, "{unit:?}");
    }
    for tier in [Tier::Batch, Tier::Flex, Tier::Priority] {
        assert!(!price.has_tier(tier), "{tier:?}");
    }
}

#[test]
fn thoughts_never_cost_less_than_what_is_said() {
    let cheap = one(&format!("{BASIC},reasoning_output_usd_per_mtok"), "3,15,1000,10").unwrap();
    let dear = one(&format!("{BASIC},reasoning_output_usd_per_mtok"), "3,15,1000,20").unwrap();

    assert_eq!(pico(&cheap, Unit::Reasoning, Tier::Standard, 1), Some(15_000_000));
    assert_eq!(pico(&dear, Unit::Reasoning, Tier::Standard, 1), Some(20_000_000));
}

#[test]
fn beyond_the_long_context_step_every_class_grows_with_its_side() {
    let header = format!(
        "{BASIC},cached_input_usd_per_mtok,cache_write_usd_per_mtok,long_context_threshold_tokens,\
         long_input_usd_per_mtok,long_output_usd_per_mtok,priority_input_usd_per_mtok,priority_output_usd_per_mtok"
    );
    let price = one(&header, "2,10,1000,0.2,2.5,1000,4,15,3,20").unwrap();

    let at = |unit, tier, tokens| pico(&price, unit, tier, tokens).unwrap();
    assert_eq!(at(Unit::Input, Tier::Standard, 1_000), 2_000_000, "the step itself is not beyond it");
    assert_eq!(at(Unit::Input, Tier::Standard, 1_001), 4_000_000);
    assert_eq!(at(Unit::CachedRead, Tier::Standard, 1_001), 400_000);
    assert_eq!(at(Unit::CacheWriteShort, Tier::Standard, 1_001), 5_000_000);
    assert_eq!(at(Unit::Output, Tier::Standard, 1_001), 15_000_000);
    assert_eq!(at(Unit::CachedRead, Tier::Priority, 1), 300_000);
    assert_eq!(at(Unit::Input, Tier::Priority, 1_001), 4_000_000, "the dearer of the two");
    assert_eq!(at(Unit::Output, Tier::Priority, 1_001), 20_000_000);
    assert_eq!(price.dearest(Unit::Input, Tier::Standard, 1_001).unwrap().pico(), 4_000_000);
}

#[test]
fn what_cannot_be_taken_is_told_by_column_and_value() {
    for (header, row, part) in [
        (BASIC, "0,15,1000", "input_usd_per_mtok is 0"),
        (BASIC, "-3,15,1000", "input_usd_per_mtok \"-3\" must not be negative"),
        (BASIC, "3e0,15,1000", "must be a decimal number"),
        (BASIC, "0.0000001,15,1000", "6 digits after the point"),
        (BASIC, ",15,1000", "input_usd_per_mtok is missing"),
        (BASIC, "3,,1000", "output_usd_per_mtok is missing"),
        (BASIC, "3,15,", "max_output_tokens is missing"),
        (BASIC, "3,15,0", "max_output_tokens \"0\" must be a whole number from 1"),
        (BASIC, "3,15", "4 fields for 5 columns"),
        (&format!("status,{BASIC}"), "free,3,15,1000", "a model that is free has no prices"),
        (&format!("status,{BASIC}"), "gratis,,,", "status \"gratis\" is none of [priced, free, unpriced]"),
        (&format!("{BASIC},long_context_threshold_tokens"), "3,15,1000,5", "go together"),
        (
            &format!("{BASIC},batch_input_usd_per_mtok"),
            "3,15,1000,5",
            "batch for input and output go together",
        ),
        (
            &format!("{BASIC},region_multiplier"),
            "3,15,1000,0.9",
            "region_multiplier \"0.9\" must be a factor",
        ),
        ("price", "3", "there is no column \"price\""),
        ("model", "m", "the column model is there twice"),
        (&format!("{BASIC},notes"), "3,15,1000,\"open", "a quote is not closed"),
        (&format!("{BASIC},notes"), "3,15,1000,\"a\"b", "behind a closing quote"),
    ] {
        let problem = one(header, row).unwrap_err();
        assert!(problem.contains(part), "{header} / {row}: {problem}");
    }
    assert_eq!(parse_price_list("").unwrap_err()[0].problem, "the list is empty");
    let twice = format!("provider,model,{BASIC}\np,m,3,15,1000\n\np,m,3,15,1000\n");
    assert_eq!(parse_price_list(&twice).unwrap_err()[0].to_string(), "line 4: p/m is there twice");
}

#[test]
fn quoted_fields_may_hold_commas_and_quotes() {
    let price = one(&format!("{BASIC},notes"), "3,15,1000,\"a, \"\"b\"\"\"").unwrap();

    assert_eq!(price.notes, "a, \"b\"");
}

#[test]
fn the_id_of_a_price_is_its_content() {
    let row = |row| one(BASIC, row).unwrap().id();

    assert_eq!(row("3,15,1000"), row("3.0,15.00,1000"));
    assert_ne!(row("3,15,1000"), row("3,15,1001"));
    assert_eq!(row("3,15,1000").len(), 24);
}
