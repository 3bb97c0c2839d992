//! What a new price list would change, for a person to look at before it is put in force.

use std::collections::BTreeMap;

use super::amount::Rate;
use super::price::{Price, Status};
use super::unit::{Tier, Unit};

/// One component before and after.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RateChange {
    pub unit: Unit,
    pub tier: Tier,
    pub above_input_tokens: u64,
    pub old: Option<Rate>,
    pub new: Option<Rate>,
}

/// A model whose price is another one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    pub provider: String,
    pub model: String,
    pub rates: Vec<RateChange>,
    /// What else is different, by name.
    pub facts: Vec<&'static str>,
}

/// Something that is more often a slip than the truth.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    pub provider: String,
    pub model: String,
    pub text: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Difference {
    pub added: Vec<Price>,
    pub changed: Vec<Change>,
    /// Provider and model of what is no longer listed, and would be refused.
    pub removed: Vec<(String, String)>,
    /// Each has to be accepted by name before the list is put in force.
    pub warnings: Vec<Warning>,
}

impl Difference {
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.changed.is_empty() && self.removed.is_empty()
    }
}

/// A price that grows or shrinks by more than this factor was probably read in another unit.
const MAX_JUMP: i64 = 4;

/// What stands between two lists, in order of names.
pub fn difference(old: &[Price], new: &[Price]) -> Difference {
    let by_name = |prices| -> BTreeMap<(String, String), &Price> {
        let prices: &[Price] = prices;
        prices.iter().map(|price| ((price.provider.clone(), price.model.clone()), price)).collect()
    };
    let (old, new) = (by_name(old), by_name(new));
    let mut all = Difference::default();
    for (name, price) in &new {
        match old.get(name) {
            None => {
                all.warnings.extend(sanity(price));
                all.added.push((*price).clone());
            }
            Some(before) if before == price => {}
            Some(before) => {
                let change = change(before, price);
                all.warnings.extend(sanity(price));
                all.warnings.extend(change.rates.iter().filter_map(|rate| jump(price, rate)));
                if price.status == Status::Free && before.status != Status::Free {
                    all.warnings.push(warning(price, "becomes free".to_owned()));
                }
                all.changed.push(change);
            }
        }
    }
    all.removed = old.keys().filter(|name| !new.contains_key(*name)).cloned().collect();
    all
}

/// What looks wrong in a price by itself: reads from a cache that cost more than input, input that costs more than ten
/// times what output does.
pub fn sanity(price: &Price) -> Vec<Warning> {
    let mut found = Vec::new();
    for tier in Tier::ALL.iter().copied().filter(|tier| price.has_tier(*tier)) {
        let rate = |unit| price.rate(unit, tier, 1);
        let Some(input) = rate(Unit::Input) else { continue };
        let mut note = |text: String| found.push(warning(price, format!("{} ({})", text, tier.as_str())));
        if rate(Unit::CachedRead).is_some_and(|cached| cached > input) {
            note("cached input costs more than input".to_owned());
        }
        if rate(Unit::CacheWriteShort).is_some_and(|write| write < input) {
            note("writing to the cache costs less than input".to_owned());
        }
        if rate(Unit::Output).is_some_and(|output| input.pico() > output.pico().saturating_mul(10)) {
            note("input costs more than ten times what output does".to_owned());
        }
        if rate(Unit::Output).is_some_and(|output| output.pico() > input.pico().saturating_mul(100)) {
            note("output costs more than a hundred times what input does".to_owned());
        }
    }
    found
}

fn warning(price: &Price, text: String) -> Warning {
    Warning { provider: price.provider.clone(), model: price.model.clone(), text }
}

fn jump(price: &Price, change: &RateChange) -> Option<Warning> {
    let (old, new) = (change.old?.pico(), change.new?.pico());
    let is_jump = new > old.saturating_mul(MAX_JUMP) || old > new.saturating_mul(MAX_JUMP);
    is_jump.then(|| {
        let (unit, tier) = (change.unit.as_str(), change.tier.as_str());
        warning(
            price,
            format!("{unit} ({tier}) goes from {old} to {new} p$: more than a factor of {MAX_JUMP}"),
        )
    })
}

fn change(old: &Price, new: &Price) -> Change {
    type Both = (Option<Rate>, Option<Rate>);
    let mut rates: BTreeMap<(Tier, Unit, u64), Both> = BTreeMap::new();
    for it in &old.components {
        rates.entry((it.tier, it.unit, it.above_input_tokens)).or_default().0 = Some(it.rate);
    }
    for it in &new.components {
        rates.entry((it.tier, it.unit, it.above_input_tokens)).or_default().1 = Some(it.rate);
    }
    let rates = rates.into_iter().filter(|(_, (old, new))| old != new);
    let facts = [
        ("mode", old.mode != new.mode),
        ("status", old.status != new.status),
        ("context_window_input_tokens", old.max_input_tokens != new.max_input_tokens),
        ("max_output_tokens", old.max_output_tokens != new.max_output_tokens),
        ("tokens_per_byte", old.tokens_per_byte_ppm != new.tokens_per_byte_ppm),
        ("region_multiplier", old.region_ppm != new.region_ppm),
        ("fast_multiplier", old.fast_ppm != new.fast_ppm),
        ("notes", old.notes != new.notes),
        ("source", old.source != new.source),
        ("retrieved", old.retrieved != new.retrieved),
    ];
    Change {
        provider: new.provider.clone(),
        model: new.model.clone(),
        rates: rates
            .map(|((tier, unit, above_input_tokens), (old, new))| RateChange {
                unit,
                tier,
                above_input_tokens,
                old,
                new,
            })
            .collect(),
        facts: facts.into_iter().filter(|(_, differs)| *differs).map(|(name, _)| name).collect(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::money::{PriceBook, parse_price_list};

    fn list(rows: &str) -> Vec<Price> {
        let header = "provider,model,status,input_usd_per_mtok,output_usd_per_mtok,cached_input_usd_per_mtok,max_output_tokens";
        parse_price_list(&format!("{header}\n{rows}")).unwrap()
    }

    #[test]
    fn a_difference_names_what_comes_goes_and_changes() {
        let old = list("p,same,priced,1,2,,100\np,gone,priced,1,2,,100\np,moves,priced,1,2,,100\n");
        let new = list("p,same,priced,1,2,,100\np,came,priced,1,2,,100\np,moves,priced,1.5,2,,200\n");

        let found = difference(&old, &new);

        assert_eq!(found.added.iter().map(|it| it.model.as_str()).collect::<Vec<_>>(), ["came"]);
        assert_eq!(found.removed, [("p".to_owned(), "gone".to_owned())]);
        assert_eq!((found.changed.len(), &found.changed[0].facts[..]), (1, &["max_output_tokens"][..]));
        let units: Vec<Unit> = found.changed[0].rates.iter().map(|it| it.unit).collect();
        assert_eq!(units, [Unit::Input, Unit::CachedRead, Unit::ImageIn], "what follows input moves with it");
        assert_eq!(found.warnings, []);
        assert!(difference(&new, &new).is_empty());
    }

    #[test]
    fn slips_of_the_decimal_point_are_warned_of() {
        let old = list("p,m,priced,2.5,10,,100\n");
        for (row, part) in [
            (
                "p,m,priced,25,10,,100\n",
                "input (standard) goes from 2500000 to 25000000 p$: more than a factor of 4",
            ),
            ("p,m,priced,0.0025,10,,100\n", "more than a factor of 4"),
            ("p,m,priced,2.5,10,3,100\n", "cached input costs more than input"),
            ("p,m,priced,2.5,0.2,,100\n", "input costs more than ten times what output does"),
            ("p,m,free,,,,100\n", "becomes free"),
        ] {
            let found = difference(&old, &list(row));
            assert!(found.warnings.iter().any(|it| it.text.contains(part)), "{row}: {:?}", found.warnings);
        }
        assert_eq!(difference(&old, &list("p,m,priced,5,20,,100\n")).warnings, []);
    }

    #[test]
    fn the_embedded_list_has_nothing_to_warn_of() {
        let warnings: Vec<_> = PriceBook::embedded().list().into_iter().flat_map(sanity).collect();

        assert_eq!(warnings, []);
    }
}
