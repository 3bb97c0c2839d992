#![allow(clippy::unwrap_used)]

use serde_json::Value;

use super::*;

/// Headers signed by Python's hmac, with the verdicts of Stripe's own Python library (16.1.0).
fn vectors() -> Value {
    serde_json::from_str(include_str!("vectors.json")).unwrap()
}

#[test]
fn the_verdict_is_that_of_stripes_own_library_on_every_kind_of_header() {
    let vectors = vectors();
    let secret = vectors["secret"].as_str().unwrap();
    let cases = vectors["cases"].as_array().unwrap();
    assert!(cases.len() > 50);
    for case in cases {
        let (header, body) = (case["header"].as_str().unwrap(), case["body"].as_str().unwrap());
        let verdict = verify(&[secret], header.as_bytes(), body.as_bytes(), case["now_ms"].as_i64().unwrap());
        assert_eq!(verdict.is_ok(), case["good"].as_bool().unwrap(), "{}: {verdict:?}", case["name"]);
    }
}

#[test]
fn either_of_two_secrets_is_enough_and_none_believes_nothing() {
    let vectors = vectors();
    let (new, old) = (vectors["secret"].as_str().unwrap(), vectors["older_secret"].as_str().unwrap());
    let case = |name: &str| {
        let cases = vectors["cases"].as_array().unwrap();
        cases.iter().find(|case| case["name"] == name).unwrap().clone()
    };
    for name in ["as Stripe sends it", "an old secret's"] {
        let case = case(name);
        let judge = |secrets: &[&str]| {
            let (header, body) = (case["header"].as_str().unwrap(), case["body"].as_str().unwrap());
            verify(secrets, header.as_bytes(), body.as_bytes(), case["now_ms"].as_i64().unwrap())
        };
        assert_eq!(judge(&[new, old]), Ok(()));
        assert_eq!(judge(&[old, new]), Ok(()));
        assert_eq!(judge(&[]), Err(Unverified::NoMatch));
    }
}

#[test]
fn hostile_headers_and_clocks_are_refused_without_a_panic() {
    let long = format!("t=1,{}", "v1=00,".repeat(20_000));
    let headers: [&[u8]; 9] = [
        b"t=99999999999999999999,v1=00",
        b"t=9223372036854775807,v1=00",
        b"t=-9223372036854775808,v1=00",
        b"t=\xff\xfe,v1=00",
        b"t=1,v1=\xff\xfe",
        b"\xe9=1,\xe9",
        b"t=_,v1=",
        b"t=+,v1=",
        long.as_bytes(),
    ];
    for header in headers {
        for now_ms in [0, i64::MIN, i64::MAX] {
            assert!(verify(&["s"], header, b"\xff", now_ms).is_err());
        }
    }
}
