//! What Gmail is sent, compared with its documentation, and what comes of its answers.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE;
use levqor_connectors::catalogue::Vendor;
use levqor_connectors::{Ask, Credentials, Error, Failure, Terms};
use levqor_core::seal::SecretText;
use levqor_testkit::{Answer, Receiver};
use serde_json::{Map, Value, json};

use crate::connect::{TERMS, TOKEN, connectors, perform, run};

const ME: &str = "/gmail/v1/users/me";

#[tokio::test]
async fn the_mailbox_is_read() {
    let server = Receiver::start().await;
    server.script(&format!("{ME}/labels"), [Answer::json(&json!({"labels": [{"id": "INBOX"}]}))]);
    let list = json!({"messages": [{"id": "m", "threadId": "t"}], "nextPageToken": "n"});
    server.script(
        &format!("{ME}/messages"),
        [Answer::json(&list), Answer::json(&json!({"resultSizeEstimate": 0}))],
    );
    server.script(&format!("{ME}/messages/m"), [Answer::json(&json!({"id": "m", "snippet": "hi"}))]);
    let url = server.url("");
    let play = |action: &'static str, params| run(&url, Vendor::Gmail, action, params);

    assert_eq!(play("list_labels", json!({})).await.unwrap(), json!({"labels": [{"id": "INBOX"}]}));
    let first =
        play("list_messages", json!({"query": "is:unread a", "label_ids": ["A", "B"]})).await.unwrap();
    let expected = json!({"count": 1, "messages": [{"id": "m", "threadId": "t"}], "next_page_token": "n"});
    assert_eq!(first, expected);
    assert_eq!(play("list_messages", json!({})).await.unwrap(), json!({"count": 0, "messages": []}));
    let one = play("get_message", json!({"message_id": "m"})).await.unwrap();
    assert_eq!(one, json!({"message_id": "m", "message": {"id": "m", "snippet": "hi"}}));

    let queries: Vec<_> = server.received().iter().map(|sent| sent.query.clone()).collect();
    let asked = "maxResults=10&q=is%3Aunread+a&labelIds=A&labelIds=B";
    assert_eq!(queries, ["", asked, "maxResults=10", "format=full"]);
    assert_eq!(server.received()[0].header("authorization"), format!("Bearer {TOKEN}"));
}

async fn send(params: Value) -> Result<String, Error> {
    let server = Receiver::start().await;
    let path = format!("{ME}/messages/send");
    server.script(&path, [Answer::json(&json!({"id": "m"}))]);
    let result = run(&server.url(""), Vendor::Gmail, "send_email", params).await?;
    assert_eq!(result, json!({"message_id": "m", "status": "sent"}));
    let sent = server.received()[0].json();
    Ok(String::from_utf8(URL_SAFE.decode(sent["raw"].as_str().unwrap()).unwrap()).unwrap())
}

#[tokio::test]
async fn a_mail_has_every_part_that_was_asked_for_and_no_sender_of_ours() {
    let mail = send(json!({"to": "Ada <ada@example.com>, b@example.com", "cc": ["c@example.com"],
        "bcc": "d@example.com", "reply_to": "e@example.com", "subject": "Grüße", "body": "plain words",
        "html": "<p>words</p>", "attachments": [{"filename": "ä.txt", "content": "aGVsbG8=", "content_type": "text/plain"}]}))
    .await
    .unwrap();

    for line in [
        "To: Ada <ada@example.com>, b@example.com\r\n",
        "Cc: c@example.com\r\n",
        "Bcc: d@example.com\r\n",
        "Reply-To: e@example.com\r\n",
        "MIME-Version: 1.0\r\n",
        "Message-ID: <c301ae96ac0658e6fccba0e99e1b6773@levqor.ai>\r\n",
        "Date: Sun, 06 Nov 1994 08:49:37 +0000\r\n",
        "Content-Type: multipart/mixed;",
        "Content-Type: multipart/alternative;",
        "plain words",
        "<p>words</p>",
        "Content-Disposition: attachment;",
    ] {
        assert!(mail.contains(line), "{line:?} is not in\n{mail}");
    }
    assert!(mail.contains("Subject: =?utf-8?") && mail.is_ascii(), "{mail}");
    assert!(!mail.contains("From:"), "{mail}");
}

#[tokio::test]
async fn no_text_starts_another_header() {
    let evil = "x\r\nBcc: evil@example.com";
    let file = json!([{"filename": evil, "content": ""}]);
    for params in [
        json!({"to": evil, "subject": "s"}),
        json!({"to": [evil], "subject": "s"}),
        json!({"to": "a@example.com\nBcc: evil@example.com", "subject": "s"}),
        json!({"to": "a@example.com", "cc": "\"x\r\nBcc: evil@example.com\" <c@example.com>", "subject": "s"}),
        json!({"to": "a@example.com", "reply_to": evil, "subject": "s"}),
        json!({"to": "a@example.com", "subject": evil}),
        json!({"to": "a@example.com", "subject": "s", "attachments": file}),
        json!({"to": "a@example.com", "subject": "s",
            "attachments": [{"filename": "f", "content": "", "content_type": "text/plain\r\nX-Evil: 1"}]}),
    ] {
        let error = send(params.clone()).await.unwrap_err();
        assert!(matches!(error, Error::Invalid(_)), "{params}: {error:?}");
    }
}

async fn renewing(server: &Receiver, credentials: Value) -> Result<Value, Error> {
    let body = json!({"action": "list_labels", "credentials": credentials});
    perform(&connectors(&server.url("")), Vendor::Gmail, &body).await
}

#[tokio::test]
async fn a_token_is_renewed_at_the_configured_address_and_nowhere_else() {
    let server = Receiver::start().await;
    let elsewhere = Receiver::start().await;
    let stale =
        json!({"error": {"code": 401, "status": "UNAUTHENTICATED", "errors": [{"reason": "authError"}]}});
    let fine = Answer::json(&json!({"labels": []}));
    server.script(&format!("{ME}/labels"), [Answer::status(401).body(stale.to_string()), fine]);
    server.script("/token", [Answer::json(&json!({"access_token": "canary-fresh", "expires_in": 3599}))]);
    let credentials = json!({"token": TOKEN, "refresh_token": "canary-r", "client_id": "i", "client_secret": "canary-s",
        "token_uri": elsewhere.url("/token")});

    assert_eq!(renewing(&server, credentials).await.unwrap(), json!({"labels": []}));
    let refresh_only = json!({"refresh_token": "canary-r", "client_id": "i", "client_secret": "canary-s"});
    assert_eq!(renewing(&server, refresh_only).await.unwrap(), json!({"labels": []}));

    let sent = server.received();
    let paths: Vec<_> = sent.iter().map(|sent| sent.path.rsplit('/').next().unwrap()).collect();
    assert_eq!(paths, ["labels", "token", "labels", "token", "labels"]);
    assert_eq!(
        sent[1].body,
        "client_id=i&client_secret=canary-s&grant_type=refresh_token&refresh_token=canary-r"
    );
    assert_eq!(sent[2].header("authorization"), "Bearer canary-fresh");
    assert!(elsewhere.received().is_empty());
}

#[tokio::test]
async fn a_refused_renewal_is_told_in_googles_word() {
    let server = Receiver::start().await;
    server.script("/token", [Answer::status(400).body("{\"error\":\"invalid_grant\"}")]);

    let credentials = json!({"refresh_token": "canary-r", "client_id": "i", "client_secret": "canary-s"});
    let error = renewing(&server, credentials).await.unwrap_err();

    assert_eq!(error, Failure::Unauthorized { word: Some("invalid_grant".to_owned()) }.into());
}

#[tokio::test]
async fn a_stored_connection_renews_its_token_once_and_keeps_it_until_it_runs_out() {
    let server = Receiver::start().await;
    server.script("/token", [Answer::json(&json!({"access_token": "canary-fresh", "expires_in": 3599}))]);
    server.script(&format!("{ME}/labels"), [Answer::json(&json!({"labels": []}))]);
    let stored = r#"{"credentials":{"refresh_token":"canary-r","client_id":"i","client_secret":"canary-s"}}"#;
    let connectors = connectors(&server.url(""));
    let ask = Ask::new(Vendor::Gmail, "list_labels", Map::new()).map_err(|error| error.to_string()).unwrap();
    let call = async |at_ms: i64| {
        let stored = Credentials::from_stored(Vendor::Gmail, &SecretText::new(stored));
        let stored = stored.map_err(|error| error.to_string()).unwrap();
        connectors.run(&ask, &stored, Terms { now_ms: TERMS.now_ms + at_ms, ..TERMS }).await
    };
    let paths = || {
        let received = server.received();
        received.iter().map(|sent| sent.path.rsplit('/').next().unwrap().to_owned()).collect::<Vec<_>>()
    };

    for at_ms in [0, 1_000, 3_538_000] {
        call(at_ms).await.unwrap();
    }
    assert_eq!(paths(), ["token", "labels", "labels", "labels"]);

    call(3_540_000).await.unwrap();
    assert_eq!(paths()[4..], ["token", "labels"], "it runs out within a minute");

    let stale = json!({"error": {"code": 401, "status": "UNAUTHENTICATED"}}).to_string();
    let fine = Answer::json(&json!({"labels": []}));
    server.script(&format!("{ME}/labels"), [Answer::status(401).body(stale), fine]);
    call(3_541_000).await.unwrap();
    assert_eq!(
        paths()[6..],
        ["labels", "token", "labels"],
        "one that Google does not take any more is renewed"
    );
}
