#![allow(clippy::unwrap_used)]
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::*;
use crate::scope::StepOutputs;

const PAYLOAD: &str = r#"{"n":3,"name":"Ada","big":12345678901234567890123,"u":18446744073709551615,"f":1.50,"e":1e2,
"a":[{"id":1,"on":true},{"id":2,"on":false}],"none":null,"a b":{"c":"x"},"text":"he said \"hi\" }} {{ payload.n }}","o":{"x":{"y":1}}}"#;

fn with_scope<T>(run: impl FnOnce(&Scope<'_>) -> T) -> T {
    let steps: StepOutputs<'_> = [
        ("first", Some(r#"{"label":"ok","list":[10,20]}"#)),
        ("my-step", Some("7")),
        ("2nd", Some("\"two\"")),
        ("skipped", None),
        ("nothing", Some("null")),
    ]
    .into();
    let secrets: BTreeMap<String, String> = [("TOKEN".to_owned(), "s3cr3t\"x".to_owned())].into();
    run(&Scope {
        payload: PAYLOAD,
        job: r#"{"id":"abc","workflow":"w","created_at":1.5,"priority":"high"}"#,
        tags: r#"{"team":"red"}"#,
        steps: &steps,
        secrets: &secrets,
        monotonic_us,
    })
}

fn monotonic_us() -> u64 {
    static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    START.get_or_init(Instant::now).elapsed().as_micros() as u64
}

fn eval(source: &str) -> Result<String, String> {
    let expression = Expression::parse(source).map_err(|error| error.0)?;
    with_scope(|scope| {
        expression.evaluate(scope, &mut Meter::default()).map(Cow::into_owned).map_err(|error| error.0)
    })
}

#[test]
fn a_plain_path_hands_over_what_was_sent() {
    for (source, expected) in [
        ("payload.n", "3"),
        (" payload.big ", "12345678901234567890123"),
        ("payload.u", "18446744073709551615"),
        ("payload.f", "1.50"),
        ("payload.e", "1e2"),
        ("payload.a[1].id", "2"),
        ("payload.a[1]", r#"{"id":2,"on":false}"#),
        (r#"payload["a b"].c"#, "\"x\""),
        ("payload.none", "null"),
        ("payload?.missing?.deeper", "null"),
        ("payload.a?[7]", "null"),
        ("steps.first.output.list[0]", "10"),
        ("steps.my-step.output", "7"),
        ("steps.2nd.output", "\"two\""),
        (r#"steps["my-step"].output"#, "7"),
        ("steps.skipped.output", "null"),
        ("steps.skipped.output.label.deeper[3]", "null"),
        ("steps.nothing.output.label", "null"),
        ("job.id", "\"abc\""),
        ("job.created_at", "1.5"),
        ("tags.team", "\"red\""),
        ("secrets.TOKEN", r#""s3cr3t\"x""#),
    ] {
        let expression = Expression::parse(source).unwrap();
        assert!(expression.code.is_none(), "{source} must not need the engine");
        assert_eq!(eval(source), Ok(expected.to_owned()), "{source}");
    }
    assert_eq!(eval("payload"), Ok(PAYLOAD.to_owned()));
}

#[test]
fn a_path_that_leads_nowhere_is_named() {
    for (source, expected) in [
        ("payload.missing", "payload has no member `missing`"),
        ("payload.o.x.z", "payload.o.x has no member `z`"),
        ("payload.a[5]", "payload.a has no element 5"),
        ("payload.n.x", "payload.n is a number, it has no member `x`"),
        ("payload.none.x", "payload.none is null, it has no member `x`"),
        ("payload[0]", "payload is an object, it has no element 0"),
        ("payload.missing + 1", "payload has no member `missing`"),
        ("payload.missing == 1", "payload has no member `missing`"),
        ("secrets.NONE", "there is no secret `NONE`"),
        ("steps.later.output", "step `later` has no output yet"),
    ] {
        assert_eq!(eval(source), Err(expected.to_owned()), "{source}");
    }
}

#[test]
fn expressions_compute() {
    for (source, expected) in [
        ("payload.n * 2 + 1", "7"),
        ("payload.n > 2 && payload.name == \"Ada\"", "true"),
        ("payload.n > 2 || payload.missing", "true"),
        ("payload?.missing ?? \"default\"", "\"default\""),
        ("`n=${payload.n}, l=${steps.first.output.label}`", "\"n=3, l=ok\""),
        ("payload.a.map(|x| x.id * payload.n)", "[3,6]"),
        ("payload.a.filter(|x| x.on).len()", "1"),
        ("payload.a.map(|x| payload.a.map(|y| x.id * y.id))", "[[1,2],[2,4]]"),
        ("payload.a.zip([5, 6], |x, y| x.id + y)", "[6,8]"),
        ("payload.name.to_upper()", "\"ADA\""),
        ("payload.name.len()", "3"),
        ("#{payload: payload.n, tags: [1, 'c', 2.5]}", r#"{"payload":3,"tags":[1,"c",2.5]}"#),
        ("#{a: #{b: #{}}}", r#"{"a":{"b":{}}}"#),
        ("\"}} {{\"", "\"}} {{\""),
        ("if payload.n > 2 { \"many\" } else { \"few\" }", "\"many\""),
        ("switch payload.name { \"Ada\" => 1, _ => 2 }", "1"),
        ("\"on\" in payload.a[0]", "true"),
        ("steps.skipped.output.x ?? 5", "5"),
        ("steps.my-step.output - 1", "6"),
        ("steps.my-step.output-steps.first.output.list[0]", "-3"),
        ("payload.a.len() - payload.n", "-1"),
        ("1.5 + 1.5", "3.0"),
        ("7 / 2", "3"),
        ("url_encode(\"a b/ä&\")", "\"a%20b%2F%C3%A4%26\""),
        ("payload.text.contains(\"}}\")", "true"),
        ("#{x: 1}.map(|name, value| name + value)", r#"{"x":"x1"}"#),
        ("payload.o.x.keys()", "[\"y\"]"),
        ("payload.a[payload.n - 2].id", "2"),
        ("payload\n  .o\n  .x.y", "1"),
        ("payload.name.replace(\"A\", 'b')", "\"bda\""),
        ("\"  x \".trim()", "\"x\""),
        ("payload.a.map(|x| x.id).reverse()", "[2,1]"),
        ("payload.a.map(|x| x.id).join(\", \")", "\"1, 2\""),
        ("[3, 1, 2].order()", "[1,2,3]"),
        ("9223372036854775807", "9223372036854775807"),
    ] {
        assert_eq!(eval(source), Ok(expected.to_owned()), "{source}");
    }
}

#[test]
fn what_the_language_does_not_have_is_refused_when_it_is_read() {
    for source in [
        "",
        " ",
        "unknown",
        "payload.",
        "1 +",
        "let x = 1",
        "1; 2",
        "loop {}",
        "while true {}",
        "fn f() {}",
        "throw 1",
        "import \"x\"",
        "eval(\"1\")",
        "Fn(\"sleep\").call(1)",
        "__path(0)",
        "payload = 3",
        "payload.n = 3",
        "this.x",
        "|payload| 1",
        "[1].map(|a, steps| 1)",
        "steps",
        "steps.x",
        "steps.x.status",
        "steps[payload.n]",
        "job.nope",
        "secrets",
        "secrets[payload.n]",
        "secrets.A.B",
        "1 // comment",
        "1 /* c */",
        "#\"raw\"#",
        "f(1,2,3,4,5,6)",
        "(",
        ")",
        "[",
        "\"open",
        "`open",
        "`${1`",
        "'",
        "} 1",
    ] {
        assert!(Expression::parse(source).is_err(), "{source} was taken");
    }
    let long = format!("\"{}\"", "x".repeat(MAX_EXPRESSION_BYTES));
    assert!(Expression::parse(&long).unwrap_err().0.contains("4096"));
    let deep = format!("{}1{}", "(".repeat(1000), ")".repeat(1000));
    assert!(Expression::parse(&deep).is_err());
}

#[test]
fn functions_with_clocks_or_effects_do_not_exist() {
    let started = Instant::now();
    for source in
        ["sleep(30)", "exit(3)", "timestamp()", "parse_json(\"{}\")", "blob(100)", "print(1).call()"]
    {
        assert!(eval(source).is_err(), "{source}");
    }
    assert!(started.elapsed() < Duration::from_secs(5));
}

#[test]
fn a_closure_that_uses_the_list_it_walks_is_told_how_to_do_it() {
    let error = eval("[[1,2]].map(|a| a.map(|b| a.len() + b))").unwrap_err();

    assert!(error.contains("full path"), "{error}");
    assert_eq!(eval("payload.a.map(|x| payload.a.len())"), Ok("[2,2]".to_owned()));
}

#[test]
fn what_is_no_json_is_no_result() {
    for source in ["|x| x", "1..3", "0.0 / 0.0", "1.0 / 0.0"] {
        assert!(eval(source).is_err(), "{source}: {:?}", eval(source));
    }
}

#[test]
fn integers_are_exact_and_numbers_that_do_not_fit_are_refused() {
    assert!(eval("payload.u + 1").unwrap_err().contains("18446744073709551615"));
    assert!(eval("payload.big > 1").unwrap_err().contains("does not fit"));
    assert!(eval("9223372036854775807 + payload.n").is_err());
    assert!(eval("5 / 0").is_err());
}

#[test]
fn secrets_never_stand_in_errors() {
    for source in [
        "payload[secrets.TOKEN]",
        "secrets.TOKEN.parse_int()",
        "secrets.TOKEN - 1",
        "#{a: 1}[secrets.TOKEN]",
        "[secrets.TOKEN].map(|x| x.no_such())",
        "secrets.TOKEN.no_such(1)",
    ] {
        let error = eval(source).unwrap_err();
        assert!(!error.contains("s3cr3t"), "{source}: {error}");
    }
    assert_eq!(eval("\"Bearer \" + secrets.TOKEN"), Ok(r#""Bearer s3cr3t\"x""#.to_owned()));
}

#[test]
fn hostile_expressions_end_soon() {
    let ten = "[1,2,3,4,5,6,7,8,9,10]";
    let nested = format!("{ten}.map(|a| {ten}.map(|b| {ten}.map(|c| {ten}.map(|d| {ten}.map(|e| {ten})))))");
    let doubling = format!("[1]{}", ".map(|x| [x, x, x, x, x, x, x, x])".repeat(20));
    let concat = format!("(|s| s + s).call({}", "(|s| s + s).call(".repeat(15));
    let concat = format!("{concat}\"{}\"{}", "x".repeat(2000), ")".repeat(16));
    let bombs = [
        "(0..1000000000).map(|x| x)".to_owned(),
        "(0..1e9)".to_owned(),
        "\"x\".pad(1000000000, \"y\")".to_owned(),
        "[1].pad(1000000000, 1)".to_owned(),
        nested,
        doubling,
        concat,
        format!("\"{}\"{}", "x".repeat(1000), ".replace(\"x\", \"xxxxxxxxxx\")".repeat(40)),
        format!(
            "\"{}\".replace('x', \"{}\").replace('y', 'z').replace(\"y\", \"{}\")",
            "x".repeat(1000),
            "y".repeat(300),
            "x".repeat(1000)
        ),
        "(|f| f.call(f)).call(|f| f.call(f))".to_owned(),
        "2 ** 1000000000".to_owned(),
        format!("{}1", "-".repeat(2000)),
        format!("1{}", "+1".repeat(1900)),
        format!("{}1{}", "[".repeat(1000), "]".repeat(1000)),
    ];
    for bomb in bombs {
        let started = Instant::now();
        let result = eval(&bomb);
        let took = started.elapsed();
        assert!(took < Duration::from_millis(1500), "{bomb:.60} took {took:?}");
        assert!(result.is_err(), "{bomb:.60}: {:.80}", result.unwrap_or_default());
    }
}

#[test]
fn large_values_cannot_be_multiplied() {
    let large = format!(
        "{{\"a\":[{}1],\"s\":\"{}\",\"t\":[{}\"x\"]}}",
        "1,".repeat(15_000),
        "x".repeat(200_000),
        "\"y\",".repeat(3000)
    );
    let steps = StepOutputs::new();
    let secrets = BTreeMap::new();
    let scope =
        Scope { payload: &large, job: "{}", tags: "{}", steps: &steps, secrets: &secrets, monotonic_us };

    for source in [
        "payload.a.map(|x| payload.a)",
        "payload.a.map(|x| payload.a.len())",
        "payload.a.map(|x| payload.s + x)",
        "payload.a.zip(payload.a, |x, y| payload.s + x)",
        "payload.s.replace(\"x\", payload.s)",
        "payload.s.replace('x', payload.s)",
        "payload.s.split(\"\")",
        "payload.a.map(|x| payload.s.contains(\"xxxxxxxxy\"))",
        "payload.a.map(|x| (payload.s + x).len())",
        "payload.t.map(|x| payload.t.contains(x))",
        "payload.t.map(|x| payload.t.index_of(\"none\"))",
        "payload.a.map(|x| payload.a == payload.a)",
        "payload.t.map(|x| payload.t.order())",
        "payload.a.map(|x| payload)",
        "payload.a.join(payload.s)",
        "payload.a.map(|x| [payload.s, payload.s])",
    ] {
        let expression = Expression::parse(source).unwrap();
        let started = Instant::now();
        let result = expression.evaluate(&scope, &mut Meter::default());
        let took = started.elapsed();
        assert!(result.is_err(), "{source}");
        assert!(took < Duration::from_millis(2500), "{source}: {took:?}");
    }
    let part = Expression::parse("payload.a.extract(0, 500).reduce(|sum, x| sum + x, 0)").unwrap();
    let patient = Scope { monotonic_us: || 0, ..scope };
    assert_eq!(part.evaluate(&patient, &mut Meter::default()).unwrap(), "500");
}

#[test]
fn operations_are_counted_without_a_clock_too() {
    let nested = "payload.a.map(|x| payload.a.map(|y| payload.a.map(|z| x.id + y.id + z.id)))";
    assert!(eval(nested).is_ok());
    let many = format!("[{}].map(|x| [{}].map(|y| x + y))", "1,".repeat(500), "1,".repeat(500));
    let expression = Expression::parse(&many).unwrap();

    let result = with_scope(|scope| {
        expression.evaluate(&Scope { monotonic_us: || 0, ..*scope }, &mut Meter::default()).map(|_| ())
    });

    assert!(result.unwrap_err().0.contains("100,000 operations"));
}

#[test]
fn one_meter_is_shared_by_all_expressions_of_a_rendering() {
    let busy = format!("[{}].map(|a| a + 1 + 1 + 1)", "1,".repeat(1000));
    let expression = Expression::parse(&busy).unwrap();
    let mut meter = Meter::default();

    let failed = with_scope(|scope| (0..200).find(|_| expression.evaluate(scope, &mut meter).is_err()));

    assert!(failed.is_some_and(|round| round > 0), "{failed:?}");
}

#[test]
fn random_text_never_panics_the_scanner() {
    let parts = [
        "payload",
        "steps",
        ".",
        "?.",
        "[",
        "]",
        "(",
        ")",
        "{",
        "}",
        "\"",
        "'",
        "`",
        "${",
        "|",
        "||",
        "a",
        "1",
        "1.5",
        "-",
        "é",
        "\\",
        "#{",
        ":",
        ",",
        "?",
        "??",
        "/",
        "*",
        "//",
        " ",
        "\n",
        "steps.x.output",
        "secrets.A",
        "..",
        "0x",
        "1e-",
        "__",
        "in",
        "if",
    ];
    let mut state = 7u64;
    for _ in 0..20_000 {
        let mut text = String::new();
        for _ in 0..12 {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            text.push_str(parts[(state >> 33) as usize % parts.len()]);
        }
        let _ = scan(&format!("{text}}}}}"));
    }
}
