//! The API reference: the OpenAPI document as a page, without a script.
//!
//! It is made once at the start, of edition 3.1. Members that it does not know are passed over; the document itself has all.

use maud::{Markup, PreEscaped, html};
use serde_json::Value;

use super::markdown;

pub fn render(document: &[u8]) -> Markup {
    let document: Value = serde_json::from_slice(document).unwrap_or_default();
    let operations = operations(&document);
    html! {
        h1 { (text(&document["info"]["title"])) " reference" }
        (prose(&document["info"]["description"]))
        p {
            "Made of the OpenAPI document: " a href="/public/openapi.json" { "3.0" } ", "
            a href="/public/openapi-3.1.json" { "3.1" } ". With examples: " a href="/public/docs/api" { "the API guide" } "."
        }
        @for tag in list(&document["tags"]) {
            h2 id={ "tag-" (text(&tag["name"])) } { (text(&tag["description"])) }
            @for operation in operations.iter().filter(|operation| operation.is_tagged(&tag["name"])) {
                (operation.render())
            }
        }
        h2 id="schemas" { "Schemas" }
        @for (name, schema) in members(&document["components"]["schemas"]) { (schema_section(name, schema)) }
    }
}

struct Operation<'d> {
    path: &'d str,
    method: &'d str,
    value: &'d Value,
}

fn operations(document: &Value) -> Vec<Operation<'_>> {
    let paths = members(&document["paths"]);
    let all = paths
        .flat_map(|(path, item)| members(item).map(move |(method, value)| Operation { path, method, value }));
    all.collect()
}

impl Operation<'_> {
    fn is_tagged(&self, tag: &Value) -> bool {
        list(&self.value["tags"]).contains(tag)
    }

    fn render(&self) -> Markup {
        let id = text(&self.value["operationId"]);
        let parameters = list(&self.value["parameters"]);
        let body = &self.value["requestBody"];
        html! {
            section class="operation" {
                h3 id=(id) { span class="method" { (self.method.to_uppercase()) } " " code { (broken_at_slashes(self.path)) } }
                (prose(&self.value["summary"]))
                (prose(&self.value["description"]))
                @if self.value.get("security").is_some() { p class="note" { "Needs a key." } }
                @if !parameters.is_empty() {
                    h4 { "Parameters" }
                    table {
                        thead { tr { th { "Name" } th { "In" } th { "Type" } th { "Meaning" } } }
                        tbody {
                            @for parameter in parameters {
                                tr {
                                    td { code { (text(&parameter["name"])) } (mark(parameter["required"] == true)) }
                                    td { (text(&parameter["in"])) }
                                    td { (kind(&parameter["schema"])) }
                                    td { (prose(&parameter["description"])) }
                                }
                            }
                        }
                    }
                }
                @if body.is_object() {
                    h4 { "Body" }
                    (prose(&body["description"]))
                    (contents(&body["content"]))
                }
                h4 { "Answers" }
                table {
                    thead { tr { th { "Status" } th { "When" } th { "Body" } } }
                    tbody {
                        @for (status, answer) in members(&self.value["responses"]) {
                            tr {
                                td { code { (status) } }
                                td { (prose(&answer["description"])) }
                                td { (contents(&answer["content"])) }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn contents(content: &Value) -> Markup {
    html! {
        @for (media, value) in members(content) {
            div { @if value.get("schema").is_some() { (kind(&value["schema"])) " as " } code { (media) } }
        }
    }
}

fn schema_section(name: &str, schema: &Value) -> Markup {
    let required = list(&schema["required"]);
    let is_object = schema["properties"].is_object();
    html! {
        section class="operation" {
            h3 id={ "schema-" (name) } { code { (name) } }
            (prose(&schema["description"]))
            @if is_object {
                table {
                    thead { tr { th { "Member" } th { "Type" } th { "Meaning" } } }
                    tbody {
                        @for (member, value) in members(&schema["properties"]) {
                            tr {
                                td { code { (member) } (mark(required.iter().any(|name| name == member))) }
                                td { (kind(value)) }
                                td { (prose(&value["description"])) }
                            }
                        }
                    }
                }
            } @else {
                p { (kind(schema)) }
            }
        }
    }
}

/// A schema in a few words, with links to the named ones.
fn kind(schema: &Value) -> Markup {
    if let Some(name) = schema["$ref"].as_str().and_then(|path| path.rsplit('/').next()) {
        return html! { a href={ "#schema-" (name) } { (name) } };
    }
    for keyword in ["oneOf", "anyOf", "allOf"] {
        let choices = list(&schema[keyword]);
        if !choices.is_empty() {
            let joint = if keyword == "allOf" { " and " } else { " or " };
            return joined(choices.iter().map(kind), joint);
        }
    }
    let values = list(&schema["enum"]);
    if !values.is_empty() {
        return joined(values.iter().map(|value| html! { code { (value) } }), ", ");
    }
    match &schema["type"] {
        Value::String(name) if name == "array" => html! { "list of " (kind(&schema["items"])) },
        Value::String(name) if name == "object" && schema["additionalProperties"].is_object() => {
            html! { "object of " (kind(&schema["additionalProperties"])) }
        }
        Value::String(name) => html! { (name) },
        Value::Array(names) => {
            let one = |name: &Value| match name.as_str() {
                Some("array") => html! { "list of " (kind(&schema["items"])) },
                _ => html! { (text(name)) },
            };
            joined(names.iter().map(one), " or ")
        }
        _ => html! { "anything" },
    }
}

fn joined(parts: impl Iterator<Item = Markup>, joint: &str) -> Markup {
    html! { @for (index, part) in parts.enumerate() { @if index > 0 { (joint) } (part) } }
}

fn mark(is_required: bool) -> Markup {
    html! { @if is_required { " " span class="note" { "required" } } }
}

/// Descriptions are Markdown, as OpenAPI has it.
fn prose(value: &Value) -> Markup {
    html! { @if let Some(text) = value.as_str() { (PreEscaped(markdown::render(text, "").html)) } }
}

/// Lets a narrow screen break a path where a reader would.
fn broken_at_slashes(path: &str) -> Markup {
    html! { @for part in path.split_inclusive('/') { (part) wbr; } }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

fn members(value: &Value) -> impl Iterator<Item = (&str, &Value)> {
    value.as_object().into_iter().flatten().map(|(name, value)| (name.as_str(), value))
}
