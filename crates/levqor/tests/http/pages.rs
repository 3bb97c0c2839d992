//! Pages for people, as a browser and a crawler meet them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::symlink;

use levqor_testkit::TempDir;

use crate::client::{Client, Reply};
use crate::server::TestServer;

/// The addresses of the first version, and where the web expects some of them.
const FIXED: [(&str, &str); 21] = [
    ("/public/docs/", "text/html; charset=utf-8"),
    ("/public/docs/index", "text/html; charset=utf-8"),
    ("/public/docs/index.md", "text/html; charset=utf-8"),
    ("/public/docs/api", "text/html; charset=utf-8"),
    ("/public/docs/api.md", "text/html; charset=utf-8"),
    ("/public/docs/reference", "text/html; charset=utf-8"),
    ("/public/blog/", "text/html; charset=utf-8"),
    ("/public/blog/001-launch-story", "text/html; charset=utf-8"),
    ("/public/blog/001-launch-story.md", "text/html; charset=utf-8"),
    ("/public/legal/privacy.html", "text/html; charset=utf-8"),
    ("/public/legal/terms.html", "text/html; charset=utf-8"),
    ("/public/legal/cookies.html", "text/html; charset=utf-8"),
    ("/public/faq/index.html", "text/html; charset=utf-8"),
    ("/public/robots.txt", "text/plain; charset=utf-8"),
    ("/public/sitemap.xml", "application/xml"),
    ("/public/.well-known/security.txt", "text/plain; charset=utf-8"),
    ("/public/style.css", "text/css; charset=utf-8"),
    ("/robots.txt", "text/plain; charset=utf-8"),
    ("/sitemap.xml", "application/xml"),
    ("/.well-known/security.txt", "text/plain; charset=utf-8"),
    ("/favicon.ico", "image/svg+xml"),
];

#[tokio::test]
async fn every_address_is_served_without_a_key_and_with_the_headers_of_its_kind() {
    let server = TestServer::start(&[("API_KEYS", "k")]).await;
    let anon = server.anon();
    let health = anon.get("/health").await;

    for (path, content_type) in FIXED {
        let reply = anon.get(path).await;

        assert_eq!((reply.status, reply.header("content-type")), (200, Some(content_type)), "{path}");
        assert_eq!(reply.header("cache-control"), Some("no-cache"), "{path}");
        assert_eq!(reply.header("set-cookie"), None, "{path}");
        for name in [
            "strict-transport-security",
            "cross-origin-opener-policy",
            "cross-origin-embedder-policy",
            "permissions-policy",
            "x-content-type-options",
            "x-frame-options",
            "referrer-policy",
        ] {
            assert_eq!(reply.header(name), health.header(name), "{path}: {name}");
        }
        let policy = reply.header("content-security-policy").unwrap();
        let is_prose = path.starts_with("/public/docs") || path.starts_with("/public/blog");
        let start =
            if is_prose { "default-src 'self'; style-src" } else { "default-src 'none'; connect-src" };
        assert!(policy.starts_with(start), "{path}: {policy}");

        let etag = reply.header("etag").unwrap();
        let again = anon.send("GET", path, &[("If-None-Match", etag)], "").await;
        assert_eq!((again.status, again.body.len(), again.header("etag")), (304, 0, Some(etag)), "{path}");
        assert_eq!(again.header("content-security-policy"), Some(policy), "{path}");
        let other = anon.send("GET", path, &[("If-None-Match", "\"other\"")], "").await;
        assert_eq!((other.status, other.body), (200, reply.body.clone()), "{path}");

        let head = anon.send("HEAD", path, &[], "").await;
        assert_eq!((head.status, head.header("etag")), (200, Some(etag)), "{path}");
        assert_eq!(head.header("content-length"), Some(reply.body.len().to_string().as_str()), "{path}");
        let post = anon.post(path, "{}").await;
        assert_eq!((post.status, post.header("allow")), (405, Some("GET, HEAD, OPTIONS")), "{path}");
    }
}

/// The files that the first version served as they are.
const STATIC: [&str; 10] = [
    "/public/legal/privacy.html",
    "/public/legal/terms.html",
    "/public/legal/cookies.html",
    "/public/faq/index.html",
    "/public/robots.txt",
    "/public/sitemap.xml",
    "/public/.well-known/security.txt",
    "/.well-known/security.txt",
    "/public/style.css",
    "/public/openapi.json",
];

#[tokio::test]
async fn static_files_have_a_date_and_are_handed_out_in_parts() {
    let server = TestServer::start(&[("API_KEYS", "k")]).await;
    let anon = server.anon();

    for path in STATIC {
        let whole = anon.get(path).await;
        let (etag, date) = (whole.header("etag").unwrap(), whole.header("last-modified").unwrap());
        let modified = httpdate::parse_http_date(date).unwrap();
        let length = whole.body.len();
        assert!(modified.elapsed().is_ok(), "{path}: {date} is not in the future");
        assert_eq!(whole.header("accept-ranges"), Some("bytes"), "{path}");
        let is_file = !path.ends_with(".json");
        assert_eq!(whole.header("content-disposition").is_some(), is_file, "{path}");

        let ask = async |headers: &[(&str, &str)]| anon.send("GET", path, headers, "").await;
        assert_eq!(ask(&[("If-Modified-Since", date)]).await.status, 304, "{path}");
        assert_eq!(
            ask(&[("If-Modified-Since", "Thu, 01 Jan 1970 00:00:00 GMT")]).await.status,
            200,
            "{path}"
        );
        assert_eq!(ask(&[("If-Modified-Since", "yesterday")]).await.status, 200, "{path}");
        let both = [("If-Modified-Since", date), ("If-None-Match", "\"other\"")];
        assert_eq!(ask(&both).await.status, 200, "{path}: a tag counts before a date");

        let part = ask(&[("Range", "bytes=2-5")]).await;
        assert_eq!((part.status, &part.body[..]), (206, &whole.body[2..6]), "{path}");
        assert_eq!(part.header("content-range"), Some(format!("bytes 2-5/{length}").as_str()), "{path}");
        assert_eq!(part.header("content-type"), whole.header("content-type"), "{path}");
        assert_eq!((part.header("etag"), part.header("last-modified")), (Some(etag), Some(date)), "{path}");
        assert!(part.header("strict-transport-security").is_some(), "{path}");
        let end = ask(&[("Range", "bytes=-3")]).await;
        assert_eq!((end.status, &end.body[..]), (206, &whole.body[length - 3..]), "{path}");
        for (condition, status) in [
            (etag, 206),
            (date, 206),
            ("\"other\"", 200),
            ("Thu, 01 Jan 1970 00:00:00 GMT", 200),
            ("nonsense", 200),
        ] {
            let part = ask(&[("Range", "bytes=0-0"), ("If-Range", condition)]).await;
            assert_eq!(part.status, status, "{path}: If-Range: {condition}");
        }
        assert_eq!(ask(&[("Range", "bytes=0-0"), ("If-None-Match", etag)]).await.status, 304, "{path}");
        assert_eq!(ask(&[("Range", "bytes=0-0,2-3")]).await.body, whole.body, "{path}");

        let behind = ask(&[("Range", &format!("bytes={length}-"))]).await;
        assert_eq!((behind.status, behind.body.len()), (416, 0), "{path}");
        assert_eq!(behind.header("content-range"), Some(format!("bytes */{length}").as_str()), "{path}");
        let head = anon.send("HEAD", path, &[("Range", "bytes=0-0")], "").await;
        assert_eq!((head.status, head.header("last-modified")), (200, Some(date)), "{path}");
        assert_eq!(head.header("content-length"), Some(length.to_string().as_str()), "{path}");
    }
    assert_eq!(anon.get("/public/docs/api").await.header("last-modified"), None, "its menu has no date");
}

#[tokio::test]
async fn a_folder_without_its_slash_leads_to_the_one_with_it_on_the_same_host() {
    let server = TestServer::start(&[]).await;

    for path in ["/public/docs", "/public/blog"] {
        let reply = server.anon().send("GET", path, &[("X-Forwarded-Host", "evil.example")], "").await;

        assert_eq!((reply.status, reply.header("location")), (308, Some(format!("{path}/").as_str())));
    }
}

#[tokio::test]
async fn what_is_no_page_is_404_however_it_is_spelled() {
    let server = TestServer::start(&[]).await;
    let long = "a".repeat(3000);

    for path in [
        "/public/docs/none",
        "/public/docs/index.txt",
        "/public/docs/index.md.md",
        "/public/docs/.md",
        "/public/docs/INDEX",
        "/public/docs/api/",
        "/public/blog/index.json",
        "/public/blog/index",
        "/public/legal/",
        "/public/legal/privacy",
        "/public/legal/privacy.md",
        "/public/faq/",
        "/public/faq/index",
        "/public/",
        "/public/docs/..",
        "/public/docs/../docs/api",
        "/public/docs/../../Cargo.toml",
        "/public/docs/..%2f..%2fCargo.toml",
        "/public/docs/%2e%2e/%2e%2e/README",
        "/public/docs/%2e%2e%2fblog%2f001-launch-story",
        "/public/docs/..%5c..%5cREADME",
        "/public/docs/%2fetc%2fpasswd",
        "/public/docs/api%00",
        "/public/docs/api%00.md",
        "/public/docs/%c0%ae%c0%ae%c0%afREADME",
        "/public/docs/%ff",
        "/public/docs/%61pi",
        "/public/docs/....",
        "/public/docs/~root",
        "/public/blog/../docs/api",
        "/public/blog/..%2fdocs%2fapi",
        "/public/legal/..%2ffaq%2findex.html",
        "/public/.well-known/..%2frobots.txt",
        &format!("/public/docs/{long}"),
    ] {
        let reply = server.anon().get(path).await;

        assert_eq!((reply.status, reply.text().as_str()), (404, "{\"error\":\"not_found\"}\n"), "{path}");
    }
    let doubled = server.anon().get("/public/docs//api").await;
    assert_eq!((doubled.status, doubled.header("location")), (308, Some("/public/docs/api")));
}

// ---- links -----------------------------------------------------------------------------------------------------------

/// The values of this attribute, as far as our own pages write them.
fn attributes<'t>(html: &'t str, start: &str) -> Vec<&'t str> {
    html.split(start).skip(1).map(|rest| rest.split('"').next().unwrap()).collect()
}

/// Where a link on the page at `base` leads, by the rules of URLs.
fn resolved(base: &str, link: &str) -> url::Url {
    url::Url::parse("http://self.test").unwrap().join(base).unwrap().join(link).unwrap()
}

/// Follows every link from here on this server; returns the pages by path.
async fn crawl(client: &Client, start: &[&str]) -> BTreeMap<String, Reply> {
    let mut pages = BTreeMap::new();
    let mut open: Vec<(String, String)> =
        start.iter().map(|path| (path.to_string(), "the start".to_owned())).collect();
    while let Some((path, from)) = open.pop() {
        if pages.contains_key(&path) {
            continue;
        }
        let reply = client.get(&path).await;
        assert_eq!(reply.status, 200, "{from} links to {path}");
        if reply.header("content-type").unwrap().starts_with("text/html") {
            let html = reply.text();
            for link in attributes(&html, "href=\"").into_iter().chain(attributes(&html, "src=\"")) {
                assert!(!link.is_empty(), "{path} has a link that leads nowhere");
                let url = resolved(&path, link);
                if url.host_str() == Some("self.test") {
                    open.push((url.path().to_owned(), path.clone()));
                }
            }
        }
        pages.insert(path, reply);
    }
    pages
}

#[tokio::test]
async fn every_link_of_every_page_leads_to_a_page_and_every_fragment_to_a_place_on_it() {
    let server = TestServer::start(&[]).await;

    let pages = crawl(&server.anon(), &["/public/docs/"]).await;

    for path in
        ["/public/docs/api", "/public/blog/001-launch-story", "/public/legal/terms.html", "/favicon.ico"]
    {
        assert!(pages.contains_key(path), "no link leads to {path}");
    }
    let is_html = |reply: &Reply| reply.header("content-type").unwrap().starts_with("text/html");
    for (path, reply) in pages.iter().filter(|(_, reply)| is_html(reply)) {
        let html = reply.text();
        let ids = attributes(&html, " id=\"");
        assert_eq!(ids.len(), ids.iter().collect::<BTreeSet<_>>().len(), "{path} has an id twice");
        for link in attributes(&html, "href=\"") {
            let url = resolved(path, link);
            let Some((fragment, target)) = url.fragment().zip(pages.get(url.path())) else { continue };
            if url.host_str() == Some("self.test") {
                let place = format!(" id=\"{fragment}\"");
                assert!(
                    target.text().contains(&place),
                    "{path} links to {link}, where there is no such place"
                );
            }
        }
    }
}

#[tokio::test]
async fn pages_load_nothing_from_elsewhere_and_run_no_script() {
    let server = TestServer::start(&[]).await;
    let pages = crawl(&server.anon(), &["/public/docs/"]).await;

    for (path, reply) in pages {
        let text = reply.text();
        if path.ends_with(".css") {
            assert!(!text.contains("url(") && !text.contains("@import"), "{path}");
            continue;
        }
        for line in text.split('<').filter(|tag| tag.starts_with("link") || tag.starts_with("img")) {
            assert!(!line.contains("//"), "{path}: {line}");
        }
        for banned in ["<script", "<iframe", "javascript:", " onclick=", " style=\""] {
            assert!(!text.contains(banned), "{path} holds {banned}");
        }
    }
}

#[tokio::test]
async fn the_reference_names_every_operation_and_every_schema() {
    let server = TestServer::start(&[]).await;
    let document = server.anon().get("/public/openapi-3.1.json").await.json();

    let page = server.anon().get("/public/docs/reference").await.text();

    for item in document["paths"].as_object().unwrap().values() {
        for operation in item.as_object().unwrap().values() {
            let id = operation["operationId"].as_str().unwrap();
            assert!(page.contains(&format!("<h3 id=\"{id}\">")), "{id}");
        }
    }
    for name in document["components"]["schemas"].as_object().unwrap().keys() {
        assert!(page.contains(&format!("<h3 id=\"schema-{name}\">")), "{name}");
    }
}

// ---- files for programs ----------------------------------------------------------------------------------------------

#[tokio::test]
async fn the_sitemap_lists_what_exists_below_the_public_address() {
    let server = TestServer::start(&[("PUBLIC_BASE_URL", "https://jobs.example.com/")]).await;
    let anon = server.anon();

    let sitemap = anon.get("/sitemap.xml").await.text();

    assert_eq!(sitemap, anon.get("/public/sitemap.xml").await.text());
    let addresses: Vec<&str> =
        sitemap.split("<loc>").skip(1).map(|rest| rest.split('<').next().unwrap()).collect();
    assert_eq!(addresses.len(), addresses.iter().collect::<BTreeSet<_>>().len(), "{addresses:?}");
    for address in &addresses {
        let path = address.strip_prefix("https://jobs.example.com").unwrap();
        assert_eq!(anon.get(path).await.status, 200, "{path}");
    }
    let listed = |path: &str| addresses.iter().any(|address| address.ends_with(path));
    for (path, content_type) in FIXED {
        let is_page =
            content_type.starts_with("text/html") && !path.ends_with(".md") && !path.ends_with("index");
        assert_eq!(listed(path), is_page, "{path}");
    }
    let robots = anon.get("/robots.txt").await.text();
    assert!(robots.contains("\nSitemap: https://jobs.example.com/sitemap.xml\n"), "{robots}");
}

#[tokio::test]
async fn pages_name_the_addresses_of_whoever_runs_the_server() {
    let own = TestServer::start(&[("EMAIL_DOMAIN", "example.com")]).await;
    let ours = TestServer::start(&[]).await;

    for (path, sender) in [
        ("/public/legal/privacy.html", "support"),
        ("/public/faq/index.html", "security"),
        ("/.well-known/security.txt", "security"),
    ] {
        let (own, ours) = (own.anon().get(path).await.text(), ours.anon().get(path).await.text());
        assert!(own.contains(&format!("mailto:{sender}@example.com")), "{path}: {own}");
        assert!(!own.contains("@levqor.ai"), "{path}: {own}");
        assert!(ours.contains(&format!("mailto:{sender}@levqor.ai")), "{path}: {ours}");
    }
}

#[tokio::test]
async fn security_txt_has_a_contact_and_ends_in_the_future() {
    let server = TestServer::start(&[]).await;

    let text = server.anon().get("/.well-known/security.txt").await.text();

    let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    assert_eq!(field("Contact: "), "mailto:security@levqor.ai");
    assert_eq!(field("Canonical: "), "https://api.levqor.ai/.well-known/security.txt");
    let ends: jiff::Timestamp = field("Expires: ").parse().unwrap();
    assert!(ends > jiff::Timestamp::now());
}

// ---- texts of one's own ----------------------------------------------------------------------------------------------

fn write(dir: &TempDir, path: &str, text: &str) {
    let path = dir.path().join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

#[tokio::test]
async fn a_folder_of_ones_own_replaces_the_embedded_one_and_changes_show_at_once() {
    let dir = TempDir::new();
    write(
        &dir,
        "docs/index.md",
        "# Ours\n\n[b](b.md) [a](a.md)\n\n<script>alert(1)</script> [x](javascript:alert(1))\n",
    );
    write(&dir, "docs/a.md", "# Page <a> & co\n");
    write(&dir, "docs/b.md", "no heading\n");
    write(
        &dir,
        "blog/index.json",
        r#"[{"slug":"one","title":"<b>One</b>","date":"2026-01-02"},{"slug":"gone","title":"Gone","date":"2026-01-01"},{"slug":"../docs/a","title":"Out","date":"2026-01-01"}]"#,
    );
    write(&dir, "blog/one.md", "# One\n");
    let server = TestServer::start(&[("CONTENT_DIR", dir.path().to_str().unwrap())]).await;
    let anon = server.anon();

    let index = anon.get("/public/docs/").await.text();
    assert!(index.contains("<title>Ours · Levqor</title>"), "{index}");
    assert!(!index.contains("<script") && !index.contains("javascript:"), "{index}");
    let (a, b) = (index.find("\"/public/docs/a\"").unwrap(), index.find("\"/public/docs/b\"").unwrap());
    assert!(b < a, "the menu follows the links of the index");
    assert!(index.contains("Page &lt;a&gt; &amp; co"), "{index}");
    assert_eq!(anon.get("/public/docs/api").await.status, 404);
    assert_eq!(anon.get("/public/legal/privacy.html").await.status, 200, "what is not replaced stays");

    let blog = anon.get("/public/blog/").await.text();
    assert!(
        blog.contains("&lt;b&gt;One&lt;/b&gt;") && !blog.contains("Gone") && !blog.contains("Out"),
        "{blog}"
    );
    let sitemap = anon.get("/sitemap.xml").await.text();
    assert!(sitemap.contains("/public/blog/one<") && !sitemap.contains("gone"), "{sitemap}");

    let before = anon.get("/public/docs/a").await;
    write(&dir, "docs/a.md", "# Changed\n");
    let etag = before.header("etag").unwrap();
    let after = anon.send("GET", "/public/docs/a", &[("If-None-Match", etag)], "").await;
    assert_eq!(after.status, 200);
    assert!(after.text().contains("Changed"));
    fs::remove_file(dir.path().join("docs/a.md")).unwrap();
    assert_eq!(anon.get("/public/docs/a").await.status, 404);
}

#[tokio::test]
async fn no_link_in_the_file_system_leads_out_of_the_folder() {
    let dir = TempDir::new();
    write(&dir, "secret.md", "# Secret\n");
    write(&dir, "own/docs/index.md", "# Ours\n");
    let docs = dir.path().join("own/docs");
    symlink(dir.path().join("secret.md"), docs.join("out.md")).unwrap();
    symlink("../../secret.md", docs.join("up.md")).unwrap();
    symlink("index.md", docs.join("inside.md")).unwrap();
    symlink("loop.md", docs.join("loop.md")).unwrap();
    fs::create_dir(docs.join("folder.md")).unwrap();
    let own = dir.path().join("own");
    let server = TestServer::start(&[("CONTENT_DIR", own.to_str().unwrap())]).await;

    for (name, status) in [("out", 404), ("up", 404), ("folder", 404), ("inside", 200)] {
        let reply = server.anon().get(&format!("/public/docs/{name}")).await;
        assert_eq!(reply.status, status, "{name}");
        assert!(!reply.text().contains("Secret"), "{name}");
    }
}

#[tokio::test]
async fn content_that_cannot_be_read_is_a_fault_of_ours_that_tells_nothing() {
    let dir = TempDir::new();
    write(&dir, "blog/index.json", "[{]");
    write(&dir, "docs/index.md", "# Ours\n");
    write(&dir, "docs/huge.md", &"x".repeat((1 << 20) + 1));
    fs::write(dir.path().join("docs/binary.md"), [0xff, 0xfe]).unwrap();
    let server = TestServer::start(&[("CONTENT_DIR", dir.path().to_str().unwrap())]).await;

    for path in ["/public/blog/", "/public/docs/huge", "/public/docs/binary"] {
        let reply = server.anon().get(path).await;
        assert_eq!(
            (reply.status, reply.text().as_str()),
            (500, "{\"error\":\"internal_error\"}\n"),
            "{path}"
        );
    }
    let index = server.anon().get("/public/docs/").await;
    assert_eq!(index.status, 200, "one bad text does not take the others along");
    assert!(!index.text().contains("huge"));
}
