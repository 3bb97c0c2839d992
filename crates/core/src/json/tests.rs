#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use serde_json::Value;

use super::*;

#[test]
fn white_space_goes_and_numbers_and_strings_stay_as_they_were_written() {
    let text =
        " {\"a\" : [ 1.0 , 1e2,-0.0,12345678901234567890123 ],\r\n\t\"b\":\"x  \\u00e9\\/ é\" ,\"c\":{ } } ";

    let compacted = compact(text).unwrap();

    assert_eq!(compacted, r#"{"a":[1.0,1e2,-0.0,12345678901234567890123],"b":"x  \u00e9\/ é","c":{}}"#);
}

#[test]
fn every_refusal_says_what_and_where() {
    let cases = [
        ("", "line 1 column 1: the text is empty"),
        ("  ", "line 1 column 3: the text ends too early"),
        ("{\"a\":1", "line 1 column 7: the text ends too early"),
        ("{\"é\": x}", "line 1 column 7: expected a value"),
        ("{\n \"a\" 1}", "line 2 column 6: expected ':'"),
        ("{a:1}", "line 1 column 2: expected a member name in double quotes"),
        ("{\"a\":1,}", "line 1 column 8: expected a member name in double quotes"),
        ("[1,]", "line 1 column 4: expected a value"),
        ("[1 2]", "line 1 column 4: expected ',' or ']'"),
        ("[1}", "line 1 column 3: expected ',' or ']'"),
        ("{\"a\":1]", "line 1 column 7: expected ',' or '}'"),
        ("{} {}", "line 1 column 4: expected the end, there is more after the value"),
        ("]", "line 1 column 1: expected a value"),
        ("tru", "line 1 column 1: expected a value"),
        ("truex", "line 1 column 5: expected the end, there is more after the value"),
        ("NaN", "line 1 column 1: NaN and Infinity are not JSON"),
        ("[Infinity]", "line 1 column 2: NaN and Infinity are not JSON"),
        ("[-Infinity]", "line 1 column 3: NaN and Infinity are not JSON"),
        ("[1,1e999]", "line 1 column 4: the number is too large"),
        ("[-1e999]", "line 1 column 2: the number is too large"),
        ("01", "line 1 column 1: a number must not start with 0"),
        ("-", "line 1 column 2: expected a digit"),
        ("+1", "line 1 column 1: expected a value"),
        (".5", "line 1 column 1: expected a value"),
        ("1.", "line 1 column 3: expected a digit"),
        ("1e+", "line 1 column 4: expected a digit"),
        ("\"a", "line 1 column 3: the text ends inside a string"),
        ("\"a\\", "line 1 column 4: the text ends inside a string"),
        ("\"a\nb\"", "line 1 column 3: a control character must be escaped in a string"),
        ("\"\u{0}\"", "line 1 column 2: a control character must be escaped in a string"),
        (r#""\x""#, "line 1 column 2: unknown escape in a string"),
        (r#""\u12g4""#, "line 1 column 2: \\u needs four hex digits"),
        (r#""\u12"#, "line 1 column 2: \\u needs four hex digits"),
        (r#""\ud800""#, "line 1 column 2: lone surrogate in a string"),
        (r#""\udc00""#, "line 1 column 2: lone surrogate in a string"),
        (r#""\ud800\ud800""#, "line 1 column 2: lone surrogate in a string"),
        (r#""\ud800\u0041""#, "line 1 column 2: lone surrogate in a string"),
        (r#"{"\udfff":1}"#, "line 1 column 3: lone surrogate in a string"),
        ("\u{feff}{}", "line 1 column 1: expected a value"),
        ("{'a':1}", "line 1 column 2: expected a member name in double quotes"),
        ("[1]//", "line 1 column 4: expected the end, there is more after the value"),
    ];
    for (text, expected) in cases {
        let error = compact(text).unwrap_err();
        assert_eq!(error.to_string(), format!("invalid JSON at {expected}"), "{text:?}");
    }
}

#[test]
fn depth_is_bounded_at_64_and_fifty_thousand_levels_hurt_nobody() {
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    let objects = |depth: usize| format!("{}1{}", "{\"a\":".repeat(depth), "}".repeat(depth));

    assert!(compact(&nested(64)).is_ok() && compact(&objects(64)).is_ok());
    assert_eq!(compact(&nested(65)).unwrap_err().problem, "nested deeper than 64 levels");
    assert_eq!(compact(&objects(65)).unwrap_err().problem, "nested deeper than 64 levels");
    assert!(compact(&nested(50_000)).is_err());
    assert_eq!(sorted(&nested(50_000)), nested(50_000), "not validated, still harmless");
    assert_eq!(compact("{\"a\":[{}]}").unwrap(), "{\"a\":[{}]}", "levels close as the kind they opened as");
}

#[test]
fn surrogate_pairs_small_numbers_and_long_integers_are_fine() {
    let long = "9".repeat(308);
    for text in [r#""\ud83d\ude00""#, "1e-999", "-0", "0.0e+00", "1E5", "0e999", &long] {
        assert_eq!(compact(text).as_deref(), Ok(text));
    }
    assert!(compact(&"9".repeat(400)).is_err(), "no finite f64");
}

#[test]
fn a_byte_order_mark_is_skipped_and_other_encodings_are_refused() {
    assert_eq!(text_from_body(b"\xef\xbb\xbf{}"), Ok("{}"));
    assert_eq!(text_from_body(b""), Ok(""));
    assert_eq!(text_from_body(b"1"), Ok("1"));
    for wide in [&b"\xff\xfe{\0}\0"[..], b"\xfe\xff\0{\0}", b"{\0}\0", b"\0{\0}", b"\0\0\0{"] {
        assert_eq!(text_from_body(wide), Err(TextError::Wide), "{wide:?}");
    }
    let broken = text_from_body(b"{\"a\":\"\xe9\"}").unwrap_err();
    assert_eq!(broken.to_string(), "the body must be UTF-8, the byte at offset 6 is not");
}

#[test]
fn members_are_decoded_and_the_last_duplicate_wins() {
    let text = r#"{"a":1,"b":[{"a":2},"}"],"\u0061":{"x":"\"}"},"":null}"#;

    let found = members(text).unwrap();

    let plain: Vec<(&str, &str)> = found.iter().map(|(name, value)| (name.as_ref(), *value)).collect();
    assert_eq!(plain, [("a", r#"{"x":"\"}"}"#), ("b", r#"[{"a":2},"}"]"#), ("", "null")]);
    assert_eq!(members(" { } "), Some(vec![]));
    assert_eq!(members("[]"), None);
    assert_eq!(members("\"{\""), None);
}

#[test]
fn lookup_hands_out_values_as_they_were_written() {
    let text = r#" {"n":12345678901234567890123,"f":1.0,"e":1e2,"l":[0,[10,{"x":"y z"}],true],"n":12345678901234567890124,
        "d e":{"\"":null}} "#;
    let name = |name: &str| PathSegment::Name(name.to_owned());
    let index = PathSegment::Index;
    let cases = [
        (vec![name("n")], Some("12345678901234567890124")),
        (vec![name("f")], Some("1.0")),
        (vec![name("e")], Some("1e2")),
        (vec![name("l"), index(0)], Some("0")),
        (vec![name("l"), index(1), index(1), name("x")], Some("\"y z\"")),
        (vec![name("l"), index(2)], Some("true")),
        (vec![name("l"), index(3)], None),
        (vec![name("l"), name("0")], None),
        (vec![index(0)], None),
        (vec![name("f"), name("x")], None),
        (vec![name("d e"), name("\"")], Some("null")),
        (vec![name("missing")], None),
        (vec![], Some(text.trim())),
    ];
    for (path, expected) in cases {
        assert_eq!(lookup(text, &path), expected, "{path:?}");
    }
}

#[test]
fn sorting_orders_names_at_every_level_drops_duplicates_and_keeps_numbers() {
    let text = r#"{"b":1.0,"a":[{"z":1e2,"y":{"é":1,"e":2}}],"b":2.50,"\u0000":[ ],"B":{}}"#;

    assert_eq!(sorted(text), r#"{"\u0000":[],"B":{},"a":[{"y":{"e":2,"é":1},"z":1e2}],"b":2.50}"#);
    assert_eq!(sorted(" 1 "), "1");
    assert_eq!(sorted(r#"{"a":1,"b":2}"#), r#"{"a":1,"b":2}"#);
    assert_eq!(sorted(r#"{"a":1,"a":2}"#), r#"{"a":2}"#);
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 60, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::hash_map(any::<String>(), inner, 0..6)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

/// Text that is nearly JSON: fragments thrown together.
fn nearly_json() -> impl Strategy<Value = String> {
    let fragments = prop::sample::select(vec![
        "{", "}", "[", "]", ":", ",", "\"", "\"a\"", "\"b\":", "1", "0", "-", ".", "e", "E+", "12.5", "true",
        "false", "null", " ", "\n", "\\", "\\u", "d83d", "\\ude00", "\\n", "é", "NaN", "1e308", "1e309",
        "\u{1}", "\u{feff}", "[[", "]]",
    ]);
    prop::collection::vec(fragments, 0..14).prop_map(|parts| parts.concat())
}

proptest! {
    #[test]
    fn compact_text_means_the_same(value in value(), pretty in any::<bool>()) {
        let text = if pretty { serde_json::to_string_pretty(&value) } else { serde_json::to_string(&value) }.unwrap();

        let compacted = compact(&text).unwrap();

        prop_assert_eq!(&compacted, &serde_json::to_string(&value).unwrap());
    }

    #[test]
    fn what_is_json_is_decided_as_serde_json_does(text in nearly_json()) {
        let theirs = serde_json::from_str::<Value>(&text);
        let ours = compact(&text);
        prop_assert_eq!(ours.is_ok(), theirs.is_ok(), "{:?} {:?}", text, ours);
        if let (Ok(ours), Ok(theirs)) = (ours, theirs) {
            prop_assert_eq!(serde_json::from_str::<Value>(&ours).unwrap(), theirs);
        }
    }

    #[test]
    fn no_text_makes_any_function_panic(text in prop_oneof![any::<String>(), nearly_json()], bytes: Vec<u8>) {
        let _ = text_from_body(&bytes);
        let _ = (compact(&text), members(&text), sorted(&text), decode(&text));
        let _ = lookup(&text, &[PathSegment::Name("a".to_owned()), PathSegment::Index(1)]);
    }

    #[test]
    fn sorting_twice_is_sorting_once_and_changes_no_meaning(value in value()) {
        let text = serde_json::to_string_pretty(&value).unwrap();

        let once = sorted(&text);

        prop_assert_eq!(&sorted(&once), &once);
        prop_assert_eq!(compact(&once), Ok(once.clone()));
        prop_assert_eq!(serde_json::from_str::<Value>(&once).unwrap(), value);
    }

    #[test]
    fn what_is_quoted_reads_back(text: String) {
        let quoted = quote(&text);
        prop_assert_eq!(compact(&quoted), Ok(quoted.clone()));
        prop_assert_eq!(decode(&quoted).unwrap(), text);
    }
}
