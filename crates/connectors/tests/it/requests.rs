//! Every action with every parameter it takes: what the vendor is sent, compared member by member with what its documentation
//! says (`data/requests.json`, with the page it was taken from).

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use levqor_connectors::catalogue::{self, Vendor};
use levqor_testkit::{Answer, Received, Receiver};
use serde_json::Value;
use url::form_urlencoded;

use crate::connect::{TOKEN, run};

fn table() -> Vec<Value> {
    serde_json::from_str(include_str!("data/requests.json")).unwrap()
}

fn text<'a>(value: &'a Value, member: &str) -> &'a str {
    value[member].as_str().unwrap_or_default()
}

/// What a vendor wants in every call of its API.
fn check_signature(vendor: Vendor, sent: &Received) {
    let bearer = format!("Bearer {TOKEN}");
    let (authorization, version) = match vendor {
        // Bytes go to an address that is a secret by itself.
        Vendor::Slack if sent.path == "/upload" => ("", ""),
        Vendor::Gmail | Vendor::Slack => (bearer.as_str(), ""),
        Vendor::Notion => (bearer.as_str(), "2022-06-28"),
        Vendor::Telegram => ("", ""),
    };
    assert_eq!((sent.header("authorization"), sent.header("notion-version")), (authorization, version));
}

fn check_call(at: &str, expected: &Value, sent: &Received) {
    assert_eq!(sent.method.as_str(), text(expected, "method"), "{at}");
    assert_eq!(sent.query, text(expected, "query"), "{at}");
    let content_type = sent.header("content-type");
    let boundary = content_type.split_once("boundary=").map_or("", |(_, boundary)| boundary);
    assert_eq!(content_type, text(expected, "content_type").replace("{boundary}", boundary), "{at}");
    let body = &expected["body"];
    if let Some(json) = body.get("json") {
        let mut found = sent.json();
        if found.get("raw").is_some() {
            let mail = URL_SAFE.decode(found["raw"].as_str().unwrap()).unwrap();
            assert!(mail.windows(4).any(|four| four == b"\r\n\r\n"), "{at}");
            found["raw"] = "(mail)".into();
        }
        assert_eq!(&found, json, "{at}");
    } else if let Some(form) = body["text"].as_str() {
        let found = String::from_utf8(sent.body.to_vec()).unwrap();
        assert_eq!(found, form.replace("{boundary}", boundary), "{at}");
    } else {
        assert_eq!(sent.body, STANDARD.decode(text(body, "base64")).unwrap(), "{at}");
    }
}

/// The names of what was sent are among those that the vendor documents.
fn check_documented(at: &str, entry: &Value, sent: &Received) {
    let documented: BTreeSet<&str> =
        entry["documented"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    let members = serde_json::from_slice::<Value>(&sent.body).ok();
    let members = members.iter().filter_map(Value::as_object).flat_map(|body| body.keys().cloned());
    let query = form_urlencoded::parse(sent.query.as_bytes()).map(|(name, _)| name.into_owned());
    for name in members.chain(query) {
        assert!(documented.contains(name.as_str()), "{at}: {name} is not documented");
    }
}

#[tokio::test]
async fn every_action_sends_what_its_vendor_documents() {
    for entry in table() {
        let vendor = Vendor::named(text(&entry, "vendor")).unwrap();
        let at = format!("{} {} ({})", vendor.name(), text(&entry, "action"), text(&entry, "doc"));
        let server = Receiver::start().await;
        let calls = entry["calls"].as_array().unwrap();
        let path = |call: &Value| text(call, "path").replace("{token}", TOKEN);
        for call in calls {
            let answer = call["answer"].to_string().replace("{base}", server.url("").trim_end_matches('/'));
            server.script(&path(call), [Answer::status(200).body(answer)]);
        }

        let result = run(&server.url(""), vendor, text(&entry, "action"), entry["params"].clone()).await;

        assert!(result.is_ok(), "{at}: {result:?}");
        let sent = server.received();
        assert_eq!(
            sent.iter().map(|sent| sent.path.clone()).collect::<Vec<_>>(),
            calls.iter().map(path).collect::<Vec<_>>(),
            "{at}"
        );
        for (expected, sent) in calls.iter().zip(&sent) {
            check_signature(vendor, sent);
            check_call(&at, expected, sent);
        }
        check_documented(&at, &entry, sent.last().unwrap());
    }
}

#[test]
fn the_table_has_every_action_and_every_parameter() {
    let table = table();
    for (vendor, actions) in catalogue::all() {
        for known in actions {
            let name = known.action.name;
            let entries: Vec<&Value> = table
                .iter()
                .filter(|entry| text(entry, "vendor") == vendor.name() && text(entry, "action") == name)
                .collect();
            assert!(!entries.is_empty(), "{vendor:?} {name} is not in the table");
            let takes: BTreeSet<&String> = known.params["properties"].as_object().unwrap().keys().collect();
            for entry in entries {
                let given: BTreeSet<&String> = entry["params"].as_object().unwrap().keys().collect();
                assert_eq!(given, takes, "{vendor:?} {name}");
            }
        }
    }
}
