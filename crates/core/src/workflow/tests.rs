#![allow(clippy::unwrap_used)]
mod mistakes;

use std::collections::BTreeMap;

use super::*;
use crate::retry::{Backoff, RetryPolicy};
use crate::scope::{Scope, StepOutputs};

const FULL: &str = r##"
name: orders
description: Ships orders
input:
  type: object
  required: [order]
  properties: { order: { type: string } }
timeout: 10m
retry: { attempts: 3, backoff: exponential, first: 2s, max: 1m }
steps:
  - id: fetch
    http:
      method: POST
      url: "https://api.example.com/{{ payload.order }}"
      headers: { Authorization: "Bearer {{ secrets.API }}", X-Try: 1 }
      query: { full: true, who: "{{ tags?.who ?? 'x' }}" }
      json: { order: "{{ payload.order }}", all: "{{ payload }}" }
      ok: [200, 404]
    timeout: 5s
    rerun: never
  - id: rest
    if: "{{ steps.fetch.output.status == 200 }}"
    wait: 30s
    retry: { attempts: 1 }
  - id: side
    needs: []
    wait: { until: "{{ payload.order }}" }
  - id: join
    needs: [rest, side]
    transform: { a: "{{ steps.fetch.output.body }}" }
output: "{{ steps.join.output }}"
"##;

fn problems(yaml: &str) -> Vec<String> {
    match Definition::parse(yaml, Some("w")) {
        Ok(_) => Vec::new(),
        Err(problems) => problems.iter().map(Problem::to_string).collect(),
    }
}

fn one_problem(yaml: &str) -> String {
    let found = problems(yaml);
    assert_eq!(found.len(), 1, "{yaml}: {found:#?}");
    found.into_iter().next().unwrap()
}

/// A definition with one step, which has these lines.
fn step(lines: &str) -> String {
    format!("steps:\n  - id: a\n    {lines}\n")
}

fn with_scope<T>(run: impl FnOnce(&Scope<'_>) -> T) -> T {
    let steps: StepOutputs<'_> = [("a", Some("1")), ("b", None)].into();
    let secrets: BTreeMap<String, String> = [("KEY".to_owned(), "hush".to_owned())].into();
    let payload = r#"{"yes":true,"n":5,"id":"a/b","line":"x\r\ny","url":"ftp://x"}"#;
    run(&Scope { payload, job: "{}", tags: "{}", steps: &steps, secrets: &secrets, monotonic_us: || 0 })
}

#[test]
fn a_definition_is_read_whole() {
    let definition = Definition::parse(FULL, Some("orders")).unwrap();

    assert_eq!((definition.name.as_str(), definition.timeout_ms), ("orders", 600_000));
    assert!(definition.input.as_ref().unwrap().validate("{}").is_err());
    let (index, fetch) = definition.step("fetch").unwrap();
    assert_eq!((index, fetch.timeout_ms, fetch.rerun), (0, 5000, Rerun::Never));
    let policy = RetryPolicy {
        attempts: 3,
        backoff: Backoff::Exponential,
        first_ms: 2000,
        max_ms: 60_000,
        jitter: true,
    };
    assert_eq!(fetch.retry, policy);
    let StepKind::Http(http) = &fetch.kind else { panic!() };
    assert!(http.accepts(404) && !http.accepts(201));
    let needs: Vec<&[usize]> = definition.steps.iter().map(|step| step.needs.as_slice()).collect();
    assert_eq!(needs, [&[] as &[usize], &[0], &[], &[1, 2]]);
    assert_eq!((definition.steps[1].retry.attempts, definition.steps[1].timeout_ms), (1, 30_000));
    let summary = serde_json::to_string(&definition.summary()).unwrap();
    assert!(summary.starts_with(
        r#"{"name":"orders","description":"Ships orders","steps":[{"id":"fetch","kind":"http"}"#
    ));
}

#[test]
fn defaults_are_as_documented() {
    let definition = Definition::parse(&step("transform: 1"), Some("w")).unwrap();

    assert_eq!((definition.name.as_str(), definition.timeout_ms), ("w", 86_400_000));
    assert!(definition.input.is_none() && definition.output.is_none());
    assert_eq!(definition.steps[0].retry, RetryPolicy::NONE);
    assert_eq!(definition.steps[0].rerun, Rerun::Always);
}

#[test]
fn json_is_read_like_yaml() {
    let json = r#"{"name":"w","steps":[{"id":"a","transform":{"x":"{{ payload.x }}"}}]}"#;
    assert!(Definition::parse(json, None).is_ok());

    let broken = "{\"name\":\"w\",\n  \"steps\":[{\"id\":\"a\",\n    \"transforn\":1}]}";
    let problem = &Definition::parse(broken, None).unwrap_err()[0];
    assert_eq!(
        (problem.path.as_str(), problem.line, problem.column),
        ("/steps/0/transforn", Some(3), Some(5))
    );
}

#[test]
fn a_condition_must_give_a_boolean() {
    let judge = |condition: &str| {
        let definition =
            Definition::parse(&step(&format!("if: {condition}\n    transform: 1")), Some("w")).unwrap();
        with_scope(|scope| definition.steps[0].condition(scope))
    };

    assert_eq!(judge("\"{{ payload.yes }}\""), Ok(true));
    assert_eq!(judge("\"{{ payload.n > 7 }}\""), Ok(false));
    assert_eq!(judge("false"), Ok(false));
    let error = judge("\"{{ payload.n }}\"").unwrap_err();
    assert_eq!((error.code.as_str(), error.step.as_deref()), ("bad_condition", Some("a")));
    assert_eq!(error.message, "`if` must give true or false, it gave 5");
    assert_eq!(judge("\"{{ payload.none }}\"").unwrap_err().code, "template_failed");
}

#[test]
fn an_http_call_is_filled_in_and_guarded() {
    let call = |lines: &str| {
        let definition = Definition::parse(&step(&format!("http: {lines}")), Some("w")).unwrap();
        let StepKind::Http(http) = &definition.steps[0].kind else { panic!() };
        with_scope(|scope| http.render(scope))
    };

    let made = call("{method: PUT, url: \"https://x.y/{{ url_encode(payload.id) }}?k=1\", headers: {A: \"Bearer {{ secrets.KEY }}\"}, query: {q: \"a b&{{ payload.n }}\"}, json: {n: \"{{ payload.n }}\"}}").unwrap();
    assert_eq!(
        made,
        HttpCall {
            method: "PUT".to_owned(),
            url: "https://x.y/a%2Fb?k=1&q=a+b%265".to_owned(),
            headers: vec![
                ("A".to_owned(), "Bearer hush".to_owned()),
                ("content-type".to_owned(), "application/json".to_owned())
            ],
            body: Some("{\"n\":5}".to_owned()),
        }
    );
    let text = call("{method: POST, url: \"https://x.y\", headers: {Content-Type: text/plain}, body: \"n={{ payload.n }}\"}").unwrap();
    assert_eq!((text.body.as_deref(), text.headers.len()), (Some("n=5"), 1));
    let message = |lines: &str| call(lines).unwrap_err().0;
    assert_eq!(message("{url: \"{{ payload.id }}\"}"), "`url` must begin with http:// or https://");
    assert_eq!(message("{url: \"{{ payload?.none }}\"}"), "`url` is empty");
    for bad in [
        "{url: \"{{ payload.url }}\"}",
        "{url: \"{{ payload.n }}\"}",
        "{url: \"https://x.y\", headers: {A: \"{{ payload.line }}\"}}",
        "{url: \"https://{{ secrets.KEY }}:port\"}",
    ] {
        let error = call(bad).unwrap_err();
        assert!(!error.0.contains("hush"), "{error}");
    }
}

#[test]
fn a_wait_ends_at_a_time() {
    let until = |wait: &str| {
        let definition = Definition::parse(&step(&format!("wait: {wait}")), Some("w")).unwrap();
        let StepKind::Wait(step) = &definition.steps[0].kind else { panic!() };
        with_scope(|scope| step.until_ms(scope, 1_000))
    };

    assert_eq!(until("5s"), Ok(6_000));
    assert_eq!(until("{for: \"{{ payload.n }}m\"}"), Ok(301_000));
    assert_eq!(until("{until: \"1970-01-01T00:01:00Z\"}"), Ok(60_000));
    assert_eq!(until("{until: 60}"), Ok(60_000));
    assert_eq!(until("{until: \"{{ payload.n }}\"}"), Ok(5_000));
    assert_eq!(until("{until: 0}"), Ok(1_000), "the past is now");
    for bad in [
        "\"{{ payload.id }}\"",
        "{until: \"{{ payload.id }}\"}",
        "{until: 99999999999}",
        "\"{{ payload.n }}\"",
    ] {
        assert_eq!(until(bad).unwrap_err().code, WaitStep::BAD_WAIT, "{bad}");
    }
}

#[test]
fn a_result_is_the_output_or_all_outputs() {
    let all = "steps:\n- {id: a, transform: 1}\n- {id: b, transform: 1}\n";
    let result = |yaml: &str| {
        let definition = Definition::parse(yaml, Some("w")).unwrap();
        with_scope(|scope| definition.result(scope).unwrap())
    };

    assert_eq!(result(all), r#"{"a":1,"b":null}"#);
    assert_eq!(result(&format!("output: {{x: \"{{{{ steps.a.output }}}}\"}}\n{all}")), r#"{"x":1}"#);
}

#[test]
fn definitions_can_be_shared_between_threads() {
    fn shared<T: Send + Sync>() {}
    shared::<Definition>();
}

const GUIDE: &str = include_str!("../../../../docs/workflows.md");

#[test]
fn every_definition_of_the_guide_is_right() {
    let blocks: Vec<&str> =
        GUIDE.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();

    assert!(blocks.len() >= 6);
    for block in blocks {
        let name = block.lines().next().and_then(|line| line.strip_prefix("name: "));
        assert!(name.is_some(), "{block}");
        let result = Definition::parse(block, None);
        assert!(result.is_ok(), "{block}: {result:?}");
    }
}

#[test]
fn every_expression_of_the_guide_gives_what_it_says() {
    let payload = GUIDE.split("```json\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap().trim();
    let (steps, secrets) = (StepOutputs::new(), BTreeMap::new());
    let scope =
        Scope { payload, job: "{}", tags: "{}", steps: &steps, secrets: &secrets, monotonic_us: || 0 };
    let lines: Vec<(&str, &str)> = GUIDE
        .lines()
        .filter_map(|line| line.strip_prefix("- `")?.split_once("` → `"))
        .map(|(expression, result)| {
            let expression =
                expression.strip_prefix("` ").and_then(|e| e.strip_suffix(" `")).unwrap_or(expression);
            (expression, result.trim_end_matches('`'))
        })
        .collect();

    assert!(lines.len() >= 15);
    for (source, expected) in lines {
        let expression = crate::expression::Expression::parse(source).unwrap();
        let value = expression.evaluate(&scope, &mut crate::expression::Meter::default());
        assert_eq!(value.as_deref(), Ok(expected), "{source}");
    }
}

#[test]
fn a_cost_is_an_exact_amount_beside_http_or_connect_and_anything_else_is_told() {
    let step = |more: &str| format!("{{name: w, steps: [{{id: a, {more}}}]}}");
    let http = "http: {url: 'https://x.example'}";
    for (text, nano) in [("0.002", 2_000_000), ("0.000000001", 1), ("1000000", 1_000_000_000_000_000)] {
        let definition = Definition::parse(&step(&format!("{http}, cost: '{text}'")), None).unwrap();
        assert_eq!(definition.steps[0].cost.map(crate::money::Nano::get), Some(nano));
    }
    let huge = "9".repeat(400);
    for (cost, told) in [
        ("'-1'", "must not be negative"),
        ("'1e9'", "must be US dollars as a decimal"),
        ("'NaN'", "must be US dollars as a decimal"),
        ("'{{ payload.x }}'", "must be US dollars as a decimal"),
        ("'0.0000000001'", "9 digits after the point"),
        ("'1000001'", "1000000 dollars at most"),
        (&format!("'{huge}'"), "1000000 dollars at most"),
        ("'0.00'", "more than 0"),
        ("0.002", "in quotes"),
        ("null", "in quotes"),
        ("[]", "in quotes"),
    ] {
        let problems = Definition::parse(&step(&format!("{http}, cost: {cost}")), None).unwrap_err();
        let shown = format!("{problems:?}");
        assert!(shown.contains(told) && shown.contains("/steps/0/cost"), "{cost}: {shown}");
    }
    for kind in ["transform: 1", "wait: 5s", "ai: {model: a/b, prompt: x}"] {
        let problems = Definition::parse(&step(&format!("{kind}, cost: '1'")), None).unwrap_err();
        assert!(format!("{problems:?}").contains("beside `http` and `connect` only"), "{problems:?}");
    }
}
