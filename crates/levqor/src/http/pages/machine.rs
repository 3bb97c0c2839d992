//! The files that programs look for: robots.txt, sitemap.xml, security.txt.

use jiff::{Timestamp, tz::TimeZone};
use maud::html;

/// A file that says when it ends has to end well before a year is over (RFC 9116); this is read anew by everybody anyway.
const SECURITY_DAYS: i64 = 180;
const MS_A_DAY: i64 = 86_400_000;

pub fn robots(base: &str) -> String {
    format!(
        "User-agent: *\nAllow: /public/\nDisallow: /api/\nDisallow: /billing/\n\nSitemap: {base}/sitemap.xml\n"
    )
}

/// `addresses` are paths on this server.
pub fn sitemap(base: &str, addresses: &[String]) -> String {
    let urls = html! {
        @for address in addresses { url { loc { (base) (address) } } "\n" }
    };
    let urls = urls.into_string();
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<urlset xmlns=\"http://www.sitemaps.org/schemas/sitemap/0.9\">\n{urls}</urlset>\n"
    )
}

/// Since when the text is what it is now.
pub fn security_from_ms(now_ms: i64) -> i64 {
    now_ms.div_euclid(MS_A_DAY) * MS_A_DAY
}

/// It ends at a midnight, so that it stays the same for a day.
pub fn security(base: &str, email_domain: &str, now_ms: i64) -> String {
    let ends_ms = security_from_ms(now_ms) + SECURITY_DAYS * MS_A_DAY;
    let ends = Timestamp::from_millisecond(ends_ms).unwrap_or(Timestamp::MAX).to_zoned(TimeZone::UTC);
    let ends = ends.strftime("%Y-%m-%dT%H:%M:%SZ");
    format!(
        "Contact: mailto:security@{email_domain}\nExpires: {ends}\nPreferred-Languages: en\n\
         Canonical: {base}/.well-known/security.txt\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn security_txt_ends_in_the_future_and_within_a_year_at_any_time() {
        for now_ms in [0, 1_795_363_536_510, 4_102_444_799_999] {
            let text = security("https://x", "example.org", now_ms);
            let line = text.lines().find_map(|line| line.strip_prefix("Expires: ")).expect("the line");
            let ends: Timestamp = line.parse().expect("RFC 3339");
            let left_days = (ends.as_millisecond() - now_ms) / MS_A_DAY;
            assert!((179..=180).contains(&left_days), "{line}: {left_days}");
        }
    }

    #[test]
    fn addresses_are_escaped() {
        assert!(sitemap("https://x", &["/a&b<c".to_owned()]).contains("<loc>https://x/a&amp;b&lt;c</loc>"));
    }
}
