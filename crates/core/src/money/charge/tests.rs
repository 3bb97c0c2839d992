#![allow(clippy::unwrap_used)]

use super::*;
use crate::money::parse_price_list;

fn price(status: &str) -> Price {
    let rates = if status == "priced" { "2,10,1000" } else { ",,1000" };
    let list = format!(
        "provider,model,status,input_usd_per_mtok,output_usd_per_mtok,max_output_tokens\np,m,{status},{rates}\n"
    );
    parse_price_list(&list).unwrap().remove(0)
}

fn usage() -> Usage {
    Usage { uncached_in: 800, out: 600, ..Usage::default() }
}

const HELD: Nano = Nano::new(30_000_000);
const COST: Nano = Nano::new(7_600_000);

fn ask(ending: &Ending, profile: Profile) -> Charge {
    charge(ending, profile, &price("priced"), &Terms::STANDARD, HELD)
}

fn word(charge: &Charge) -> &'static str {
    match charge {
        Charge::Release => "release",
        Charge::Settle { .. } => "settle",
        Charge::Assume { .. } => "assume",
    }
}

#[test]
fn statuses_are_charged_as_the_table_says() {
    let refused =
        |status, own_error, profile| word(&ask(&Ending::Refused { status, own_error, usage: None }, profile));

    for status in [400, 401, 403, 404, 413, 422, 429, 529] {
        assert_eq!(refused(status, true, Profile::Unknown), "release", "{status}");
        assert_eq!(refused(status, false, Profile::Vendor), "assume", "{status} of something on the way");
    }
    for status in [402, 405, 409, 410, 415, 500, 503] {
        assert_eq!(refused(status, true, Profile::Vendor), "release", "{status}");
        assert_eq!(refused(status, true, Profile::Unknown), "assume", "{status}");
    }
    for status in [302, 307, 408, 499, 502, 504, 520, 599] {
        assert_eq!(refused(status, true, Profile::Vendor), "assume", "{status}");
    }
}

#[test]
fn what_never_left_is_given_back_and_what_is_in_doubt_is_charged() {
    assert_eq!(ask(&Ending::NotSent, Profile::Unknown), Charge::Release);
    assert_eq!(ask(&Ending::InDoubt, Profile::Vendor), Charge::Assume { alarm: None });
    assert_eq!(ask(&Ending::Cut, Profile::Vendor), Charge::Assume { alarm: None });
}

#[test]
fn a_usage_is_settled_wherever_it_stands() {
    let settled = Charge::Settle { cost: COST, usage: usage(), alarm: None };

    assert_eq!(ask(&Ending::Answered(Ok(Some(usage()))), Profile::Unknown), settled);
    let refused = Ending::Refused { status: 500, own_error: true, usage: Some(usage()) };
    assert_eq!(ask(&refused, Profile::Vendor), settled);
}

#[test]
fn an_answer_without_a_price_is_charged_in_full_and_says_why() {
    let alarm = |ending: &Ending| match ask(ending, Profile::Vendor) {
        Charge::Assume { alarm } => alarm.unwrap(),
        other => panic!("{other:?}"),
    };

    assert_eq!(alarm(&Ending::Answered(Ok(None))), Alarm::NoUsage);
    let missing = UsageError::Missing { field: "prompt_tokens" };
    assert_eq!(alarm(&Ending::Answered(Err(missing.clone()))), Alarm::BadUsage(missing));
    assert_eq!(alarm(&Ending::Answered(Ok(Some(Usage::default())))), Alarm::ZeroCost);
    let audio = Usage { audio_in: 1, ..usage() };
    assert!(matches!(alarm(&Ending::Answered(Ok(Some(audio)))), Alarm::Unpriced(_)));
}

#[test]
fn zero_is_legal_only_for_what_is_free() {
    let free =
        |ending: &Ending| charge(ending, Profile::Unknown, &price("free"), &Terms::STANDARD, Nano::ZERO);

    let none = Charge::Settle { cost: Nano::ZERO, usage: Usage::default(), alarm: None };
    assert_eq!(free(&Ending::Answered(Ok(Some(Usage::default())))), none);
    assert_eq!(free(&Ending::Answered(Ok(None))), Charge::Release);
    let said = Usage { provider_cost: Some(Nano::new(5)), ..Usage::default() };
    assert!(matches!(free(&Ending::Answered(Ok(Some(said)))), Charge::Settle { cost: Nano::ZERO, .. }));
}

#[test]
fn what_a_provider_says_it_cost_is_trusted_upward_only() {
    let cost = |said| {
        let usage = Usage { provider_cost: Some(Nano::new(said)), ..usage() };
        match ask(&Ending::Answered(Ok(Some(usage))), Profile::Unknown) {
            Charge::Settle { cost, alarm: None, .. } => cost,
            other => panic!("{other:?}"),
        }
    };

    assert_eq!(cost(0), COST);
    assert_eq!(cost(COST.get() - 1), COST);
    assert_eq!(cost(COST.get() + 1), Nano::new(COST.get() + 1));
}

#[test]
fn a_charge_beyond_the_hold_is_an_overrun() {
    let usage = Usage { out: 6_000, ..usage() };

    let charge = ask(&Ending::Answered(Ok(Some(usage))), Profile::Vendor);

    let cost = Nano::new(61_600_000);
    assert!(
        matches!(charge, Charge::Settle { alarm: Some(Alarm::Overrun { cost: c, held: HELD }), .. } if c == cost),
        "{charge:?}"
    );
}
