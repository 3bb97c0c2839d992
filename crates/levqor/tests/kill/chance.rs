//! Seeded randomness: the choices of a run can be made again.

/// SplitMix64. Small, and the same on every machine and in every version.
#[derive(Clone, Debug)]
pub struct Chance(u64);

impl Chance {
    /// From `LEVQOR_KILL_SEED`, or a new one; printed, so that a failure can be repeated.
    #[allow(clippy::disallowed_methods, reason = "a test has no Config")]
    pub fn of_run(test: &str) -> (Chance, u64) {
        let seed = std::env::var("LEVQOR_KILL_SEED").ok().and_then(|text| text.parse().ok());
        let seed = seed.unwrap_or_else(rand::random::<u64>);
        println!("{test}: LEVQOR_KILL_SEED={seed}");
        (Chance(seed), seed)
    }

    /// The seeds of a test that repeats fixed ones: as many as `LEVQOR_CHAOS_ROUNDS` says, or `usual`; `LEVQOR_KILL_SEED` is
    /// the only one where it is set.
    pub fn rounds(usual: u64) -> Vec<u64> {
        match number("LEVQOR_KILL_SEED") {
            Some(seed) => vec![seed],
            None => (1..=number("LEVQOR_CHAOS_ROUNDS").unwrap_or(usual)).collect(),
        }
    }

    /// How much larger than usual a run of about `usual` calls is to be: `LEVQOR_CHAOS_CALLS` says for how many calls.
    pub fn times(usual: u64) -> u64 {
        number("LEVQOR_CHAOS_CALLS").unwrap_or(usual).div_ceil(usual).max(1)
    }

    pub fn of_seed(seed: u64) -> Chance {
        Chance(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number from 0 to `bound - 1`.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound.max(1)
    }

    pub fn between(&mut self, least: u64, most: u64) -> u64 {
        least + self.below(most - least + 1)
    }

    pub fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    /// An independent source for another task.
    pub fn fork(&mut self) -> Chance {
        Chance(self.next())
    }
}

#[allow(clippy::disallowed_methods, reason = "a test has no Config")]
fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}
