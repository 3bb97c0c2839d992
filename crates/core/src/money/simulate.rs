//! Past calls once more at other prices, with other models or under other limits. Nothing is asked and nothing is spent: what
//! was used is on record, and the arithmetic is the one of real bills. What cannot be known from that is said, not guessed.

use std::collections::{BTreeMap, BTreeSet};

use super::amount::Nano;
use super::book::{Lookup, PriceBook};
use super::call::CallState;
use super::cost::{Sum, Terms, bill};
use super::price::Price;
use super::unit::Unit;
use super::usage::Usage;

const DAY_MS: i64 = 86_400_000;

/// A call as it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PastCall {
    /// What counts as its job: the one at the root of the tree.
    pub job: String,
    pub provider: String,
    pub model: String,
    pub terms: Terms,
    pub state: CallState,
    /// The largest that it could have been.
    pub input_tokens: u64,
    pub output_tokens: u64,
    pub reserved: Nano,
    /// `None`: it is still open.
    pub settled: Option<Nano>,
    pub usage: Option<Usage>,
    pub reserved_at_ms: i64,
    pub settled_at_ms: Option<i64>,
}

/// What would have been otherwise.
#[derive(Clone, Debug, Default)]
pub struct Scenario {
    /// Models called instead, by `provider/model`.
    pub models: BTreeMap<String, String>,
    /// Prices that would have held for the models in this list.
    pub prices: PriceBook,
    /// The prices in force, for models that are called instead.
    pub current: PriceBook,
    /// What a job may cost with all its children.
    pub per_job: Option<Nano>,
    /// What everything may cost in a day (UTC).
    pub per_day: Option<Nano>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sums {
    pub calls: u64,
    pub past: Nano,
    pub simulated: Nano,
}

/// Calls that the limits would have refused.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Refusals {
    pub calls: u64,
    pub jobs: u64,
    pub first_at_ms: Option<i64>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Simulated {
    /// Calls that are over; the others are left out.
    pub total: Sums,
    /// By the model that is called.
    pub models: BTreeMap<String, Sums>,
    /// Calls whose price is another one.
    pub repriced: u64,
    /// Calls without a usage, at what they were charged.
    pub unmeasured: Sums,
    /// Models without a price for what was used, with their calls: they stay at what they were charged.
    pub unpriced: BTreeMap<String, u64>,
    pub refused: Refusals,
    /// Calls that are still open.
    pub open: u64,
    /// In sentences.
    pub cannot_know: Vec<String>,
}

/// A call in the scenario.
struct Replayed<'a> {
    call: &'a PastCall,
    model: String,
    past: Nano,
    cost: Nano,
    hold: Nano,
}

/// Plays the calls again by their times; those of one moment in the order in which they are given.
pub fn simulate(calls: &[PastCall], scenario: &Scenario) -> Simulated {
    let mut out = Simulated::default();
    let mut played: Vec<Replayed<'_>> = Vec::with_capacity(calls.len());
    for call in calls {
        match call.settled {
            Some(past) => played.push(replay(call, past, scenario, &mut out)),
            None => out.open += 1,
        }
    }
    let refused = refuse(&played, scenario);
    for (at, it) in played.iter().enumerate() {
        let simulated = if refused.contains(&at) { Nano::ZERO } else { it.cost };
        add(&mut out.total, it.past, simulated);
        add(out.models.entry(it.model.clone()).or_default(), it.past, simulated);
    }
    let jobs: BTreeSet<&str> = refused.iter().map(|at| played[*at].call.job.as_str()).collect();
    out.refused = Refusals {
        calls: refused.len() as u64,
        jobs: jobs.len() as u64,
        first_at_ms: refused.iter().map(|at| played[*at].call.reserved_at_ms).min(),
    };
    out.cannot_know = cannot_know(&out, scenario);
    out
}

fn add(sums: &mut Sums, past: Nano, simulated: Nano) {
    let plus = |sum: Nano, more: Nano| Nano::new(sum.get().saturating_add(more.get()));
    sums.calls += 1;
    sums.past = plus(sums.past, past);
    sums.simulated = plus(sums.simulated, simulated);
}

fn replay<'a>(call: &'a PastCall, past: Nano, scenario: &Scenario, out: &mut Simulated) -> Replayed<'a> {
    let name = format!("{}/{}", call.provider, call.model);
    let other = scenario.models.get(&name);
    let model = other.cloned().unwrap_or(name);
    let as_it_was = |model: String| Replayed { call, model, past, cost: past, hold: call.reserved };
    let (provider, bare) = model.split_once('/').unwrap_or(("", &model));
    let given = priced(&scenario.prices, provider, bare);
    let price = match other {
        Some(_) => given.or_else(|| priced(&scenario.current, provider, bare)),
        None if given.is_none() => return as_it_was(model),
        None => given,
    };
    // What was proven not to be charged would not have been charged at another price.
    if call.state == CallState::Released {
        return Replayed { cost: Nano::ZERO, ..as_it_was(model) };
    }
    let Some(usage) = &call.usage else {
        add(&mut out.unmeasured, past, past);
        return as_it_was(model);
    };
    let cost = price.as_ref().and_then(|price| Some((price, bill(price, usage, &call.terms).ok()?.total)));
    let Some((price, cost)) = cost else {
        *out.unpriced.entry(model.clone()).or_default() += 1;
        return as_it_was(model);
    };
    out.repriced += 1;
    let hold = hold(price, call).unwrap_or(call.reserved).max(cost);
    Replayed { call, model, past, cost, hold }
}

fn priced(book: &PriceBook, provider: &str, model: &str) -> Option<std::sync::Arc<Price>> {
    match book.find(provider, model) {
        Lookup::Priced(price) | Lookup::Free(price) => Some(price),
        Lookup::Unknown => None,
    }
}

/// The dearest that a request of this size can cost.
fn hold(price: &Price, call: &PastCall) -> Option<Nano> {
    let (tier, input) = (call.terms.tier, call.input_tokens);
    let long = call.terms.long_cache.then_some(Unit::CacheWriteLong);
    let dearest = |units: &[Option<Unit>]| {
        units.iter().flatten().filter_map(|unit| price.dearest(*unit, tier, input)).max()
    };
    let mut sum = Sum::new(price, call.terms.region, call.terms.fast).ok()?;
    let into = dearest(&[Some(Unit::Input), Some(Unit::CacheWriteShort), long]);
    let out = dearest(&[Some(Unit::Output), Some(Unit::Reasoning)]);
    if !price.is_free() {
        sum.add(Unit::Input, input, into?).ok()?;
        sum.add(Unit::Output, call.output_tokens, out?).ok()?;
    }
    if let Some(each) = price.dearest(Unit::Request, tier, input) {
        sum.add(Unit::Request, 1, each).ok()?;
    }
    sum.total().ok()
}

/// Which of them the limits would have refused, holding and charging in the order in which that happened.
fn refuse(played: &[Replayed<'_>], scenario: &Scenario) -> BTreeSet<usize> {
    let mut refused = BTreeSet::new();
    if scenario.per_job.is_none() && scenario.per_day.is_none() {
        return refused;
    }
    // What is charged frees room, so at one moment it comes first.
    let mut events: Vec<(i64, bool, usize)> = Vec::with_capacity(2 * played.len());
    for (at, it) in played.iter().enumerate() {
        let held_ms = it.call.reserved_at_ms;
        events.push((held_ms, true, at));
        events.push((it.call.settled_at_ms.unwrap_or(held_ms).max(held_ms.saturating_add(1)), false, at));
    }
    events.sort_unstable();
    let mut jobs: BTreeMap<&str, i64> = BTreeMap::new();
    let mut days: BTreeMap<i64, i64> = BTreeMap::new();
    for (_, is_hold, at) in events {
        let it = &played[at];
        let job = jobs.entry(&it.call.job).or_default();
        let day = days.entry(it.call.reserved_at_ms.div_euclid(DAY_MS)).or_default();
        if is_hold {
            let fits = |used: i64, limit: Option<Nano>| {
                limit.is_none_or(|limit| used.saturating_add(it.hold.get()) <= limit.get())
            };
            if !fits(*job, scenario.per_job) || !fits(*day, scenario.per_day) {
                refused.insert(at);
                continue;
            }
            *job = job.saturating_add(it.hold.get());
            *day = day.saturating_add(it.hold.get());
        } else if !refused.contains(&at) {
            let back = it.hold.get().saturating_sub(it.cost.get());
            *job = job.saturating_sub(back);
            *day = day.saturating_sub(back);
        }
    }
    refused
}

fn cannot_know(out: &Simulated, scenario: &Scenario) -> Vec<String> {
    let mut sentences = Vec::new();
    let mut say = |is_so: bool, sentence: String| {
        if is_so {
            sentences.push(sentence);
        }
    };
    say(
        !scenario.models.is_empty(),
        "Another model cuts text into other tokens, answers at another length, and may need repairs or fail where this one did \
         not: the tokens are taken as they were."
            .to_owned(),
    );
    say(
        out.unmeasured.calls > 0,
        format!(
            "{} of the repriced calls told no usage: they stay at what they were charged, {} USD.",
            out.unmeasured.calls, out.unmeasured.past
        ),
    );
    for (model, calls) in &out.unpriced {
        say(
            true,
            format!("{model} has no price for what {calls} calls used: they stay at what they were charged."),
        );
    }
    say(
        scenario.per_job.is_some() || scenario.per_day.is_some(),
        "A refused call would have waited, been made smaller, or failed, and what its job did next would have been other: here it \
         is left out, and the later calls of its job are tried as they were made."
            .to_owned(),
    );
    say(out.open > 0, format!("{} calls are still open and left out.", out.open));
    say(true, "Calls that were refused at the time were never made, so they are not here.".to_owned());
    sentences
}

#[cfg(test)]
mod tests;
