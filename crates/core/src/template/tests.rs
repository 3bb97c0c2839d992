#![allow(clippy::unwrap_used)]
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::*;
use crate::scope::StepOutputs;

const PAYLOAD: &str = r#"{"name":"Ada \"x\"","n":1.50,"big":12345678901234567890,"o":{"k":[1,2]},"none":null,"evil":"{{ secrets.KEY }} {{ payload.n }}"}"#;

fn compiled(yaml: &str) -> Result<Template, Vec<crate::workflow::Problem>> {
    let node = Node::parse(yaml).unwrap();
    let mut problems = Problems::new(&node);
    let template = Template::compile(&node, "", &mut problems);
    if problems.is_empty() { Ok(template) } else { Err(problems.into_vec()) }
}

fn with<T>(payload: &str, run: impl FnOnce(&Scope<'_>) -> T) -> T {
    let steps: StepOutputs<'_> = [("gone", None), ("one", Some("[true]"))].into();
    let secrets: BTreeMap<String, String> = [("KEY".to_owned(), "hush".to_owned())].into();
    run(&Scope { payload, job: "{}", tags: "{}", steps: &steps, secrets: &secrets, monotonic_us: || 0 })
}

fn render(yaml: &str) -> Result<String, String> {
    with(PAYLOAD, |scope| compiled(yaml).unwrap().render(scope).map_err(|error| error.0))
}

#[test]
fn values_keep_their_types_and_texts_are_filled_in() {
    for (yaml, expected) in [
        ("\"{{ payload.n }}\"", "1.50"),
        ("\"{{ payload.o }}\"", r#"{"k":[1,2]}"#),
        ("\"{{ payload }}\"", PAYLOAD),
        ("\"n is {{ payload.n }}\"", "\"n is 1.50\""),
        ("\"{{ payload.n }}{{ payload.n }}\"", "\"1.501.50\""),
        ("\"hi {{ payload.name }}!\"", r#""hi Ada \"x\"!""#),
        ("\"{{ payload.o }} {{ payload.none }}.\"", r#""{\"k\":[1,2]} .""#),
        ("\"{{ payload.none }}\"", "null"),
        ("\"{{ steps.gone.output.x }}\"", "null"),
        (
            "{a: \"{{ payload.big }}\", b: [1, \"{{ 1 + 1 }}\", {c: null}]}",
            r#"{"a":12345678901234567890,"b":[1,2,{"c":null}]}"#,
        ),
        ("|\n  {{ payload.n }}\n", "1.50"),
        ("\" {{ payload.n }}\"", "\" 1.50\""),
        ("\"{{ \\\"{{\\\" }} and }}\"", "\"{{ and }}\""),
        ("plain", "\"plain\""),
        ("{x: 1e3, y: true}", r#"{"x":1000.0,"y":true}"#),
        ("\"\"", "\"\""),
        ("\"{ not one }\"", "\"{ not one }\""),
        ("{}", "{}"),
    ] {
        assert_eq!(render(yaml), Ok(expected.to_owned()), "{yaml}");
    }
}

#[test]
fn what_was_filled_in_is_never_read_again() {
    assert_eq!(render("\"{{ payload.evil }}\""), Ok("\"{{ secrets.KEY }} {{ payload.n }}\"".to_owned()));
    assert_eq!(render("\"a {{ payload.evil }}\""), Ok("\"a {{ secrets.KEY }} {{ payload.n }}\"".to_owned()));
}

#[test]
fn as_text_a_value_is_written_without_quotes() {
    let text = |yaml: &str| with(PAYLOAD, |scope| compiled(yaml).unwrap().render_text(scope).unwrap());

    assert_eq!(text("\"{{ payload.name }}\""), "Ada \"x\"");
    assert_eq!(text("\"{{ payload.o }}\""), r#"{"k":[1,2]}"#);
    assert_eq!(text("\"{{ payload.none }}\""), "");
    assert_eq!(text("5"), "5");
    assert_eq!(text("\"a{{ 1 + 1 }}b\""), "a2b");
    assert_eq!(text("plain"), "plain");
}

#[test]
fn errors_name_the_expression_and_no_secret() {
    assert_eq!(
        render("{a: \"x {{ payload.missing }}\"}"),
        Err("{{ payload.missing }}: payload has no member `missing`".to_owned())
    );
    let error = render("\"{{ payload[secrets.KEY] }}\"").unwrap_err();
    assert!(!error.contains("hush"), "{error}");
}

#[test]
fn bad_templates_are_found_with_their_place() {
    let problems = compiled("a: ok\nb:\n  - \"{{ 1 + }}\"\n  - \"{{ open\"\n\"{{ k }}\": 1\n").unwrap_err();

    let places: Vec<(&str, Option<u32>, Option<u32>)> =
        problems.iter().map(|problem| (problem.path.as_str(), problem.line, problem.column)).collect();
    assert_eq!(
        places,
        [("/b/0", Some(3), Some(5)), ("/b/1", Some(4), Some(5)), ("/{{ k }}", Some(5), Some(1))],
        "{problems:?}"
    );
}

#[test]
fn results_are_bounded_in_size_and_depth() {
    let copies = format!("[{}]", "\"{{ payload }}\",".repeat(1500));
    let large = format!("{{\"a\":\"{}\"}}", "x".repeat(200_000));
    let error = with(&large, |scope| compiled(&copies).unwrap().render(scope).unwrap_err());
    assert!(error.0.contains("longer than"), "{error}");

    let text = format!("\"{}\"", "{{ payload.a }}".repeat(1500));
    assert!(with(&large, |scope| compiled(&text).unwrap().render(scope).is_err()));

    let deep = format!("{}1{}", "[".repeat(64), "]".repeat(64));
    with(&deep, |scope| {
        assert_eq!(compiled("\"{{ payload }}\"").unwrap().render(scope).unwrap(), deep);
        let error = compiled("[\"{{ payload }}\"]").unwrap().render(scope).unwrap_err();
        assert!(error.0.contains("deeper than 64"), "{error}");
    });
}

#[test]
fn lookups_in_a_large_value_are_metered() {
    let large = format!("{{\"a\":\"{}\",\"b\":1}}", "x".repeat(200_000));
    let many = format!("[{}]", "\"{{ payload.b }}\",".repeat(1900));

    let started = Instant::now();
    let result = with(&large, |scope| compiled(&many).unwrap().render(scope));

    assert!(result.unwrap_err().0.contains("read more than"));
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
}

#[test]
fn a_definition_cannot_hold_expressions_without_end() {
    let many = format!("[{}]", "\"{{ 1 + 1 }}\",".repeat(10_000));

    let started = Instant::now();
    let problems = compiled(&many).unwrap_err();

    assert_eq!(problems.len(), 1);
    assert!(problems[0].message.contains("2000"), "{problems:?}");
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
}

#[test]
fn templates_can_be_shared_between_threads() {
    fn shared<T: Send + Sync>() {}
    shared::<Template>();
}
