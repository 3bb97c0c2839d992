#![allow(clippy::unwrap_used)]

use super::*;

const NOW: i64 = 1_800_000_000_000;

#[test]
fn a_key_shows_its_id_and_hides_the_rest_everywhere_but_where_it_is_asked() {
    let key = Minted::new(NOW, [0xab; 38]);

    assert_eq!(key.id, "01a3185c5000abababababab");
    assert_eq!(key.reveal(), format!("lvq_{}_{}", key.id, "ab".repeat(32)));
    assert_eq!(key.hash(), hex(&Sha256::digest(key.reveal().as_bytes())));
    assert_eq!(parse_hash(&key.hash()), Some(digest(key.reveal().as_bytes())));
    assert!(is_id(&key.id));
    assert!(!format!("{key:?}").contains("ab".repeat(32).as_str()));
    assert!(Minted::new(NOW, [0xff; 38]).id < Minted::new(NOW + 1, [0; 38]).id);
    for text in ["", "g", &"A".repeat(24), &"0".repeat(25)] {
        assert!(!is_id(text), "{text}");
    }
    for text in ["", "zz", &"g".repeat(64), &"é".repeat(32)] {
        assert_eq!(parse_hash(text), None, "{text}");
    }
}

#[test]
fn scopes_are_a_set_in_one_order() {
    let scopes: Scopes = [Scope::Admin, Scope::Read].into_iter().collect();

    assert_eq!(scopes.to_string(), "read,admin");
    assert_eq!(Scopes::parse("admin,read"), Some(scopes));
    assert!(scopes.has(Scope::Admin) && !scopes.has(Scope::Submit), "admin includes nothing else");
    assert_eq!(Scopes::all().to_string(), "read,submit,operate,admin,ai,budgets");
    for text in ["", "read,", "READ", "write", "read admin"] {
        assert_eq!(Scopes::parse(text), None, "{text:?}");
    }
}

#[test]
fn a_request_is_read_whole() {
    let body = r#"{"name":"CI","scopes":["submit","read"],"expires_at":"2030-01-31T09:00:00Z"}"#;
    let request = parse_request(body, NOW).unwrap();

    assert_eq!((request.name.as_str(), request.scopes.to_string().as_str()), ("CI", "read,submit"));
    assert_eq!(request.expires_at_ms, Some(1_896_080_400_000));
    let seconds = parse_request(r#"{"name":"CI","scopes":["read"],"expires_at":1900000000}"#, NOW).unwrap();
    assert_eq!(seconds.expires_at_ms, Some(1_900_000_000_000));
    assert_eq!(parse_request(r#"{"name":"CI","scopes":["read"]}"#, NOW).unwrap().expires_at_ms, None);
}

#[test]
fn what_is_wrong_with_a_request_is_told_with_its_place() {
    let long = format!(r#"{{"name":"{}","scopes":["read"]}}"#, "x".repeat(101));
    let cases: &[(&str, &str, &str)] = &[
        ("", "", "JSON"),
        ("[]", "", "object"),
        ("null", "", "object"),
        (r#"{"scopes":["read"]}"#, "/name", "required"),
        (r#"{"name":"","scopes":["read"]}"#, "/name", "1 to 100"),
        (r#"{"name":"  ","scopes":["read"]}"#, "/name", "blank"),
        (r#"{"name":7,"scopes":["read"]}"#, "/name", "string"),
        (r#"{"name":"a\u0000b","scopes":["read"]}"#, "/name", "control"),
        (r#"{"name":"a\nb","scopes":["read"]}"#, "/name", "control"),
        (&long, "/name", "1 to 100"),
        (r#"{"name":"CI"}"#, "/scopes", "required"),
        (r#"{"name":"CI","scopes":[]}"#, "/scopes", "read, submit"),
        (r#"{"name":"CI","scopes":"read"}"#, "/scopes", "list"),
        (r#"{"name":"CI","scopes":["read","read"]}"#, "/scopes", "list"),
        (r#"{"name":"CI","scopes":["root"]}"#, "/scopes", "list"),
        (r#"{"name":"CI","scopes":["read","submit","operate","admin","x"]}"#, "/scopes", "list"),
        (r#"{"name":"CI","scopes":null}"#, "/scopes", "list"),
        (r#"{"name":"CI","scopes":["read"],"expires_at":"tomorrow"}"#, "/expires_at", "RFC 3339"),
        (r#"{"name":"CI","scopes":["read"],"expires_at":1800000000}"#, "/expires_at", "future"),
        (r#"{"name":"CI","scopes":["read"],"expires_at":null}"#, "/expires_at", "RFC 3339"),
        (r#"{"name":"CI","scopes":["read"],"key":"x"}"#, "", "unknown member `key`"),
    ];
    for (body, at, words) in cases {
        let problem = parse_request(body, NOW).unwrap_err();
        assert_eq!(problem.at, *at, "{body}: {problem}");
        assert!(problem.message.contains(words), "{body}: {problem}");
    }
}

#[test]
fn a_rotation_may_say_nothing_or_how_long_the_old_key_lives_on() {
    let overlap = |body: &str| parse_rotation(body, NOW).map(|rotation| rotation.overlap_ms);

    assert_eq!(overlap(""), Ok(OVERLAP_MS));
    assert_eq!(overlap("{}"), Ok(OVERLAP_MS));
    assert_eq!(overlap(r#"{"overlap":"0s"}"#), Ok(0));
    assert_eq!(overlap(r#"{"overlap":"30d"}"#), Ok(MAX_OVERLAP_MS));
    assert_eq!(overlap(r#"{"overlap":90}"#), Ok(90_000));
    for body in [r#"{"overlap":"31d"}"#, r#"{"overlap":-1}"#, r#"{"overlap":"soon"}"#, r#"{"overlap":null}"#]
    {
        assert_eq!(overlap(body).unwrap_err().at, "/overlap", "{body}");
    }
    assert_eq!(parse_rotation(r#"{"expires_at":1}"#, NOW).unwrap_err().at, "/expires_at");
    assert_eq!(overlap(r#"{"scopes":["admin"]}"#).unwrap_err().at, "", "a rotation changes no scope");
}
