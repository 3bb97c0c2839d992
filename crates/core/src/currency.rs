//! Amounts as Stripe counts them, and as people read them.
//!
//! Stripe's smallest unit is not always the one that ISO 4217 names: the special cases of its list of currencies are kept here.

/// Counted in whole units.
const WHOLE: [&str; 15] =
    ["BIF", "CLP", "DJF", "GNF", "JPY", "KMF", "KRW", "MGA", "PYG", "RWF", "VND", "VUV", "XAF", "XOF", "XPF"];

/// Counted in thousandths.
const THOUSANDTHS: [&str; 5] = ["BHD", "JOD", "KWD", "OMR", "TND"];

/// They have no fractions any more, but are still counted in hundredths: 500 is 5 of them.
const WHOLE_COUNTED_IN_HUNDREDTHS: [&str; 2] = ["ISK", "UGX"];

/// A code of three ASCII letters in upper case, or nothing.
pub fn currency_code(text: &str) -> Option<String> {
    let fits = text.len() == 3 && text.bytes().all(|byte| byte.is_ascii_alphabetic());
    fits.then(|| text.to_ascii_uppercase())
}

/// An amount in Stripe's smallest unit as people write it, with the digits that its currency has: `12.50 EUR`, `1250 JPY`.
/// `currency` is in upper case.
pub fn display(amount: i64, currency: &str) -> String {
    let counted_digits = match currency {
        _ if WHOLE.contains(&currency) => 0,
        _ if THOUSANDTHS.contains(&currency) => 3,
        _ => 2,
    };
    let unit = 10_u64.pow(counted_digits);
    let (whole, rest) = (amount.unsigned_abs() / unit, amount.unsigned_abs() % unit);
    let sign = if amount < 0 { "-" } else { "" };
    // A fraction that there should not be is shown all the same: it was charged.
    let is_whole = counted_digits == 0 || (WHOLE_COUNTED_IN_HUNDREDTHS.contains(&currency) && rest == 0);
    if is_whole {
        return format!("{sign}{whole} {currency}");
    }
    format!("{sign}{whole}.{rest:0width$} {currency}", width = counted_digits as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_currency_has_its_own_number_of_digits() {
        let cases = [
            (1_250, "EUR", "12.50 EUR"),
            (1_250, "USD", "12.50 USD"),
            (5, "GBP", "0.05 GBP"),
            (0, "EUR", "0.00 EUR"),
            (-1_250, "EUR", "-12.50 EUR"),
            (-5, "EUR", "-0.05 EUR"),
            (500, "JPY", "500 JPY"),
            (500, "KRW", "500 KRW"),
            (5_120, "KWD", "5.120 KWD"),
            (10, "TND", "0.010 TND"),
            (999, "BHD", "0.999 BHD"),
            // Whole by now, counted in hundredths as ever.
            (500, "ISK", "5 ISK"),
            (500, "UGX", "5 UGX"),
            (4_010, "ISK", "40.10 ISK"),
            // Whole for payouts only; charges have hundredths.
            (1_045, "HUF", "10.45 HUF"),
            (1_000, "TWD", "10.00 TWD"),
            (1_000, "MGA", "1000 MGA"),
            (i64::MAX, "EUR", "92233720368547758.07 EUR"),
            (i64::MIN, "EUR", "-92233720368547758.08 EUR"),
            (i64::MIN, "JPY", "-9223372036854775808 JPY"),
        ];
        for (amount, currency, expected) in cases {
            assert_eq!(display(amount, currency), expected);
        }
    }

    #[test]
    fn every_listed_currency_reads_as_its_list_says() {
        for currency in WHOLE {
            assert_eq!(display(12_345, currency), format!("12345 {currency}"));
        }
        for currency in THOUSANDTHS {
            assert_eq!(display(12_340, currency), format!("12.340 {currency}"));
        }
        for currency in WHOLE_COUNTED_IN_HUNDREDTHS {
            assert_eq!(display(12_300, currency), format!("123 {currency}"));
        }
    }

    #[test]
    fn a_currency_is_three_letters() {
        assert_eq!(currency_code("eur").as_deref(), Some("EUR"));
        assert_eq!(currency_code("Usd").as_deref(), Some("USD"));
        for bad in ["", "eu", "euro", "e r", "€€€", "us1"] {
            assert_eq!(currency_code(bad), None, "{bad}");
        }
    }
}
