//! The mails that Levqor writes itself. A template says what it has to say once; text and HTML are two ways to put it.
//! Values are put in as text: the HTML escapes them, and nothing of a value is ever read as markup or as a template.

use std::collections::BTreeMap;

use maud::{DOCTYPE, html};

/// Which templates there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Template {
    PaymentReceived,
    PaymentFailed,
    PaymentRefunded,
    Test,
}

/// What one mail says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Letter {
    pub subject: String,
    greeting: String,
    paragraphs: Vec<String>,
    /// Facts below the paragraphs: name and value.
    facts: Vec<(&'static str, String)>,
    closing: &'static str,
}

const ASK: &str = "If something looks wrong, answer this mail and we will look into it.";

impl Template {
    pub const NAMES: [&'static str; 4] = ["payment-received", "payment-failed", "payment-refunded", "test"];

    pub fn as_str(self) -> &'static str {
        match self {
            Template::PaymentReceived => "payment-received",
            Template::PaymentFailed => "payment-failed",
            Template::PaymentRefunded => "payment-refunded",
            Template::Test => "test",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        let all =
            [Template::PaymentReceived, Template::PaymentFailed, Template::PaymentRefunded, Template::Test];
        all.into_iter().find(|template| template.as_str() == text)
    }

    /// Values that must be given.
    pub fn required(self) -> &'static [&'static str] {
        match self {
            Template::PaymentReceived | Template::PaymentFailed | Template::PaymentRefunded => {
                &["amount", "reference"]
            }
            Template::Test => &[],
        }
    }

    fn optional(self) -> &'static [&'static str] {
        match self {
            Template::PaymentReceived | Template::PaymentFailed | Template::PaymentRefunded => &["name"],
            Template::Test => &["server"],
        }
    }

    /// All values, required ones first.
    pub fn names(self) -> Vec<&'static str> {
        [self.required(), self.optional()].concat()
    }

    pub(super) fn takes(self, name: &str) -> bool {
        self.names().contains(&name)
    }

    /// Missing values are left empty: whoever takes the mail has refused them before.
    pub fn write(self, values: &BTreeMap<&str, String>) -> Letter {
        let value = |name: &str| values.get(name).cloned().unwrap_or_default();
        let greeting = match value("name") {
            name if name.is_empty() => "Hello,".to_owned(),
            name => format!("Hello {name},"),
        };
        let (amount, reference) = (value("amount"), value("reference"));
        let payment = |subject: &str, paragraphs: &[String]| Letter {
            subject: format!("{subject}: {amount}"),
            greeting: greeting.clone(),
            paragraphs: paragraphs.to_vec(),
            facts: vec![("Amount", amount.clone()), ("Reference", reference.clone())],
            closing: ASK,
        };
        match self {
            Template::PaymentReceived => {
                payment("Payment received", &[format!("Thank you. Your payment of {amount} has arrived.")])
            }
            Template::PaymentFailed => payment(
                "Payment failed",
                &[
                    format!("Your payment of {amount} did not go through."),
                    "You can try again at any time, with another way to pay if you like.".to_owned(),
                ],
            ),
            Template::PaymentRefunded => payment(
                "Payment refunded",
                &[
                    format!("We have sent {amount} back to you."),
                    "How soon it arrives depends on your bank; a few working days are usual.".to_owned(),
                ],
            ),
            Template::Test => Letter {
                subject: "Levqor can send mail".to_owned(),
                greeting,
                paragraphs: vec![
                    "This is the test that somebody asked for with `levqor email test`.".to_owned(),
                    "It went through the same queue, retries and records as every other mail.".to_owned(),
                ],
                facts: values.get("server").map(|server| ("Server", server.clone())).into_iter().collect(),
                closing: "There is nothing that you have to do.",
            },
        }
    }
}

impl Letter {
    pub fn text(&self) -> String {
        let mut text = format!("{}\n\n{}\n", self.greeting, self.paragraphs.join("\n\n"));
        if !self.facts.is_empty() {
            text.push('\n');
        }
        for (name, value) in &self.facts {
            text.push_str(&format!("{name}: {value}\n"));
        }
        text.push_str(&format!("\n{}\n", self.closing));
        text
    }

    /// One column, styles beside the elements: mail programs drop style sheets.
    pub fn html(&self) -> String {
        let body = "margin:0;padding:24px;font:16px/1.5 system-ui,sans-serif";
        let page = html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta name="viewport" content="width=device-width";
                    meta name="color-scheme" content="light dark";
                    title { (self.subject) }
                }
                body style=(body) {
                    div style="max-width:560px;margin:0 auto" {
                        p { (self.greeting) }
                        @for paragraph in &self.paragraphs { p { (paragraph) } }
                        @if !self.facts.is_empty() {
                            table style="border-collapse:collapse" {
                                @for (name, value) in &self.facts {
                                    tr {
                                        td style="padding:2px 16px 2px 0;opacity:.7" { (name) }
                                        td { strong { (value) } }
                                    }
                                }
                            }
                        }
                        p style="opacity:.7" { (self.closing) }
                    }
                }
            }
        };
        page.into_string()
    }
}
