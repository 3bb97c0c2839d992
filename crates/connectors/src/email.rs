//! Sends mails: through Resend or an SMTP server, whichever the operator configured. The one place that knows both.
//!
//! A mail is sent under a key that is the same in every attempt. Resend takes it as `Idempotency-Key`; over SMTP, which has
//! no such thing, it becomes the `Message-ID`, by which readers' programs recognise a copy.

use std::fmt;

use http::HeaderValue;
use ipnet::IpNet;
use levqor_core::mail::{Mail, Sender};

use crate::resend::Resend;
use crate::smtp::{Smtp, SmtpUrl};

/// How long one attempt may take, if the step allows that much.
pub const LIMIT_MS: u64 = 20_000;

/// What was configured. Its parts are secret.
#[derive(Clone, PartialEq, Eq)]
pub enum Provider {
    Resend { api_key: String, base_url: String },
    Smtp(SmtpUrl),
}

impl fmt::Debug for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Provider {
    /// As records and answers name it.
    pub fn name(&self) -> &'static str {
        match self {
            Provider::Resend { .. } => "resend",
            Provider::Smtp(_) => "smtp",
        }
    }
}

/// Sends mails from the four addresses of one domain.
pub struct Mailer {
    name: &'static str,
    domain: String,
    way: Way,
}

enum Way {
    Resend(Resend),
    Smtp(Smtp),
}

impl fmt::Debug for Mailer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mailer")
            .field("name", &self.name)
            .field("domain", &self.domain)
            .finish_non_exhaustive()
    }
}

/// A mail that was taken by the provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    /// What the provider calls it; over SMTP its `Message-ID`.
    pub message_id: String,
}

/// Why a mail was not sent, or why nobody knows. Can be shown to users: no credential, no address, no text of the mail.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// It said no to this mail, or to us. The same mail would be refused again.
    #[error("{provider} refused the mail: {}", word.as_deref().unwrap_or("no reason given"))]
    Refused { provider: &'static str, word: Option<String> },
    /// It cannot take the mail now.
    #[error("{provider} cannot take the mail now: {}", word.as_deref().unwrap_or("no reason given"))]
    Busy { provider: &'static str, word: Option<String> },
    #[error("{provider} takes no more mails for now: {}", word.as_deref().unwrap_or("too many"))]
    RateLimited { provider: &'static str, word: Option<String>, retry_after_ms: Option<i64> },
    #[error("{provider} did not answer within {limit_ms} ms")]
    Timeout { provider: &'static str, limit_ms: u64 },
    #[error("{provider} cannot be reached ({code})")]
    Unreachable { provider: &'static str, code: &'static str },
    /// The mail may have gone out.
    #[error("the answer of {provider} cannot be understood")]
    BadAnswer { provider: &'static str },
}

impl Failure {
    /// A stable word for records and programs.
    pub fn code(&self) -> &'static str {
        match self {
            Failure::Refused { .. } => "email_refused",
            Failure::Busy { .. } => "email_busy",
            Failure::RateLimited { .. } => "email_rate_limited",
            Failure::Timeout { .. } => "email_timeout",
            Failure::Unreachable { .. } => "email_unreachable",
            Failure::BadAnswer { .. } => "email_bad_answer",
        }
    }

    /// Whether the same mail may fare better later.
    pub fn is_retryable(&self) -> bool {
        !matches!(self, Failure::Refused { .. })
    }

    pub fn retry_after_ms(&self) -> Option<i64> {
        match self {
            Failure::RateLimited { retry_after_ms, .. } => *retry_after_ms,
            _ => None,
        }
    }
}

impl Mailer {
    /// Does no work yet. `domain` is what stands after the @ of the four addresses.
    pub fn new(provider: &Provider, domain: &str, outbound_allow: &[IpNet], user_agent: HeaderValue) -> Self {
        let way = match provider {
            Provider::Resend { api_key, base_url } => {
                Way::Resend(Resend::new(api_key, base_url, outbound_allow, user_agent))
            }
            Provider::Smtp(url) => Way::Smtp(Smtp::new(url.clone(), domain)),
        };
        Mailer { name: provider.name(), domain: domain.to_owned(), way }
    }

    /// `resend` or `smtp`.
    pub fn provider(&self) -> &'static str {
        self.name
    }

    pub fn address(&self, sender: Sender) -> String {
        sender.address(&self.domain)
    }

    /// Sends one mail, within `limit_ms` and [`LIMIT_MS`]. `key` is the same in every attempt to send this mail.
    pub async fn send(&self, mail: &Mail, key: &str, now_ms: i64, limit_ms: u64) -> Result<Sent, Failure> {
        let limit_ms = limit_ms.clamp(1, LIMIT_MS);
        let from = self.address(mail.from);
        match &self.way {
            Way::Resend(resend) => resend.send(&from, mail, key, now_ms, limit_ms).await,
            Way::Smtp(smtp) => smtp.send(&from, mail, key, now_ms, limit_ms).await,
        }
    }
}
