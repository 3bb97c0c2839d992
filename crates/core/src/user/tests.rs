#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::*;

#[test]
fn addresses_that_people_have_are_taken_and_others_are_not() {
    let long_local = format!("{}@x.example", "a".repeat(64));
    let longest = format!("aa@{}.example", ["b".repeat(60).as_str(); 4].join("."));
    let good = [
        "ada@example.org",
        "a@b.co",
        "ada.lovelace+tag@mail.example.co.uk",
        "o'brien@example.org",
        "x_y-z=!#$%&*/?^`{|}~@example.org",
        "jürgen@müller.example",
        "用户@例子.中国",
        &long_local,
        &longest,
    ];
    for email in good {
        assert_eq!(check_email(email), Ok(()), "{email}");
    }

    let too_long_local = format!("{}@x.example", "a".repeat(65));
    let too_long = format!("aaa@{}.example", ["b".repeat(60).as_str(); 4].join("."));
    let too_long_label = format!("a@{}.example", "b".repeat(64));
    let bad = [
        ("", BadEmail::At),
        ("abc", BadEmail::At),
        ("not an email", BadEmail::At),
        ("a@b@example.org", BadEmail::At),
        ("@example.org", BadEmail::LocalPart),
        (".a@example.org", BadEmail::LocalPart),
        ("a.@example.org", BadEmail::LocalPart),
        ("a..b@example.org", BadEmail::LocalPart),
        ("a b@example.org", BadEmail::LocalPart),
        ("a\0b@example.org", BadEmail::LocalPart),
        ("a\r\nbcc:b@example.org", BadEmail::LocalPart),
        ("\"a\"@example.org", BadEmail::LocalPart),
        ("<a@example.org", BadEmail::LocalPart),
        ("a\u{200b}@example.org", BadEmail::LocalPart),
        ("a\u{202e}b@example.org", BadEmail::LocalPart),
        (&too_long_local, BadEmail::LocalPart),
        ("a@", BadEmail::Domain),
        ("a@localhost", BadEmail::Domain),
        ("a@.example", BadEmail::Domain),
        ("a@example.", BadEmail::Domain),
        ("a@exa mple.org", BadEmail::Domain),
        ("a@-b.example", BadEmail::Domain),
        ("a@b-.example", BadEmail::Domain),
        ("a@[127.0.0.1]", BadEmail::Domain),
        ("a@b.example\n", BadEmail::Domain),
        ("a@b.example>", BadEmail::Domain),
        (&too_long_label, BadEmail::Domain),
        (&too_long, BadEmail::TooLong),
    ];
    for (email, problem) in bad {
        assert_eq!(check_email(email), Err(problem), "{email:?}");
    }
}

#[test]
fn an_upsert_is_the_whole_person() {
    let full = br#" {"email":"  Ada@Example.ORG ","name":"","locale":"en-GB","currency":"EUR","meta":{ "n": 1.0e2 }} "#;
    let upsert = parse_upsert(full).unwrap();

    assert_eq!(upsert.email, "ada@example.org");
    assert_eq!((upsert.name.as_deref(), upsert.locale.as_deref()), (Some(""), Some("en-GB")));
    assert_eq!((upsert.currency, upsert.meta.as_str()), (Some("EUR"), r#"{"n":1.0e2}"#));

    let bare = parse_upsert(br#"{"email":"x","email":"a@b.co"}"#).unwrap();
    let expected = UserUpsert {
        email: "a@b.co".to_owned(),
        name: None,
        locale: None,
        currency: None,
        meta: "{}".to_owned(),
    };
    assert_eq!(bare, expected, "the last of duplicates counts");
}

#[test]
fn what_breaks_the_rules_is_named() {
    let name = format!(r#"{{"name":"{}"}}"#, "é".repeat(MAX_NAME_CHARS + 1));
    let locale = format!(r#"{{"locale":"{}"}}"#, "x".repeat(MAX_LOCALE_CHARS + 1));
    let meta = format!(r#"{{"meta":{{"a":"{}"}}}}"#, "x".repeat(MAX_META_BYTES));
    let cases: &[(&str, &str, &str)] = &[
        ("", INVALID_JSON, "empty"),
        ("{", INVALID_JSON, "line 1"),
        (r#"{"meta":{"a":NaN}}"#, INVALID_JSON, "line 1"),
        (r#"{"meta":{"a":1e999}}"#, INVALID_JSON, ""),
        (r#"{"name":"\ud800"}"#, INVALID_JSON, ""),
        ("null", INVALID_PATCH, "object"),
        ("[]", INVALID_PATCH, "object"),
        ("0", INVALID_PATCH, "object"),
        (r#"{"email":"a@b.co"}"#, INVALID_PATCH, "email"),
        (r#"{"id":"x"}"#, INVALID_PATCH, "id"),
        (r#"{"surprise":1}"#, INVALID_PATCH, "surprise"),
        (r#"{"name":null}"#, INVALID_PATCH, "name: null"),
        (r#"{"name":"a\u0000b"}"#, INVALID_PATCH, "NUL"),
        (r#"{"locale":1}"#, INVALID_PATCH, "locale: 1"),
        (r#"{"currency":"eur"}"#, INVALID_PATCH, "GBP, USD or EUR"),
        (r#"{"currency":null}"#, INVALID_PATCH, "GBP, USD or EUR"),
        (r#"{"meta":[]}"#, INVALID_PATCH, "meta: []"),
        (r#"{"meta":null}"#, INVALID_PATCH, "meta: null"),
        (&name, INVALID_PATCH, "200"),
        (&locale, INVALID_PATCH, "35"),
        (&meta, INVALID_PATCH, "16384"),
    ];
    for (body, error, word) in cases {
        let invalid = parse_patch(body.as_bytes()).expect_err(body);
        assert_eq!(invalid.error, *error, "{body}");
        let details = invalid.details.unwrap();
        assert!(details.contains(word) && details.len() < 400, "{body}: {details}");
    }
    for body in [r#"{}"#, r#"{"email":null}"#, r#"{"email":"   "}"#, r#"{"email":"ada@x"}"#] {
        assert_eq!(parse_upsert(body.as_bytes()).expect_err(body).error, INVALID_USER);
    }
    assert_eq!(parse_upsert(b"\xff\xfe{\0}\0").expect_err("UTF-16").error, INVALID_JSON);
    assert_eq!(parse_patch(b"{}").unwrap(), UserPatch::default());
}

#[test]
fn meta_is_merged_one_level_deep_and_keeps_every_digit() {
    let stored = r#"{"b":{"x":1,"y":2},"a":12345678901234567890.10,"q\"":0}"#;

    let merged = merge_meta(stored, r#"{"b":{"z":3},"c":null,"c":null,"\u0064":1.0}"#).unwrap();

    assert_eq!(merged, r#"{"a":12345678901234567890.10,"b":{"z":3},"c":null,"d":1.0,"q\"":0}"#);
    assert_eq!(merge_meta("{}", "{}").unwrap(), "{}");
}

#[test]
fn meta_does_not_grow_beyond_its_limit_but_may_shrink_towards_it() {
    let value = "x".repeat(MAX_META_BYTES - 100);
    let stored = format!(r#"{{"a":"{value}"}}"#);

    assert!(merge_meta(&stored, &format!(r#"{{"b":"{}"}}"#, "y".repeat(200))).is_err());
    assert!(merge_meta(&stored, r#"{"a":1,"b":2}"#).is_ok());
    let oversized = format!(r#"{{"a":"{value}","b":"{value}"}}"#);
    assert!(merge_meta(&oversized, r#"{"b":1}"#).is_ok());
    assert!(merge_meta(&oversized, r#"{"c":1}"#).is_err());
}

proptest! {
    #[test]
    fn no_body_makes_the_reader_panic(body: Vec<u8>, email: String) {
        let _ = (parse_upsert(&body), parse_patch(&body));
        let normal = normalize_email(&email);
        if check_email(&normal).is_ok() {
            prop_assert!(!normal.contains(|c: char| c.is_whitespace() || c.is_control()));
            let body = format!("{{\"email\":{}}}", crate::json::quote(&email));
            prop_assert_eq!(parse_upsert(body.as_bytes()).unwrap().email, normal);
        }
    }

    #[test]
    fn whatever_is_stored_a_merge_is_an_object(stored: String, name: String) {
        let sent = format!("{{{}:1}}", crate::json::quote(&name));
        let merged = merge_meta(&stored, &sent);
        let is_object = merged.is_ok_and(|merged| merged.starts_with('{') && merged.ends_with('}'));
        prop_assert!(is_object);
    }
}
