//! What a usage costs: one sum in pico-dollars, one ceiling at the end.

use serde::{Deserialize, Serialize};

use super::amount::{MAX_AMOUNT, Nano, Rate};
use super::decimal;
use super::price::Price;
use super::unit::{Tier, Unit};
use super::usage::Usage;

/// How a request is sent, as far as it changes the price. Pinned by us in the request itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terms {
    pub tier: Tier,
    pub region: bool,
    pub fast: bool,
    /// The request asks for cache entries that live for an hour or longer.
    pub long_cache: bool,
}

impl Terms {
    pub const STANDARD: Terms = Terms { tier: Tier::Standard, region: false, fast: false, long_cache: false };
}

/// There is no figure: what was held is charged, or nothing is sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CostError {
    #[error("{model} has no price for {} ({})", unit.as_str(), tier.as_str())]
    Unpriced { model: String, unit: Unit, tier: Tier },
    #[error("{model} has no price for {what}")]
    NoMultiplier { model: String, what: &'static str },
    #[error("the cost is too large to be true")]
    TooLarge,
}

/// One class of a bill.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line {
    pub unit: Unit,
    pub quantity: u64,
    pub rate: Rate,
}

impl Line {
    /// What it costs in dollars, exactly, before any multiplier.
    pub fn usd(&self) -> String {
        decimal::show(i128::from(self.quantity) * i128::from(self.rate.pico()), 12)
    }
}

/// A factor in millionths, as a decimal: `1.10`.
pub fn show_ppm(ppm: u64) -> String {
    decimal::show(ppm.into(), 6)
}

/// How an amount came about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bill {
    /// Disjoint; classes of which there were none are left out.
    pub lines: Vec<Line>,
    /// On the token lines, in millionths.
    pub multiplier_ppm: u64,
    pub total: Nano,
}

const MILLION: i128 = 1_000_000;
/// Pico-dollars in a nano-dollar.
const PICO: i128 = 1_000;

/// The running sum of a call.
pub(super) struct Sum {
    region_ppm: i128,
    fast_ppm: i128,
    tokens_pico: i128,
    uses_pico: i128,
    lines: Vec<Line>,
}

impl Sum {
    pub fn new(price: &Price, region: bool, fast: bool) -> Result<Self, CostError> {
        let factor = |is_used: bool, ppm: Option<u64>, what| match (is_used, ppm) {
            (false, _) => Ok(MILLION),
            (true, Some(ppm)) => Ok(i128::from(ppm)),
            (true, None) if price.is_free() => Ok(MILLION),
            (true, None) => Err(CostError::NoMultiplier { model: price.name(), what }),
        };
        Ok(Sum {
            region_ppm: factor(region, price.region_ppm, "requests pinned to a region")?,
            fast_ppm: factor(fast, price.fast_ppm, "the fast mode")?,
            tokens_pico: 0,
            uses_pico: 0,
            lines: Vec::new(),
        })
    }

    pub fn add(&mut self, unit: Unit, quantity: u64, rate: Rate) -> Result<(), CostError> {
        if quantity == 0 {
            return Ok(());
        }
        let pico = i128::from(quantity) * i128::from(rate.pico());
        let sum = if unit.is_token() { &mut self.tokens_pico } else { &mut self.uses_pico };
        *sum = sum.checked_add(pico).ok_or(CostError::TooLarge)?;
        self.lines.push(Line { unit, quantity, rate });
        Ok(())
    }

    /// The one ceiling.
    pub fn total(&self) -> Result<Nano, CostError> {
        let whole = MILLION * MILLION;
        let tokens = self.tokens_pico.checked_mul(self.region_ppm * self.fast_ppm);
        let uses = self.uses_pico.checked_mul(whole);
        let sum = tokens
            .zip(uses)
            .and_then(|(tokens, uses)| tokens.checked_add(uses))
            .ok_or(CostError::TooLarge)?;
        let nano = sum.div_euclid(whole * PICO) + i128::from(sum.rem_euclid(whole * PICO) != 0);
        let nano = i64::try_from(nano).map(Nano::new).ok().filter(|nano| *nano <= MAX_AMOUNT);
        nano.ok_or(CostError::TooLarge)
    }

    /// How many more tokens of this rate fit into `room`.
    pub fn affordable(&self, room: Nano, rate: Rate) -> u64 {
        if rate == Rate::ZERO {
            return u64::MAX;
        }
        let whole = MILLION * MILLION;
        let factor = self.region_ppm * self.fast_ppm;
        let room = i128::from(room.get()) * PICO * whole;
        let left = self.uses_pico.checked_mul(whole).map_or(-1, |uses| room - uses);
        let tokens = left.div_euclid(factor) - self.tokens_pico;
        if left < 0 || tokens < 0 {
            0
        } else {
            u64::try_from(tokens / i128::from(rate.pico())).unwrap_or(u64::MAX)
        }
    }

    fn into_bill(self) -> Result<Bill, CostError> {
        let multiplier = self.region_ppm * self.fast_ppm / MILLION;
        let total = self.total()?;
        Ok(Bill {
            lines: self.lines,
            multiplier_ppm: u64::try_from(multiplier).map_err(|_| CostError::TooLarge)?,
            total,
        })
    }
}

/// What the usage costs. A class that was used and has no price is an error, never free.
pub fn bill(price: &Price, usage: &Usage, terms: &Terms) -> Result<Bill, CostError> {
    let tier = usage.tier.unwrap_or(terms.tier);
    let input = usage.input_total();
    let mut sum = Sum::new(price, terms.region || usage.region, terms.fast || usage.fast)?;
    let rate = |unit| match price.rate(unit, tier, input) {
        Some(rate) => Ok(rate),
        None if price.is_free() => Ok(Rate::ZERO),
        None => Err(CostError::Unpriced { model: price.name(), unit, tier }),
    };
    for (unit, quantity) in [
        (Unit::Input, usage.uncached_in),
        (Unit::CachedRead, usage.cached_in),
        (Unit::CacheWriteShort, usage.write_short),
        (Unit::CacheWriteLong, usage.write_long),
        (Unit::ImageIn, usage.image_in),
        (Unit::AudioIn, usage.audio_in),
        (Unit::Output, usage.out),
        (Unit::Reasoning, usage.reasoning),
        (Unit::AudioOut, usage.audio_out),
        (Unit::WebSearch, usage.searches),
    ] {
        if quantity > 0 {
            sum.add(unit, quantity, rate(unit)?)?;
        }
    }
    if usage.write_any > 0 {
        // Nobody says how long these live: the dearest write that the request could make.
        let short = rate(Unit::CacheWriteShort);
        let long = if terms.long_cache { price.rate(Unit::CacheWriteLong, tier, input) } else { None };
        match (short, long) {
            (Ok(short), long) if long.is_none_or(|long| long <= short) => {
                sum.add(Unit::CacheWriteShort, usage.write_any, short)?;
            }
            (_, Some(long)) => sum.add(Unit::CacheWriteLong, usage.write_any, long)?,
            (Err(unpriced), None) => return Err(unpriced),
            (Ok(_), None) => {}
        }
    }
    if let Some(each) = price.rate(Unit::Request, tier, input) {
        sum.add(Unit::Request, 1, each)?;
    }
    sum.into_bill()
}

#[cfg(test)]
mod tests;
