//! Telegram's Bot API (core.telegram.org/bots/api): JSON to `/bot<token>/<method>`, a form where a file goes up.
//!
//! The token is a part of the address, so no address of these calls may ever be shown. Telegram takes no idempotency key.

use http::Method;
use serde_json::{Map, Value, json};

use crate::ask::Ask;
use crate::call::{Call, Calls, decoded, want, want_list};
use crate::catalogue::Action;
use crate::connect::Error;
use crate::multipart::FilePart;

/// What Telegram takes of a file that is sent up to it.
const PHOTO_MAX_BYTES: usize = 10_000_000;
const DOCUMENT_MAX_BYTES: usize = 50_000_000;

pub(crate) const ACTIONS: &[Action] = &[
    Action {
        name: "send_message",
        about: "Send a text (sendMessage)",
        required: &["chat_id", "text"],
        properties: r#"{
            "chat_id": {"type": ["integer", "string"], "description": "Id of a chat, or @name of a channel"},
            "text": {"type": "string", "maxLength": 32768, "description": "The message; 4096 characters without its formatting"},
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
            "photo": {"type": ["string", "object"], "additionalProperties": false, "required": ["filename", "content"], "properties": {
                "filename": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[^\\x00-\\x1f\\x7f]*$"},
                "content": {"type": "string", "minLength": 1, "description": "In base64"},
                "content_type": {"type": "string", "maxLength": 128, "pattern": "^[A-Za-z0-9!#$&^_.+-]+/[A-Za-z0-9!#$&^_.+-]+$", "default": "application/octet-stream"}}, "description": "An https:// address that Telegram fetches (up to 5 MB), a file_id, or the photo itself (up to 10 MB)"},
            "caption": {"type": "string", "maxLength": 8192, "description": "A text below it; 1024 characters without its formatting"},
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
            "document": {"type": ["string", "object"], "additionalProperties": false, "required": ["filename", "content"], "properties": {
                "filename": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[^\\x00-\\x1f\\x7f]*$"},
                "content": {"type": "string", "minLength": 1, "description": "In base64"},
                "content_type": {"type": "string", "maxLength": 128, "pattern": "^[A-Za-z0-9!#$&^_.+-]+/[A-Za-z0-9!#$&^_.+-]+$", "default": "application/octet-stream"}}, "description": "An https:// address that Telegram fetches (PDF, ZIP, GIF; up to 20 MB), a file_id, or the file itself (up to 50 MB)"},
            "caption": {"type": "string", "maxLength": 8192, "description": "A text below it; 1024 characters without its formatting"},
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
        "send_photo" => send_file(calls, ask, "sendPhoto", "photo", PHOTO_MAX_BYTES).await,
        "send_document" => send_file(calls, ask, "sendDocument", "document", DOCUMENT_MAX_BYTES).await,
        "get_me" => {
            let me = post(calls, "getMe", Map::new()).await?;
            let (id, first_name) = (want(&me, "/id")?, want(&me, "/first_name")?);
            Ok(json!({"first_name": first_name, "id": id, "username": me["username"]}))
        }
        "get_updates" => get_updates(calls, ask).await,
        other => Err(Error::UnknownAction(other.to_owned())),
    }
}

fn url(calls: &Calls<'_>, method: &str) -> String {
    format!("{}/bot{}/{method}", calls.connectors.bases.telegram, calls.token())
}

/// Calls a method and answers its `result`.
async fn post(calls: &Calls<'_>, method: &str, body: Map<String, Value>) -> Result<Value, Error> {
    let answer = calls.send(Call::json(Method::POST, url(calls, method), body)).await?;
    Ok(want(&answer, "/result")?.clone())
}

async fn send(calls: &Calls<'_>, ask: &Ask, method: &str) -> Result<Value, Error> {
    sent(&post(calls, method, ask.params().clone()).await?)
}

fn sent(message: &Value) -> Result<Value, Error> {
    let (message_id, chat_id) = (want(message, "/message_id")?, want(message, "/chat/id")?);
    Ok(json!({"chat_id": chat_id, "message_id": message_id, "status": "sent"}))
}

/// An address or a file_id goes out as it is; a file goes up beside the other parameters.
async fn send_file(
    calls: &Calls<'_>,
    ask: &Ask,
    method: &str,
    field: &str,
    max_bytes: usize,
) -> Result<Value, Error> {
    let Some(Value::Object(file)) = ask.params().get(field) else { return send(calls, ask, method).await };
    let text = |name: &str| file.get(name).and_then(Value::as_str).unwrap_or_default();
    let at = format!("{field}/content");
    let content = decoded(text("content"), &at)?;
    if content.len() > max_bytes {
        let what = format!("{field} has {} bytes; Telegram takes {max_bytes} at most", content.len());
        return Err(Error::invalid(&format!("/params/{at}"), what));
    }
    // In a form texts stand as they are, everything else as JSON.
    let fields = ask.params().iter().filter(|(name, _)| *name != field).map(|(name, value)| match value {
        Value::String(text) => (name.clone(), text.clone()),
        other => (name.clone(), other.to_string()),
    });
    let content_type = Some(text("content_type")).filter(|kind| !kind.is_empty());
    let part = FilePart {
        field,
        filename: text("filename"),
        content_type: content_type.unwrap_or("application/octet-stream"),
        content: &content,
    };
    let call = Call::multipart(url(calls, method), &fields.collect::<Vec<_>>(), &part);
    let answer = calls.send(call).await?;
    sent(want(&answer, "/result")?)
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
