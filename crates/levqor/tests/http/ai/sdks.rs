//! The official SDKs of OpenAI and Anthropic, unchanged but for their base URL.

use levqor_testkit::python;

use super::*;

const SCRIPT: &str = include_str!("sdks.py");

/// Pinned, with all that they need to run; wheels only.
const PACKAGES: &[&str] = &["openai==3.54.0", "anthropic==2.12.0"];

async fn made_key(world: &World) -> String {
    let made = world.server.key("root").post("/api/v1/keys", r#"{"name":"k","scopes":["ai"]}"#).await;
    made.json()["key"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_official_sdks_work_and_raise_what_their_users_catch() {
    let folder = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("python-sdks");
    let python = tokio::task::spawn_blocking(move || python::with_packages(&folder, PACKAGES)).await.unwrap();
    let world = World::start(&[("API_KEYS", "root")]).await;
    let poor = World::start(&[("API_KEYS", "root"), ("MAX_COST_PER_DAY", "0.0001")]).await;
    let (key, poor_key) = (made_key(&world).await, made_key(&poor).await);
    let (rich_url, poor_url) =
        (format!("http://{}", world.server.address), format!("http://{}", poor.server.address));
    let (mock_url, arguments) = (world.mock.url(), [rich_url, poor_url, key, poor_key]);
    let output = tokio::task::spawn_blocking(move || {
        std::process::Command::new(python)
            .args(["-c", SCRIPT])
            .args(arguments)
            .arg(mock_url)
            .env("NO_PROXY", "*")
            .output()
            .unwrap()
    });
    let output = output.await.unwrap();

    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success(), "{said}");
    assert!(said.trim_end().ends_with("all fine"), "{said}");
    assert_eq!(poor.mock.bill().calls, 0, "a spent budget calls nobody, however often an SDK tries");
    let (spent, held) = world.day().await;
    assert!(spent >= world.billed() && held == Nano::ZERO);
}
