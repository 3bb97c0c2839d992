#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::*;
use crate::mail::template::Template;

fn problems(mail: Value) -> BTreeSet<String> {
    match read(&mail.to_string()) {
        Ok(mail) => panic!("{mail:?} was taken"),
        Err(problems) => problems.into_keys().collect(),
    }
}

fn with(member: &str, value: Value) -> Value {
    let mut mail = json!({"from": "support", "to": ["ada@example.org"], "subject": "Hi", "text": "Hello"});
    mail[member] = value;
    mail
}

#[test]
fn a_mail_is_read_with_all_that_it_may_hold() {
    let mail = read(
        &json!({"from": "billing", "to": " ada@example.org ", "cc": ["b@example.org"], "bcc": ["c@example.org"],
            "reply_to": "d@example.org", "subject": "Zürich → 42", "text": "a\r\nb", "html": "<p>a</p>"})
        .to_string(),
    )
    .unwrap();

    assert_eq!(mail.from.address("example.com"), "billing@example.com");
    assert_eq!(
        (mail.to, mail.cc, mail.bcc),
        (
            vec!["ada@example.org".to_owned()],
            vec!["b@example.org".to_owned()],
            vec!["c@example.org".to_owned()]
        )
    );
    assert_eq!((mail.reply_to, mail.subject.as_str()), (vec!["d@example.org".to_owned()], "Zürich → 42"));
    assert_eq!((mail.text.as_deref(), mail.html.as_deref()), (Some("a\r\nb"), Some("<p>a</p>")));
}

#[test]
fn what_is_null_is_not_given_and_numbers_are_written_out() {
    let mail = json!({"to": ["a@example.org"], "cc": null, "html": null, "subject": 7, "text": true, "template": null});
    let mail = read(&mail.to_string()).unwrap();

    assert_eq!((mail.from, mail.cc.len(), mail.html), (Sender::NoReply, 0, None));
    assert_eq!((mail.subject.as_str(), mail.text.as_deref()), ("7", Some("true")));
}

#[test]
fn nothing_can_end_a_header_line() {
    for evil in
        ["a\r\nBcc: x@example.org", "a\nb", "a\rb", "a\0b", "a\u{85}b", "a\u{2028}b", "\u{b}", "a\u{7f}"]
    {
        assert_eq!(problems(with("subject", json!(evil))), ["/subject".to_owned()].into(), "{evil:?}");
        let address = format!("ada{evil}@example.org");
        for member in ["to", "cc", "bcc", "reply_to"] {
            assert_eq!(problems(with(member, json!(address))), [format!("/{member}")].into(), "{address:?}");
            let listed = problems(with(member, json!(["b@example.org", address])));
            assert_eq!(listed, [format!("/{member}/1")].into(), "{address:?}");
        }
        let values = json!({"to": "a@example.org", "template": "payment-received", "values": {"amount": evil, "reference": "r"}});
        assert_eq!(problems(values), ["/values/amount".to_owned()].into(), "{evil:?}");
    }
    for evil in ["support\r\nX: y", "support@evil.example", "", "SUPPORT"] {
        assert_eq!(problems(with("from", json!(evil))), ["/from".to_owned()].into(), "{evil:?}");
    }
}

#[test]
fn addresses_are_judged_after_trimming_and_names_beside_them_are_not_taken() {
    for bad in [
        "",
        " ",
        "ada",
        "a@b",
        "a@b@c.org",
        "Ada <ada@example.org>",
        "a@example.org, b@example.org",
        "<a@example.org>",
    ] {
        assert_eq!(problems(with("to", json!(bad))), ["/to".to_owned()].into(), "{bad:?}");
    }
    for bad in [json!(7), json!({}), json!([]), json!([7]), json!([null])] {
        assert!(problems(with("to", bad.clone())).iter().all(|at| at.starts_with("/to")), "{bad}");
    }
}

#[test]
fn recipients_are_capped_together() {
    let list = |count: usize| json!((0..count).map(|n| format!("a{n}@example.org")).collect::<Vec<_>>());
    let mail = |to: usize, cc: usize, bcc: usize| {
        json!({"to": list(to), "cc": list(cc), "bcc": list(bcc), "subject": "s", "text": "t"}).to_string()
    };

    assert!(read(&mail(20, 20, 10)).is_ok());
    for (to, cc, bcc) in [(21, 20, 10), (51, 0, 0), (1, 0, 50), (1, 50, 0)] {
        assert!(read(&mail(to, cc, bcc)).unwrap_err().contains_key("/to"), "{to} {cc} {bcc}");
    }
    assert_eq!(problems(with("reply_to", list(6))), ["/reply_to".to_owned()].into());
}

#[test]
fn a_mail_has_a_subject_and_says_something_within_limits() {
    let to = json!({"to": "a@example.org"});
    assert_eq!(problems(to), ["/subject".to_owned(), "/text".to_owned()].into());
    assert_eq!(problems(json!([])), [String::new()].into());
    assert_eq!(problems(with("subject", json!("s".repeat(301)))), ["/subject".to_owned()].into());
    assert_eq!(problems(with("text", json!("t".repeat(MAX_BODY_BYTES + 1)))), ["/text".to_owned()].into());
    assert_eq!(problems(with("html", json!("a\0"))), ["/html".to_owned()].into());
    assert_eq!(problems(with("attachments", json!([]))), ["/attachments".to_owned()].into());
    assert!(read(&with("subject", json!("s".repeat(300))).to_string()).is_ok());
}

#[test]
fn each_recipient_counts_once() {
    let mail = json!({"to": ["a@example.org", "A@example.org"], "cc": ["a@example.org", "b@example.org"], "subject": "s", "text": "t"});
    let mail = read(&mail.to_string()).unwrap();

    assert_eq!(mail.recipients(), [("to", "a@example.org"), ("cc", "b@example.org")]);
    assert!(!format!("{mail:?}").contains("example"), "{mail:?}");
}

#[test]
fn templates_write_text_and_html_and_escape_what_they_are_given() {
    let evil = "<img src=x onerror=alert(1)> & {{ payload }}";
    for name in Template::NAMES {
        let template = Template::parse(name).unwrap();
        let values: serde_json::Map<_, _> =
            template.names().into_iter().map(|name| (name.to_owned(), json!(evil))).collect();

        let mail = json!({"to": "a@example.org", "template": name, "values": values});
        let mail = read(&mail.to_string()).unwrap();

        let (text, html) = (mail.text.unwrap(), mail.html.unwrap());
        assert!(text.contains(evil), "{name}: {text}");
        assert!(html.contains("&lt;img src=x onerror=alert(1)&gt; &amp; {{ payload }}"), "{name}: {html}");
        assert!(!html.contains("<img"), "{name}: {html}");
    }
}

#[test]
fn a_payment_is_told_with_its_amount_and_reference() {
    let mail = json!({"from": "billing", "to": "a@example.org", "template": "payment-received",
        "values": {"amount": "€12.00", "reference": "cs_1", "name": null}});
    let mail = read(&mail.to_string()).unwrap();

    assert_eq!(mail.subject, "Payment received: €12.00");
    let text = mail.text.unwrap();
    assert!(text.starts_with("Hello,\n\nThank you. Your payment of €12.00 has arrived.\n"), "{text}");
    assert!(text.contains("\nAmount: €12.00\nReference: cs_1\n"), "{text}");
    assert!(mail.html.unwrap().contains("<strong>cs_1</strong>"));
}

#[test]
fn a_template_wants_its_values_and_nothing_beside_them() {
    let mail = |values: Value| json!({"to": "a@example.org", "template": "payment-failed", "values": values});

    assert_eq!(problems(mail(json!({"amount": "1"}))), ["/values/reference".to_owned()].into());
    assert_eq!(
        problems(mail(json!({"amount": "1", "reference": "r", "zzz": "1"}))),
        ["/values/zzz".to_owned()].into()
    );
    assert_eq!(problems(mail(json!({"amount": {}, "reference": "r"}))), ["/values/amount".to_owned()].into());
    assert_eq!(problems(with("template", json!("test"))), ["/subject".to_owned(), "/text".to_owned()].into());
    assert_eq!(problems(with("values", json!({}))), ["/values".to_owned()].into());
    assert_eq!(problems(json!({"to": "a@example.org", "template": "nope"})), ["/template".to_owned()].into());
}

#[test]
fn a_payload_tells_its_reader_everything_but_who_else_got_it() {
    for (payload, expected) in [
        (
            r#"{"to":["a@b.co","c@d.co"],"bcc":"e@f.co","reply_to":"g@h.co","from":"billing","subject":"s","text":"t","html":null}"#,
            Some(r#"{"from":"billing","subject":"s","text":"t"}"#),
        ),
        (
            r#"{"template":"payment-received","to":["a@b.co"],"values":{"amount":"5 ISK"}}"#,
            Some(r#"{"template":"payment-received","values":{"amount":"5 ISK"}}"#),
        ),
        ("{}", None),
        (r#"{"to":"a@b.co"}"#, None),
        ("7", None),
    ] {
        assert_eq!(told(payload).as_deref(), expected, "{payload}");
    }
}
