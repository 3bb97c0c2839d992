//! Markdown to HTML. Raw HTML is left out and links are let through by a list, so that a text can say anything and do nothing.

use std::sync::Arc;

use comrak::Options;

/// A text, ready to be put into a page.
pub struct Text {
    /// Its first heading.
    pub title: Option<String>,
    pub html: String,
}

/// `ending` is what pages beside this one end with on the web, instead of `.md`.
fn options(ending: &'static str) -> Options<'static> {
    let mut options = Options::default();
    options.extension.table = true;
    options.extension.strikethrough = true;
    options.extension.header_id_prefix = Some(String::new());
    options.extension.link_url_rewriter = Some(Arc::new(move |url: &str| link(url, ending)));
    options.extension.image_url_rewriter =
        Some(Arc::new(|url: &str| if is_allowed(url) { url } else { "" }.to_owned()));
    options
}

pub fn render(source: &str, ending: &'static str) -> Text {
    let title = source.lines().find_map(|line| line.strip_prefix("# "));
    let title = title.map(|title| title.trim().replace(['`', '*'], ""));
    // What stands in for raw HTML is no use to a reader. A text cannot hold these characters itself: they would be escaped.
    let html = comrak::markdown_to_html(source, &options(ending)).replace("<!-- raw HTML omitted -->", "");
    Text { title, html }
}

/// The address as a browser gets it: nothing if its scheme is not on the list; without the `.md` of another text, which is
/// there for readers of the repository.
fn link(url: &str, ending: &str) -> String {
    if !is_allowed(url) {
        return String::new();
    }
    let (path, fragment) = url.find('#').map_or((url, ""), |at| url.split_at(at));
    let Some(page) = path.strip_suffix(".md").filter(|page| !page.contains(':')) else {
        return url.to_owned();
    };
    let ending = match page.rsplit('/').nth(1) {
        None => ending,
        Some("legal" | "faq") => ".html",
        Some(_) => "",
    };
    format!("{page}{ending}{fragment}")
}

/// `http:`, `https:`, `mailto:` or relative. Browsers drop control characters and take a backslash for a slash, so an address
/// with one of them is not what it looks like.
fn is_allowed(url: &str) -> bool {
    if url.chars().any(|char| char.is_control() || char.is_whitespace() || char == '\\') {
        return false;
    }
    let head = url.split(['/', '?', '#']).next().unwrap_or_default();
    match head.split_once(':') {
        Some((scheme, _)) => {
            ["http", "https", "mailto"].iter().any(|known| scheme.eq_ignore_ascii_case(known))
        }
        None => !url.starts_with("//"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_cannot_bring_html_or_scripts_along() {
        for hostile in [
            "<script>alert(1)</script>",
            "a <img src=x onerror=alert(1)> b",
            "[a](javascript:alert(1))",
            "[a](JaVaScRiPt:alert(1))",
            "[a](java&Tab;script:alert(1))",
            "[a](<java\tscript:alert(1)>)",
            "[a](data:text/html,<script>alert(1)</script>)",
            "[a](vbscript:x)",
            "[a](file:///etc/passwd)",
            "![a](data:image/svg+xml,x)",
            "[a](//evil.example/)",
            "[a](/\\evil.example/)",
            "[a][b]\n\n[b]: javascript:alert(1)",
            "<javascript:alert(1)>",
            "```\"><script>alert(1)</script>\nx\n```",
            "# <b onclick=x>h</b>",
        ] {
            let html = render(hostile, "").html.to_lowercase();
            let tags: Vec<&str> = html.split('<').skip(1).filter_map(|rest| rest.split('>').next()).collect();
            for tag in &tags {
                let is_bad = ["script", "onerror=", "onclick=", "javascript", "data:text", "file:", "evil"];
                let attributes = tag.split("aria-label").next().unwrap_or_default();
                assert!(
                    !is_bad
                        .iter()
                        .any(|bad| attributes.contains(bad) && !attributes.contains("class=\"lang")),
                    "{hostile}: {html}"
                );
            }
            assert!(
                !html.contains("<script") && !html.contains("<img src=x") && !html.contains("<b "),
                "{html}"
            );
        }
    }

    #[test]
    fn links_beside_lead_to_pages_and_others_stay_as_they_are() {
        for (url, expected) in [
            ("api.md", "api"),
            ("api.md#limits", "api#limits"),
            ("../docs/cli.md", "../docs/cli"),
            ("#retry", "#retry"),
            ("https://example.com/a.md#b", "https://example.com/a.md#b"),
            ("mailto:security@levqor.ai", "mailto:security@levqor.ai"),
            ("ftp://example.com/", ""),
            ("x:y", ""),
        ] {
            assert_eq!(link(url, ""), expected, "{url}");
        }
        assert_eq!(link("privacy.md", ".html"), "privacy.html");
        assert_eq!(link("../docs/api.md#keys", ".html"), "../docs/api#keys");
        assert_eq!(link("../legal/privacy.md", ""), "../legal/privacy.html");
    }

    #[test]
    fn headings_have_ids_and_tables_are_tables() {
        let text = render("# The `API`\n\n## Order of work\n\n| a |\n| --- |\n| b |\n", "");

        assert_eq!(text.title.as_deref(), Some("The API"));
        assert!(text.html.contains("id=\"order-of-work\""), "{}", text.html);
        assert!(text.html.contains("<td>b</td>"), "{}", text.html);
    }
}
