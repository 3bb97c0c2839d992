//! Slack's Web API (docs.slack.dev): JSON where a method takes it, forms where it was always so, `Authorization: Bearer`.
//!
//! A message carries `client_msg_id`, by which Slack tells a repeated one (its documentation names it among the errors of
//! chat.postMessage, not among the arguments). Nothing else takes an idempotency key.

use http::Method;
use levqor_core::address::host_port;
use serde_json::{Map, Value, json};

use crate::ask::Ask;
use crate::call::{Call, Calls, decoded, key_digest, want, want_list};
use crate::catalogue::{Action, Vendor};
use crate::connect::Error;
use crate::failure::Failure;

pub(crate) const ACTIONS: &[Action] = &[
    Action {
        name: "post_message",
        about: "Post a message to a channel (chat.postMessage)",
        required: &["channel", "text"],
        properties: r#"{
            "channel": {"type": "string", "description": "Id of a channel, or its name"},
            "text": {"type": "string", "maxLength": 40000, "description": "The message; what notifications show when there are blocks"},
            "blocks": {"type": "array", "maxItems": 50, "items": {"type": "object"}, "description": "Block Kit"},
            "thread_ts": {"type": "string", "description": "message_ts of the message to answer"},
            "reply_broadcast": {"type": "boolean", "description": "Show an answer in the channel too"},
            "mrkdwn": {"type": "boolean", "description": "false: no formatting"},
            "unfurl_links": {"type": "boolean", "description": "Show what links lead to"},
            "unfurl_media": {"type": "boolean", "description": "The same for media"}}"#,
    },
    Action {
        name: "update_message",
        about: "Change a message (chat.update)",
        required: &["channel", "ts", "text"],
        properties: r#"{
            "channel": {"type": "string", "description": "Id of its channel"},
            "ts": {"type": "string", "description": "Its message_ts"},
            "text": {"type": "string", "maxLength": 40000, "description": "The new text"},
            "blocks": {"type": "array", "maxItems": 50, "items": {"type": "object"}, "description": "Block Kit"}}"#,
    },
    Action {
        name: "add_reaction",
        about: "React to a message (reactions.add)",
        required: &["channel", "timestamp", "name"],
        properties: r#"{
            "channel": {"type": "string", "description": "Id of its channel"},
            "timestamp": {"type": "string", "description": "Its message_ts"},
            "name": {"type": "string", "description": "Name of an emoji, without colons"}}"#,
    },
    Action {
        name: "list_channels",
        about: "List channels (conversations.list)",
        required: &[],
        properties: r#"{
            "limit": {"type": "integer", "minimum": 1, "maximum": 999, "default": 100, "description": "At most so many"},
            "cursor": {"type": "string", "description": "next_cursor of the page before"},
            "types": {"type": "string", "description": "public_channel, private_channel, mpim, im: with commas between; default public_channel"},
            "exclude_archived": {"type": "boolean", "description": "Leave out archived ones"}}"#,
    },
    Action {
        name: "upload_file",
        about: "Upload a file and share it in a channel (files.getUploadURLExternal, files.completeUploadExternal)",
        required: &["channel", "content"],
        properties: r#"{
            "channel": {"type": "string", "description": "Id of a channel; names are not taken here"},
            "content": {"type": "string", "description": "What the file holds"},
            "encoding": {"enum": ["text", "base64"], "default": "text", "description": "How content is written"},
            "filename": {"type": "string", "minLength": 1, "maxLength": 255, "default": "file.txt", "description": "Its name"},
            "title": {"type": "string", "description": "Its title; default its name"},
            "initial_comment": {"type": "string", "description": "A message with it"},
            "thread_ts": {"type": "string", "description": "message_ts of the message to answer"}}"#,
    },
];

pub(crate) async fn run(calls: &Calls<'_>, ask: &Ask) -> Result<Value, Error> {
    match ask.action {
        "post_message" => {
            let mut body = ask.params().clone();
            if let Some(key) = calls.terms.idempotency_key {
                body.insert("client_msg_id".to_owned(), uuid(&key_digest(Vendor::Slack, key)).into());
            }
            message(calls, body, "chat.postMessage", "sent").await
        }
        "update_message" => message(calls, ask.params().clone(), "chat.update", "updated").await,
        "add_reaction" => {
            calls.send(post(calls, "reactions.add", ask.params().clone())).await?;
            let (channel, ts, name) = (ask.text("channel"), ask.text("timestamp"), ask.text("name"));
            Ok(json!({"channel": channel, "message_ts": ts, "name": name, "status": "added"}))
        }
        "list_channels" => list_channels(calls, ask).await,
        "upload_file" => upload_file(calls, ask).await,
        other => Err(Error::UnknownAction(other.to_owned())),
    }
}

fn url(calls: &Calls<'_>, method: &str) -> String {
    format!("{}/{method}", calls.connectors.bases.slack)
}

fn post(calls: &Calls<'_>, method: &str, body: Map<String, Value>) -> Call {
    Call::json(Method::POST, url(calls, method), body).bearer(calls.token())
}

async fn message(
    calls: &Calls<'_>,
    body: Map<String, Value>,
    method: &str,
    status: &str,
) -> Result<Value, Error> {
    let answer = calls.send(post(calls, method, body)).await?;
    Ok(json!({"channel": want(&answer, "/channel")?, "message_ts": want(&answer, "/ts")?, "status": status}))
}

/// 32 hex digits as a UUID of our own making (version 8).
fn uuid(hex: &str) -> String {
    format!("{}-{}-8{}-a{}-{}", &hex[..8], &hex[8..12], &hex[13..16], &hex[17..20], &hex[20..32])
}

async fn list_channels(calls: &Calls<'_>, ask: &Ask) -> Result<Value, Error> {
    let query = ask.query(&[
        ("limit", "limit", "100"),
        ("cursor", "cursor", ""),
        ("types", "types", ""),
        ("exclude_archived", "exclude_archived", ""),
    ]);
    let call = Call::get(url(calls, "conversations.list"), &query).bearer(calls.token());
    let answer = calls.send(call).await?;
    let channels: Vec<Value> = want_list(&answer, "channels")?
        .iter()
        .map(|channel| json!({"id": channel["id"], "name": channel["name"]}))
        .collect();
    let mut result = json!({"count": channels.len(), "channels": channels});
    let next = answer.pointer("/response_metadata/next_cursor").and_then(Value::as_str);
    if let Some(next) = next.filter(|next| !next.is_empty()) {
        result["next_cursor"] = next.into();
    }
    Ok(result)
}

async fn upload_file(calls: &Calls<'_>, ask: &Ask) -> Result<Value, Error> {
    let content = ask.text("content");
    let bytes = match ask.text("encoding") {
        "base64" => decoded(content, "content")?,
        _ => content.as_bytes().to_vec(),
    };
    let filename = if ask.text("filename").is_empty() { "file.txt" } else { ask.text("filename") };
    let pairs = [("filename", filename.to_owned()), ("length", bytes.len().to_string())];
    let place = Call::form(url(calls, "files.getUploadURLExternal"), &pairs).bearer(calls.token());
    let place = calls.send(place).await?;
    let file_id = want(&place, "/file_id")?;
    let upload_url = want(&place, "/upload_url")?.as_str().ok_or(Failure::BadAnswer)?;

    // The vendor's word for an address is trusted no further than a payload's, unless it leads back to where we were sent.
    let is_own = host_port(upload_url).is_some_and(|at| host_port(&calls.connectors.bases.slack) == Some(at));
    let client = if is_own { &calls.connectors.client } else { &calls.connectors.strict };
    calls.deliver(client, Call::bytes(upload_url.to_owned(), bytes)).await?;

    let title = if ask.text("title").is_empty() { filename } else { ask.text("title") };
    let mut body = ask.pick(&["initial_comment", "thread_ts"]);
    body.insert("channel_id".to_owned(), ask.text("channel").into());
    body.insert("files".to_owned(), json!([{"id": file_id, "title": title}]));
    calls.send(post(calls, "files.completeUploadExternal", body)).await?;
    Ok(json!({"file_id": file_id, "status": "uploaded"}))
}
