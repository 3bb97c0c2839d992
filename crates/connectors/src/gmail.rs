//! Gmail's API (developers.google.com/gmail/api), as the user whom the token stands for.
//!
//! A token that has run out is renewed once, at the address that the operator configured and no other; a call that Google
//! refused for its token has done nothing, so it is made again. Gmail takes no idempotency key; a mail that is sent by a step
//! has the same Message-ID in every try, by which mail programs tell twins.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE;
use http::Method;
use levqor_core::seal::SecretText;
use serde_json::{Value, json};

use crate::ask::Ask;
use crate::call::{Call, Calls, segment, want, want_list};
use crate::catalogue::Action;
use crate::connect::Error;
use crate::credentials::Refresh;
use crate::failure::Failure;
use crate::mail;

/// What a call with a stale token is told.
const STALE: [&str; 2] = ["authError", "UNAUTHENTICATED"];

pub(crate) const ACTIONS: &[Action] = &[
    Action { name: "list_labels", about: "The mailbox's labels", required: &[], properties: "{}" },
    Action {
        name: "list_messages",
        about: "Ids of messages, newest first",
        required: &[],
        properties: r#"{
            "max_results": {"type": "integer", "minimum": 1, "maximum": 500, "default": 10, "description": "At most so many"},
            "query": {"type": "string", "default": "", "description": "As in Gmail's search box"},
            "label_ids": {"type": "array", "maxItems": 20, "items": {"type": "string"}, "description": "Only with all of these labels"},
            "page_token": {"type": "string", "description": "next_page_token of the page before"}}"#,
    },
    Action {
        name: "get_message",
        about: "One message",
        required: &["message_id"],
        properties: r#"{
            "message_id": {"type": "string", "pattern": "[^.]", "maxLength": 128, "description": "Its id"},
            "format": {"enum": ["minimal", "full", "raw", "metadata"], "default": "full", "description": "How much of it"}}"#,
    },
    Action {
        name: "send_email",
        about: "Send a mail",
        required: &["to", "subject"],
        properties: mail::PROPERTIES,
    },
];

pub(crate) async fn run(calls: &Calls<'_>, ask: &Ask) -> Result<Value, Error> {
    match ask.action {
        "list_labels" => {
            let answer = send(calls, || get(calls, "labels", &[])).await?;
            // An empty list is left out by Google.
            Ok(json!({"labels": list(&answer, "labels")}))
        }
        "list_messages" => list_messages(calls, ask).await,
        "get_message" => {
            let path = format!("messages/{}", segment(ask.text("message_id")));
            let query = ask.query(&[("format", "format", "full")]);
            let message = send(calls, || get(calls, &path, &query)).await?;
            Ok(json!({"message_id": want(&message, "/id")?, "message": message}))
        }
        "send_email" => {
            let mut body = json!({"raw": URL_SAFE.encode(mail::build(ask, calls.terms)?)});
            if !ask.text("thread_id").is_empty() {
                body["threadId"] = ask.text("thread_id").into();
            }
            let url = url(calls, "messages/send");
            let answer = send(calls, || Call::json(Method::POST, url.clone(), body.clone())).await?;
            Ok(json!({"message_id": want(&answer, "/id")?, "status": "sent"}))
        }
        other => Err(Error::UnknownAction(other.to_owned())),
    }
}

async fn list_messages(calls: &Calls<'_>, ask: &Ask) -> Result<Value, Error> {
    let mut query = ask.query(&[
        ("maxResults", "max_results", "10"),
        ("q", "query", ""),
        ("pageToken", "page_token", ""),
    ]);
    let labels = ask.params().get("label_ids").and_then(Value::as_array).into_iter().flatten();
    query.extend(labels.filter_map(Value::as_str).map(|label| ("labelIds", label.to_owned())));
    let answer = send(calls, || get(calls, "messages", &query)).await?;
    let messages = list(&answer, "messages");
    let mut result = json!({"count": messages.len(), "messages": messages});
    if let Some(next) = answer["nextPageToken"].as_str() {
        result["next_page_token"] = next.into();
    }
    Ok(result)
}

fn list(answer: &Value, name: &str) -> Vec<Value> {
    want_list(answer, name).cloned().unwrap_or_default()
}

fn url(calls: &Calls<'_>, path: &str) -> String {
    format!("{}/gmail/v1/users/me/{path}", calls.connectors.bases.gmail)
}

fn get(calls: &Calls<'_>, path: &str, query: &[(&str, String)]) -> Call {
    Call::get(url(calls, path), query)
}

/// Calls with a token that is good, as far as we can make it so: one that was renewed lately, or the given one, or a new one.
async fn send(calls: &Calls<'_>, call: impl Fn() -> Call) -> Result<Value, Error> {
    let Some(refresh) = calls.credentials.refresh() else {
        return calls.send(call().bearer(calls.token())).await;
    };
    let (fresh, kept_as) = (&calls.connectors.fresh, calls.credentials.kept_as());
    let kept = kept_as.and_then(|name| fresh.find(name, calls.terms.now_ms));
    let token = kept.as_ref().map_or(calls.token(), |kept| kept.expose());
    if !token.is_empty() {
        match calls.send(call().bearer(token)).await {
            Err(Error::Vendor(Failure::Unauthorized { word: Some(word) }))
                if STALE.contains(&word.as_str()) =>
            {
                kept_as.into_iter().for_each(|name| fresh.forget(name));
            }
            first => return first,
        }
    }
    calls.send(call().bearer(renew(calls, refresh).await?.expose())).await
}

async fn renew(calls: &Calls<'_>, refresh: &Refresh) -> Result<SecretText, Error> {
    let pairs = [
        ("client_id", refresh.client_id.expose().to_owned()),
        ("client_secret", refresh.client_secret.expose().to_owned()),
        ("grant_type", "refresh_token".to_owned()),
        ("refresh_token", refresh.refresh_token.expose().to_owned()),
    ];
    let answer = calls.send(Call::form(calls.connectors.bases.google_token.clone(), &pairs)).await?;
    let token = want(&answer, "/access_token")?.as_str().filter(|token| {
        let is_sendable = token.bytes().all(|byte| byte.is_ascii_graphic());
        is_sendable && !token.is_empty()
    });
    let token = SecretText::new(token.ok_or(Failure::BadAnswer)?);
    if let (Some(name), Some(secs)) = (calls.credentials.kept_as(), answer["expires_in"].as_u64()) {
        calls.connectors.fresh.keep(name, token.clone(), secs, calls.terms.now_ms);
    }
    Ok(token)
}
