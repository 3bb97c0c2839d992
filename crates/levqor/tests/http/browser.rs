//! Every page of the sitemap in a real browser, on a phone and on a desk, in the light and in the dark.

use std::path::PathBuf;

use base64::Engine as _;
use levqor_testkit::{Browser, View};
use serde_json::Value;

use crate::server::TestServer;

const VIEWS: [View; 3] = [
    View { width: 390, height: 844, is_dark: false },
    View { width: 1280, height: 900, is_dark: false },
    View { width: 1280, height: 900, is_dark: true },
];

/// What a reader would notice first. `out` names what sticks out of the window and cannot be scrolled on its own.
const LOOK: &str = r#"(() => {
    const luminance = (colour) => {
        const [r, g, b] = colour.match(/[\d.]+/g).map(Number);
        return (0.2126 * r + 0.7152 * g + 0.0722 * b) / 255;
    };
    const scrolls = (element) => {
        for (let at = element; at; at = at.parentElement) {
            if (['auto', 'scroll', 'hidden'].includes(getComputedStyle(at).overflowX)) return true;
        }
        return false;
    };
    const out = [...document.body.querySelectorAll('*')].filter((element) => {
        const box = element.getBoundingClientRect();
        return box.width > 0 && box.right > innerWidth + 1 && !scrolls(element);
    });
    const style = getComputedStyle(document.body);
    const title = document.querySelector('h1');
    return {
        scrollWidth: document.documentElement.scrollWidth,
        out: out.slice(0, 5).map((element) => element.outerHTML.slice(0, 120)),
        characters: document.querySelector('main').innerText.length,
        title: title ? title.innerText : '',
        titleBottom: title ? title.getBoundingClientRect().bottom : 0,
        size: parseFloat(getComputedStyle(document.querySelector('main')).fontSize),
        paper: luminance(getComputedStyle(document.documentElement).backgroundColor === 'rgba(0, 0, 0, 0)'
            ? style.backgroundColor : getComputedStyle(document.documentElement).backgroundColor),
        ink: luminance(style.color),
    };
})()"#;

/// What is wrong with what was seen.
fn faults(look: &Value, view: View) -> Vec<String> {
    let number = |name: &str| look[name].as_f64().unwrap();
    let mut faults = Vec::new();
    let mut hold = |holds: bool, what: &str| {
        if !holds {
            faults.push(what.to_owned());
        }
    };
    hold(number("scrollWidth") <= f64::from(view.width), "it can be scrolled sideways");
    hold(look["out"].as_array().unwrap().is_empty(), &format!("these stick out: {}", look["out"]));
    hold(number("characters") > 100.0, "there is hardly anything to read");
    hold(!look["title"].as_str().unwrap().is_empty(), "it has no heading");
    hold(number("titleBottom") < f64::from(view.height), "its heading is below the first screen");
    hold(number("size") >= 15.0, "its letters are small");
    let (paper, ink) = (number("paper"), number("ink"));
    hold(
        (paper < 0.3) == view.is_dark,
        &format!("its background does not fit the colours asked for: {paper}"),
    );
    hold((paper - ink).abs() > 0.6, &format!("its text is faint: {ink} on {paper}"));
    faults
}

fn look_at_all(base: &str, paths: &[String]) -> Vec<String> {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("pages");
    std::fs::create_dir_all(&folder).unwrap();
    let mut browser = Browser::start();
    let mut faulty = Vec::new();
    for path in paths {
        for view in VIEWS {
            browser.open(&format!("{base}{path}"), view);
            let mut found = faults(&browser.evaluate(LOOK), view);
            found.extend(browser.complaints(base));
            let kind = format!("{}{}", view.width, if view.is_dark { "-dark" } else { "" });
            faulty.extend(found.into_iter().map(|fault| format!("{path} at {kind}: {fault}")));
            let name = format!("{}-{kind}.png", path.trim_matches('/').replace('/', "-"));
            let picture = base64::engine::general_purpose::STANDARD.decode(browser.screenshot()).unwrap();
            assert!(picture.len() > 2_000, "{name} shows nothing");
            std::fs::write(folder.join(name), picture).unwrap();
        }
    }
    faulty
}

#[tokio::test]
async fn every_page_looks_right_on_a_phone_and_on_a_desk_and_in_the_dark() {
    let server = TestServer::start(&[]).await;
    let sitemap = server.anon().get("/sitemap.xml").await.text();
    let mut paths: Vec<String> = sitemap
        .split("<loc>https://api.levqor.ai")
        .skip(1)
        .map(|rest| rest.split('<').next().unwrap().to_owned())
        .collect();
    assert!(paths.len() > 10, "{paths:?}");
    // Nobody looks for these; Stripe sends people there.
    paths.extend(["success", "cancel", "return"].map(|page| format!("/public/billing/{page}")));
    let base = format!("http://{}", server.address);

    let faulty = tokio::task::spawn_blocking(move || look_at_all(&base, &paths)).await.unwrap();

    assert!(faulty.is_empty(), "{}", faulty.join("\n"));
}

#[tokio::test]
async fn the_look_notices_what_is_wrong() {
    let server = TestServer::start(&[]).await;
    let base = format!("http://{}", server.address);

    tokio::task::spawn_blocking(move || {
        let mut browser = Browser::start();
        let view = VIEWS[0];
        browser.open(&format!("{base}/public/docs/"), view);
        browser.evaluate(
            "document.querySelector('main').innerHTML = '<p style=\"width:2000px\">x</p><img src=\"http://127.0.0.1:9/x.png\">'",
        );
        // The picture is refused by the page's policy while it is made.
        let found = faults(&browser.evaluate(LOOK), view);
        for fault in ["sideways", "stick out", "hardly anything", "no heading"] {
            assert!(found.iter().any(|line| line.contains(fault)), "{fault}: {found:?}");
        }
        assert!(browser.complaints(&base).iter().any(|line| line.contains("Content Security Policy")));
    })
    .await
    .unwrap();
}
