//! Amounts and rates: newtypes, so that a nano-dollar is never taken for a pico-dollar or a token.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::decimal::{self, BadDecimal};

/// The largest limit, and the largest amount that one call may cost: a million dollars leaves room for nine thousand
/// of them in one counter.
pub const MAX_AMOUNT: Nano = Nano(1_000_000_000_000_000);

const PLACES: u32 = 9;

/// US dollars in whole nano-dollars. Negative only in corrections.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Nano(i64);

impl Nano {
    pub const ZERO: Nano = Nano(0);

    pub const fn new(nano: i64) -> Self {
        Nano(nano)
    }

    pub const fn get(self) -> i64 {
        self.0
    }

    /// Reads dollars as a decimal: `0.35`. Nine digits after the point at most, up to [`MAX_AMOUNT`].
    pub fn parse(text: &str) -> Result<Self, BadDecimal> {
        let amount = Self::parse_signed(text)?;
        if text.starts_with('-') { Err(BadDecimal::Negative) } else { Ok(amount) }
    }

    /// The same for corrections, which may be negative.
    pub fn parse_signed(text: &str) -> Result<Self, BadDecimal> {
        let scaled = decimal::parse(text, PLACES)?;
        let nano = i64::try_from(scaled).map_err(|_| BadDecimal::TooLarge)?;
        if nano.unsigned_abs() > MAX_AMOUNT.0.unsigned_abs() {
            Err(BadDecimal::TooLarge)
        } else {
            Ok(Nano(nano))
        }
    }

    /// A JSON number of dollars, rounded up: what a provider says a call cost. `None` for anything else.
    pub fn from_json_number(raw: &str) -> Option<Self> {
        let nano = decimal::parse_json_ceil(raw, PLACES)?;
        i64::try_from(nano).ok().map(Nano).filter(|amount| *amount <= MAX_AMOUNT)
    }

    pub fn checked_add(self, other: Nano) -> Option<Nano> {
        self.0.checked_add(other.0).map(Nano)
    }

    pub fn checked_sub(self, other: Nano) -> Option<Nano> {
        self.0.checked_sub(other.0).map(Nano)
    }

    /// Whole micro-dollars, rounded up: small enough for the numbers of every JSON reader.
    pub fn micro_ceil(self) -> i64 {
        -(-self.0).div_euclid(1_000)
    }
}

/// Dollars: `0.35`, `10.00`, `0.000000001`.
impl fmt::Display for Nano {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&decimal::show(self.0.into(), PLACES))
    }
}

impl fmt::Debug for Nano {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "${self}")
    }
}

/// The price of one token, one search or one request, in whole pico-dollars.
///
/// A pico-dollar for a token is a micro-dollar for a million tokens.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Rate(i64);

impl Rate {
    pub const ZERO: Rate = Rate(0);

    pub const fn from_pico(pico: i64) -> Self {
        Rate(pico)
    }

    pub const fn pico(self) -> i64 {
        self.0
    }

    /// Reads dollars for a million tokens: `2.5`.
    pub fn parse_per_million(text: &str) -> Result<Self, BadDecimal> {
        Self::parse(text, 6)
    }

    /// Reads dollars for one: `0.01` for a search.
    pub fn parse_each(text: &str) -> Result<Self, BadDecimal> {
        Self::parse(text, 12)
    }

    fn parse(text: &str, places: u32) -> Result<Self, BadDecimal> {
        let pico = decimal::parse(text, places)?;
        if text.starts_with('-') {
            return Err(BadDecimal::Negative);
        }
        i64::try_from(pico).map(Rate).map_err(|_| BadDecimal::TooLarge)
    }

    /// Dollars for a million of them: `2.50`.
    pub fn per_million(self) -> String {
        decimal::show(self.0.into(), 6)
    }

    /// Dollars for one of them: `0.01`.
    pub fn each(self) -> String {
        decimal::show(self.0.into(), 12)
    }

    /// `self × part ÷ whole`, rounded up: a rate that follows another one.
    pub(super) fn scaled(self, part: Rate, whole: Rate) -> Option<Rate> {
        let product = i128::from(self.0) * i128::from(part.0);
        let whole = i128::from(whole.0);
        if whole == 0 {
            return None;
        }
        i64::try_from((product + whole - 1) / whole).ok().map(Rate)
    }
}

impl fmt::Debug for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} p$", self.0)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn amounts_are_read_exactly_or_not_at_all() {
        for (text, nano) in [
            ("0", 0),
            ("0.35", 350_000_000),
            ("10", 10_000_000_000),
            ("10.000", 10_000_000_000),
            ("0.000000001", 1),
            ("0.0000000010000", 1),
            ("007.5", 7_500_000_000),
            ("1000000", MAX_AMOUNT.get()),
        ] {
            assert_eq!(Nano::parse(text), Ok(Nano::new(nano)), "{text}");
        }
        use BadDecimal::{Form, Negative, TooFine, TooLarge};
        for (text, problem) in [
            ("", Form),
            (".5", Form),
            ("5.", Form),
            ("1e3", Form),
            ("+1", Form),
            ("1,5", Form),
            (" 1", Form),
            ("$1", Form),
            ("--1", Form),
            ("1.2.3", Form),
            ("NaN", Form),
            ("٣", Form),
            ("-1", Negative),
            ("-0", Negative),
            ("0.0000000001", TooFine(9)),
            ("1000000.000000001", TooLarge),
            ("99999999999999999999", TooLarge),
            ("99999999999999999999999999999999999999999999", TooLarge),
        ] {
            assert_eq!(Nano::parse(text), Err(problem), "{text}");
        }
        assert_eq!(Nano::parse_signed("-0.5"), Ok(Nano::new(-500_000_000)));
        assert_eq!(Nano::parse_signed("-1000001"), Err(TooLarge));
    }

    #[test]
    fn amounts_are_shown_exactly_with_two_digits_at_least() {
        for (nano, text) in [
            (0, "0.00"),
            (350_000_000, "0.35"),
            (10_000_000_000, "10.00"),
            (1, "0.000000001"),
            (-1, "-0.000000001"),
            (-1_500_000_000, "-1.50"),
            (i64::MIN, "-9223372036.854775808"),
        ] {
            assert_eq!(Nano::new(nano).to_string(), text);
        }
    }

    #[test]
    fn micro_dollars_are_rounded_up() {
        for (nano, micro) in [(0, 0), (1, 1), (1_000, 1), (1_001, 2), (-1, 0), (-1_000, -1), (-1_999, -1)] {
            assert_eq!(Nano::new(nano).micro_ceil(), micro, "{nano}");
        }
    }

    #[test]
    fn what_a_provider_says_is_read_without_floats_and_rounded_up() {
        for (raw, nano) in [
            ("0", Some(0)),
            ("0.0", Some(0)),
            ("0.00014", Some(140_000)),
            ("1.5e-05", Some(15_000)),
            ("1.5E-5", Some(15_000)),
            ("2e0", Some(2_000_000_000)),
            ("1e-10", Some(1)),
            ("1e-300", Some(1)),
            ("0e999", Some(0)),
            ("0.1234567891", Some(123_456_790)),
            ("12e3", Some(12_000_000_000_000)),
            ("1e9", None),
            ("1e999999999999", None),
            ("-0.1", None),
            ("null", None),
            ("\"1\"", None),
            ("", None),
        ] {
            assert_eq!(Nano::from_json_number(raw), nano.map(Nano::new), "{raw}");
        }
    }

    #[test]
    fn rates_are_whole_pico_dollars() {
        assert_eq!(Rate::parse_per_million("2.5"), Ok(Rate::from_pico(2_500_000)));
        assert_eq!(Rate::parse_per_million("0.0375"), Ok(Rate::from_pico(37_500)));
        assert_eq!(Rate::parse_per_million("0.0625"), Ok(Rate::from_pico(62_500)));
        assert_eq!(Rate::parse_each("0.014"), Ok(Rate::from_pico(14_000_000_000)));
        assert_eq!(Rate::parse_per_million("0.0000001"), Err(BadDecimal::TooFine(6)));
        assert_eq!(Rate::parse_per_million("-1"), Err(BadDecimal::Negative));
        assert_eq!(Rate::from_pico(2_500_000).per_million(), "2.50");
    }

    proptest! {
        #[test]
        fn what_is_shown_reads_back(nano in -MAX_AMOUNT.get()..=MAX_AMOUNT.get()) {
            prop_assert_eq!(Nano::parse_signed(&Nano::new(nano).to_string()), Ok(Nano::new(nano)));
        }

        #[test]
        fn no_text_makes_a_reader_panic(text in "[-0-9.eE+ ]{0,60}") {
            Nano::parse_signed(&text).ok();
            Rate::parse_each(&text).ok();
            Nano::from_json_number(&text);
        }
    }
}
