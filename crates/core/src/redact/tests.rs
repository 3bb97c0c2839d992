#![allow(clippy::unwrap_used)]

use std::time::Instant;

use proptest::prelude::*;

use super::*;

fn redacted(text: &str) -> String {
    Vault::default().redact(text, Kinds::ALL)
}

#[test]
fn personal_data_and_secrets_become_placeholders() {
    for (text, expected) in [
        ("write to ada.l+x@mail.example.org.", "write to [EMAIL_1]."),
        ("<ada@example.org>, ADA@EXAMPLE.ORG, ada@example.org", "<[EMAIL_1]>, [EMAIL_2], [EMAIL_1]"),
        ("call +44 20 7946 0958 or (020) 7946-0958", "call [PHONE_1] or [PHONE_2]"),
        ("call 555-867-5309 now", "call [PHONE_1] now"),
        ("pay DE89 3704 0044 0532 0130 00 today", "pay [IBAN_1] today"),
        ("pay GB82WEST12345698765432.", "pay [IBAN_1]."),
        ("card 4111 1111 1111 1111, 5500-0000-0000-0004", "card [CARD_1], [CARD_2]"),
        ("key sk-proj-abcdefghijklmnop1234 and AKIAIOSFODNN7EXAMPLE", "key [SECRET_1] and [SECRET_2]"),
        ("Authorization: Bearer abcdefghijklmnopqrstuvwx", "Authorization: [SECRET_1]"),
        ("t=eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.abcdefgh", "t=[SECRET_1]"),
        ("-----BEGIN RSA PRIVATE KEY-----\nabc\n-----END RSA PRIVATE KEY-----\nrest", "[SECRET_1]\nrest"),
    ] {
        assert_eq!(redacted(text), expected);
    }
}

#[test]
fn what_only_looks_like_it_stays() {
    for text in [
        "order 1234567890123456 of 2026-11-22 at 10:30:00",
        "DE00 3704 1144 1532 1130 11",
        "a@b, @home, x@y@z, user@localhost",
        "version 1.2.3.4, ip 192.168.10.20, 3.14159265358979",
        "sk-short, the ask-me-anything-you-want-to page",
        "total 12 345 678",
        "[EMAIL_], [EMAIL_x], [NAME_1]",
    ] {
        assert_eq!(redacted(text), text);
    }
}

#[test]
fn only_the_kinds_that_were_asked_for_are_taken() {
    let text = "ada@example.org +44 20 7946 0958";
    let emails = Kinds::named("emails").unwrap();

    assert_eq!(Vault::default().redact(text, emails), "[EMAIL_1] +44 20 7946 0958");
    assert_eq!(Vault::default().redact(text, Kinds::NONE), text);
    assert!(Kinds::named("names").is_none());
    assert!(Kinds::NAMES.iter().all(|name| Kinds::named(name).is_some()));
}

#[test]
fn a_placeholder_that_somebody_wrote_himself_brings_nobody_elses_data() {
    let mut vault = Vault::default();
    let sent = vault.redact("I am [EMAIL_1], she is ada@example.org", Kinds::ALL);

    assert_eq!(sent, "I am [TEXT_1], she is [EMAIL_1]");
    assert_eq!(vault.restore(&sent), "I am [EMAIL_1], she is ada@example.org");
    assert_eq!(vault.restore("[PHONE_9] [EMAIL_1"), "[PHONE_9] [EMAIL_1");
}

#[test]
fn what_is_put_back_into_json_is_escaped() {
    let key = "-----BEGIN PRIVATE KEY-----\n\"a\\b\"\n-----END PRIVATE KEY-----";
    let mut vault = Vault::default();
    let sent = vault.redact(key, Kinds::ALL);

    let json = vault.restore_json(&format!("{{\"k\":\"{sent}\"}}"));

    let value: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(value["k"], key);
}

#[test]
fn hostile_text_takes_linear_time() {
    for text in [
        "-----BEGIN PRIVATE KEY-----".repeat(40_000),
        format!("{}-----END", "-----BEGIN PRIVATE KEX-----".repeat(40_000)),
        "eyJ-".repeat(250_000),
        "a@".repeat(500_000),
        "a.".repeat(500_000),
        "4111 ".repeat(200_000),
        "+1 ".repeat(300_000),
        "DE89 ".repeat(200_000),
        "[EMAIL_".repeat(150_000),
        "sk-".repeat(300_000),
    ] {
        let began = Instant::now();
        let mut vault = Vault::default();
        let sent = vault.redact(&text, Kinds::ALL);
        assert_eq!(vault.restore(&sent), text);
        assert!(began.elapsed().as_secs() < 8, "{}", &text[..30]);
    }
}

proptest! {
    #[test]
    fn what_was_taken_out_comes_back(text in "(\\PC|\\[EMAIL_1\\]|ada@example.org|\\+44 20 7946 0958|4111111111111111| ){0,60}") {
        let mut vault = Vault::default();
        let sent = vault.redact(&text, Kinds::ALL);
        prop_assert_eq!(vault.restore(&sent), text);
    }

    #[test]
    fn an_address_never_goes_out(name in "[a-z]{1,10}", domain in "[a-z]{1,10}\\.(org|com|de)", before in "[ (<\"]{0,3}", after in "[ )>,\"]{1,3}") {
        let address = format!("{name}@{domain}");
        let text = [before, address.clone(), after].concat();
        let goes_out = redacted(&text).contains(&address);
        prop_assert!(!goes_out);
    }
}
