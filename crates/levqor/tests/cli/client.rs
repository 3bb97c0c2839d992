//! The commands that talk to a server.

use std::path::Path;

use levqor_mock_ai::MockAi;

use crate::program::Running;

fn server(vars: &[(&str, &str)]) -> Running {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../workflows");
    Running::start(vars, |dir| {
        for entry in std::fs::read_dir(examples).unwrap() {
            let path = entry.unwrap().path();
            std::fs::copy(&path, dir.join(path.file_name().unwrap())).unwrap();
        }
    })
}

#[test]
fn a_job_is_submitted_watched_and_looked_at() {
    let server = server(&[]);

    let watched = server.levqor(&["submit", "hello", r#"{"name":"Ada"}"#, "--tag", "team=blue", "--watch"]);
    assert_eq!(watched.code, Some(0), "{}", watched.err);
    assert!(watched.out.contains("greet: done"), "{}", watched.out);
    let first = watched.out.lines().next().unwrap();
    assert_eq!(server.levqor(&["status", first]).code, Some(0), "the id comes first: {}", watched.out);
    assert_eq!(watched.err, "");
    assert!(watched.out.ends_with("succeeded\nresult  {\"greeting\":\"Hello, Ada!\"}\n"), "{}", watched.out);

    let listed = server.levqor(&["jobs", "--tag", "team=blue", "--json"]);
    let job: serde_json::Value = serde_json::from_str(listed.out.trim()).unwrap();
    let id = job["job_id"].as_str().unwrap();
    let status = server.levqor(&["status", id, "--wait", "5s"]);
    assert_eq!((status.code, status.out.lines().next()), (Some(0), Some("succeeded")));
    let shown = server.levqor(&["jobs", "show", id]);
    assert!(shown.out.contains("greet  succeeded"), "{}", shown.out);
}

#[test]
fn the_example_workflows_do_what_they_promise() {
    let server = server(&[]);

    let invoice = r#"{"customer":"Ada","discount_percent":10,"lines":[{"cents":1250,"count":2},{"cents":400,"count":1}]}"#;
    let plain = r#"{"customer":"Ada","lines":[{"cents":100,"count":1}]}"#;
    let large = r#"{"customer":"Ada","lines":[{"cents":1000001,"count":1}]}"#;
    for (workflow, payload, result) in [
        ("invoice", invoice, r#"{"customer":"Ada","flag":null,"total_cents":2610}"#),
        ("invoice", plain, r#"{"customer":"Ada","flag":null,"total_cents":100}"#),
        ("invoice", large, "somebody should look at it"),
        ("reminder", r#"{"text":"Tea","after":"10ms"}"#, r#"{"reminded":"Tea","status":null}"#),
    ] {
        let watched = server.levqor(&["submit", workflow, payload, "--watch"]);
        assert_eq!(watched.code, Some(0), "{workflow} {payload}: {}{}", watched.out, watched.err);
        assert!(watched.out.contains(result), "{workflow} {payload}: {}", watched.out);
    }
}

#[test]
fn the_example_with_ai_steps_runs_against_a_mock_and_says_what_it_lacks_without_one() {
    let message = r#"{"message":"The lamp is broken. Call me: ada@example.com"}"#;
    let server = server(&[]);
    let failed = server.levqor(&["submit", "triage", message, "--watch"]);
    assert_eq!(failed.code, Some(1), "{}{}", failed.out, failed.err);
    let told = format!("{}{}", failed.out, failed.err);
    assert!(told.contains("there is no key for the AI provider `openai`"), "{told}");
    drop(server);

    let runtime = tokio::runtime::Runtime::new().unwrap();
    let mock = runtime.block_on(MockAi::start(([127, 0, 0, 1], 0).into(), Default::default())).unwrap();
    let provider = format!("{}/v1", mock.url());
    let server = self::server(&[("OPENAI_API_KEY", "any"), ("OPENAI_BASE_URL", &provider)]);
    let done = server.levqor(&["submit", "triage", message, "--watch"]);
    assert_eq!(done.code, Some(0), "{}{}", done.out, done.err);
    assert!(done.out.contains(r#""label":"bug""#) && done.out.contains("ada@example.com"), "{}", done.out);
    assert_eq!(mock.bill().calls, 2);
}

#[test]
fn exit_codes_tell_what_went_wrong() {
    let server = server(&[("API_KEYS", "right")]);
    let id = "00000000000000000000000000000000";
    let payload = r#"{"name":"Ada"}"#;

    for (arguments, code, words) in [
        (&["submit", "hello", payload][..], 4, "wants a key"),
        (&["submit", "hello", payload, "--key", "wrong"], 4, "does not accept this key"),
        (&["submit", "hello", "{}", "--key", "right"], 4, "\"name\" is a required property"),
        (&["submit", "hello", "{name:", "--key", "right"], 2, "not JSON"),
        (&["status", id], 5, "not found"),
        (&["jobs", "show", id, "--key", "right"], 5, "no such job"),
        (&["jobs", "--status", "done", "--key", "right"], 4, "queued, running"),
        (&["watch", "--timeout", "soon", id], 2, "30s"),
        (&["submit", "hello", payload, "--timeout", "5s"], 2, "--watch"),
        (&["jobs", "--url", "ftp://x"], 2, "ftp://x"),
        (&["jobs", "--url", "http://127.0.0.1:1"], 3, "is the server running"),
        (&["nonsense"], 2, "nonsense"),
    ] {
        let outcome = server.levqor(arguments);
        assert_eq!(outcome.code, Some(code), "{arguments:?}: {}{}", outcome.out, outcome.err);
        assert!(outcome.err.contains(words), "{arguments:?}: {}", outcome.err);
        assert_eq!(outcome.out, "", "{arguments:?}");
    }
}

#[test]
fn a_job_that_does_not_end_in_time_has_its_own_exit_code() {
    let server = server(&[]);

    let submitted = server.levqor(&["submit", "nobody-defined-this"]);
    assert_eq!(submitted.code, Some(0), "{}", submitted.err);
    assert!(submitted.err.contains("`nobody-defined-this` has no definition"), "{}", submitted.err);
    let id = submitted.out;
    let both = ["submit", "nobody-defined-this", "--watch", "--json", "--timeout", "200ms"];
    let both = server.levqor(&both);
    assert_eq!(both.code, Some(6), "{}", both.err);
    let job: serde_json::Value = serde_json::from_str(&both.out).unwrap();
    assert_eq!(both.err.lines().next(), job["job_id"].as_str(), "{}", both.err);
    let watched = server.levqor(&["watch", id.trim(), "--timeout", "200ms"]);
    assert_eq!(watched.code, Some(6), "{}", watched.err);
    assert!(watched.out.contains("waits for a definition"), "{}", watched.out);

    let cancelled = server.levqor(&["jobs", "cancel", id.trim()]);
    assert_eq!(cancelled.code, Some(0), "{}", cancelled.err);
    assert_eq!(server.levqor(&["status", id.trim()]).code, Some(1), "a cancelled job counts as failed");
}

#[test]
fn a_workflow_is_checked_put_shown_and_deleted() {
    let server = server(&[]);
    let file = server.dir.join("double.yaml");
    std::fs::write(&file, "name: double\nsteps:\n  - id: sum\n    transform: \"{{ payload.n * 2 }}\"\n")
        .unwrap();
    let file = file.to_str().unwrap();

    let checked = server.levqor(&["workflows", "check", file]);
    assert_eq!(checked.code, Some(0));
    assert!(checked.out.ends_with("double is valid, 1 step\n"), "{}", checked.out);
    assert!(server.levqor(&["workflows", "put", file]).out.contains("version 1"));
    assert!(server.levqor(&["workflows", "put", file]).out.contains("unchanged"));
    assert!(server.levqor(&["workflows", "show", "double"]).out.contains("payload.n * 2"));
    assert_eq!(server.levqor(&["workflows", "delete", "double"]).code, Some(0));
    assert_eq!(server.levqor(&["submit", "double", r#"{"n":1}"#]).code, Some(4));

    std::fs::write(file, "name: double\nsteps:\n  - id: sum\n    transfrom: 1\n").unwrap();
    let broken = server.levqor(&["workflows", "check", file]);
    assert_eq!(broken.code, Some(2));
    assert!(broken.err.contains("double.yaml:4:5: "), "{}", broken.err);
}
