//! A mail as Gmail takes it: RFC 5322 with MIME, made by lettre. No text of a caller is ever put into a header by hand, and
//! control characters do not get this far.

use std::time::{Duration, UNIX_EPOCH};

use lettre::message::header::ContentType;
use lettre::message::{Attachment, Mailbox, Mailboxes, Message, MultiPart, SinglePart};
use serde_json::Value;

use crate::ask::Ask;
use crate::call::{decoded, key_digest};
use crate::catalogue::Vendor;
use crate::connect::{Error, Terms};

/// Gmail takes no more in one mail.
const RECIPIENTS_MAX: usize = 500;

pub(crate) const PROPERTIES: &str = r#"{
    "to": {"type": ["string", "array"], "maxItems": 500, "items": {"type": "string"}, "pattern": "^[^\\x00-\\x1f\\x7f]*$", "description": "An address, several with commas between, or a list"},
    "cc": {"type": ["string", "array"], "maxItems": 500, "items": {"type": "string"}, "description": "As to"},
    "bcc": {"type": ["string", "array"], "maxItems": 500, "items": {"type": "string"}, "description": "As to; the others do not see them"},
    "reply_to": {"type": ["string", "array"], "maxItems": 20, "items": {"type": "string"}, "description": "Where answers go"},
    "subject": {"type": "string", "maxLength": 998, "pattern": "^[^\\x00-\\x1f\\x7f]*$", "description": "One line"},
    "body": {"type": "string", "description": "As plain text"},
    "html": {"type": "string", "description": "As HTML; with body beside it readers choose"},
    "thread_id": {"type": "string", "maxLength": 128, "description": "Gmail's thread to put it into"},
    "attachments": {"type": "array", "maxItems": 50, "description": "Files", "items": {
        "type": "object", "additionalProperties": false, "required": ["filename", "content"], "properties": {
            "filename": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[^\\x00-\\x1f\\x7f]*$"},
            "content": {"type": "string", "description": "In base64"},
            "content_type": {"type": "string", "maxLength": 128, "pattern": "^[A-Za-z0-9!#$&^_.+-]+/[A-Za-z0-9!#$&^_.+-]+$", "default": "application/octet-stream"}}}}}"#;

/// The whole mail. Gmail writes the sender: what we would write is a guess.
pub(crate) fn build(ask: &Ask, terms: Terms<'_>) -> Result<Vec<u8>, Error> {
    let to = mailboxes(ask, "to")?;
    let (cc, bcc, reply_to) = (mailboxes(ask, "cc")?, mailboxes(ask, "bcc")?, mailboxes(ask, "reply_to")?);
    if to.is_empty() {
        return Err(Error::ParamsRequired("to and subject required".to_owned()));
    }
    if to.len() + cc.len() + bcc.len() > RECIPIENTS_MAX {
        return Err(Error::invalid("/params/to", format!("at most {RECIPIENTS_MAX} recipients are allowed")));
    }
    let since_epoch = Duration::from_millis(u64::try_from(terms.now_ms).unwrap_or_default());
    // The library wants a sender; this one is taken out again below.
    let nobody: Mailbox = "nobody@example.invalid".parse().expect("an address of the right form");
    let mut builder = Message::builder()
        .from(nobody)
        .keep_bcc()
        .date(UNIX_EPOCH + since_epoch)
        .subject(ask.text("subject"));
    if let Some(key) = terms.idempotency_key {
        builder = builder.message_id(Some(format!("<{}@levqor.ai>", key_digest(Vendor::Gmail, key))));
    }
    builder = to.into_iter().fold(builder, |builder, one| builder.to(one));
    builder = cc.into_iter().fold(builder, |builder, one| builder.cc(one));
    builder = bcc.into_iter().fold(builder, |builder, one| builder.bcc(one));
    builder = reply_to.into_iter().fold(builder, |builder, one| builder.reply_to(one));
    let attachments = attachments(ask)?;
    let (text, html) = (ask.text("body").to_owned(), ask.text("html").to_owned());
    let built = match (html.is_empty(), attachments.is_empty()) {
        (true, true) => builder.singlepart(SinglePart::plain(text)),
        (false, true) if text.is_empty() => builder.singlepart(SinglePart::html(html)),
        (false, true) => builder.multipart(MultiPart::alternative_plain_html(text, html)),
        (is_plain, false) => {
            let mixed = match is_plain {
                true => MultiPart::mixed().singlepart(SinglePart::plain(text)),
                false if text.is_empty() => MultiPart::mixed().singlepart(SinglePart::html(html)),
                false => MultiPart::mixed().multipart(MultiPart::alternative_plain_html(text, html)),
            };
            builder.multipart(attachments.into_iter().fold(mixed, MultiPart::singlepart))
        }
    };
    let mut message = built.map_err(|_| Error::invalid("/params", "these parts make no mail"))?;
    message.headers_mut().remove_raw("From");
    Ok(message.formatted())
}

fn mailboxes(ask: &Ask, name: &str) -> Result<Vec<Mailbox>, Error> {
    let texts: Vec<&str> = match ask.params().get(name) {
        Some(Value::String(text)) => vec![text],
        Some(Value::Array(items)) => items.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    let mut found = Vec::new();
    for text in texts.into_iter().filter(|text| !text.trim().is_empty()) {
        let parsed = match text.contains(char::is_control) {
            true => None,
            false => text.parse::<Mailboxes>().ok(),
        };
        let what =
            format!("{name} must hold mail addresses such as ada@example.com or Ada <ada@example.com>");
        found.extend(parsed.ok_or_else(|| Error::invalid(&format!("/params/{name}"), what))?);
    }
    Ok(found)
}

fn attachments(ask: &Ask) -> Result<Vec<SinglePart>, Error> {
    let given = ask.params().get("attachments").and_then(Value::as_array);
    let part = |(index, one): (usize, &Value)| {
        let text = |name: &str| one[name].as_str().unwrap_or_default();
        let at = |name: &str| format!("/params/attachments/{index}/{name}");
        let content = decoded(text("content"), &format!("attachments/{index}/content"))?;
        let kind = Some(text("content_type")).filter(|kind| !kind.is_empty());
        let kind = ContentType::parse(kind.unwrap_or("application/octet-stream"))
            .map_err(|_| Error::invalid(&at("content_type"), "content_type is no media type"))?;
        Ok(Attachment::new(text("filename").to_owned()).body(content, kind))
    };
    given.into_iter().flatten().enumerate().map(part).collect()
}
