//! A caller's own request in a provider's words, with what is ours set in it whatever the caller wrote: the model, the limit
//! on the answer, the lane, whether it is a stream. All the rest is the caller's, and vetted by whoever took it in.

use bytes::Bytes;
use levqor_core::money::Wire;
use serde_json::{Map, Value, json};

use super::provider::Provider;

/// The body of `request` with this output limit.
pub fn raw_body_for(
    request: &mut Map<String, Value>,
    provider: &Provider,
    model: &str,
    output_tokens: u64,
    stream: bool,
) -> Bytes {
    let mut set = |name: &str, value: Value| {
        request.insert(name.to_owned(), value);
    };
    match provider.wire {
        Wire::OpenAiChat => {
            set("model", json!(model));
            if stream {
                set("stream_options", json!({"include_usage": true}));
            }
            if provider.dialect.has_tiers {
                set("service_tier", json!("default"));
            }
        }
        Wire::OpenAiResponses => {
            set("model", json!(model));
            set("service_tier", json!("default"));
        }
        Wire::Anthropic => {
            set("model", json!(model));
            set("service_tier", json!("standard_only"));
        }
        // The model stands in the path.
        Wire::Gemini => {}
    }
    if provider.wire != Wire::Gemini {
        match stream {
            true => request.insert("stream".to_owned(), json!(true)),
            false => request.remove("stream"),
        };
        if !stream {
            request.remove("stream_options");
        }
    }
    limit(request, provider, output_tokens);
    serde_json::to_vec(request).expect("a map of JSON values is JSON").into()
}

/// Sets the limit under the one name that the provider reads, and takes it away under every other.
fn limit(request: &mut Map<String, Value>, provider: &Provider, output_tokens: u64) {
    if provider.wire == Wire::Gemini {
        let config = request.entry("generationConfig").or_insert_with(|| json!({}));
        if !config.is_object() {
            *config = json!({});
        }
        config["maxOutputTokens"] = json!(output_tokens);
        return;
    }
    let name = match provider.wire {
        Wire::OpenAiChat => provider.dialect.limit_field,
        Wire::OpenAiResponses => "max_output_tokens",
        Wire::Anthropic | Wire::Gemini => "max_tokens",
    };
    for other in ["max_tokens", "max_completion_tokens", "max_output_tokens"] {
        request.remove(other);
    }
    request.insert(name.to_owned(), json!(output_tokens));
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn body(provider: &str, request: Value, stream: bool) -> Value {
        let provider = Provider::known(provider, "k", None).unwrap();
        let Value::Object(mut request) = request else { panic!() };
        serde_json::from_slice(&raw_body_for(&mut request, &provider, "m", 7, stream)).unwrap()
    }

    #[test]
    fn what_limits_and_prices_the_answer_is_ours_whatever_the_caller_wrote() {
        let chat = json!({"model": "x", "max_tokens": 1_000_000, "max_completion_tokens": 1_000_000,
            "service_tier": "priority", "stream": false, "stream_options": {"include_usage": false}, "user": "u"});
        assert_eq!(
            body("openai", chat.clone(), true),
            json!({"model": "m", "max_completion_tokens": 7, "service_tier": "default", "stream": true,
                "stream_options": {"include_usage": true}, "user": "u"})
        );
        assert_eq!(
            body("groq", chat, false),
            json!({"model": "m", "max_tokens": 7, "service_tier": "priority", "user": "u"})
        );
        assert_eq!(
            body("openai-responses", json!({"max_output_tokens": "all", "stream": true}), false),
            json!({"model": "m", "max_output_tokens": 7, "service_tier": "default"})
        );
        assert_eq!(
            body("anthropic", json!({"max_tokens": 9, "service_tier": "auto"}), true),
            json!({"model": "m", "max_tokens": 7, "service_tier": "standard_only", "stream": true})
        );
        assert_eq!(
            body("gemini", json!({"generationConfig": [1]}), true),
            json!({"generationConfig": {"maxOutputTokens": 7}})
        );
    }
}
