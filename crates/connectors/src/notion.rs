//! Notion's API (developers.notion.com), in the version whose ids our clients hold.
//!
//! `2022-06-28` is still accepted. The next one (2025-09-03) splits databases into data sources and wants the id of such a
//! source wherever a client of ours has the id of a database. What is lost: databases with several sources. Notion takes no
//! idempotency key.

use http::Method;
use serde_json::{Map, Value, json};

use crate::ask::Ask;
use crate::call::{Call, Calls, segment, want, want_list};
use crate::catalogue::Action;
use crate::connect::Error;

const VERSION: &str = "2022-06-28";

pub(crate) const ACTIONS: &[Action] = &[
    Action {
        name: "search",
        about: "Find pages and databases by their titles",
        required: &[],
        properties: r#"{
            "query": {"type": "string", "description": "Words of a title; without it everything that is shared with the integration"},
            "filter": {"type": "object", "description": "As Notion has it: {\"property\":\"object\",\"value\":\"page\"}"},
            "sort": {"type": "object", "description": "As Notion has it"},
            "page_size": {"type": "integer", "minimum": 1, "maximum": 100, "description": "At most so many"},
            "start_cursor": {"type": "string", "description": "next_cursor of the page before"}}"#,
    },
    Action {
        name: "query_database",
        about: "The pages of a database",
        required: &["database_id"],
        properties: r#"{
            "database_id": {"type": "string", "pattern": "[^.]", "maxLength": 128, "description": "Id of the database"},
            "filter": {"type": "object", "description": "As Notion has it"},
            "sorts": {"type": "array", "items": {"type": "object"}, "description": "As Notion has it"},
            "page_size": {"type": "integer", "minimum": 1, "maximum": 100, "default": 10, "description": "At most so many"},
            "start_cursor": {"type": "string", "description": "next_cursor of the page before"}}"#,
    },
    Action {
        name: "create_page",
        about: "Add a page to a database",
        required: &["database_id"],
        properties: r#"{
            "database_id": {"type": "string", "maxLength": 128, "description": "Id of the database"},
            "properties": {"type": "object", "default": {}, "description": "As Notion has it"},
            "children": {"type": "array", "maxItems": 100, "items": {"type": "object"}, "description": "Blocks: the page's content"},
            "icon": {"type": "object", "description": "As Notion has it"},
            "cover": {"type": "object", "description": "As Notion has it"}}"#,
    },
    Action {
        name: "get_page",
        about: "A page's properties",
        required: &["page_id"],
        properties: r#"{"page_id": {"type": "string", "pattern": "[^.]", "maxLength": 128, "description": "Id of the page"}}"#,
    },
    Action {
        name: "append_blocks",
        about: "Add blocks at the end of a page or block",
        required: &["block_id", "children"],
        properties: r#"{
            "block_id": {"type": "string", "pattern": "[^.]", "maxLength": 128, "description": "Id of the page or block"},
            "children": {"type": "array", "minItems": 1, "maxItems": 100, "items": {"type": "object"}, "description": "Blocks"},
            "after": {"type": "string", "description": "Id of the block to put them behind"}}"#,
    },
    Action {
        name: "update_page",
        about: "Change a page's properties, or move it to the trash",
        required: &["page_id"],
        properties: r#"{
            "page_id": {"type": "string", "pattern": "[^.]", "maxLength": 128, "description": "Id of the page"},
            "properties": {"type": "object", "description": "As Notion has it; the others stay"},
            "archived": {"type": "boolean", "description": "true: to the trash"},
            "icon": {"type": "object", "description": "As Notion has it"},
            "cover": {"type": "object", "description": "As Notion has it"}}"#,
    },
];

pub(crate) async fn run(calls: &Calls<'_>, ask: &Ask) -> Result<Value, Error> {
    match ask.action {
        "search" => {
            let answer = send(calls, Method::POST, "search", ask.params().clone()).await?;
            let pages = want_list(&answer, "results")?;
            Ok(with_next(json!({"count": pages.len(), "pages": pages}), &answer))
        }
        "query_database" => query_database(calls, ask).await,
        "create_page" => {
            let mut body = ask.pick(&["properties", "children", "icon", "cover"]);
            body.entry("properties").or_insert_with(|| json!({}));
            body.insert("parent".to_owned(), json!({"database_id": ask.text("database_id")}));
            let page = send(calls, Method::POST, "pages", body).await?;
            Ok(json!({"page_id": want(&page, "/id")?, "status": "created"}))
        }
        "get_page" => {
            let path = format!("pages/{}", segment(ask.text("page_id")));
            let call = Call::get(url(calls, &path), &[]);
            let page = calls.send(signed(calls, call)).await?;
            Ok(json!({"page_id": want(&page, "/id")?, "page": page}))
        }
        "append_blocks" => {
            let path = format!("blocks/{}/children", segment(ask.text("block_id")));
            let answer = send(calls, Method::PATCH, &path, ask.pick(&["children", "after"])).await?;
            let count = want_list(&answer, "results")?.len();
            Ok(json!({"block_id": ask.text("block_id"), "count": count, "status": "appended"}))
        }
        "update_page" => {
            let path = format!("pages/{}", segment(ask.text("page_id")));
            let body = ask.pick(&["properties", "archived", "icon", "cover"]);
            let page = send(calls, Method::PATCH, &path, body).await?;
            Ok(json!({"page_id": want(&page, "/id")?, "status": "updated"}))
        }
        other => Err(Error::UnknownAction(other.to_owned())),
    }
}

async fn query_database(calls: &Calls<'_>, ask: &Ask) -> Result<Value, Error> {
    let path = format!("databases/{}/query", segment(ask.text("database_id")));
    let mut body = ask.pick(&["filter", "sorts", "page_size", "start_cursor"]);
    body.entry("page_size").or_insert_with(|| 10.into());
    let answer = send(calls, Method::POST, &path, body).await?;
    let results = want_list(&answer, "results")?;
    let has_more = answer["has_more"].as_bool().unwrap_or_default();
    let result = json!({"count": results.len(), "has_more": has_more, "results": results});
    Ok(with_next(result, &answer))
}

fn url(calls: &Calls<'_>, path: &str) -> String {
    format!("{}/v1/{path}", calls.connectors.bases.notion)
}

fn signed(calls: &Calls<'_>, call: Call) -> Call {
    call.bearer(calls.token()).header("notion-version", VERSION)
}

async fn send(
    calls: &Calls<'_>,
    method: Method,
    path: &str,
    body: Map<String, Value>,
) -> Result<Value, Error> {
    calls.send(signed(calls, Call::json(method, url(calls, path), body))).await
}

/// Adds where the next page begins, if there is one.
fn with_next(mut result: Value, answer: &Value) -> Value {
    if let Some(next) = answer["next_cursor"].as_str() {
        result["next_cursor"] = next.into();
    }
    result
}
