//! Figures about AI calls, by provider and model: what this process charged and refused since its start.
//!
//! Invariant: the number of series is bounded. Models come from configuration and price lists, but an operator may list a
//! thousand of them; what comes after the first [`MOST_MODELS`] is counted together as `other`.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use levqor_core::money::{CallState, Charge, Nano, Usage};

/// Pairs of provider and model that are told apart.
const MOST_MODELS: usize = 100;
const OTHER: &str = "other";

/// Upper ends of the buckets of latencies, in milliseconds.
pub const LATENCY_BUCKETS_MS: [i64; 10] =
    [100, 250, 500, 1_000, 2_500, 5_000, 10_000, 30_000, 60_000, 300_000];

/// What became of the calls of a model.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ModelFigures {
    pub settled: u64,
    pub released: u64,
    pub assumed: u64,
    /// Whole nano-dollars.
    pub cost_nano: u64,
    /// By class, those that occurred.
    pub tokens: BTreeMap<&'static str, u64>,
    /// Calls that took no longer than each of [`LATENCY_BUCKETS_MS`].
    pub within: [u64; 10],
    pub timed: u64,
    pub took_ms: u64,
}

#[derive(Debug, Default)]
struct Counted {
    models: BTreeMap<(String, String), ModelFigures>,
    refused: BTreeMap<&'static str, u64>,
}

/// Counted from many tasks at once; each count is some additions under a lock.
#[derive(Debug, Default)]
pub struct AiFigures(Mutex<Counted>);

impl AiFigures {
    fn lock(&self) -> MutexGuard<'_, Counted> {
        // Numbers alone: a panic elsewhere leaves them as good as before.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A call was charged, after `took_ms` from the moment that it was sent. `held` is what an assumed call costs.
    pub fn charged(&self, provider: &str, model: &str, charge: &Charge, held: Nano, took_ms: Option<i64>) {
        let mut counted = self.lock();
        let figures = counted.of(provider, model);
        let cost = match charge {
            Charge::Release => {
                figures.released += 1;
                Nano::ZERO
            }
            Charge::Settle { cost, usage, .. } => {
                figures.settled += 1;
                figures.use_up(usage);
                *cost
            }
            Charge::Assume { .. } => {
                figures.assumed += 1;
                held
            }
        };
        figures.cost_nano = figures.cost_nano.saturating_add(u64::try_from(cost.get()).unwrap_or(0));
        if let Some(took_ms) = took_ms {
            let took_ms = took_ms.max(0);
            figures.timed += 1;
            figures.took_ms = figures.took_ms.saturating_add(took_ms.unsigned_abs());
            for (end_ms, within) in LATENCY_BUCKETS_MS.iter().zip(&mut figures.within) {
                *within += u64::from(took_ms <= *end_ms);
            }
        }
    }

    /// A budget of this kind of scope said no.
    pub fn refused(&self, scope: &'static str) {
        *self.lock().refused.entry(scope).or_default() += 1;
    }

    /// By provider and model, sorted.
    pub fn models(&self) -> BTreeMap<(String, String), ModelFigures> {
        self.lock().models.clone()
    }

    /// Refusals by the kind of scope whose budget said no.
    pub fn refusals(&self) -> BTreeMap<&'static str, u64> {
        self.lock().refused.clone()
    }
}

impl Counted {
    fn of(&mut self, provider: &str, model: &str) -> &mut ModelFigures {
        let key = (provider.to_owned(), model.to_owned());
        let is_room = self.models.len() < MOST_MODELS || self.models.contains_key(&key);
        self.models.entry(if is_room { key } else { (OTHER.to_owned(), OTHER.to_owned()) }).or_default()
    }
}

impl ModelFigures {
    fn use_up(&mut self, usage: &Usage) {
        for (class, tokens) in usage.classes() {
            let sum = self.tokens.entry(class.as_str()).or_default();
            *sum = sum.saturating_add(tokens);
        }
    }

    /// Calls by how they ended.
    pub fn states(&self) -> [(&'static str, u64); 3] {
        [
            (CallState::Settled.as_str(), self.settled),
            (CallState::Released.as_str(), self.released),
            (CallState::Assumed.as_str(), self.assumed),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settled(cost: i64) -> Charge {
        let usage = Usage { uncached_in: 5, out: 7, ..Usage::default() };
        Charge::Settle { cost: Nano::new(cost), usage, alarm: None }
    }

    #[test]
    fn calls_are_counted_by_model_state_cost_and_class() {
        let figures = AiFigures::default();

        figures.charged("openai", "a", &settled(10), Nano::new(50), Some(300));
        figures.charged("openai", "a", &Charge::Assume { alarm: None }, Nano::new(50), Some(400_000));
        figures.charged("openai", "a", &Charge::Release, Nano::new(50), None);
        figures.refused("global");

        let models = figures.models();
        let of = &models[&("openai".to_owned(), "a".to_owned())];
        assert_eq!(of.states().map(|(_, calls)| calls), [1, 1, 1]);
        assert_eq!((of.cost_nano, of.timed, of.took_ms), (60, 2, 400_300));
        assert_eq!(of.tokens, BTreeMap::from([("input", 5), ("output", 7)]));
        assert_eq!(of.within, [0, 0, 1, 1, 1, 1, 1, 1, 1, 1], "the slow one is beyond the last bucket");
        assert_eq!(figures.refusals(), BTreeMap::from([("global", 1)]));
    }

    #[test]
    fn a_thousand_models_are_a_hundred_series_and_no_call_is_lost() {
        let figures = AiFigures::default();

        for n in 0..1_000 {
            figures.charged("p", &format!("m{n:04}"), &settled(1), Nano::ZERO, None);
        }
        figures.charged("p", "m0000", &settled(1), Nano::ZERO, None);

        let models = figures.models();
        assert_eq!(models.len(), MOST_MODELS + 1);
        assert_eq!(models[&(OTHER.to_owned(), OTHER.to_owned())].settled, 900);
        assert_eq!(models[&("p".to_owned(), "m0000".to_owned())].settled, 2);
        assert_eq!(models.values().map(|it| it.cost_nano).sum::<u64>(), 1_001);
    }
}
