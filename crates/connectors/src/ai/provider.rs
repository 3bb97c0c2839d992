//! Who is called, where, and how the key travels.

use http::HeaderValue;
use ipnet::IpNet;
use levqor_core::address::OutboundPolicy;
use levqor_core::money::{Profile, Wire};
use levqor_core::workflow::ai::vendor;

use crate::connect::addresses;
use crate::net::Client;

/// How a provider departs from the wire that it speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dialect {
    /// OpenAI calls the limit of a chat `max_completion_tokens`; all others kept `max_tokens`.
    pub limit_field: &'static str,
    /// Takes `service_tier`, so that nobody is moved to a dearer lane.
    pub has_tiers: bool,
    /// Takes `response_format: json_schema`.
    pub has_schemas: bool,
    /// The key travels in this header, after these words.
    pub key_header: (&'static str, &'static str),
}

/// A provider that can be called. Its key is never shown.
#[derive(Clone, PartialEq)]
pub struct Provider {
    /// As in `openai/gpt-6-sol`.
    pub name: String,
    pub wire: Wire,
    /// Without a slash at its end; the wire's path comes after it.
    pub base_url: String,
    pub key: String,
    pub dialect: Dialect,
    /// Whose word counts about errors.
    pub profile: Profile,
}

impl std::fmt::Debug for Provider {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Provider({}, {})", self.name, self.wire.as_str())
    }
}

const BEARER: (&str, &str) = ("authorization", "Bearer ");

const OPENAI: Dialect =
    Dialect { limit_field: "max_completion_tokens", has_tiers: true, has_schemas: true, key_header: BEARER };

const COMPATIBLE: Dialect =
    Dialect { limit_field: "max_tokens", has_tiers: false, has_schemas: true, key_header: BEARER };

/// Names, wires, base addresses and dialects of the providers that are known by name.
const KNOWN: [(&str, Wire, &str, Dialect); 9] = [
    ("openai", Wire::OpenAiChat, "https://api.openai.com/v1", OPENAI),
    ("openai-responses", Wire::OpenAiResponses, "https://api.openai.com/v1", OPENAI),
    (
        "anthropic",
        Wire::Anthropic,
        "https://api.anthropic.com",
        Dialect { key_header: ("x-api-key", ""), ..COMPATIBLE },
    ),
    (
        "gemini",
        Wire::Gemini,
        "https://generativelanguage.googleapis.com",
        Dialect { key_header: ("x-goog-api-key", ""), ..COMPATIBLE },
    ),
    ("groq", Wire::OpenAiChat, "https://api.groq.com/openai/v1", COMPATIBLE),
    ("mistral", Wire::OpenAiChat, "https://api.mistral.ai/v1", COMPATIBLE),
    ("deepseek", Wire::OpenAiChat, "https://api.deepseek.com", Dialect { has_schemas: false, ..COMPATIBLE }),
    ("xai", Wire::OpenAiChat, "https://api.x.ai/v1", COMPATIBLE),
    ("openrouter", Wire::OpenAiChat, "https://openrouter.ai/api/v1", COMPATIBLE),
];

/// The client for these providers. Their addresses are the operator's own, so they may be called even on loopback; any other
/// address only as far as the policy permits.
pub fn client<'p>(
    outbound: &OutboundPolicy,
    user_agent: HeaderValue,
    providers: impl IntoIterator<Item = &'p Provider>,
) -> Client {
    let own = providers.into_iter().flat_map(|provider| addresses(&provider.base_url)).map(IpNet::from);
    Client::new(outbound.and(own), user_agent)
}

impl Provider {
    /// A provider that is known by name; `base_url` replaces its own address.
    pub fn known(name: &str, key: &str, base_url: Option<&str>) -> Option<Provider> {
        let (name, wire, own_url, dialect) = KNOWN.into_iter().find(|(known, ..)| *known == name)?;
        let base_url = base_url.map(trimmed).filter(|url| url != own_url);
        let profile = match (name, &base_url) {
            // Only the vendors themselves are believed about what their errors cost.
            ("openai" | "openai-responses" | "anthropic" | "gemini", None) => Profile::Vendor,
            _ => Profile::Unknown,
        };
        Some(Provider {
            name: name.to_owned(),
            wire,
            base_url: base_url.unwrap_or_else(|| own_url.to_owned()),
            key: key.to_owned(),
            dialect,
            profile,
        })
    }

    /// Any server that speaks OpenAI's chat completions.
    pub fn compatible(name: &str, key: &str, base_url: &str) -> Provider {
        Provider {
            name: name.to_owned(),
            wire: Wire::OpenAiChat,
            base_url: trimmed(base_url),
            key: key.to_owned(),
            dialect: COMPATIBLE,
            profile: Profile::Unknown,
        }
    }

    /// A resource of Azure OpenAI, at its address of version 1 (`https://NAME.openai.azure.com/openai/v1`): its models are called
    /// by the names of their deployments.
    pub fn azure(key: &str, base_url: &str) -> Provider {
        let dialect = Dialect { has_tiers: false, key_header: ("api-key", ""), ..OPENAI };
        Provider { dialect, ..Provider::compatible("azure", key, base_url) }
    }

    /// The names that [`Provider::known`] knows.
    pub fn names() -> impl Iterator<Item = &'static str> {
        KNOWN.iter().map(|(name, ..)| *name)
    }

    /// The name that its prices, budgets and figures go by: whoever can be reached over two wires is one.
    pub fn vendor(&self) -> &str {
        vendor(&self.name)
    }

    /// What it calls the limit on an answer.
    pub fn limit_field(&self) -> &'static str {
        match self.wire {
            Wire::OpenAiChat => self.dialect.limit_field,
            Wire::OpenAiResponses => "max_output_tokens",
            Wire::Anthropic => "max_tokens",
            Wire::Gemini => "maxOutputTokens",
        }
    }

    /// Whether a request says in which lane it wants to be served.
    pub fn has_tiers(&self) -> bool {
        self.wire == Wire::Anthropic || self.dialect.has_tiers
    }

    /// Whether it is one of OpenAI's hosts that keep data in a region (`eu.api.openai.com`): newer models cost more there.
    pub fn is_regional(&self) -> bool {
        let host = self.base_url.split("://").last().and_then(|rest| rest.split(['/', ':', '?']).next());
        host.is_some_and(|host| host.to_ascii_lowercase().ends_with(".api.openai.com"))
    }

    /// The address of a call.
    pub(super) fn url(&self, model: &str, stream: bool) -> String {
        let base = &self.base_url;
        match self.wire {
            Wire::OpenAiChat => format!("{base}/chat/completions"),
            Wire::OpenAiResponses => format!("{base}/responses"),
            Wire::Anthropic => format!("{base}/v1/messages"),
            Wire::Gemini => {
                let model = path_segment(model);
                let verb = if stream { "streamGenerateContent?alt=sse" } else { "generateContent" };
                format!("{base}/v1beta/models/{model}:{verb}")
            }
        }
    }

    pub(super) fn headers(&self) -> Vec<(String, String)> {
        let (name, prefix) = self.dialect.key_header;
        let mut headers = vec![("content-type".to_owned(), "application/json".to_owned())];
        if !self.key.is_empty() {
            headers.push((name.to_owned(), format!("{prefix}{}", self.key)));
        }
        if self.wire == Wire::Anthropic {
            headers.push(("anthropic-version".to_owned(), "2023-06-01".to_owned()));
        }
        headers
    }
}

fn trimmed(url: &str) -> String {
    url.trim_end_matches('/').to_owned()
}

/// A model's name where a path is built from it: letters, digits and `-._` stand as they are.
fn path_segment(text: &str) -> String {
    let mut segment = String::new();
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => segment.push(byte as char),
            _ => segment.push_str(&format!("%{byte:02X}")),
        }
    }
    segment
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_model_cannot_lead_to_another_path() {
        let gemini = Provider::known("gemini", "k", Some("http://h/")).unwrap();

        assert_eq!(gemini.url("a/../b?x", false), "http://h/v1beta/models/a%2F..%2Fb%3Fx:generateContent");
    }

    #[test]
    fn only_the_vendors_own_address_is_believed_about_its_errors() {
        let profile = |name, url| Provider::known(name, "k", url).unwrap().profile;

        assert_eq!(profile("openai", None), Profile::Vendor);
        assert_eq!(profile("openai", Some("http://127.0.0.1:1")), Profile::Unknown);
        assert_eq!(profile("openai", Some("https://api.openai.com/v1/")), Profile::Vendor);
        assert_eq!(profile("groq", None), Profile::Unknown);
    }

    #[test]
    fn a_key_is_never_shown() {
        let provider = Provider::known("anthropic", "sk-secret", None).unwrap();

        assert_eq!(format!("{provider:?}"), "Provider(anthropic, anthropic)");
    }

    #[test]
    fn openais_hosts_of_a_region_are_known_by_their_names() {
        let is_regional = |url| Provider::compatible("x", "", url).is_regional();

        for url in
            ["https://eu.api.openai.com/v1", "https://US.api.OpenAI.com:443/v1/", "https://in.api.openai.com"]
        {
            assert!(is_regional(url), "{url}");
        }
        for url in [
            "https://api.openai.com/v1",
            "https://eu.api.openai.com.example.org/v1",
            "https://example.org/eu.api.openai.com",
            "https://notapi.openai.com/v1",
            "http://127.0.0.1:9/v1",
        ] {
            assert!(!is_regional(url), "{url}");
        }
    }
}
