//! The DNS records of a domain as a zone file, which Cloudflare imports as it is: what Resend wants for mails that go out,
//! what Cloudflare's Email Routing wants for those that come in, and where these are forwarded.
//!
//! What a vendor says stands in the file as data: nothing of it can begin another line.

use std::fmt::Write as _;

use levqor_connectors::resend::{Domain, Record};
use levqor_core::mail::Sender;

use crate::cli::out::{plain, table};

/// A text record holds pieces of this length at most.
const PIECE_MAX_BYTES: usize = 255;
const CLOUDFLARE: [(u8, &str); 3] =
    [(10, "route1.mx.cloudflare.net."), (20, "route2.mx.cloudflare.net."), (30, "route3.mx.cloudflare.net.")];

/// The whole file.
pub fn zone(name: &str, receiving: Option<&str>, domain: Option<&Domain>) -> String {
    let mut text = format!("; DNS records for mails from and to {name}\n");
    text.push_str("; A zone file: Cloudflare imports it at DNS > Records > Import. Leave the proxy off for all of them.\n");
    match domain {
        Some(domain) => {
            let status = line(&domain.status);
            let _ = write!(text, "\n; Outgoing, through Resend (the domain is {status} there)\n");
            for record in &domain.records {
                text.push_str(&entry(record));
            }
            text.push_str("\n; What others do with mails that only pretend to come from you; make it stricter once all is well\n");
            let _ = writeln!(
                text,
                "_dmarc.{name}.\t1\tIN\tTXT\t\"v=DMARC1; p=none; rua=mailto:security@{name}\""
            );
        }
        None => text
            .push_str("\n; Outgoing: RESEND_API_KEY is not set, so Resend was not asked for its records\n"),
    }
    text.push_str("\n; Incoming, through Cloudflare Email Routing. It adds these by itself when it is switched on for the domain;\n");
    text.push_str("; a domain has one SPF record, so another one at this name is to be merged with this\n");
    for (priority, host) in CLOUDFLARE {
        let _ = writeln!(text, "{name}.\t1\tIN\tMX\t{priority} {host}");
    }
    let _ = writeln!(text, "{name}.\t1\tIN\tTXT\t\"v=spf1 include:_spf.mx.cloudflare.net ~all\"");
    text.push_str("\n; Routing rules, at Email > Email Routing > Routing rules > Custom addresses\n");
    let target = receiving.unwrap_or("(the inbox that is to get them; set RECEIVING_EMAIL)");
    for sender in Sender::ALL {
        let _ = writeln!(text, ";   {} -> {target}", sender.address(name));
    }
    text
}

/// How the domain and each of its records stand, for a person.
pub fn state(domain: &Domain) -> String {
    let head = ["record", "type", "name", "status"].map(str::to_owned).to_vec();
    let rows = domain.records.iter().map(|record| {
        [&record.purpose, &record.kind, &record.name, &record.status].map(|text| plain(text)).to_vec()
    });
    let rows: Vec<_> = std::iter::once(head).chain(rows).collect();
    format!("{} is {}\n\n{}", plain(&domain.name), plain(&domain.status), table(&rows))
}

fn entry(record: &Record) -> String {
    let (name, kind) = (word(&record.name), word(&record.kind).to_ascii_uppercase());
    let value = match kind.as_str() {
        "TXT" => quoted(&record.value),
        "MX" => format!("{} {}", record.priority.unwrap_or(10), absolute(&record.value)),
        "CNAME" => absolute(&record.value),
        _ => line(&record.value),
    };
    format!("{name}\t1\tIN\t{kind}\t{value}\n")
}

/// A host name with the dot that keeps the zone's own name from being added.
fn absolute(host: &str) -> String {
    format!("{}.", word(host).trim_end_matches('.'))
}

/// One word: what would end it, or begin a comment, is left out.
fn word(text: &str) -> String {
    let is_fine = |c: &char| !c.is_control() && !c.is_whitespace() && !matches!(c, ';' | '"' | '(' | ')');
    text.chars().filter(is_fine).collect()
}

fn line(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).collect()
}

fn quoted(text: &str) -> String {
    let mut pieces = vec![String::new()];
    for char in text.chars().filter(|c| !c.is_control()) {
        let is_full = pieces.last().is_some_and(|piece| piece.len() + 2 + char.len_utf8() > PIECE_MAX_BYTES);
        if is_full {
            pieces.push(String::new());
        }
        if let Some(piece) = pieces.last_mut() {
            if matches!(char, '"' | '\\') {
                piece.push('\\');
            }
            piece.push(char);
        }
    }
    pieces.iter().map(|piece| format!("\"{piece}\"")).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(kind: &str, name: &str, value: &str, priority: Option<i64>) -> Record {
        Record {
            purpose: "SPF".to_owned(),
            kind: kind.to_owned(),
            name: name.to_owned(),
            value: value.to_owned(),
            priority,
            status: "pending".to_owned(),
        }
    }

    fn domain(records: Vec<Record>) -> Domain {
        Domain { id: "d".to_owned(), name: "example.com".to_owned(), status: "pending".to_owned(), records }
    }

    #[test]
    fn the_file_holds_what_both_services_want_and_who_gets_what_comes_in() {
        let records = vec![
            record("MX", "send", "feedback-smtp.eu-west-1.amazonses.com", Some(10)),
            record("TXT", "send", "\"v=spf1 include:amazonses.com ~all\"", None),
            record("TXT", "resend._domainkey", &"p".repeat(600), None),
        ];

        let text = zone("example.com", Some("me@example.org"), Some(&domain(records)));

        for line in [
            "send\t1\tIN\tMX\t10 feedback-smtp.eu-west-1.amazonses.com.",
            "send\t1\tIN\tTXT\t\"\\\"v=spf1 include:amazonses.com ~all\\\"\"",
            "example.com.\t1\tIN\tMX\t10 route1.mx.cloudflare.net.",
            "example.com.\t1\tIN\tTXT\t\"v=spf1 include:_spf.mx.cloudflare.net ~all\"",
            "_dmarc.example.com.\t1\tIN\tTXT\t\"v=DMARC1; p=none; rua=mailto:security@example.com\"",
            ";   support@example.com -> me@example.org",
            ";   billing@example.com -> me@example.org",
            ";   no-reply@example.com -> me@example.org",
            ";   security@example.com -> me@example.org",
        ] {
            assert!(text.lines().any(|known| known == line), "{line:?} is not in\n{text}");
        }
        let key = text.lines().find(|line| line.starts_with("resend._domainkey")).unwrap_or_default();
        assert_eq!(key.matches("\" \"").count(), 2, "{key}");
    }

    #[test]
    fn nothing_that_a_vendor_says_begins_a_line_of_its_own() {
        let records = vec![
            record("TXT\nevil", "a\nevil.example. 1 IN A 1.2.3.4", "x\nevil", None),
            record("MX", "send; a", "host\r\nevil", None),
            record("CAA", "@", "0 issue \"x\"\nevil", None),
        ];
        let mut domain = domain(records);
        domain.status = "pending\nevil".to_owned();

        let text = zone("example.com", None, Some(&domain));

        assert!(text.lines().all(|line| !line.starts_with("evil")), "{text}");
        assert!(!state(&domain).lines().any(|line| line.starts_with("evil")));
    }
}
