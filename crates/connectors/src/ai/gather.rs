//! Puts an answer together from its events, whichever wire they come by. A whole answer is one event.

use levqor_core::money::{Meter, Usage, UsageError, Wire};
use serde_json::Value;

use super::ask::ToolCall;
use super::{anthropic, chat, gemini, responses};

/// Why the model stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finish {
    Stop,
    /// At the output limit: the answer is not whole.
    Length,
    /// It wants tools to run.
    Tools,
    /// The provider or the model would not answer.
    Refused,
    /// The vendor's own word.
    Other(String),
}

impl Finish {
    pub fn as_str(&self) -> &str {
        match self {
            Finish::Stop => "stop",
            Finish::Length => "length",
            Finish::Tools => "tools",
            Finish::Refused => "refused",
            Finish::Other(word) => word,
        }
    }
}

/// An answer as far as it has come.
#[derive(Clone, Debug)]
pub struct Gather {
    wire: Wire,
    meter: Meter,
    /// Everything that was said, of the first choice.
    pub text: String,
    pub calls: Vec<ToolCall>,
    pub finish: Option<Finish>,
    /// The provider's id of this call.
    pub id: Option<String>,
    /// The stream has said that nothing more comes.
    pub is_over: bool,
    /// The provider broke off in its own words.
    pub error: Option<String>,
    /// Bytes of all that was said, all choices and arguments together.
    pub said_bytes: usize,
    /// The highest place of an answer among several.
    last_choice: usize,
}

/// More answers to one question are asked for by nobody.
const MAX_CHOICES: usize = 8;

impl Gather {
    pub fn new(wire: Wire) -> Self {
        Gather {
            wire,
            meter: Meter::new(wire),
            text: String::new(),
            calls: Vec::new(),
            finish: None,
            id: None,
            is_over: false,
            error: None,
            said_bytes: 0,
            last_choice: 0,
        }
    }

    /// Takes one event of a stream.
    pub fn event(&mut self, data: &str) {
        if data == "[DONE]" {
            self.is_over = true;
            return;
        }
        self.meter.see(data);
        // What is no JSON says nothing; the end of the stream will be missing.
        let Ok(event) = serde_json::from_str::<Value>(data) else { return };
        if let Some(error) = event.get("error").filter(|error| !error.is_null()) {
            self.error = Some(error_word(error));
        }
        match self.wire {
            Wire::OpenAiChat => chat::see(self, &event),
            Wire::OpenAiResponses => responses::see(self, &event),
            Wire::Anthropic => anthropic::see(self, &event),
            Wire::Gemini => gemini::see(self, &event),
        }
    }

    /// Takes an answer that came in one piece.
    pub fn whole(&mut self, body: &str) {
        self.meter.see(body);
        let Ok(body) = serde_json::from_str::<Value>(body) else { return };
        match self.wire {
            Wire::OpenAiChat => chat::read(self, &body),
            Wire::OpenAiResponses => responses::read(self, &body),
            Wire::Anthropic => anthropic::read(self, &body),
            Wire::Gemini => gemini::see(self, &body),
        }
        self.is_over = self.finish.is_some();
    }

    /// What was used, as far as it was said.
    pub fn usage(&self) -> Result<Option<Usage>, UsageError> {
        self.meter.usage()
    }

    /// The usage in the provider's own JSON.
    pub fn raw_usage(&self) -> Option<String> {
        self.meter.raw()
    }

    /// How many answers there are, as far as they have begun.
    pub(super) fn choices(&self) -> usize {
        self.last_choice + 1
    }

    pub(super) fn chose(&mut self, place: u64) {
        let place = usize::try_from(place).unwrap_or(usize::MAX).min(MAX_CHOICES - 1);
        self.last_choice = self.last_choice.max(place);
    }

    pub(super) fn searched(&mut self, searches: u64) {
        self.meter.count_searches(searches);
    }

    pub(super) fn say(&mut self, text: &str) {
        self.said_bytes += text.len();
        self.text.push_str(text);
    }

    pub(super) fn set_id(&mut self, id: &Value) {
        if let (None, Some(id)) = (&self.id, id.as_str()) {
            self.id = Some(id.chars().take(200).collect());
        }
    }

    /// The call at `place` of the answer, made if it is new. A place beyond all reason gives the last one.
    pub(super) fn call(&mut self, place: usize) -> &mut ToolCall {
        let place = place.min(127);
        if self.calls.len() <= place {
            self.calls.resize_with(place + 1, ToolCall::default);
        }
        &mut self.calls[place]
    }

    pub(super) fn argue(&mut self, place: usize, part: &str) {
        self.said_bytes += part.len();
        self.call(place).arguments.push_str(part);
    }

    /// `word` in the vendor's vocabulary.
    pub(super) fn finish(&mut self, word: Option<&str>) {
        let Some(word) = word else { return };
        self.finish = Some(match word {
            "stop" | "end_turn" | "stop_sequence" | "STOP" | "completed" => match self.calls.is_empty() {
                true => Finish::Stop,
                false => Finish::Tools,
            },
            "length"
            | "max_tokens"
            | "MAX_TOKENS"
            | "max_output_tokens"
            | "model_context_window_exceeded" => Finish::Length,
            "tool_calls" | "function_call" | "tool_use" => Finish::Tools,
            "content_filter" | "refusal" | "SAFETY" | "RECITATION" | "PROHIBITED_CONTENT" | "BLOCKLIST"
            | "SPII" => Finish::Refused,
            other => Finish::Other(other.chars().take(60).collect()),
        });
    }
}

/// The vendor's word for an error: its type or code, never its text, which may repeat what was sent.
pub(super) fn error_word(error: &Value) -> String {
    let word = ["type", "code", "status"].iter().find_map(|name| error[*name].as_str());
    let word = word.unwrap_or("error");
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    word.chars().take(60).map(|c| if is_plain(c) { c } else { '?' }).collect()
}
