//! `levqor ai`: questions through a server, with the billing mock as the provider.

use levqor_mock_ai::{MockAi, Script};

use crate::program::{Running, levqor_with_input};

/// A provider that lives as long as its runtime, and a server that calls it.
fn world(vars: &[(&str, &str)]) -> (tokio::runtime::Runtime, MockAi, Running) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let mock = runtime.block_on(MockAi::start(([127, 0, 0, 1], 0).into(), Default::default())).unwrap();
    let provider = format!("{}/v1", mock.url());
    let own = [("OPENAI_API_KEY", "any"), ("OPENAI_BASE_URL", provider.as_str())];
    let server = Running::start(&[&own[..], vars].concat(), |_| {});
    (runtime, mock, server)
}

#[test]
fn a_question_is_answered_on_standard_output_and_its_cost_told_beside_it() {
    let (_runtime, mock, server) = world(&[]);

    let asked =
        server.levqor(&["ai", "ask", "gpt-6-sol", "Say hello", "--max-tokens", "50", "--tag", "team=a"]);
    assert_eq!((asked.code, asked.out.as_str()), (Some(0), "This is what a mock model says to: Say hello\n"));
    let cost =
        format!("openai/gpt-6-sol cost ${}", levqor_core::money::Nano::new(mock.bill().total_nano as i64));
    assert!(asked.err.contains(&cost), "{}", asked.err);

    let vars = [("BASE_URL", server.url.as_str())];
    let piped = levqor_with_input(
        server.dir.path(),
        &vars,
        &["ai", "ask", "gpt-6-sol", "-", "--json"],
        "From a pipe",
    );
    let body: serde_json::Value = serde_json::from_str(&piped.out).unwrap();
    assert_eq!(body["text"], "This is what a mock model says to: From a pipe");

    let models = server.levqor(&["ai", "models"]);
    assert!(models.out.lines().any(|line| line == "openai/gpt-6-sol"), "{}", models.out);
}

#[test]
fn an_estimate_spends_nothing_and_exit_codes_tell_what_went_wrong() {
    let (_runtime, mock, server) = world(&[("MAX_COST_PER_JOB", "0.01")]);

    let dry = server.levqor(&["ai", "ask", "gpt-6-sol", "Say hello", "--dry-run"]);
    assert_eq!(dry.code, Some(0), "{}", dry.err);
    assert!(dry.out.contains("max-cost-per-job") && dry.out.contains("with a shorter answer"), "{}", dry.out);
    let rigid = server.levqor(&["ai", "ask", "gpt-6-sol", "Say hello", "--no-fit"]);
    assert_eq!(rigid.code, Some(4), "{}", rigid.err);
    assert!(rigid.err.contains("budget_exceeded"), "{}", rigid.err);
    assert_eq!(server.levqor(&["ai", "ask", "gpt-7", "Say hello"]).code, Some(5));
    assert_eq!(server.levqor(&["ai", "ask", "gpt-6-sol", "Say hello", "--tag", "team"]).code, Some(2));
    assert_eq!(mock.bill().calls, 0);

    let schema = server.dir.path().join("schema.json");
    std::fs::write(
        &schema,
        r#"{"type":"object","required":["a"],"properties":{"a":{"type":"integer","minimum":2}}}"#,
    )
    .unwrap();
    let schema = schema.to_str().unwrap();
    mock.queue_replies(
        [r#"{"a":2}"#, r#"{"a":1}"#].map(|text| Script { text: Some(text.to_owned()), ..Script::default() }),
    );
    let fits = server.levqor(&["ai", "ask", "gpt-6-sol", "Count", "--output", schema]);
    assert_eq!((fits.code, fits.out.as_str()), (Some(0), "{\"a\":2}\n"), "{}", fits.err);
    let unfit = server.levqor(&["ai", "ask", "gpt-6-sol", "Count", "--output", schema]);
    assert_eq!((unfit.code, unfit.out.as_str()), (Some(1), ""));
    assert!(unfit.err.contains(r#"{"a":1}"#) && unfit.err.contains("does not fit"), "{}", unfit.err);
}
