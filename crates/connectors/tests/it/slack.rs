//! What Slack is sent, compared with its documentation, and what comes of its answers.

use levqor_connectors::catalogue::Vendor;
use levqor_testkit::{Answer, Receiver};
use serde_json::{Value, json};

use crate::connect::{TOKEN, run};

async fn play(path: &str, answer: Value, action: &str, params: Value) -> (Receiver, Value) {
    let server = Receiver::start().await;
    server.script(path, [Answer::json(&answer)]);
    let result = run(&server.url(""), Vendor::Slack, action, params).await.unwrap();
    (server, result)
}

#[tokio::test]
async fn messages_are_posted_and_changed_as_json() {
    let answer = json!({"ok": true, "channel": "C1", "ts": "1.2"});
    let params = json!({"channel": "C1", "text": "hi", "thread_ts": "0.9", "blocks": [{"type": "divider"}]});
    let (server, result) = play("/chat.postMessage", answer.clone(), "post_message", params.clone()).await;

    assert_eq!(result, json!({"message_ts": "1.2", "channel": "C1", "status": "sent"}));
    let sent = &server.received()[0];
    let mut body = sent.json();
    let id = body.as_object_mut().unwrap().remove("client_msg_id").unwrap();
    assert_eq!((sent.method.as_str(), body), ("POST", params));
    assert_eq!(id.as_str().map(str::len), Some(36), "a UUID");
    assert_eq!(sent.header("authorization"), format!("Bearer {TOKEN}"));
    assert_eq!(sent.header("content-type"), "application/json; charset=utf-8");

    let params = json!({"channel": "C1", "ts": "1.2", "text": "ho"});
    let (server, result) = play("/chat.update", answer, "update_message", params.clone()).await;
    assert_eq!(result, json!({"message_ts": "1.2", "channel": "C1", "status": "updated"}));
    assert_eq!(server.received()[0].json(), params);
}

#[tokio::test]
async fn a_reaction_is_added() {
    let params = json!({"channel": "C1", "timestamp": "1.2", "name": "tada"});
    let (server, result) = play("/reactions.add", json!({"ok": true}), "add_reaction", params.clone()).await;

    assert_eq!(result, json!({"channel": "C1", "message_ts": "1.2", "name": "tada", "status": "added"}));
    assert_eq!(server.received()[0].json(), params);
}

#[tokio::test]
async fn channels_are_listed_by_pages() {
    let answer = json!({"ok": true, "channels": [{"id": "C1", "name": "a", "topic": {}}],
        "response_metadata": {"next_cursor": "more="}});
    let (server, result) =
        play("/conversations.list", answer, "list_channels", json!({"cursor": "x=y"})).await;

    let expected = json!({"count": 1, "channels": [{"id": "C1", "name": "a"}], "next_cursor": "more="});
    assert_eq!(result, expected);
    let sent = &server.received()[0];
    assert_eq!((sent.method.as_str(), sent.query.as_str()), ("GET", "limit=100&cursor=x%3Dy"));
}

#[tokio::test]
async fn a_file_is_uploaded_in_three_calls() {
    let server = Receiver::start().await;
    let place = json!({"ok": true, "file_id": "F1", "upload_url": server.url("/upload/v1/abc")});
    server.script("/files.getUploadURLExternal", [Answer::json(&place)]);
    server.script("/upload/v1/abc", [Answer::status(200).body("OK - 3")]);
    server.script(
        "/files.completeUploadExternal",
        [Answer::json(&json!({"ok": true, "files": [{"id": "F1"}]}))],
    );

    let params = json!({"channel": "C1", "content": "AAEC", "encoding": "base64", "initial_comment": "see"});
    let result = run(&server.url(""), Vendor::Slack, "upload_file", params).await.unwrap();

    assert_eq!(result, json!({"file_id": "F1", "status": "uploaded"}));
    let sent = server.received();
    assert_eq!(sent.len(), 3);
    assert_eq!(sent[0].body, "filename=file.txt&length=3");
    assert_eq!(sent[0].header("content-type"), "application/x-www-form-urlencoded");
    assert_eq!((sent[1].body.as_ref(), sent[1].header("authorization")), (&[0, 1, 2][..], ""));
    let expected =
        json!({"channel_id": "C1", "files": [{"id": "F1", "title": "file.txt"}], "initial_comment": "see"});
    assert_eq!(sent[2].json(), expected);
}
