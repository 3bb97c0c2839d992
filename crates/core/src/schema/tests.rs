#![allow(clippy::unwrap_used)]
use std::time::{Duration, Instant};

use super::words::{MAX_CHOICE_CHARS, MAX_MESSAGE_CHARS};
use super::*;

const TICKET: &str = r#"{"type":"object","required":["ticket"],"additionalProperties":false,
    "properties":{"ticket":{"type":"string","maxLength":5},"mail":{"type":"string","format":"email"},
    "tags":{"type":"array","items":{"type":"string"}}}}"#;

#[test]
fn a_fitting_value_passes_and_a_bad_one_is_told_where_and_why() {
    let schema = Schema::compile(TICKET).unwrap();

    assert_eq!(schema.validate(r#"{"ticket":"a","tags":["x"]}"#), Ok(()));
    let violations =
        schema.validate(r#"{"ticket":"too long","tags":["x",5],"zz":1,"mail":"no"}"#).unwrap_err();

    let pointers: Vec<&str> = violations.iter().map(|violation| violation.pointer.as_str()).collect();
    for pointer in ["", "/ticket", "/tags/1", "/mail"] {
        assert!(pointers.contains(&pointer), "{pointer}: {violations:?}");
    }
    assert!(violations.iter().any(|violation| violation.message.contains("longer than 5")), "{violations:?}");
}

#[test]
fn what_breaks_a_pattern_or_a_format_is_told_what_is_allowed() {
    let message = |schema: &str, value: &str| {
        let violations = Schema::compile(schema).unwrap().validate(value).unwrap_err();
        assert_eq!(violations.len(), 1, "{violations:?}");
        violations[0].message.clone()
    };

    assert_eq!(
        message(r#"{"pattern":"^[A-Z]{3}-\\d+$"}"#, r#""abc""#),
        r#""abc" does not match the pattern ^[A-Z]{3}-\d+$"#
    );
    for (format, value, meaning) in [
        ("email", "nobody", "an e-mail address, such as name@example.org"),
        ("date-time", "yesterday", "a date and time with its offset, such as 2030-01-31T09:00:00Z"),
        ("date", "2030-02-31", "a date, such as 2030-01-31"),
        ("time", "25:00:00Z", "a time with its offset, such as 09:00:00Z"),
        ("duration", "3 days", "a duration of ISO 8601, such as P3D or PT1H30M"),
        ("uri", "/path", "a URI with its scheme, such as https://example.org/path"),
        ("uuid", "1234", "a UUID, such as 0f8fad5b-d9cb-469f-a165-70867728950e"),
        ("ipv4", "1.2.3.256", "an IPv4 address, such as 203.0.113.7"),
        ("ipv6", "::g", "an IPv6 address, such as 2001:db8::7"),
        ("hostname", "-a", "a host name, such as api.example.org"),
        ("regex", "(", "a regular expression, such as ^[a-z]+$"),
        ("json-pointer", "a/b", "a JSON pointer, such as /items/0"),
    ] {
        let schema = format!(r#"{{"format":"{format}"}}"#);
        assert_eq!(
            message(&schema, &format!("{value:?}")),
            format!("{value:?} is not {meaning}"),
            "{format}"
        );
    }
    let long = message(
        &format!(r#"{{"pattern":"^({})$"}}"#, "a|".repeat(1_000)),
        &format!("{:?}", "x".repeat(1_000)),
    );
    assert!(long.starts_with("\"xxx") && long.contains("the pattern ^(a|a|"), "{long}");
    assert!(long.chars().count() <= MAX_MESSAGE_CHARS + 1, "{long}");
}

#[test]
fn what_breaks_a_choice_or_an_exclusion_is_told_what_came_and_what_is_allowed() {
    for (schema, value, pointer, expected) in [
        (
            r#"{"properties":{"a":{"anyOf":[{"type":"string"},{"minimum":5},{"required":["n"],"type":"object"}]}}}"#,
            r#"{"a":3}"#,
            "/a",
            r#"3 fits none of the 3 schemas of anyOf (1: it is not of type "string"; 2: it is less than the minimum of 5; 3: it is not of type "object")"#,
        ),
        (
            r#"{"oneOf":[{"properties":{"kind":{"const":"a"}}},{"properties":{"kind":{"enum":["b","c"]}}}]}"#,
            r#"{"kind":"x"}"#,
            "",
            r#"{"kind":"x"} fits none of the 2 schemas of oneOf, and must fit exactly one (1: /kind: "x" is not "a", and nothing else is allowed here; 2: /kind: "x" is not one of "b", "c")"#,
        ),
        (
            r#"{"items":{"oneOf":[{"type":"integer"},{"type":"string"},{"minimum":2}]}}"#,
            "[1,3]",
            "/1",
            "3 fits more than one schema of oneOf (1 and 3), and must fit exactly one",
        ),
        (
            r#"{"properties":{"a":{"not":{"type":"string"}}}}"#,
            r#"{"a":"x"}"#,
            "/a",
            r#""x" fits {"type":"string"}, and only what does not fit that is allowed here"#,
        ),
        (
            r##"{"$defs":{"t":{"properties":{"a":true,"b":true},"patternProperties":{"^x-":true},"additionalProperties":false}},"properties":{"in":{"$ref":"#/$defs/t"}}}"##,
            r#"{"in":{"a":1,"zz":2,"y\n":3}}"#,
            "/in",
            r#""y ", "zz" are not known here; allowed: a, b, and what matches ^x-"#,
        ),
        (
            r#"{"additionalProperties":false}"#,
            r#"{"a":1}"#,
            "",
            "there is a member with the value 1, and no members are allowed here",
        ),
        (
            r#"{"properties":{"a":true},"unevaluatedProperties":false}"#,
            r#"{"b":1}"#,
            "",
            r#""b" is not known here; only members that a schema for this value names are allowed"#,
        ),
        (
            r#"{"contains":{"type":"string"},"minContains":2}"#,
            r#"["a",1]"#,
            "",
            r#"["a",1] must have at least 2 items that fit {"type":"string"}"#,
        ),
        (r#"{"properties":{"a":false}}"#, r#"{"a":1}"#, "/a", "1 is not allowed: there must be nothing here"),
        (r#"{"const":{"a":1}}"#, "2", "", r#"2 is not {"a":1}, and nothing else is allowed here"#),
        (
            r#"{"uniqueItems":true}"#,
            "[1,1]",
            "",
            "[1,1] has equal items, and only different ones are allowed",
        ),
        (
            r#"{"propertyNames":{"maxLength":2}}"#,
            r#"{"abc":1}"#,
            "",
            r#"the name of a member is not allowed: "abc" is longer than 2 characters"#,
        ),
    ] {
        let violations = Schema::compile(schema).unwrap().validate(value).unwrap_err();

        assert_eq!(violations.len(), 1, "{schema}: {violations:?}");
        assert_eq!(
            (violations[0].pointer.as_str(), violations[0].message.as_str()),
            (pointer, expected),
            "{schema}"
        );
    }
}

#[test]
fn choices_and_lists_are_told_in_bounded_words_however_large_they_are() {
    let many = |what: &str| (0..100).map(|n| what.replace('N', &n.to_string())).collect::<Vec<_>>().join(",");
    let long = "é".repeat(1_000);
    for schema in [
        format!(
            r#"{{"anyOf":[{}]}}"#,
            many(r#"{"const":"abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyzabcdefghN"}"#)
        ),
        format!(r#"{{"oneOf":[{}]}}"#, many("{}")),
        format!(r#"{{"not":{{"title":"{long}"}}}}"#),
        format!(r#"{{"properties":{{{}}},"additionalProperties":false}}"#, many(r#""member-N":true"#)),
        format!(r#"{{"enum":[{}]}}"#, many(r#""member-N""#)),
        format!(r#"{{"const":"{long}"}}"#),
    ] {
        let schema = Schema::compile(&schema).unwrap();
        let value = format!(r#"{{{}}}"#, many(&format!(r#""{long}N":1"#)));
        let violations = schema.validate(&value).unwrap_err();
        let message = &violations[0].message;

        assert!(message.chars().count() <= MAX_CHOICE_CHARS + 1, "{message}");
        assert!(!message.contains(&"é".repeat(200)), "{message}");
    }
}

#[test]
fn violations_are_few_and_short() {
    let schema = Schema::compile(r#"{"items":{"type":"string","maxLength":3}}"#).unwrap();
    let value = format!("[{}\"{}\"]", "1,".repeat(1000), "x".repeat(100_000));

    let violations = schema.validate(&value).unwrap_err();

    assert_eq!(violations.len(), MAX_VIOLATIONS);
    let long = schema.validate(&format!("[\"{}\"]", "x".repeat(100_000))).unwrap_err();
    assert!(long[0].message.chars().count() <= MAX_MESSAGE_CHARS + 1, "{long:?}");
}

#[test]
fn what_is_no_schema_is_refused_with_its_place() {
    for (raw, pointer) in [
        ("5", ""),
        (r#"{"type":"strong"}"#, "/type"),
        (r#"{"properties":{"a":{"minLength":-1}}}"#, "/properties/a/minLength"),
        (r#"{"properties":[]}"#, "/properties"),
        (r#"{"$schema":"http://json-schema.org/draft-07/schema#"}"#, "/$schema"),
        (r#"{"properties":{"a":{"$ref":"https://example.com/x.json"}}}"#, "/properties/a/$ref"),
        (r#"{"properties":{"a":{"$ref":"file:///etc/passwd"}}}"#, "/properties/a/$ref"),
        (r#"{"properties":{"a":{"$ref":"other.json"}}}"#, "/properties/a/$ref"),
        (r##"{"properties":{"a":{"$ref":"#/$defs/none"}}}"##, "/properties/a/$ref"),
        (r#"{"properties":{"a":{"pattern":"("}}}"#, "/properties/a/pattern"),
    ] {
        let error = Schema::compile(raw).unwrap_err();
        assert_eq!(error.pointer, pointer, "{raw}: {error:?}");
    }
    assert!(Schema::compile(&format!("{{\"title\":\"{}\"}}", "x".repeat(70_000))).is_err());
}

#[test]
fn schemas_that_never_end_or_fan_out_are_refused() {
    for endless in [
        r##"{"$ref":"#"}"##,
        r##"{"allOf":[{"$ref":"#"}]}"##,
        r##"{"$defs":{"a":{"not":{"$ref":"#/$defs/b"}},"b":{"$ref":"#/$defs/a"}},"$ref":"#/$defs/a"}"##,
    ] {
        let error = Schema::compile(endless).unwrap_err();
        assert!(error.message.contains("never end"), "{endless}: {error:?}");
    }
    let mut fan = String::from(r##"{"$ref":"#/$defs/d0","$defs":{"d40":{"type":"string"}"##);
    for level in 0..40 {
        let next = format!(r##"{{"$ref":"#/$defs/d{}"}}"##, level + 1);
        fan.push_str(&format!(r#","d{level}":{{"allOf":[{next},{next}]}}"#));
    }
    fan.push_str("}}");
    assert!(Schema::compile(&fan).unwrap_err().message.contains("apply to one value"));
}

#[test]
fn a_property_may_have_the_name_of_a_keyword() {
    let raw = r##"{"properties":{"default":{"$ref":"https://example.com/x"}}}"##;
    assert_eq!(Schema::compile(raw).unwrap_err().pointer, "/properties/default/$ref");
    let raw = r#"{"properties":{"$ref":{"type":"string"},"allOf":{"type":"string"}},"const":{"$ref":"x"}}"#;
    assert!(Schema::compile(raw).is_ok());
}

#[test]
fn recursive_schemas_that_go_into_the_value_are_fine() {
    let tree = r##"{"type":"object","properties":{"children":{"type":"array","items":{"$ref":"#"}}},"required":["n"]}"##;
    let schema = Schema::compile(tree).unwrap();

    assert_eq!(schema.validate(r#"{"n":1,"children":[{"n":2}]}"#), Ok(()));
    assert_eq!(schema.validate(r#"{"n":1,"children":[{}]}"#).unwrap_err()[0].pointer, "/children/0");
}

#[test]
fn patterns_run_in_linear_time_and_have_a_bounded_size() {
    let schema = Schema::compile(r#"{"type":"string","pattern":"^(a+)+$"}"#).unwrap();
    let hostile = format!("\"{}!\"", "a".repeat(50_000));

    let started = Instant::now();
    assert!(schema.validate(&hostile).is_err());
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
    for refused in
        [r#"{"pattern":"(?=a)b"}"#, r#"{"pattern":"(a)\\1"}"#, r#"{"pattern":"(((a{1000}){1000}){1000})"}"#]
    {
        assert!(Schema::compile(refused).is_err(), "{refused}");
    }
}

#[test]
fn deep_schemas_do_not_overflow_the_stack() {
    let deep = format!("{}{{}}{}", r#"{"not":"#.repeat(100), "}".repeat(100));
    let _ = Schema::compile(&deep);
    let too_deep = format!("{}{{}}{}", r#"{"not":"#.repeat(5000), "}".repeat(5000));
    assert!(Schema::compile(&too_deep).is_err());
}

#[test]
fn schemas_can_be_shared_between_threads() {
    fn shared<T: Send + Sync>() {}
    shared::<Schema>();
}

/// A value of objects with one member `x`, so many levels deep.
fn nested(levels: usize) -> String {
    format!("{}1{}", "{\"x\":".repeat(levels), "}".repeat(levels))
}

#[test]
fn schemas_that_multiply_with_depth_meet_a_limit_instead_of_running_for_ever() {
    let twice = r##"{"allOf":[{"properties":{"x":{"$ref":"#"}}},{"properties":{"x":{"$ref":"#"}}}]}"##;
    let hidden = r##"{"$defs":{"a":{"anyOf":[{"$ref":"#/$defs/b"},{"$ref":"#/$defs/b"}]},
        "b":{"patternProperties":{"x":{"$ref":"#/$defs/a"},"^x":{"$ref":"#/$defs/a"}}}},"$ref":"#/$defs/a"}"##;
    for (raw, deepest) in [(twice, 16), (hidden, 7)] {
        let schema = Schema::compile(raw).unwrap();

        let started = Instant::now();
        assert_eq!(schema.validate(&nested(deepest)), Ok(()), "{raw}");
        for levels in [24, 40, 60] {
            let violations = schema.validate(&nested(levels)).unwrap_err();
            assert!(violations[0].message.contains("nested too deeply"), "{violations:?}");
        }
        assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    }
}

#[test]
fn schemas_that_recurse_once_are_not_limited_in_depth() {
    let list = r##"{"type":["object","number"],"properties":{"x":{"$ref":"#"},"y":{"$ref":"#"}},"allOf":[{"minProperties":0}]}"##;

    assert_eq!(Schema::compile(list).unwrap().validate(&nested(60)), Ok(()));
}
