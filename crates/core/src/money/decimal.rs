//! Decimal text to scaled integers and back. Nothing is rounded unless the name says so.

/// The text is no amount that we take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadDecimal {
    #[error("must be a decimal number such as 0.35")]
    Form,
    #[error("must have {0} digits after the point at most")]
    TooFine(u32),
    #[error("must not be negative")]
    Negative,
    #[error("is too large")]
    TooLarge,
}

/// More digits than any amount of money has; keeps every product below far away from the end of an `i128`.
const MAX_DIGITS: usize = 24;

/// A percent is ten thousand millionths.
const PERCENT_PLACES: u32 = 4;

/// Reads `12`, `0.35` or `-1.5` as a whole number of 10^-places.
pub(super) fn parse(text: &str, places: u32) -> Result<i128, BadDecimal> {
    let unsigned = text.strip_prefix('-').unwrap_or(text);
    let (whole, fraction) = match unsigned.split_once('.') {
        Some((_, "")) => return Err(BadDecimal::Form),
        Some(parts) => parts,
        None => (unsigned, ""),
    };
    let is_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !is_digits(whole) || !is_digits(fraction) {
        return Err(BadDecimal::Form);
    }
    let whole = whole.trim_start_matches('0');
    let fraction = fraction.trim_end_matches('0');
    if fraction.len() > places as usize {
        return Err(BadDecimal::TooFine(places));
    }
    if whole.len() > MAX_DIGITS {
        return Err(BadDecimal::TooLarge);
    }
    let zeros = places as usize - fraction.len();
    let scaled = digits(&format!("{whole}{fraction}{}", "0".repeat(zeros)));
    Ok(if unsigned.len() < text.len() { -scaled } else { scaled })
}

/// Reads a number as JSON writes it, exponent included, rounded up; `None` for anything else, and for what is negative or
/// absurdly large.
pub(super) fn parse_json_ceil(text: &str, places: u32) -> Option<i128> {
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok()?),
        None => (text, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let all = format!("{whole}{fraction}");
    if whole.is_empty() || !all.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let significant = all.trim_start_matches('0');
    if significant.is_empty() {
        return Some(0);
    }
    // The value is `significant` times ten to this power, in units of 10^-places.
    let power = i64::from(exponent) + i64::from(places) - i64::try_from(fraction.len()).ok()?;
    let kept = i64::try_from(significant.len()).ok()?.checked_add(power)?;
    if kept > MAX_DIGITS as i64 {
        return None;
    }
    if power >= 0 {
        return Some(digits(&format!("{significant}{}", "0".repeat(power as usize))));
    }
    let kept = kept.max(0) as usize;
    let rounds_up = significant[kept..].bytes().any(|byte| byte != b'0');
    Some(digits(&significant[..kept]) + i128::from(rounds_up))
}

/// Reads percent as millionths: `80` or `99.5`, four digits after the point at most.
pub fn parse_percent_ppm(text: &str) -> Result<u32, BadDecimal> {
    match parse(text, PERCENT_PLACES)? {
        ppm if ppm < 0 => Err(BadDecimal::Negative),
        ppm => u32::try_from(ppm).map_err(|_| BadDecimal::TooLarge),
    }
}

/// Millionths as percent, in as few digits as say it exactly: `80`, `99.5`.
pub fn show_percent(ppm: u32) -> String {
    let shown = show(ppm.into(), PERCENT_PLACES);
    shown.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Invariant of both callers: digits alone, fewer than an `i128` holds.
fn digits(text: &str) -> i128 {
    text.bytes().fold(0, |value, byte| value * 10 + i128::from(byte - b'0'))
}

/// As few digits as say it exactly, but two after the point at least.
pub(super) fn show(value: i128, places: u32) -> String {
    let unit = 10_i128.pow(places);
    let sign = if value < 0 { "-" } else { "" };
    let fraction = format!("{:0width$}", (value % unit).abs(), width = places as usize);
    let short = fraction.trim_end_matches('0');
    let fraction = &fraction[..short.len().max(2)];
    format!("{sign}{}.{fraction}", (value / unit).abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percents_are_millionths_and_read_back() {
        for (text, ppm) in
            [("80", 800_000), ("99.5", 995_000), ("0.0001", 1), ("100", 1_000_000), ("1000", 10_000_000)]
        {
            assert_eq!(parse_percent_ppm(text), Ok(ppm));
            assert_eq!(show_percent(ppm), text);
        }
        assert_eq!(show_percent(0), "0");
        assert_eq!(parse_percent_ppm("-1"), Err(BadDecimal::Negative));
        assert_eq!(parse_percent_ppm("0.00001"), Err(BadDecimal::TooFine(4)));
        assert_eq!(parse_percent_ppm("99999999999"), Err(BadDecimal::TooLarge));
        assert_eq!(parse_percent_ppm("1e2"), Err(BadDecimal::Form));
    }
}
