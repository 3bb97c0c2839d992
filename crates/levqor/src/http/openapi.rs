//! The OpenAPI document: generated from the handlers, completed with what holds for all of them, in editions 3.1 and 3.0.
//!
//! Both are serialised once at the start and served as bytes with an `ETag`. The conversion to 3.0.3 covers what utoipa
//! generates; a test looks for leftovers of 3.1.

use bytes::Bytes;
use serde_json::{Map, Value, json};
use utoipa::openapi::security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::{Modify, OpenApi};

use super::api::health::API_VERSION;
use super::file::{self, File};
use super::schema::{BareError, LegacyError, LineView, NamedError};
use super::scopes;

/// What the document says beside its routes.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Levqor API",
        description = "Job orchestration: a job comes in, its workflow's steps run, a signed callback goes out.",
        license(name = "Apache-2.0", identifier = "Apache-2.0")
    ),
    servers((url = "/")),
    components(schemas(BareError, LegacyError, LineView, NamedError)),
    tags(
        (name = "jobs", description = "Jobs, from intake to callback"),
        (name = "workflows", description = "Definitions of what jobs do"),
        (name = "users", description = "People"),
        (name = "emails", description = "What became of mails"),
        (name = "costs", description = "What AI calls cost and used"),
        (name = "billing", description = "Payments through Stripe"),
        (name = "connectors", description = "Single actions at Gmail, Notion, Slack and Telegram"),
        (name = "ai", description = "Calls to AI models under budgets"),
        (name = "budgets", description = "What AI may cost, and did cost"),
        (name = "backups", description = "Copies of the whole database"),
        (name = "keys", description = "Who may do all this, and who did"),
        (name = "health", description = "How the service does"),
        (name = "documents", description = "This document")
    ),
    modifiers(&Common)
)]
pub struct ApiDoc;

struct Common;

impl Modify for Common {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        document.info.version = API_VERSION.to_owned();
        let components = document.components.get_or_insert_with(Default::default);
        let key = ApiKeyValue::with_description(
            "X-Api-Key",
            "One of API_KEYS, which may do everything, or a key of the database with the scope that the operation names in x-scope. In development mode none is needed.",
        );
        components.add_security_scheme("ApiKey", SecurityScheme::ApiKey(ApiKey::Header(key)));
        let bearer = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .description(Some("The same key, for scrapers."));
        components.add_security_scheme("BearerKey", SecurityScheme::Http(bearer.build()));
    }
}

/// Both editions, ready to be served.
pub struct Documents {
    pub v3_0: File,
    pub v3_1: File,
}

impl Documents {
    /// `modified_ms`: since when they are what they are.
    pub fn new(document: &utoipa::openapi::OpenApi, modified_ms: i64) -> Self {
        let mut document = serde_json::to_value(document).expect("a document has string keys only");
        complete(&mut document);
        let mut older = document.clone();
        to_3_0(&mut older);
        Documents { v3_0: edition(&older, modified_ms), v3_1: edition(&document, modified_ms) }
    }
}

fn edition(document: &Value, modified_ms: i64) -> File {
    let bytes = Bytes::from(format!("{document}\n"));
    let etag = file::etag(&bytes);
    File { content_type: "application/json", bytes, etag, modified_ms: Some(modified_ms) }
}

/// Adds to every operation the refusals that its kind of route shares, unless it describes that status itself.
fn complete(document: &mut Value) {
    let Some(paths) = document.get_mut("paths").and_then(Value::as_object_mut) else { return };
    // The router's word for "and all that follows"; a document has none.
    *paths = std::mem::take(paths).into_iter().map(|(path, item)| (path.replace("{*", "{"), item)).collect();
    for (path, item) in paths.iter_mut() {
        let Some(item) = item.as_object_mut() else { continue };
        for (method, operation) in item.iter_mut() {
            let is_guarded = operation.get("security").is_some();
            let is_write = is_guarded && method != "get";
            let has_body = operation.get("requestBody").is_some();
            let takes_any =
                path == "/api/v1/ops/health" || (path == "/api/v1/users/{user_id}" && method == "get");
            let takes_query = is_guarded && path.starts_with("/api/v1/") && !takes_any;
            let is_legacy = match path.as_str() {
                "/api/v1/intake" | "/api/v1/users" | "/api/v1/users/upsert" => true,
                "/billing/create-checkout-session" => true,
                "/api/v1/users/{user_id}" => method != "delete",
                path => path.starts_with("/api/v1/_dev/"),
            };
            let invalid =
                if is_legacy { any_of("LegacyError", "NamedError") } else { reference("NamedError") };
            let waits = path.starts_with("/api/v1/status/");
            let scope = operation.get(scopes::EXTENSION).and_then(Value::as_str).unwrap_or("admin");
            let forbidden = format!("No valid key, or one without the scope `{scope}`");
            let shared = [
                (has_body || takes_query || waits, "400", "Malformed or invalid", invalid),
                (is_guarded, "403", &forbidden, any_of("BareError", "NamedError")),
                (has_body, "408", "The body came too slowly", reference("NamedError")),
                (has_body, "413", "The body is too large", reference("NamedError")),
                (
                    is_guarded,
                    "429",
                    "Too many writes, or too many wrong keys; see `Retry-After`",
                    reference("BareError"),
                ),
                (true, "500", "A fault of ours", reference("BareError")),
                (path != "/", "503", "Try again; see `Retry-After`", reference("NamedError")),
            ];
            let Some(responses) = operation.get_mut("responses").and_then(Value::as_object_mut) else {
                continue;
            };
            for (_, status, about, schema) in shared.into_iter().filter(|(applies, ..)| *applies) {
                let response =
                    json!({"description": about, "content": {"application/json": {"schema": schema}}});
                responses.entry(status).or_insert(response);
            }
            for response in responses.values_mut().filter_map(Value::as_object_mut) {
                response.entry("description").or_insert_with(|| json!("The answer"));
            }
            if is_write {
                add_rate_headers(responses);
            }
        }
    }
}

fn reference(name: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{name}")})
}

fn any_of(one: &str, other: &str) -> Value {
    json!({"anyOf": [reference(one), reference(other)]})
}

/// Counted requests tell what is left; refused ones when to come back.
fn add_rate_headers(responses: &mut Map<String, Value>) {
    let header = |about: &str| json!({"description": about, "schema": {"type": "integer"}});
    let limit = header("Writes that one client may make in any 60 seconds");
    let remaining = header("Writes left");
    for (status, response) in responses.iter_mut() {
        if status.starts_with('2') {
            response["headers"] = json!({"X-RateLimit-Limit": limit, "X-RateLimit-Remaining": remaining});
        } else if status == "429" {
            let reset = header("When the next write is allowed, in seconds since 1970");
            let retry = header("Seconds until then");
            response["headers"] = json!({"X-RateLimit-Limit": limit, "X-RateLimit-Remaining": remaining,
                "X-RateLimit-Reset": reset, "Retry-After": retry});
        }
    }
}

/// Rewrites the document in the words of OpenAPI 3.0.3.
fn to_3_0(document: &mut Value) {
    document["openapi"] = json!("3.0.3");
    if let Some(license) = document.pointer_mut("/info/license").and_then(Value::as_object_mut) {
        license.remove("identifier");
    }
    rewrite(document);
}

fn rewrite(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(rewrite),
        Value::Object(members) => {
            rewrite_type(members);
            for keyword in ["oneOf", "anyOf"] {
                rewrite_null_choice(members, keyword);
            }
            if let Some(constant) = members.remove("const") {
                members.insert("enum".to_owned(), json!([constant]));
            }
            members.remove("propertyNames");
            // In 3.0 whatever stands beside a reference is ignored.
            if members.len() > 1
                && let Some(target) = members.get("$ref").filter(|target| target.is_string()).cloned()
            {
                members.remove("$ref");
                members.insert("allOf".to_owned(), json!([{"$ref": target}]));
            }
            for bound in ["minimum", "maximum"] {
                let exclusive = format!("exclusive{}{}", bound[..1].to_uppercase(), &bound[1..]);
                if let Some(limit) = members.get(&exclusive).filter(|limit| limit.is_number()).cloned() {
                    members.insert(bound.to_owned(), limit);
                    members.insert(exclusive, json!(true));
                }
            }
            members.values_mut().for_each(rewrite);
        }
        _ => {}
    }
}

/// `"type": ["string", "null"]` → `"type": "string", "nullable": true`.
fn rewrite_type(members: &mut Map<String, Value>) {
    let Some(types) = members.get("type").and_then(Value::as_array).cloned() else { return };
    let others: Vec<Value> = types.iter().filter(|name| *name != "null").cloned().collect();
    if others.len() < types.len() {
        members.insert("nullable".to_owned(), json!(true));
    }
    match others.as_slice() {
        [] => members.remove("type"),
        [one] => members.insert("type".to_owned(), one.clone()),
        many => {
            let choices: Vec<_> = many.iter().map(|name| json!({"type": name})).collect();
            members.insert("anyOf".to_owned(), json!(choices));
            members.remove("type")
        }
    };
}

/// `"oneOf": [{"type": "null"}, X]` → `"allOf": [X], "nullable": true`.
fn rewrite_null_choice(members: &mut Map<String, Value>, keyword: &str) {
    let Some(choices) = members.get(keyword).and_then(Value::as_array).cloned() else { return };
    let others: Vec<Value> = choices.iter().filter(|choice| choice["type"] != "null").cloned().collect();
    if others.len() == choices.len() {
        return;
    }
    members.insert("nullable".to_owned(), json!(true));
    members.remove(keyword);
    let keyword = if others.len() == 1 { "allOf" } else { keyword };
    members.insert(keyword.to_owned(), json!(others));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Environment;
    use crate::http::router;

    fn documents() -> (Value, Value) {
        let documents = Documents::new(&router::routes(Environment::Development).into_openapi(), 0);
        let read = |edition: &File| serde_json::from_slice(&edition.bytes).unwrap_or_default();
        (read(&documents.v3_0), read(&documents.v3_1))
    }

    /// Every object in the document with its place.
    fn walk(value: &Value, at: &str, visit: &mut impl FnMut(&str, &Map<String, Value>)) {
        match value {
            Value::Array(items) => {
                items.iter().enumerate().for_each(|(i, item)| walk(item, &format!("{at}/{i}"), visit))
            }
            Value::Object(members) => {
                visit(at, members);
                members.iter().for_each(|(name, member)| walk(member, &format!("{at}/{name}"), visit));
            }
            _ => {}
        }
    }

    #[test]
    fn both_editions_name_themselves() {
        let (older, newer) = documents();

        assert_eq!(older["openapi"], "3.0.3");
        assert_eq!(newer["openapi"], "3.1.0");
        for document in [&older, &newer] {
            assert_eq!(document["info"]["title"], "Levqor API");
            assert_eq!(document["info"]["version"], "1.0.0");
        }
    }

    #[test]
    fn every_reference_leads_somewhere() {
        let (older, newer) = documents();
        for document in [&older, &newer] {
            walk(document, "", &mut |at, members| {
                if let Some(target) = members.get("$ref").and_then(Value::as_str) {
                    assert!(document.pointer(target.trim_start_matches('#')).is_some(), "{at}: {target}");
                }
            });
        }
    }

    #[test]
    fn the_older_edition_holds_no_word_of_the_newer() {
        let (older, _) = documents();
        walk(&older, "", &mut |at, members| {
            let is_type_fine = members
                .get("type")
                .is_none_or(|name| (name.is_string() && name != "null") || name.is_object());
            assert!(is_type_fine, "{at}: {members:?}");
            for word in ["const", "propertyNames", "prefixItems", "$schema", "contentMediaType", "identifier"]
            {
                assert!(!members.contains_key(word), "{at}: {word}");
            }
            assert!(members.get("examples").is_none_or(|examples| !examples.is_array()), "{at}: examples");
            assert!(
                !(members.contains_key("$ref") && members.len() > 1),
                "{at}: siblings of $ref are ignored in 3.0"
            );
        });
    }

    #[test]
    fn every_operation_is_complete() {
        let (_, newer) = documents();
        let paths = newer["paths"].as_object().cloned().unwrap_or_default();
        assert!(paths.len() > 15);
        for (path, item) in &paths {
            for (method, operation) in item.as_object().into_iter().flatten() {
                let at = format!("{method} {path}");
                assert!(operation["summary"].is_string(), "{at}: summary");
                assert!(operation["operationId"].is_string(), "{at}: operationId");
                assert!(operation["tags"].is_array(), "{at}: tags");
                let responses = operation["responses"].as_object().cloned().unwrap_or_default();
                assert!(responses.keys().any(|status| status.starts_with('2')), "{at}: a success");
                for (status, response) in &responses {
                    let is_described = response["description"].is_string();
                    let has_content = response.get("content").is_some() || status == "304";
                    assert!(is_described && has_content, "{at} {status}: {response}");
                }
                let is_public = ["/", "/health", "/public/", "/api/v1/status/", "/billing/webhook"]
                    .iter()
                    .any(|open| path == open || (open.len() > 7 && path.starts_with(open)));
                assert_eq!(operation.get("security").is_none(), is_public, "{at}: security");
                assert_eq!(responses.contains_key("403"), !is_public, "{at}: 403");
                let scope = operation[scopes::EXTENSION].as_str().and_then(levqor_core::key::Scope::parse);
                assert_eq!(scope.is_none(), is_public, "{at}: put it into `needs(…)` in router.rs");
            }
        }
    }
}
