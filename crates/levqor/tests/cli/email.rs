//! `levqor email`: a domain at a scripted Resend, its records in a file, a test through a running server, and the record of it.

use levqor_testkit::{Answer, Receiver, TempDir};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::program::{Outcome, Running, levqor};

const KEY: &str = "re_canary_that_nobody_sees";

struct World {
    runtime: Runtime,
    resend: Receiver,
    dir: TempDir,
}

impl World {
    fn new() -> World {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let resend = runtime.block_on(Receiver::start());
        World { runtime, resend, dir: TempDir::new() }
    }

    fn run(&self, arguments: &[&str]) -> Outcome {
        let url = self.resend.url("");
        let vars = [
            ("RESEND_API_KEY", KEY),
            ("RESEND_BASE_URL", &url),
            ("EMAIL_DOMAIN", "example.com"),
            ("RECEIVING_EMAIL", "me@example.org"),
        ];
        let outcome = levqor(self.dir.path(), &vars, arguments);
        assert!(
            !outcome.out.contains("canary") && !outcome.err.contains("canary"),
            "{}{}",
            outcome.out,
            outcome.err
        );
        outcome
    }

    fn asked(&self) -> Vec<String> {
        self.resend.received().into_iter().map(|one| format!("{} {}", one.method, one.path)).collect()
    }
}

fn domain(status: &str) -> Value {
    json!({"id": "d1", "name": "example.com", "status": status, "records": [
        {"record": "SPF", "name": "send", "type": "MX", "status": status, "value": "feedback-smtp.eu-west-1.amazonses.com", "priority": 10},
        {"record": "DKIM", "name": "resend._domainkey", "type": "TXT", "status": status, "value": "p=MIG"}]})
}

fn list(names: &[&str]) -> Answer {
    let data: Vec<_> = names.iter().map(|name| json!({"id": "d1", "name": name})).collect();
    Answer::json(&json!({"object": "list", "has_more": false, "data": data}))
}

#[test]
fn a_domain_is_added_once_and_its_records_are_printed_and_written() {
    let world = World::new();
    world.resend.script(
        "/domains",
        [list(&[]), Answer::status(201).body(domain("not_started").to_string()), list(&["example.com"])],
    );
    world.resend.script("/domains/d1", [Answer::json(&domain("pending"))]);

    let first = world.run(&["email", "setup-domain", "--region", "eu-west-1"]);
    let again = world.run(&["email", "setup-domain", "--out", "again.txt"]);

    assert_eq!((first.code, again.code), (Some(0), Some(0)), "{}{}", first.err, again.err);
    assert!(first.out.starts_with("example.com was added at Resend, region eu-west-1.\n"), "{}", first.out);
    assert!(again.out.starts_with("example.com is at Resend already; it is pending.\n"), "{}", again.out);
    assert_eq!(world.asked(), ["GET /domains", "POST /domains", "GET /domains", "GET /domains/d1"]);
    for name in ["LEVQOR_EMAIL_DNS.txt", "again.txt"] {
        let file = std::fs::read_to_string(world.dir.join(name)).unwrap();
        assert!(
            first.out.contains("send\t1\tIN\tMX\t10 feedback-smtp.eu-west-1.amazonses.com.\n"),
            "{}",
            first.out
        );
        assert!(file.contains("resend._domainkey\t1\tIN\tTXT\t\"p=MIG\"\n"), "{file}");
        assert!(file.contains(";   billing@example.com -> me@example.org\n"), "{file}");
    }
}

#[test]
fn a_domain_is_verified_until_its_records_are_seen_or_the_time_is_over() {
    let world = World::new();
    world.resend.script("/domains/d1/verify", [Answer::json(&json!({"object": "domain", "id": "d1"}))]);
    world.resend.script("/domains", [list(&["example.com"])]);
    world.resend.script(
        "/domains/d1",
        [
            Answer::json(&domain("pending")),
            Answer::json(&domain("pending")),
            Answer::json(&domain("verified")),
        ],
    );

    let pending = world.run(&["email", "verify-domain"]);
    let verified = world.run(&["email", "verify-domain"]);
    world.resend.script("/domains", [list(&[])]);
    let unknown = world.run(&["email", "verify-domain"]);

    assert_eq!(pending.code, Some(1));
    assert!(
        pending.out.contains("example.com is pending") && pending.out.contains("DKIM"),
        "{}",
        pending.out
    );
    assert!(pending.err.contains("add the records that are missing"), "{}", pending.err);
    assert_eq!(verified.code, Some(0), "{}{}", verified.out, verified.err);
    assert_eq!(unknown.code, Some(5), "{}", unknown.err);
    assert!(world.asked().contains(&"POST /domains/d1/verify".to_owned()));
}

#[test]
fn what_resend_refuses_is_told_with_what_to_do() {
    let world = World::new();
    let restricted =
        json!({"statusCode": 401, "name": "restricted_api_key", "message": "This API key is restricted"});
    world.resend.script("/domains", [Answer::status(401).body(restricted.to_string())]);

    let refused = world.run(&["email", "setup-domain"]);
    let without_key = levqor(world.dir.path(), &[], &["email", "setup-domain"]);
    let dns = levqor(world.dir.path(), &[], &["email", "dns"]);

    assert_eq!(refused.code, Some(4));
    assert!(
        refused.err.contains("restricted_api_key") && refused.err.contains("Full access"),
        "{}",
        refused.err
    );
    assert_eq!(without_key.code, Some(2));
    assert!(without_key.err.contains("RESEND_API_KEY is not set"), "{}", without_key.err);
    assert_eq!(dns.code, Some(0), "{}", dns.err);
    assert!(dns.out.contains("security@levqor.ai -> (the inbox"), "{}", dns.out);
}

#[test]
fn a_test_goes_through_the_server_and_its_try_is_listed() {
    let world = World::new();
    world.resend.script(
        "/emails",
        [Answer::json(&json!({"id": "m-1"})), Answer::status(403).body(r#"{"name":"invalid_api_key"}"#)],
    );
    let url = world.resend.url("");
    let vars = [("RESEND_API_KEY", KEY), ("RESEND_BASE_URL", &url), ("EMAIL_DOMAIN", "example.com")];
    let server = Running::start(&vars, |_| {});

    let sent = server.levqor(&["email", "test", "--to", "Ada@example.org", "--from", "support"]);
    let refused = server.levqor(&["email", "test", "--to", "b@example.org"]);
    let nobody = server.levqor(&["email", "test"]);
    let log = server.levqor(&["email", "log"]);
    let failed = server.levqor(&["email", "log", "--status", "failed", "--json"]);

    assert_eq!(sent.code, Some(0), "{}{}", sent.out, sent.err);
    let mail = world.resend.received()[0].json();
    assert_eq!((&mail["from"], &mail["to"]), (&json!("support@example.com"), &json!(["ada@example.org"])));
    assert_eq!(mail["subject"], "Levqor can send mail");
    assert!(mail["text"].as_str().unwrap().contains(&format!("Server: {}", server.url)), "{mail}");
    assert_eq!(refused.code, Some(1));
    assert!(
        refused.out.contains("email_refused") && refused.out.contains("invalid_api_key"),
        "{}",
        refused.out
    );
    assert_eq!(nobody.code, Some(2), "{}", nobody.err);
    let lines: Vec<_> = log.out.lines().collect();
    assert_eq!(lines.len(), 3, "{}", log.out);
    assert!(
        lines[1].contains("failed") && lines[1].contains("b@example.org") && lines[2].contains("m-1"),
        "{}",
        log.out
    );
    let failed: Value = serde_json::from_str(failed.out.trim()).unwrap();
    assert_eq!((&failed["status"], &failed["error"]["code"]), (&json!("failed"), &json!("email_refused")));
    assert!(!server.log().contains("canary"), "{}", server.log());
    drop(world.runtime);
}
