#![allow(clippy::unwrap_used)]

use std::time::Instant;

use proptest::prelude::*;

use super::*;

fn label() -> Schema {
    let schema = r#"{"type":"object","required":["label"],"additionalProperties":false,
        "properties":{"label":{"enum":["bug","question"]},"n":{"type":"integer"}}}"#;
    Schema::compile(schema).unwrap()
}

fn anything() -> Schema {
    Schema::compile("true").unwrap()
}

fn mended(text: &str) -> Option<String> {
    match judge(text, true, &anything(), str::to_owned) {
        Verdict::Fits { json, mended } => {
            assert!(mended, "{text}");
            Some(json)
        }
        Verdict::Unfit { .. } => None,
    }
}

#[test]
fn what_is_right_stays_as_it_is() {
    let verdict =
        judge(" {\"label\": \"bug\", \"n\": 12345678901234567890} ", true, &anything(), str::to_owned);

    let json = r#"{"label":"bug","n":12345678901234567890}"#.to_owned();
    assert_eq!(verdict, Verdict::Fits { json, mended: false });
}

#[test]
fn the_usual_slips_are_mended_without_a_guess() {
    for (text, expected) in [
        ("```json\n{\"a\": 1}\n```", r#"{"a":1}"#),
        ("Sure! Here it is:\n\n{\"a\": [1, 2,],}\n\nAnything else?", r#"{"a":[1,2]}"#),
        ("{'a': 'it's fine', 'b': True, c: None}", r#"{"a":"it's fine","b":true,"c":null}"#),
        ("{“a”: “x “y” z”}", r#"{"a":"x “y” z"}"#),
        ("{\"a\": \"he said \"no\" to me\"}", r#"{"a":"he said \"no\" to me"}"#),
        ("{\"a\": \"one\ntwo\tthree\"}", r#"{"a":"one\ntwo\tthree"}"#),
        ("{\"a\": 1 // why\n, /* and */ \"b\": 2}", r#"{"a":1,"b":2}"#),
        ("{\"a\": {\"b\": [1, {\"c\": \"d", r#"{"a":{"b":[1,{"c":"d"}]}}"#),
        ("{\"a\": \"c:\\dir\\é\"}", r#"{"a":"c:dir\u00e9"}"#),
        ("[1, 2", "[1,2]"),
    ] {
        let wanted = expected.replace(r"c:dir\u00e9", "c:diré");
        assert_eq!(mended(text).as_deref(), Some(wanted.as_str()), "{text}");
    }
}

#[test]
fn nothing_is_made_up() {
    for text in [
        "",
        "no",
        "{\"a\":",
        "{\"a\"",
        "{\"a\": }",
        "{a b}",
        "{\"a\": 1 \"b\": 2}",
        "{,}",
        "[1,,2]",
        "}",
        "{]",
    ] {
        assert_eq!(mended(text), None, "{text}");
    }
}

#[test]
fn what_was_cut_off_at_its_limit_is_never_completed() {
    let text = "{\"label\": \"bug\", \"n\": [1, 2";

    assert!(matches!(judge(text, true, &anything(), str::to_owned), Verdict::Fits { mended: true, .. }));
    assert!(matches!(judge(text, false, &anything(), str::to_owned), Verdict::Unfit { json: None, .. }));
}

#[test]
fn of_several_values_the_one_that_fits_is_taken() {
    let text = "As [1] says, {\"label\": \"no\"} is wrong; it is {\"label\": \"question\"}.";

    let verdict = judge(text, true, &label(), str::to_owned);

    assert_eq!(verdict, Verdict::Fits { json: r#"{"label":"question"}"#.to_owned(), mended: true });
}

#[test]
fn problems_name_their_place_and_are_told_to_the_model() {
    let Verdict::Unfit { problems, json } =
        judge(r#"{"label":"x","n":1.5,"o":1}"#, true, &label(), str::to_owned)
    else {
        panic!("it fits")
    };

    assert!(json.is_some());
    assert!(problems.iter().any(|problem| problem.pointer == "/label"), "{problems:?}");
    let told = ask_again(&problems);
    assert!(
        told.contains("- /label: ") && told.contains("- /n: ") && told.lines().count() == problems.len() + 2
    );
}

#[test]
fn hostile_answers_take_linear_time() {
    let hostile = [
        "{".repeat(1 << 20),
        "[".repeat(1 << 20),
        "{\"a\":".repeat(1 << 18),
        "\"".repeat(1 << 20),
        format!("{{\"a\": \"{}", "\" ".repeat(1 << 19)),
        format!("{{'{}", "' x ".repeat(1 << 18)),
        "{/*".repeat(1 << 18),
        format!("{{\"a\":\"{}\"}}", "\\".repeat(1 << 20)),
        format!("[{}", "1,".repeat(1 << 19)),
    ];
    for text in hostile {
        let began = Instant::now();
        let _ = judge(&text, true, &label(), str::to_owned);
        let _ = judge(&text, false, &label(), str::to_owned);
        assert!(began.elapsed().as_secs() < 8, "{}…", &text[..40]);
    }
}

proptest! {
    #[test]
    fn any_text_is_judged_and_what_fits_is_json(text in ".{0,200}") {
        if let Verdict::Fits { json, .. } = judge(&text, true, &anything(), str::to_owned) {
            prop_assert!(json::compact(&json).is_ok());
        }
    }

    #[test]
    fn json_with_words_around_it_is_found(name in "[a-z]{1,8}", number in any::<i64>(), words in "[a-z .!\n]{0,40}") {
        let json = format!("{{\"{name}\":[{number},\"x\"]}}");
        let verdict = judge(&format!("{words}{json}{words}"), true, &Schema::compile("true").unwrap(), str::to_owned);
        let fits = matches!(&verdict, Verdict::Fits { json: found, .. } if *found == json);
        prop_assert!(fits);
    }
}
