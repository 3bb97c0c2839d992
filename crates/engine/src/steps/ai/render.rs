//! The templates of an `ai` step, filled in and checked: size, what may not be sent, messages that make a conversation.
//!
//! What was filled in is text from here on. It is never read as a template again, whatever stands in it.

use levqor_connectors::ai::Role;
use levqor_core::job::JobError;
use levqor_core::scope::Scope;
use levqor_core::workflow::ai::{AiStep, Runs, Talk};
use serde_json::{Map, Value};

use super::attach::{self, Attachment};

const MAX_MESSAGES: usize = 500;

/// What the author says, before anything was answered.
pub(crate) struct Rendered {
    pub system: Option<String>,
    pub messages: Vec<(Role, String)>,
    pub attachments: Vec<Attachment>,
    /// For each tool the parameters that are fixed.
    pub fixed: Vec<Map<String, Value>>,
}

pub(super) fn render(step: &AiStep, scope: &Scope<'_>) -> Result<Rendered, JobError> {
    let system = step.system.as_ref().map(|template| template.render_text(scope)).transpose()?;
    let messages = match &step.talk {
        Talk::Prompt(template) => vec![(Role::User, template.render_text(scope)?)],
        Talk::Messages(template) => messages(&template.render(scope)?)?,
    };
    if messages.last().is_none_or(|(_, text)| text.trim().is_empty()) {
        return Err(invalid("the prompt is empty"));
    }
    let mut attachments = Vec::new();
    if let Some(template) = &step.images {
        attach::read(&template.render(scope)?, attach::Sort::Image, &mut attachments)?;
    }
    if let Some(template) = &step.documents {
        attach::read(&template.render(scope)?, attach::Sort::Document, &mut attachments)?;
    }
    let fixed = step.tools.iter().map(|tool| match &tool.runs {
        Runs::Connect(connect) => {
            let raw = connect.render(scope)?;
            serde_json::from_str(&raw).map_err(|_| invalid("a tool's `with` holds what is no JSON"))
        }
        Runs::Workflow(_) => Ok(Map::new()),
    });
    let fixed = fixed.collect::<Result<_, JobError>>()?;
    let rendered = Rendered { system, messages, attachments, fixed };
    check(step, &rendered)?;
    Ok(rendered)
}

fn invalid(message: impl Into<String>) -> JobError {
    JobError::new("invalid_prompt", message)
}

fn messages(raw: &str) -> Result<Vec<(Role, String)>, JobError> {
    let wrong = || invalid("`messages` must give a list of {role, content}, each role user or assistant");
    let value: Value = serde_json::from_str(raw).map_err(|_| wrong())?;
    let items =
        value.as_array().filter(|items| (1..=MAX_MESSAGES).contains(&items.len())).ok_or_else(wrong)?;
    let mut messages = Vec::with_capacity(items.len());
    for item in items {
        let role = match item["role"].as_str() {
            Some("user") => Role::User,
            Some("assistant") => Role::Assistant,
            _ => return Err(wrong()),
        };
        let content = match &item["content"] {
            Value::Null => return Err(wrong()),
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        messages.push((role, content));
    }
    if messages.last().is_none_or(|(role, _)| *role != Role::User) {
        return Err(invalid("the last of `messages` must be the user's: it is what the model answers"));
    }
    Ok(messages)
}

/// What is refused before anything is held or sent.
fn check(step: &AiStep, rendered: &Rendered) -> Result<(), JobError> {
    let texts = || {
        let said = rendered.messages.iter().map(|(_, text)| text);
        let attached = rendered.attachments.iter().filter_map(Attachment::text);
        rendered.system.iter().chain(said).map(String::as_str).chain(attached)
    };
    let bytes: usize = texts().map(str::len).sum();
    let most = step.max_input_bytes;
    if bytes > most {
        let message = format!("the input has {bytes} bytes; `max_input_bytes` allows {most}");
        return Err(JobError::new("ai_input_too_large", message));
    }
    if !step.deny.is_empty() {
        for text in texts() {
            denied(step, text)?;
        }
    }
    Ok(())
}

/// Whether something stands in a text that must not be sent.
pub(super) fn denied(step: &AiStep, text: &str) -> Result<(), JobError> {
    if step.deny.is_empty() {
        return Ok(());
    }
    let lower = text.to_lowercase();
    match step.deny.iter().position(|word| lower.contains(word.as_str())) {
        None => Ok(()),
        Some(place) => {
            let message = format!("the input holds what `deny` forbids to send (entry {})", place + 1);
            Err(JobError::new("ai_input_denied", message))
        }
    }
}
