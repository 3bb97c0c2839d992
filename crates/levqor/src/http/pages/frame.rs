//! What stands around a text: head, menu, footer; and the lists that lead to texts. Everything that is put in is escaped,
//! except what `markdown.rs` and `reference.rs` made.

use maud::{DOCTYPE, Markup, PreEscaped, html};

/// A page of the menu beside a text.
pub struct Entry {
    pub address: String,
    pub title: String,
}

/// A post in the list of the blog.
pub struct PostEntry {
    pub slug: String,
    pub title: String,
    pub date: String,
    pub summary: String,
}

const MENU: [(&str, &str); 4] = [
    ("/public/docs/", "Docs"),
    ("/public/docs/reference", "API reference"),
    ("/public/blog/", "Blog"),
    ("/public/faq/index.html", "Questions"),
];

const FOOTER: [(&str, &str); 4] = [
    ("/public/legal/privacy.html", "Privacy"),
    ("/public/legal/terms.html", "Terms"),
    ("/public/legal/cookies.html", "Cookies"),
    ("/.well-known/security.txt", "Security contact"),
];

/// A whole page. `address` is its own, `entries` the menu beside it, if it has one.
pub fn page(address: &str, title: &str, entries: &[Entry], main: Markup) -> String {
    let here = |at: &str| (at == address).then_some("page");
    let section = |at: &str| match at {
        "/public/docs/reference" => address == at,
        "/public/docs/" => address.starts_with(at) && address != "/public/docs/reference",
        _ => address.starts_with(at),
    };
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) " · Levqor" }
                link rel="icon" type="image/svg+xml" href="/favicon.ico";
                link rel="stylesheet" href="/public/style.css";
            }
            body {
                a class="skip" href="#main" { "Skip to the text" }
                header {
                    a class="brand" href="/public/docs/" { "Levqor" }
                    nav aria-label="Site" {
                        @for (at, label) in MENU {
                            a href=(at) aria-current=[section(at).then_some("true")] { (label) }
                        }
                    }
                }
                div class=(if entries.is_empty() { "frame" } else { "frame with-menu" }) {
                    @if !entries.is_empty() {
                        nav class="pages" aria-label="Documentation" {
                            @for entry in entries {
                                a href=(entry.address) aria-current=[here(&entry.address)] { (entry.title) }
                            }
                        }
                    }
                    main id="main" { (main) }
                }
                footer {
                    nav aria-label="Legal" {
                        @for (at, label) in FOOTER {
                            a href=(at) aria-current=[here(at)] { (label) }
                        }
                    }
                }
            }
        }
    }
    .into_string()
}

/// A text that was rendered before.
pub fn prose(html: &str) -> Markup {
    html! { article { (PreEscaped(html)) } }
}

/// A post: its date, its text, the way back.
pub fn post(html: &str, date: Option<&str>) -> Markup {
    html! {
        @if let Some(date) = date { p class="note" { time datetime=(date) { (date) } } }
        (prose(html))
        p class="note" { a href="/public/blog/" { "All posts" } }
    }
}

/// Where customers come back to from Stripe: title and text. An address says what the customer did, not what became of it.
pub fn after_billing(path: &str) -> (&'static str, Markup) {
    let (title, text) = match path {
        "/public/billing/success" => (
            "Thank you",
            "Your order went through. As soon as the payment has arrived, you get a confirmation by e-mail.",
        ),
        "/public/billing/cancel" => (
            "Nothing was paid",
            "You left the checkout before paying. Nothing was charged, and you can come back at any time.",
        ),
        _ => (
            "Welcome back",
            "What you changed at Stripe is saved there. You can close this page, or go back to where you came from.",
        ),
    };
    (title, html! { h1 { (title) } p { (text) } })
}

pub fn posts(posts: &[PostEntry]) -> Markup {
    html! {
        h1 { "Blog" }
        @if posts.is_empty() { p { "Nothing was written yet." } }
        @for post in posts {
            section class="post" {
                h2 { a href={ "/public/blog/" (post.slug) } { (post.title) } }
                p class="note" { time datetime=(post.date) { (post.date) } }
                p { (post.summary) }
            }
        }
    }
}
