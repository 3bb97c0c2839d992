//! The provider's own bill: what was served, what it costs, in whole nanodollars.
//!
//! Rates are written in picodollars a token, which are microdollars a million tokens; an amount is rounded up once, at its end.

use serde::{Deserialize, Serialize};

/// Picodollars a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rates {
    pub input: u64,
    pub cached: u64,
    pub write_short: u64,
    pub write_long: u64,
    pub output: u64,
}

impl Rates {
    /// From microdollars a million tokens (the same number).
    pub const fn new(input: u64, cached: u64, write_short: u64, write_long: u64, output: u64) -> Self {
        Self { input, cached, write_short, write_long, output }
    }
}

/// Models that are known without being told, at list prices of November 2026.
pub const KNOWN: [(&str, Rates); 6] = [
    ("gpt-6-sol", Rates::new(2_000_000, 200_000, 2_500_000, 5_000_000, 10_000_000)),
    ("gpt-6.1-sol", Rates::new(2_000_000, 100_000, 2_500_000, 5_000_000, 10_000_000)),
    ("gpt-6.1-terra", Rates::new(1_000_000, 50_000, 1_250_000, 2_500_000, 5_000_000)),
    ("mock-large", Rates::new(3_000_000, 300_000, 3_750_000, 6_000_000, 15_000_000)),
    ("mock-small", Rates::new(150_000, 15_000, 187_500, 300_000, 600_000)),
    ("mock-free", Rates::new(0, 0, 0, 0, 0)),
];

/// Tokens of one call by class; no token is in two classes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Tokens {
    pub input: u64,
    pub cached: u64,
    pub write_short: u64,
    pub write_long: u64,
    /// Includes `reasoning`.
    pub output: u64,
    pub reasoning: u64,
}

/// One call that was served, whether or not its answer arrived.
#[derive(Clone, Debug, Serialize)]
pub struct Entry {
    pub id: String,
    pub key: String,
    pub model: String,
    /// How the last thing that was asked begins.
    pub asked: String,
    pub tokens: Tokens,
    pub amount_nano: u64,
    /// What was done to the answer, if anything.
    pub fault: Option<&'static str>,
}

/// All entries, and their sum.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Bill {
    pub calls: u64,
    pub total_nano: u64,
    pub entries: Vec<Entry>,
}

impl Bill {
    pub(crate) fn add(&mut self, entry: Entry) {
        self.calls += 1;
        self.total_nano += entry.amount_nano;
        self.entries.push(entry);
    }
}

/// The price of one call.
pub fn amount_nano(tokens: &Tokens, rates: &Rates) -> u64 {
    let lines = [
        (tokens.input, rates.input),
        (tokens.cached, rates.cached),
        (tokens.write_short, rates.write_short),
        (tokens.write_long, rates.write_long),
        (tokens.output, rates.output),
    ];
    let pico: u128 = lines.iter().map(|(count, rate)| u128::from(*count) * u128::from(*rate)).sum();
    u64::try_from(pico.div_ceil(1000)).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_amount_is_rounded_up_once_at_its_end() {
        let rates = Rates::new(62_500, 1, 0, 0, 300);
        let tokens = Tokens { input: 1, cached: 1, output: 1, ..Tokens::default() };

        // 62,500 + 1 + 300 picodollars are 62.801 nanodollars.
        assert_eq!(amount_nano(&tokens, &rates), 63);
    }

    #[test]
    fn a_bill_that_a_vendor_really_wrote_comes_out_the_same() {
        // Input 3, 12,304 written to the cache, 550 output at $3, $3.75 and $15 a million.
        let rates = Rates::new(3_000_000, 300_000, 3_750_000, 6_000_000, 15_000_000);
        let tokens = Tokens { input: 3, write_short: 12_304, output: 550, ..Tokens::default() };

        assert_eq!(amount_nano(&tokens, &rates), 54_399_000);
    }
}
