//! An answer in a caller's words, whoever gave it: as one body, or as the events of a stream while it comes.

use levqor_core::money::{Usage, Wire};
use serde_json::{Map, Value, json};

use super::gather::{Finish, Gather};
use super::sse::Event;

/// What an answer is called, for the caller that asked.
#[derive(Clone, Debug)]
pub struct Title {
    pub id: String,
    /// As the caller named it.
    pub model: String,
    pub created_secs: i64,
}

/// The whole answer on `wire`.
pub fn say(wire: Wire, title: &Title, gather: &Gather, usage: Option<&Usage>) -> Value {
    match wire {
        Wire::Anthropic => {
            let mut content = Vec::new();
            if !gather.text.is_empty() {
                content.push(json!({"type": "text", "text": gather.text}));
            }
            for call in &gather.calls {
                // What the model wrote may be no object; the wire knows nothing else.
                let input: Map<String, Value> = serde_json::from_str(&call.arguments).unwrap_or_default();
                content.push(json!({"type": "tool_use", "id": call.id, "name": call.name, "input": input}));
            }
            let mut body = message(title, json!(content), json!(stop_reason(gather)));
            body["usage"] = messages_usage(usage);
            body
        }
        _ => {
            let mut said = json!({"role": "assistant", "content": gather.text, "refusal": null});
            if !gather.calls.is_empty() {
                let calls = gather.calls.iter().map(|call| {
                    json!({"id": call.id, "type": "function",
                        "function": {"name": call.name, "arguments": call.arguments}})
                });
                said["tool_calls"] = calls.collect();
                if gather.text.is_empty() {
                    said["content"] = Value::Null;
                }
            }
            let choice = json!({"index": 0, "message": said, "logprobs": null, "finish_reason": finish_reason(gather)});
            let mut body = chunk(title, "chat.completion", json!([choice]));
            if let Some(usage) = usage {
                body["usage"] = chat_usage(usage);
            }
            body
        }
    }
}

fn chunk(title: &Title, object: &str, choices: Value) -> Value {
    json!({"id": title.id, "object": object, "created": title.created_secs, "model": title.model, "choices": choices})
}

fn message(title: &Title, content: Value, stop_reason: Value) -> Value {
    json!({"id": title.id, "type": "message", "role": "assistant", "model": title.model, "content": content,
        "stop_reason": stop_reason, "stop_sequence": null})
}

fn finish_reason(gather: &Gather) -> &'static str {
    match &gather.finish {
        Some(Finish::Length) => "length",
        Some(Finish::Tools) => "tool_calls",
        Some(Finish::Refused) => "content_filter",
        _ => "stop",
    }
}

fn stop_reason(gather: &Gather) -> &'static str {
    match &gather.finish {
        Some(Finish::Length) => "max_tokens",
        Some(Finish::Tools) => "tool_use",
        Some(Finish::Refused) => "refusal",
        _ => "end_turn",
    }
}

fn chat_usage(usage: &Usage) -> Value {
    let (input, output) = (usage.input_total(), usage.output_total());
    json!({"prompt_tokens": input, "completion_tokens": output, "total_tokens": input + output,
        "prompt_tokens_details": {"cached_tokens": usage.cached_in},
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning}})
}

fn messages_usage(usage: Option<&Usage>) -> Value {
    let Some(usage) = usage else { return json!({"input_tokens": 0, "output_tokens": 0}) };
    let written = usage.write_short + usage.write_long + usage.write_any;
    json!({"input_tokens": usage.input_total() - usage.cached_in - written,
        "cache_creation_input_tokens": written, "cache_read_input_tokens": usage.cached_in,
        "output_tokens": usage.output_total()})
}

/// Tells an answer while it comes.
#[derive(Debug)]
pub struct Speaker {
    wire: Wire,
    title: Title,
    wants_usage: bool,
    has_begun: bool,
    text_bytes: usize,
    /// Of each call, how many bytes of its arguments were told; `None` before its name was.
    calls: Vec<Option<usize>>,
}

impl Speaker {
    /// `wants_usage`: chat completions tell it in a stream only when asked.
    pub fn new(wire: Wire, title: Title, wants_usage: bool) -> Self {
        Speaker { wire, title, wants_usage, has_begun: false, text_bytes: 0, calls: Vec::new() }
    }

    /// The events for what came since the last time.
    pub fn more(&mut self, gather: &Gather) -> Vec<Event> {
        let mut events = Vec::new();
        if !self.has_begun {
            self.has_begun = true;
            self.begin(&mut events);
        }
        // Whole characters only, because pieces are appended as whole texts.
        let fresh = gather.text.get(self.text_bytes..).unwrap_or_default();
        if !fresh.is_empty() {
            self.text(fresh, &mut events);
            self.text_bytes = gather.text.len();
        }
        if self.wire != Wire::Anthropic {
            self.chat_calls(gather, &mut events);
        }
        events
    }

    fn begin(&self, events: &mut Vec<Event>) {
        match self.wire {
            Wire::Anthropic => {
                let mut start = message(&self.title, json!([]), Value::Null);
                start["usage"] = messages_usage(None);
                events.push(named("message_start", json!({"message": start})));
            }
            _ => events.push(self.delta(json!({"role": "assistant", "content": ""}), Value::Null)),
        }
    }

    fn text(&self, fresh: &str, events: &mut Vec<Event>) {
        if self.wire != Wire::Anthropic {
            events.push(self.delta(json!({"content": fresh}), Value::Null));
            return;
        }
        if self.text_bytes == 0 {
            let block = json!({"index": 0, "content_block": {"type": "text", "text": ""}});
            events.push(named("content_block_start", block));
        }
        let delta = json!({"index": 0, "delta": {"type": "text_delta", "text": fresh}});
        events.push(named("content_block_delta", delta));
    }

    fn delta(&self, delta: Value, finish: Value) -> Event {
        let choice = json!({"index": 0, "delta": delta, "logprobs": null, "finish_reason": finish});
        plain(&chunk(&self.title, "chat.completion.chunk", json!([choice])))
    }

    fn chat_calls(&mut self, gather: &Gather, events: &mut Vec<Event>) {
        self.calls.resize(gather.calls.len(), None);
        for (index, call) in gather.calls.iter().enumerate() {
            if call.name.is_empty() {
                continue;
            }
            let told = self.calls[index];
            let fresh = call.arguments.get(told.unwrap_or(0)..).unwrap_or_default();
            if told.is_some() && fresh.is_empty() {
                continue;
            }
            let mut part = json!({"index": index, "function": {"arguments": fresh}});
            if told.is_none() {
                part["id"] = json!(call.id);
                part["type"] = json!("function");
                part["function"]["name"] = json!(call.name);
            }
            self.calls[index] = Some(call.arguments.len());
            events.push(self.delta(json!({"tool_calls": [part]}), Value::Null));
        }
    }

    /// The last events of an answer that is whole.
    pub fn end(mut self, gather: &Gather, usage: Option<&Usage>) -> Vec<Event> {
        let mut events = self.more(gather);
        if self.wire == Wire::Anthropic {
            self.end_messages(gather, usage, &mut events);
            return events;
        }
        events.push(self.delta(json!({}), json!(finish_reason(gather))));
        if let (true, Some(usage)) = (self.wants_usage, usage) {
            let mut last = chunk(&self.title, "chat.completion.chunk", json!([]));
            last["usage"] = chat_usage(usage);
            events.push(plain(&last));
        }
        events.push(Event { name: String::new(), data: "[DONE]".to_owned() });
        events
    }

    /// Blocks come one after the other on this wire, so calls are told when they are whole.
    fn end_messages(&self, gather: &Gather, usage: Option<&Usage>, events: &mut Vec<Event>) {
        let mut index = 0;
        if self.text_bytes > 0 {
            events.push(named("content_block_stop", json!({"index": 0})));
            index = 1;
        }
        for call in &gather.calls {
            let block = json!({"type": "tool_use", "id": call.id, "name": call.name, "input": {}});
            events.push(named("content_block_start", json!({"index": index, "content_block": block})));
            let delta = json!({"type": "input_json_delta", "partial_json": call.arguments});
            events.push(named("content_block_delta", json!({"index": index, "delta": delta})));
            events.push(named("content_block_stop", json!({"index": index})));
            index += 1;
        }
        let delta = json!({"stop_reason": stop_reason(gather), "stop_sequence": null});
        events.push(named("message_delta", json!({"delta": delta, "usage": messages_usage(usage)})));
        events.push(named("message_stop", json!({})));
    }
}

fn plain(value: &Value) -> Event {
    Event { name: String::new(), data: value.to_string() }
}

fn named(name: &str, mut value: Value) -> Event {
    value["type"] = json!(name);
    Event { name: name.to_owned(), data: value.to_string() }
}

#[cfg(test)]
mod tests;
