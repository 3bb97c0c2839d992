//! Reading `tools`: the allow-list of what a model may ask for. Nothing in it is a template but fixed parameters.

use super::{Runs, Tool};
use crate::workflow::fields::{is_object, known_fields, text_field};
use crate::workflow::kinds;
use crate::workflow::node::{Node, Value};
use crate::workflow::parse::cost;
use crate::workflow::problem::{Problems, join, shorten};

const CONNECT_FIELDS: [&str; 6] = ["connect", "connection", "with", "cost", "name", "description"];
const WORKFLOW_FIELDS: [&str; 3] = ["workflow", "name", "description"];
const MAX_TOOLS: usize = 32;
/// What the vendors take.
const MAX_NAME_CHARS: usize = 64;
const MAX_DESCRIPTION_CHARS: usize = 1_000;

pub(super) fn tools(node: &Node, path: &str, problems: &mut Problems<'_>) -> Vec<Tool> {
    let Some(list) = node.get("tools") else { return Vec::new() };
    let path = join(path, "tools");
    let items = match &list.value {
        Value::List(items) if (1..=MAX_TOOLS).contains(&items.len()) => items,
        _ => {
            problems.add(
                &path,
                format!("must be a list of 1 to {MAX_TOOLS} tools, each a `connect` or a `workflow`"),
            );
            return Vec::new();
        }
    };
    let mut found: Vec<Tool> = Vec::new();
    for (index, item) in items.iter().enumerate() {
        let path = join(&path, &index.to_string());
        let Some(tool) = tool(item, &path, problems) else { continue };
        if found.iter().any(|other| other.name == tool.name) {
            problems
                .add(&path, format!("there is another tool `{}`; give it a `name` of its own", tool.name));
        }
        found.push(tool);
    }
    found
}

fn tool(node: &Node, path: &str, problems: &mut Problems<'_>) -> Option<Tool> {
    if !is_object(node, path, "a tool", problems) {
        return None;
    }
    let (runs, usual) = match (node.get("connect"), node.get("workflow")) {
        (Some(action), None) => {
            known_fields(node, path, "a tool", &CONNECT_FIELDS, problems);
            let mut step = kinds::connect(node, action, path, problems)?;
            step.is_tool = true;
            let usual = format!("{}_{}", step.connector, step.action);
            (Runs::Connect(step), usual)
        }
        (None, Some(_)) => {
            known_fields(node, path, "a tool", &WORKFLOW_FIELDS, problems);
            let name = text_field(node, path, "workflow", problems)?;
            if name.contains("{{") || !crate::workflow::is_name(name) {
                problems.add(&join(path, "workflow"), "must be the name of a workflow; it holds no template");
            }
            (Runs::Workflow(name.to_owned()), plain(name))
        }
        _ => {
            problems.add(path, "a tool is one of `connect` and `workflow`");
            return None;
        }
    };
    let name = text_field(node, path, "name", problems).map_or(usual, str::to_owned);
    if !is_tool_name(&name) {
        let shown = shorten(&name, 80);
        let wanted = format!("`name` must have 1 to {MAX_NAME_CHARS} characters of a-z, A-Z, 0-9, _ and -");
        problems.add(path, format!("{wanted}; it would be `{shown}`"));
    }
    let description = text_field(node, path, "description", problems).map(str::to_owned);
    if description.as_ref().is_some_and(|text| text.chars().count() > MAX_DESCRIPTION_CHARS) {
        let what = format!("must have at most {MAX_DESCRIPTION_CHARS} characters");
        problems.add(&join(path, "description"), what);
    }
    let cost = node.get("cost").and_then(|node| cost(node, &join(path, "cost"), problems));
    Some(Tool { name, description, cost, runs })
}

fn is_tool_name(name: &str) -> bool {
    let fine = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    (1..=MAX_NAME_CHARS).contains(&name.len()) && name.bytes().all(fine)
}

/// A workflow's name as a tool may be called.
fn plain(name: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' };
    name.chars().take(MAX_NAME_CHARS).map(plain).collect()
}
