//! What Telegram is sent, compared with its documentation, and what comes of its answers.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use levqor_connectors::catalogue::Vendor;
use levqor_testkit::{Answer, Receiver};
use serde_json::{Value, json};

use crate::connect::{TOKEN, run};

async fn play(method: &str, answer: Value, action: &str, params: Value) -> (Value, Value) {
    let server = Receiver::start().await;
    let path = format!("/bot{TOKEN}/{method}");
    server.script(&path, [Answer::json(&json!({"ok": true, "result": answer}))]);
    let result = run(&server.url(""), Vendor::Telegram, action, params).await.unwrap();
    let sent = &server.received_at(&path)[0];
    assert_eq!(sent.header("authorization"), "");
    (sent.json(), result)
}

#[tokio::test]
async fn what_is_sent_goes_out_as_it_was_given() {
    let message = json!({"message_id": 7, "chat": {"id": -100}});
    for (action, method, params) in [
        ("send_message", "sendMessage", json!({"chat_id": -100, "text": "hi", "parse_mode": "HTML"})),
        (
            "send_photo",
            "sendPhoto",
            json!({"chat_id": "@news", "photo": "https://example.com/a.jpg", "caption": "a"}),
        ),
        ("send_document", "sendDocument", json!({"chat_id": 1, "document": "file-id"})),
    ] {
        let (sent, result) = play(method, message.clone(), action, params.clone()).await;

        assert_eq!(sent, params);
        assert_eq!(result, json!({"message_id": 7, "chat_id": -100, "status": "sent"}));
    }
}

#[tokio::test]
async fn the_bot_and_its_updates_are_read() {
    let me = json!({"id": 1, "is_bot": true, "first_name": "Bot", "username": "a_bot"});
    let (sent, result) = play("getMe", me, "get_me", json!({})).await;
    assert_eq!((sent, result), (json!({}), json!({"id": 1, "username": "a_bot", "first_name": "Bot"})));

    let updates = json!([{"update_id": 5, "message": {"text": "hi"}}]);
    let (sent, result) = play("getUpdates", updates.clone(), "get_updates", json!({})).await;
    assert_eq!(sent, json!({"limit": 10, "timeout": 0}));
    assert_eq!(result, json!({"count": 1, "updates": [{"update_id": 5}]}));

    let params = json!({"full": true, "offset": 6, "limit": 2});
    let (sent, result) = play("getUpdates", updates.clone(), "get_updates", params).await;
    assert_eq!(sent, json!({"limit": 2, "offset": 6, "timeout": 0}));
    assert_eq!(result["updates"], updates);
}

#[tokio::test]
async fn a_file_that_is_too_large_or_no_base64_is_refused_here() {
    let server = Receiver::start().await;
    let large = STANDARD.encode(vec![7; 10_000_001]);
    for (photo, words) in [
        (json!({"filename": "a.jpg", "content": large}), "10000000 at most"),
        (json!({"filename": "a.jpg", "content": "%%%"}), "not base64"),
        (json!({"filename": "a\r\nb", "content": "aGk="}), "/params/photo/filename"),
        (
            json!({"filename": "a", "content": "aGk=", "content_type": "a/b\r\nX: 1"}),
            "/params/photo/content_type",
        ),
        (json!({"content": "aGk="}), "/params/photo"),
        (json!({"filename": "a", "content": "aGk=", "url": "x"}), "/params/photo"),
        (json!(7), "/params/photo"),
    ] {
        let params = json!({"chat_id": 1, "photo": photo});
        let error = run(&server.url(""), Vendor::Telegram, "send_photo", params).await.unwrap_err();
        assert!(format!("{error:?}").contains(words), "{words}: {error:?}");
    }
    assert!(server.received().is_empty());
}
