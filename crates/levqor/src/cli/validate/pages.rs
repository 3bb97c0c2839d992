//! The checks of what people and crawlers read: all that the sitemap lists, and the files at their known addresses.

use jiff::Timestamp;

use super::super::client::{Answer, Call};
use super::super::exit::Failure;
use super::Report;
use super::checks::expect;
use super::visit::Visit;

/// Where the first version had them.
const PAGES: [&str; 6] = [
    "/public/docs/",
    "/public/blog/",
    "/public/legal/privacy.html",
    "/public/legal/terms.html",
    "/public/legal/cookies.html",
    "/public/faq/index.html",
];

/// Reads only.
pub async fn all(visit: &Visit<'_>, report: &mut Report) -> Result<(), Failure> {
    let get = |path: &str| visit.send(Call::get(path).without_key());
    for path in PAGES {
        let page = get(path).await?;
        report.check(&format!("GET {path} is a page"), page_at(&page));
    }
    for path in ["/public/sitemap.xml", "/sitemap.xml"] {
        let sitemap = get(path).await?;
        let paths = addresses(&sitemap.text);
        let mut verdict = expect(&sitemap, 200, !paths.is_empty());
        // Both are the same; the pages are asked for once.
        for listed in paths.iter().filter(|_| path == "/sitemap.xml") {
            let page = get(listed).await?;
            verdict = verdict.and_then(|()| page_at(&page).map_err(|why| format!("{listed}: {why}")));
        }
        report.check(&format!("GET {path} lists pages that are there"), verdict);
    }
    for path in ["/public/robots.txt", "/robots.txt"] {
        let robots = get(path).await?;
        let good = robots.text.starts_with("User-agent:") && robots.text.contains("\nSitemap: ");
        report.check(&format!("GET {path} names the sitemap"), expect(&robots, 200, good));
    }
    for path in ["/public/.well-known/security.txt", "/.well-known/security.txt"] {
        let security = get(path).await?;
        let field = |name: &str| security.text.lines().find_map(|line| line.strip_prefix(name));
        let ends = field("Expires: ").and_then(|ends| ends.parse::<Timestamp>().ok());
        // The server's own clock, so that a wrong one here does not matter.
        let now = visit.send(Call::get("/health")).await?.json()["ts"].as_i64().unwrap_or(i64::MAX);
        let good = field("Contact: ").is_some() && ends.is_some_and(|ends| ends.as_second() > now);
        report.check(&format!("GET {path} has a contact and is in force"), expect(&security, 200, good));
    }
    let outside = get("/public/docs/..%2f..%2fCargo.toml").await?;
    report.check("a path that leads out of the pages is 404", expect(&outside, 404, true));
    Ok(())
}

fn page_at(answer: &Answer) -> Result<(), String> {
    let is_html = answer.header("content-type").starts_with("text/html");
    expect(answer, 200, is_html && answer.text.contains("<h1"))
}

/// The paths of a sitemap, wherever it says that they are.
fn addresses(sitemap: &str) -> Vec<String> {
    let listed = sitemap.split("<loc>").skip(1).filter_map(|rest| rest.split('<').next());
    listed.filter_map(|address| Some(url::Url::parse(address).ok()?.path().to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sitemap_is_read_whatever_host_it_names() {
        let sitemap =
            "<urlset><url><loc>https://a.example/x</loc></url><url><loc>http://b/y/z</loc></url></urlset>";

        assert_eq!(addresses(sitemap), ["/x", "/y/z"]);
        assert!(addresses("{\"error\":\"not_found\"}").is_empty());
    }
}
