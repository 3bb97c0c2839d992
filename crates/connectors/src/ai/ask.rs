//! What is asked of a model, in words of no vendor.

use levqor_core::money::{Shape, WHOLE_WINDOW_TOKENS, image_tokens};
use serde_json::{Number, Value};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    User,
    Assistant,
}

/// A part of a message.
#[derive(Clone, Debug, PartialEq)]
pub enum Part {
    Text(String),
    /// `data` in base64.
    Image {
        media_type: String,
        data: String,
    },
    /// A PDF; `data` in base64.
    Document {
        media_type: String,
        data: String,
    },
    /// The model asked for a tool.
    Call(ToolCall),
    /// What the tool said; `call` is the id of the call.
    Result {
        call: String,
        name: String,
        content: String,
    },
}

#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    pub role: Role,
    pub parts: Vec<Part>,
}

impl Message {
    pub fn text(role: Role, text: impl Into<String>) -> Self {
        Message { role, parts: vec![Part::Text(text.into())] }
    }
}

/// A tool that the model may ask for. It never runs by itself.
#[derive(Clone, Debug, PartialEq)]
pub struct Tool {
    pub name: String,
    pub description: String,
    /// JSON Schema of its arguments.
    pub parameters: Value,
}

/// The model wants a tool to run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ToolCall {
    pub id: String,
    pub name: String,
    /// JSON text, as the model wrote it: not checked.
    pub arguments: String,
}

/// The form of the answer.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Output {
    #[default]
    Text,
    /// JSON of this schema, held to it by the provider.
    Schema(Value),
    /// JSON of some kind; the prompt says which.
    Json,
}

/// Which tools the model may ask for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Choice {
    /// As it likes.
    #[default]
    Auto,
    /// None of them.
    Never,
    /// At least one.
    Required,
    /// This one.
    Named(String),
}

/// One request to a model.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Ask {
    /// The provider's name for it.
    pub model: String,
    pub system: Option<String>,
    pub messages: Vec<Message>,
    pub output: Output,
    pub temperature: Option<Number>,
    pub top_p: Option<Number>,
    /// Texts at which the answer ends.
    pub stop: Vec<String>,
    pub tools: Vec<Tool>,
    /// Counts where there are tools; so does `one_call`.
    pub choice: Choice,
    /// No more than one tool in an answer.
    pub one_call: bool,
}

impl Ask {
    /// What it can cost depends on this. `body_bytes` is the length of the rendered body: all that is tokenised stands in
    /// it, and JSON never writes a text shorter than it is.
    pub fn shape(&self, body_bytes: usize) -> Shape {
        let attachments = self.messages.iter().flat_map(|message| &message.parts);
        let (mut encoded_bytes, mut tokens, mut has_images) = (0, 0_u64, false);
        for part in attachments {
            match part {
                Part::Image { data, .. } => {
                    has_images = true;
                    encoded_bytes += data.len();
                    tokens = tokens.saturating_add(image_tokens(&self.model, None));
                }
                Part::Document { data, .. } => {
                    encoded_bytes += data.len();
                    // A small file may hold any amount of text, and its pages are read as images too.
                    has_images = true;
                    tokens = WHOLE_WINDOW_TOKENS;
                }
                Part::Text(_) | Part::Call(_) | Part::Result { .. } => {}
            }
        }
        Shape {
            text_bytes: (body_bytes - encoded_bytes.min(body_bytes)) as u64,
            messages: self.messages.len() as u64 + u64::from(self.system.is_some()),
            attachment_tokens: tokens,
            has_images,
            structured: !self.tools.is_empty() || self.output != Output::Text,
            choices: 1,
            ..Shape::default()
        }
    }
}
