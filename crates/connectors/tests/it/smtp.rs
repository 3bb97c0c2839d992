//! SMTP: a real conversation on loopback, what is in it, and what its replies mean.

use std::sync::Arc;

use http::HeaderValue;
use levqor_connectors::email::{Failure, Mailer, Provider, Sent};
use levqor_connectors::smtp::SmtpUrl;
use levqor_core::mail::{self, Mail};
use levqor_testkit::{Say, SmtpServer};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::tls::server_config;

const LIMIT_MS: u64 = 10_000;
const PROVIDER: &str = "smtp";

fn mailer(url: &str) -> Mailer {
    let provider = Provider::Smtp(SmtpUrl::parse(url).unwrap());
    Mailer::new(&provider, "example.com", &[], HeaderValue::from_static("levqor-test/1"))
}

fn plain(server: &SmtpServer) -> Mailer {
    mailer(&format!("smtp://{}?tls=none", server.address()))
}

fn mail(value: Value) -> Mail {
    mail::read(&value.to_string()).unwrap()
}

fn short() -> Mail {
    mail(json!({"from": "no-reply", "to": "ada@example.org", "subject": "Hi", "text": "Hello"}))
}

/// The value of a header of a message; its continuation lines joined.
fn header(message: &str, name: &str) -> String {
    let head = message.split("\r\n\r\n").next().unwrap().replace("\r\n ", " ");
    let line = head.lines().find_map(|line| line.strip_prefix(&format!("{name}: ")));
    line.unwrap_or_else(|| panic!("no {name} in {head}")).to_owned()
}

#[tokio::test]
async fn a_mail_goes_to_all_its_recipients_and_shows_none_of_the_hidden_ones() {
    let server = SmtpServer::start().await;
    let full = mail(
        json!({"from": "billing", "to": ["ada@example.org", "b@example.org"], "cc": "c@example.org",
        "bcc": ["d@example.org"], "reply_to": "e@example.org", "subject": "Zürich", "text": ".dot\r\n..", "html": "<p>a</p>"}),
    );

    let sent = plain(&server).send(&full, "job-send", 1_700_000_000_000, LIMIT_MS).await.unwrap();

    assert_eq!(
        server.commands(),
        [
            "EHLO example.com",
            "MAIL FROM:<billing@example.com>",
            "RCPT TO:<ada@example.org>",
            "RCPT TO:<b@example.org>",
            "RCPT TO:<c@example.org>",
            "RCPT TO:<d@example.org>",
            "DATA",
            "QUIT"
        ]
    );
    let message = server.messages().remove(0);
    assert_eq!(header(&message, "From"), "billing@example.com");
    assert_eq!(header(&message, "To"), "ada@example.org, b@example.org");
    assert_eq!(header(&message, "Cc"), "c@example.org");
    assert_eq!(header(&message, "Reply-To"), "e@example.org");
    assert_eq!(header(&message, "Subject"), "=?utf-8?b?WsO8cmljaA==?=");
    assert_eq!(header(&message, "Date"), "Tue, 14 Nov 2023 22:13:20 +0000");
    assert_eq!(header(&message, "Message-ID"), sent.message_id);
    assert!(header(&message, "Content-Type").starts_with("multipart/alternative"));
    assert!(message.contains("\r\n.dot\r\n..\r\n") && message.contains("<p>a</p>"), "{message}");
    assert!(!message.contains("d@example.org") && !message.to_lowercase().contains("bcc"), "{message}");
}

#[tokio::test]
async fn the_message_id_is_the_same_in_every_attempt_and_tells_no_job() {
    let server = SmtpServer::start().await;
    let mailer = plain(&server);

    let first = mailer.send(&short(), "019ab3c27e507d3c8f1e2a6b9c0d4e5f-send", 0, LIMIT_MS).await.unwrap();
    let again =
        mailer.send(&short(), "019ab3c27e507d3c8f1e2a6b9c0d4e5f-send", 9_000_000, LIMIT_MS).await.unwrap();
    let other = mailer.send(&short(), "other", 0, LIMIT_MS).await.unwrap();

    assert_eq!(first, again);
    assert_ne!(first, other);
    let Sent { message_id } = first;
    assert!(message_id.starts_with('<') && message_id.ends_with("@example.com>"), "{message_id}");
    assert!(!message_id.contains("019ab3c2"), "{message_id}");
    assert_eq!(header(&server.messages()[0], "Message-ID"), message_id);
}

#[tokio::test]
async fn we_log_in_where_credentials_are_configured_and_their_refusal_shows_none() {
    let server = SmtpServer::start().await;
    let mailer = mailer(&format!("smtp://us%40r:canary-pass@{}?tls=none", server.address()));

    mailer.send(&short(), "k", 0, LIMIT_MS).await.unwrap();
    server.say("AUTH", [Say::reply("535 5.7.8 canary-pass of us@r is not the password")]);
    let failure = mailer.send(&short(), "k", 0, LIMIT_MS).await.unwrap_err();

    // base64 of NUL us@r NUL canary-pass.
    assert_eq!(server.commands()[1], "AUTH PLAIN AHVzQHIAY2FuYXJ5LXBhc3M=");
    let word = Some("535 5.7.8 (hidden) of (address) is not the password".to_owned());
    assert_eq!(failure, Failure::Refused { provider: PROVIDER, word });
    assert_eq!(server.messages().len(), 1);
    assert!(!format!("{mailer:?}").contains("canary"));
}

#[tokio::test]
async fn replies_that_may_pass_and_those_that_will_not_are_told_apart() {
    let server = SmtpServer::start().await;
    let mailer = plain(&server);
    for (verb, reply, code, retry) in [
        ("GREETING", "554 5.3.2 closed", "email_refused", false),
        ("GREETING", "421 4.3.2 later", "email_busy", true),
        ("EHLO", "550 no", "email_refused", false),
        ("MAIL", "451 4.7.1 greylisted", "email_busy", true),
        ("RCPT", "550 5.1.1 <ada@example.org>: unknown", "email_refused", false),
        ("RCPT", "450-4.2.0 wait\r\n450 4.2.0 a little", "email_busy", true),
        ("DATA", "554 5.5.1 none", "email_refused", false),
        ("BODY", "552 5.3.4 too big", "email_refused", false),
        ("BODY", "452 4.3.1 full", "email_busy", true),
        ("BODY", "garbage", "email_bad_answer", true),
        ("GREETING", "HTTP/1.1 400 Bad Request", "email_bad_answer", true),
    ] {
        server.say(verb, [Say::reply(reply)]);

        let failure = mailer.send(&short(), "k", 0, LIMIT_MS).await.unwrap_err();

        assert_eq!((failure.code(), failure.is_retryable()), (code, retry), "{verb} {reply}: {failure:?}");
        assert!(!failure.to_string().contains("ada@"), "{failure}");
        server.say(verb, []);
    }
    mailer.send(&short(), "k", 0, LIMIT_MS).await.unwrap();
}

#[tokio::test]
async fn one_recipient_who_is_refused_means_that_nobody_gets_it() {
    let server = SmtpServer::start().await;
    server.say("RCPT", [Say::reply("250 ok"), Say::reply("550 5.1.1 unknown")]);
    let two = mail(json!({"to": ["a@example.org", "b@example.org"], "subject": "s", "text": "t"}));

    let failure = plain(&server).send(&two, "k", 0, LIMIT_MS).await.unwrap_err();

    assert_eq!(failure.code(), "email_refused");
    assert!(server.messages().is_empty() && !server.commands().contains(&"DATA".to_owned()));
}

#[tokio::test]
async fn a_server_that_is_silent_gone_or_never_stops_talking_is_left_in_time() {
    let server = SmtpServer::start().await;
    let mailer = plain(&server);
    for verb in ["GREETING", "EHLO", "RCPT", "BODY"] {
        for (say, limit_ms, code) in [
            (Say::Hang, 150, "email_timeout"),
            (Say::Close, LIMIT_MS, "email_bad_answer"),
            (Say::Forever(vec![b'a'; 4096]), LIMIT_MS, "email_unreachable"),
            (Say::Forever(b"250-a\r\n".repeat(500)), LIMIT_MS, "email_unreachable"),
        ] {
            server.say(verb, [say.clone()]);

            let failure = mailer.send(&short(), "k", 0, limit_ms).await.unwrap_err();

            assert_eq!(failure.code(), code, "{verb} {say:?}: {failure:?}");
            assert!(failure.is_retryable());
            server.say(verb, []);
        }
    }
    // The mail was taken; a server that does not say goodbye does not undo that.
    server.say("QUIT", [Say::Hang]);
    mailer.send(&short(), "k", 0, LIMIT_MS).await.unwrap();
    let gone = format!("smtp://{}?tls=none", server.address());
    drop(server);
    let failure = self::mailer(&gone).send(&short(), "k", 0, LIMIT_MS).await.unwrap_err();
    assert_eq!(failure, Failure::Unreachable { provider: PROVIDER, code: "connect_failed" });
}

#[tokio::test]
async fn without_encryption_nothing_is_said_unless_that_was_configured() {
    let server = SmtpServer::start().await;
    let mailer = mailer(&format!("smtp://u:p@{}", server.address()));

    let failure = mailer.send(&short(), "k", 0, LIMIT_MS).await.unwrap_err();

    let word = Some("the server offers no STARTTLS".to_owned());
    assert_eq!(failure, Failure::Refused { provider: PROVIDER, word });
    assert_eq!(server.commands(), ["EHLO example.com"]);

    server.say("EHLO", [Say::reply("250-test\r\n250-starttls\r\n250 AUTH PLAIN")]);
    for (reply, code) in [
        ("454 4.7.0 not now", "email_busy"),
        ("502 no", "email_refused"),
        ("220 go\r\n250 a forged reply", "email_unreachable"),
    ] {
        server.say("STARTTLS", [Say::reply(reply)]);
        let failure = mailer.send(&short(), "k", 0, LIMIT_MS).await.unwrap_err();
        assert_eq!(failure.code(), code, "{reply}: {failure:?}");
    }
    assert!(server.commands().iter().all(|said| !said.starts_with("AUTH") && !said.starts_with("MAIL")));
}

#[tokio::test]
async fn a_certificate_that_nobody_vouches_for_gets_no_mail_and_no_password() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        TlsAcceptor::from(Arc::new(server_config())).accept(stream).await.map(|_| ())
    });

    let failure =
        mailer(&format!("smtps://u:p@{address}")).send(&short(), "k", 0, LIMIT_MS).await.unwrap_err();

    assert_eq!(failure, Failure::Unreachable { provider: PROVIDER, code: "tls_failed" });
    assert!(server.await.unwrap().is_err(), "the handshake went through");
}
