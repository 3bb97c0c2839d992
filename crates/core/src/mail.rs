//! Mails: who may be the sender, what a mail must look like, and the templates that fill one in.
//!
//! Reading order: here (the values and limits), `read` (from JSON to a mail, or a list of what is wrong), `template` (which
//! templates there are, as text and as HTML). Nothing that could end a header line gets into a [`Mail`], so whoever sends
//! one need not look again. Must not know how a mail is sent.

mod read;
pub mod template;

pub(crate) use read::{MEMBERS, check_member};
pub use read::{Problems, read};

use crate::json;

/// The workflow that is there from the first start: one step `email`, retried for hours.
pub const WORKFLOW: &str = "levqor-email";

/// In `to`, `cc` and `bcc` together; providers take no more.
pub const MAX_RECIPIENTS: usize = 50;
pub const MAX_REPLY_TO: usize = 5;
pub const MAX_SUBJECT_CHARS: usize = 300;
/// Of the text, and of the HTML.
pub const MAX_BODY_BYTES: usize = 256 * 1024;

/// The four addresses that mails come from, at the installation's own domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sender {
    Support,
    Billing,
    NoReply,
    Security,
}

impl Sender {
    pub const ALL: [Sender; 4] = [Sender::Support, Sender::Billing, Sender::NoReply, Sender::Security];

    /// The part before the @.
    pub fn as_str(self) -> &'static str {
        match self {
            Sender::Support => "support",
            Sender::Billing => "billing",
            Sender::NoReply => "no-reply",
            Sender::Security => "security",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Sender::ALL.into_iter().find(|sender| sender.as_str() == text)
    }

    pub fn address(self, domain: &str) -> String {
        format!("{}@{domain}", self.as_str())
    }
}

/// A mail that can be sent as it is.
///
/// Invariant: made by [`read`] alone, so addresses are checked, there are 1 to [`MAX_RECIPIENTS`] of them, no header value
/// holds a control character, and there is a text or HTML.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Mail {
    pub from: Sender,
    pub to: Vec<String>,
    pub cc: Vec<String>,
    /// Seen by nobody but the provider.
    pub bcc: Vec<String>,
    pub reply_to: Vec<String>,
    pub subject: String,
    pub text: Option<String>,
    pub html: Option<String>,
}

/// What the payload of [`WORKFLOW`] tells its reader, as a compact JSON object: without the addresses of those who got it too.
/// Nothing when there is no mail in it (any more).
pub fn told(payload: &str) -> Option<String> {
    let shown = ["from", "subject", "text", "html", "template", "values"];
    let members = json::members(payload).unwrap_or_default();
    let told = members.iter().filter(|(name, value)| shown.contains(&name.as_ref()) && *value != "null");
    let told: Vec<String> = told.map(|(name, value)| format!("{}:{value}", json::quote(name))).collect();
    (!told.is_empty()).then(|| format!("{{{}}}", told.join(",")))
}

impl Mail {
    /// All who get it, each once, with how: `to` counts before `cc`, and that before `bcc`.
    pub fn recipients(&self) -> Vec<(&'static str, &str)> {
        let mut found: Vec<(&'static str, &str)> = Vec::new();
        for (kind, list) in [("to", &self.to), ("cc", &self.cc), ("bcc", &self.bcc)] {
            for address in list {
                if !found.iter().any(|(_, known)| known.eq_ignore_ascii_case(address)) {
                    found.push((kind, address));
                }
            }
        }
        found
    }
}

/// Shows no address and no text: a mail is nobody else's business, and least of all a log's.
impl std::fmt::Debug for Mail {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let recipients = self.recipients().len();
        f.debug_struct("Mail")
            .field("from", &self.from)
            .field("recipients", &recipients)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
