//! Telegram's Bot API (core.telegram.org/bots/api): JSON to `/bot<token>/<method>`.
//!
//! The token is a part of the address, so no address of these calls may ever be shown. Telegram takes no idempotency key.

use http::Method;
use serde_json::{Map, Value, json};

use crate::ask::Ask;
use crate::call::{Call, Calls, want, want_list};
use crate::catalogue::Action;
use crate::connect::Error;

pub(crate) const ACTIONS: &[Action] = &[
    Action {
        name: "send_message",
        about: "Send a text (sendMessage)",
        required: &["chat_id", "text"],
        properties: r#"{
            "chat_id": {"type": ["integer", "string"], "description": "Id of a chat, or @name of a channel"},
            "text": {"type": "string", "maxLength": 4096, "description": "The message"},
            "parse_mode": {"enum": ["MarkdownV2", "HTML", "Markdown"], "description": "How it is formatted"},
            "disable_notification": {"type": "boolean", "description": "Without a sound"},
            "protect_content": {"type": "boolean", "description": "It cannot be forwarded or saved"},
            "message_thread_id": {"type": "integer", "description": "Topic of a forum"},
            "link_preview_options": {"type": "object", "description": "LinkPreviewOptions"},
            "reply_parameters": {"type": "object", "description": "ReplyParameters: the message to answer"},
            "reply_markup": {"type": "object", "description": "A keyboard"}}"#,
    },
    Action {
        name: "send_photo",
        about: "Send a photo (sendPhoto)",
        required: &["chat_id", "photo"],
        properties: r#"{
            "chat_id": {"type": ["integer", "string"], "description": "Id of a chat, or @name of a channel"},
            "photo": {"type": "string", "description": "An https:// address that Telegram fetches, or a file_id"},
            "caption": {"type": "string", "maxLength": 1024, "description": "A text below it"},
            "parse_mode": {"enum": ["MarkdownV2", "HTML", "Markdown"], "description": "How the caption is formatted"},
            "has_spoiler": {"type": "boolean", "description": "Covered until it is touched"},
            "disable_notification": {"type": "boolean", "description": "Without a sound"},
            "protect_content": {"type": "boolean", "description": "It cannot be forwarded or saved"},
            "message_thread_id": {"type": "integer", "description": "Topic of a forum"},
            "reply_parameters": {"type": "object", "description": "ReplyParameters: the message to answer"},
            "reply_markup": {"type": "object", "description": "A keyboard"}}"#,
    },
    Action {
        name: "send_document",
        about: "Send a file (sendDocument)",
        required: &["chat_id", "document"],
        properties: r#"{
            "chat_id": {"type": ["integer", "string"], "description": "Id of a chat, or @name of a channel"},
            "document": {"type": "string", "description": "An https:// address that Telegram fetches (PDF, ZIP, GIF), or a file_id"},
            "caption": {"type": "string", "maxLength": 1024, "description": "A text below it"},
            "parse_mode": {"enum": ["MarkdownV2", "HTML", "Markdown"], "description": "How the caption is formatted"},
            "disable_notification": {"type": "boolean", "description": "Without a sound"},
            "protect_content": {"type": "boolean", "description": "It cannot be forwarded or saved"},
            "message_thread_id": {"type": "integer", "description": "Topic of a forum"},
            "reply_parameters": {"type": "object", "description": "ReplyParameters: the message to answer"},
            "reply_markup": {"type": "object", "description": "A keyboard"}}"#,
    },
    Action { name: "get_me", about: "The bot itself (getMe)", required: &[], properties: "{}" },
    Action {
        name: "get_updates",
        about: "What the bot was sent (getUpdates)",
        required: &[],
        properties: r#"{
            "limit": {"type": "integer", "minimum": 1, "maximum": 100, "default": 10, "description": "At most so many"},
            "offset": {"type": "integer", "description": "The first update_id wanted; earlier ones are forgotten by Telegram"},
            "allowed_updates": {"type": "array", "items": {"type": "string"}, "description": "Kinds of updates"},
            "full": {"type": "boolean", "default": false, "description": "The whole updates and not only their ids"}}"#,
    },
];

pub(crate) async fn run(calls: &Calls<'_>, ask: &Ask) -> Result<Value, Error> {
    match ask.action {
        "send_message" => send(calls, ask, "sendMessage").await,
        "send_photo" => send(calls, ask, "sendPhoto").await,
        "send_document" => send(calls, ask, "sendDocument").await,
        "get_me" => {
            let me = post(calls, "getMe", Map::new()).await?;
            let (id, first_name) = (want(&me, "/id")?, want(&me, "/first_name")?);
            Ok(json!({"first_name": first_name, "id": id, "username": me["username"]}))
        }
        "get_updates" => get_updates(calls, ask).await,
        other => Err(Error::UnknownAction(other.to_owned())),
    }
}

/// Calls a method and answers its `result`.
async fn post(calls: &Calls<'_>, method: &str, body: Map<String, Value>) -> Result<Value, Error> {
    let url = format!("{}/bot{}/{method}", calls.connectors.bases.telegram, calls.token());
    let answer = calls.send(Call::json(Method::POST, url, body)).await?;
    Ok(want(&answer, "/result")?.clone())
}

async fn send(calls: &Calls<'_>, ask: &Ask, method: &str) -> Result<Value, Error> {
    let message = post(calls, method, ask.params().clone()).await?;
    let (message_id, chat_id) = (want(&message, "/message_id")?, want(&message, "/chat/id")?);
    Ok(json!({"chat_id": chat_id, "message_id": message_id, "status": "sent"}))
}

async fn get_updates(calls: &Calls<'_>, ask: &Ask) -> Result<Value, Error> {
    let mut body = ask.pick(&["limit", "offset", "allowed_updates"]);
    body.entry("limit").or_insert_with(|| 10.into());
    // Waiting for updates is not for a call that somebody waits for.
    body.insert("timeout".to_owned(), 0.into());
    let answer = json!({"updates": post(calls, "getUpdates", body).await?});
    let updates = want_list(&answer, "updates")?;
    let shown = |update: &Value| match ask.flag("full") {
        true => update.clone(),
        false => json!({"update_id": update["update_id"]}),
    };
    let shown: Vec<Value> = updates.iter().map(shown).collect();
    Ok(json!({"count": shown.len(), "updates": shown}))
}
