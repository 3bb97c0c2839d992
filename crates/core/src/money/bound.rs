//! The most that a call can cost, before it is sent; and fit mode, which makes the answer shorter until the call fits.
//!
//! Bytes bound tokens: every token of a byte-level encoding covers one byte at least. (Half the bytes, or characters, do
//! not bound them: one emoji can be three tokens.) Output is bounded by the limit that we send, and by nothing else: what
//! vendors call a thinking budget is advice.

use super::amount::{Nano, Rate};
use super::cost::{CostError, Sum, Terms};
use super::price::{Mode, Price};
use super::unit::Unit;

/// What will be sent, as far as it can cost something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shape {
    /// UTF-8 bytes of all that is tokenised: messages, system, names, tool and response schemas.
    pub text_bytes: u64,
    /// Messages, the system's included: each has a frame around it.
    pub messages: u64,
    /// A bound on the tokens of images and documents.
    pub attachment_tokens: u64,
    pub has_images: bool,
    pub has_audio: bool,
    /// Tools or structured output are used: the provider adds words of its own.
    pub structured: bool,
    /// Answers asked for; 0 counts as 1.
    pub choices: u64,
    /// Searches that the provider may make, as capped in the request.
    pub searches: u64,
    pub asks_audio: bool,
}

/// More input than any model takes: what nobody can measure from outside counts as the model's whole window.
pub const WHOLE_WINDOW_TOKENS: u64 = 1 << 32;

/// What is added for what nobody can see from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allowances {
    pub framing_tokens: u64,
    pub structured_tokens: u64,
    /// What one search may put into the input.
    pub search_tokens: u64,
    /// A shorter answer is not worth a call.
    pub min_output_tokens: u64,
}

impl Default for Allowances {
    fn default() -> Self {
        Allowances {
            framing_tokens: 16,
            structured_tokens: 1_024,
            search_tokens: 32_768,
            min_output_tokens: 256,
        }
    }
}

/// An upper bound, and what it was made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bound {
    pub input_tokens: u64,
    /// The limit to send, for each answer.
    pub output_tokens: u64,
    pub amount: Nano,
}

/// How long an answer is wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wish {
    /// The caller's own limit.
    pub requested: Option<u64>,
    /// What is asked for where the caller left it open.
    pub usual: Option<u64>,
}

/// Whether a call can be made to fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fit {
    /// Send it with `output_tokens` as its limit and hold `amount`.
    Fits(Bound),
    /// Not even the shortest answer worth having fits; this is what it would take.
    TooDear(Bound),
}

/// The most that a call of this shape can cost with this limit on each answer.
pub fn upper_bound(
    price: &Price,
    shape: &Shape,
    terms: &Terms,
    allowances: &Allowances,
    output_tokens: u64,
) -> Result<Bound, CostError> {
    let mut sum = Sum::new(price, terms.region, terms.fast)?;
    let input_tokens = add_input(&mut sum, price, shape, terms, allowances)?;
    if output_tokens > 0 {
        let rate = output_rate(price, shape, terms, input_tokens)?;
        sum.add(Unit::Output, output_tokens.saturating_mul(shape.choices.max(1)), rate)?;
    }
    Ok(Bound { input_tokens, output_tokens, amount: sum.total()? })
}

/// Lowers the limit on the answer until the call costs no more than `room`.
pub fn fit(
    price: &Price,
    shape: &Shape,
    terms: &Terms,
    allowances: &Allowances,
    wish: &Wish,
    room: Nano,
) -> Result<Fit, CostError> {
    let bound = |output| upper_bound(price, shape, terms, allowances, output);
    if price.mode == Mode::Embedding {
        let bound = bound(0)?;
        return Ok(if bound.amount <= room { Fit::Fits(bound) } else { Fit::TooDear(bound) });
    }
    let most = price.max_output_tokens.unwrap_or(u64::MAX);
    let wanted = wish.requested.or(wish.usual).unwrap_or(most).min(most).max(1);
    let least = allowances.min_output_tokens.min(wanted);

    let mut sum = Sum::new(price, terms.region, terms.fast)?;
    let input_tokens = add_input(&mut sum, price, shape, terms, allowances)?;
    let rate = output_rate(price, shape, terms, input_tokens)?;
    let affordable = sum.affordable(room, rate) / shape.choices.max(1);
    let output = wanted.min(affordable);
    if output < least {
        return Ok(Fit::TooDear(bound(least)?));
    }
    Ok(Fit::Fits(bound(output)?))
}

/// Adds what the input can cost at most, and says how many tokens it can have.
fn add_input(
    sum: &mut Sum,
    price: &Price,
    shape: &Shape,
    terms: &Terms,
    allowances: &Allowances,
) -> Result<u64, CostError> {
    let rounds = shape.searches.saturating_add(1);
    let text = u128::from(shape.text_bytes) * u128::from(price.tokens_per_byte_ppm);
    let text = u64::try_from(text.div_ceil(1_000_000)).map_err(|_| CostError::TooLarge)?;
    let structured = if shape.structured { allowances.structured_tokens } else { 0 };
    let tokens = text
        .saturating_add(allowances.framing_tokens.saturating_mul(shape.messages.saturating_add(1)))
        .saturating_add(structured)
        .saturating_add(shape.attachment_tokens)
        .saturating_add(allowances.search_tokens.saturating_mul(shape.searches));
    // A provider refuses what its window cannot hold.
    let tokens = tokens.min(price.max_input_tokens.unwrap_or(u64::MAX));
    // Each search is another round, which reads everything again.
    let tokens = tokens.saturating_mul(rounds);

    let reach = |unit| price.dearest(unit, terms.tier, tokens);
    let unpriced = |unit| CostError::Unpriced { model: price.name(), unit, tier: terms.tier };
    let need = |unit| match reach(unit) {
        Some(rate) => Ok(rate),
        None if price.is_free() => Ok(Rate::ZERO),
        None => Err(unpriced(unit)),
    };
    let mut rate = need(Unit::Input)?.max(reach(Unit::CachedRead).unwrap_or(Rate::ZERO));
    // Some write to their caches unasked.
    rate = rate.max(reach(Unit::CacheWriteShort).unwrap_or(Rate::ZERO));
    if terms.long_cache {
        rate = rate.max(need(Unit::CacheWriteLong)?);
    }
    if shape.has_images {
        rate = rate.max(need(Unit::ImageIn)?);
    }
    if shape.has_audio {
        rate = rate.max(need(Unit::AudioIn)?);
    }
    sum.add(Unit::Input, tokens, rate)?;
    if shape.searches > 0 {
        sum.add(Unit::WebSearch, shape.searches, need(Unit::WebSearch)?)?;
    }
    if let Some(each) = reach(Unit::Request) {
        sum.add(Unit::Request, 1, each)?;
    }
    Ok(tokens)
}

fn output_rate(price: &Price, shape: &Shape, terms: &Terms, input_tokens: u64) -> Result<Rate, CostError> {
    let reach = |unit| price.dearest(unit, terms.tier, input_tokens);
    if price.is_free() {
        return Ok(Rate::ZERO);
    }
    let unpriced = |unit| CostError::Unpriced { model: price.name(), unit, tier: terms.tier };
    let said = reach(Unit::Output).ok_or_else(|| unpriced(Unit::Output))?;
    let thought = reach(Unit::Reasoning).unwrap_or(said);
    let spoken =
        if shape.asks_audio { reach(Unit::AudioOut).ok_or_else(|| unpriced(Unit::AudioOut))? } else { said };
    Ok(said.max(thought).max(spoken))
}

#[cfg(test)]
mod tests;
