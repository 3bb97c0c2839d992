//! How each vendor writes an answer: whole, as a stream of server-sent events, and as an error.

mod anthropic;
mod chat;
mod gemini;
mod responses;

use serde_json::{Value, json};

use crate::ask::{Ask, Wire};
use crate::reply::Served;

/// The header that carries the key, and what stands before it.
pub fn key_header(wire: Wire) -> (&'static str, &'static str) {
    match wire {
        Wire::Chat | Wire::Responses => ("authorization", "Bearer "),
        Wire::Anthropic => ("x-api-key", ""),
        Wire::Gemini => ("x-goog-api-key", ""),
    }
}

/// The whole answer.
pub fn body(ask: &Ask, served: &Served) -> Value {
    match ask.wire {
        Wire::Chat => chat::body(ask, served),
        Wire::Responses => responses::body(served),
        Wire::Anthropic => anthropic::body(served),
        Wire::Gemini => gemini::body(served),
    }
}

/// The events of a stream, each ready to be sent.
pub fn events(ask: &Ask, served: &Served) -> Vec<String> {
    match ask.wire {
        Wire::Chat => chat::events(ask, served),
        Wire::Responses => responses::events(served),
        Wire::Anthropic => anthropic::events(served),
        Wire::Gemini => gemini::events(served),
    }
}

/// The vendor's error body.
pub fn error(wire: Wire, status: u16, kind: &str, message: &str) -> Value {
    match wire {
        Wire::Chat | Wire::Responses => {
            json!({"error": {"message": message, "type": kind, "param": null, "code": kind}})
        }
        Wire::Anthropic => {
            json!({"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_mock"})
        }
        Wire::Gemini => {
            json!({"error": {"code": status, "message": message, "status": kind.to_ascii_uppercase()}})
        }
    }
}

fn data(value: &Value) -> String {
    format!("data: {value}\n\n")
}

fn named(name: &str, value: &Value) -> String {
    format!("event: {name}\ndata: {value}\n\n")
}
