//! Who is told that a threshold of a budget was passed, and in which words.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::definition::{Budget, Mode};
use super::scope::ScopeKind;
use crate::address::{OutboundPolicy, judge_url};
use crate::connection;
use crate::fields::{Problem, fields_or_null};
use crate::intake::{MAX_CALLBACK_URL_CHARS, text};
use crate::json::{decode, element};
use crate::money::{Nano, show_percent};
use crate::user::{check_email, normalize_email};
use crate::workflow;

/// Addresses that one alert goes to at most.
const MAX_ADDRESSES: usize = 10;
const MAX_CHANNEL_CHARS: usize = 100;

/// A channel, and the stored connection that leads there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlackChannel {
    pub connection: String,
    pub channel: String,
}

impl fmt::Display for SlackChannel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.connection, self.channel)
    }
}

/// Who is told. All of them are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recipients {
    /// A URL that gets the alert as a signed callback.
    #[serde(default)]
    pub callback: Option<String>,
    #[serde(default)]
    pub email: Vec<String>,
    #[serde(default)]
    pub slack: Option<SlackChannel>,
    /// A workflow that gets the alert as its payload.
    #[serde(default)]
    pub workflow: Option<String>,
}

impl Recipients {
    /// Reads the member `alert` of a budget.
    pub(super) fn parse(raw: &str, policy: &OutboundPolicy) -> Result<Self, Problem> {
        let within = |problem: Problem| Problem {
            at: "/alert".into(),
            message: format!("alert: {}", problem.message),
        };
        if !raw.starts_with('{') {
            return Err(Problem::field("/alert", raw, "must be an object or null"));
        }
        let [callback, email, slack, workflow] =
            fields_or_null(raw, ["callback", "email", "slack", "workflow"]).map_err(within)?;
        Ok(Recipients {
            callback: callback.map(|raw| parse_callback(raw, policy)).transpose()?,
            email: email.map_or(Ok(Vec::new()), parse_addresses)?,
            slack: slack.map(parse_slack).transpose()?,
            workflow: workflow.map(parse_workflow).transpose()?,
        })
    }

    /// Reads `connection/channel`.
    pub fn parse_slack_text(text: &str) -> Option<SlackChannel> {
        let (connection, channel) = text.split_once('/')?;
        let channel = is_channel(channel).then(|| channel.to_owned())?;
        connection::is_name(connection).then(|| SlackChannel { connection: connection.to_owned(), channel })
    }
}

fn parse_callback(raw: &str, policy: &OutboundPolicy) -> Result<String, Problem> {
    let allowed = |what: &str| Problem::field("/alert/callback", raw, what);
    let url = text(raw, 1, MAX_CALLBACK_URL_CHARS)
        .ok_or_else(|| allowed("must be a URL of 1024 characters at most"))?;
    judge_url(&url, policy).map_err(|problem| allowed(&format!("is refused: {problem}")))?;
    Ok(url.into_owned())
}

fn parse_addresses(raw: &str) -> Result<Vec<String>, Problem> {
    let wrong = |raw: &str, what: &str| Problem::field("/alert/email", raw, what);
    if !raw.starts_with(['[', '"']) {
        return Err(wrong(raw, "must be an address or a list of addresses"));
    }
    let items: Vec<&str> = match raw.starts_with('"') {
        true => vec![raw],
        // One more than there may be is one too many, whatever it says.
        false => (0..=MAX_ADDRESSES).map_while(|place| element(raw, place)).collect(),
    };
    if items.len() > MAX_ADDRESSES {
        return Err(wrong(raw, "must hold 10 addresses at most"));
    }
    let address = |item: &&str| {
        let address = decode(item).map(|text| normalize_email(&text));
        let address = address.ok_or_else(|| wrong(item, "must be an address such as ada@example.com"))?;
        check_email(&address).map_err(|problem| wrong(item, &problem.to_string()))?;
        Ok(address)
    };
    items.iter().map(address).collect()
}

fn parse_slack(raw: &str) -> Result<SlackChannel, Problem> {
    let allowed = "must be an object with connection (the name of a stored one) and channel (a name or id)";
    let wrong = || Problem::field("/alert/slack", raw, allowed);
    let [connection, channel] = fields_or_null(raw, ["connection", "channel"]).map_err(|_| wrong())?;
    let connection =
        connection.and_then(decode).filter(|name| connection::is_name(name)).ok_or_else(wrong)?;
    let channel = channel.and_then(decode).filter(|name| is_channel(name)).ok_or_else(wrong)?;
    Ok(SlackChannel { connection: connection.into_owned(), channel: channel.into_owned() })
}

fn is_channel(text: &str) -> bool {
    let count = text.chars().take(MAX_CHANNEL_CHARS + 1).count();
    (1..=MAX_CHANNEL_CHARS).contains(&count) && !text.chars().any(|c| c.is_control() || c.is_whitespace())
}

fn parse_workflow(raw: &str) -> Result<String, Problem> {
    let name = decode(raw).filter(|name| workflow::is_name(name));
    let name =
        name.ok_or_else(|| Problem::field("/alert/workflow", raw, "must be the name of a workflow"))?;
    Ok(name.into_owned())
}

/// A threshold that was passed, as it is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Passed<'a> {
    pub budget: &'a Budget,
    /// Whom a budget for each counted.
    pub subject: &'a str,
    pub period: &'a str,
    pub threshold_ppm: u32,
    pub spent: Nano,
    pub limit: Nano,
    pub at_ms: i64,
}

impl Passed<'_> {
    /// One line: `Budget team-blue has reached 80 %: $4.10 of $5.00 spent (tag team=blue, day)`.
    pub fn line(&self) -> String {
        let Passed { budget, spent, limit, .. } = self;
        let percent = show_percent(self.threshold_ppm);
        let whom = match budget.scope.kind {
            ScopeKind::Global => "everything".to_owned(),
            kind if self.subject.is_empty() => format!("{} {}", kind.as_str(), budget.scope.id),
            kind => format!("{} {}", kind.as_str(), self.subject),
        };
        // It becomes the subject of a mail: one line, whatever a name holds.
        let whom: String = whom.chars().map(|c| if c.is_control() { ' ' } else { c }).take(100).collect();
        let window = budget.window;
        format!("Budget {} has reached {percent} %: ${spent} of ${limit} spent ({whom}, {window})", budget.id)
    }

    /// What happens next.
    pub fn outlook(&self) -> &'static str {
        match self.budget.mode {
            Mode::Hard => {
                "At 100 % further AI calls are refused until the period ends or the limit is raised."
            }
            Mode::Soft => "The budget is soft: nothing is refused.",
            Mode::Observe => "The budget only observes: nothing is refused.",
        }
    }

    /// The alert for programs.
    pub fn payload(&self) -> Value {
        let budget = self.budget;
        json!({
            "budget": budget.id.as_str(),
            "limit": self.limit.to_string(),
            "limit_micro_usd": self.limit.micro_ceil(),
            "mode": budget.mode.as_str(),
            "passed_at": crate::duration::rfc3339(self.at_ms),
            "period": self.period,
            "scope": budget.scope.kind.as_str(),
            "scope_id": budget.scope.id,
            "spent": self.spent.to_string(),
            "spent_micro_usd": self.spent.micro_ceil(),
            "subject": self.subject,
            "text": self.line(),
            "threshold": show_percent(self.threshold_ppm),
            "window": budget.window.to_string(),
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::budget::{Scope, default_day};

    fn parse(raw: &str) -> Result<Recipients, Problem> {
        Recipients::parse(raw, &OutboundPolicy::default())
    }

    #[test]
    fn recipients_are_read_and_keep_their_form() {
        let raw = r##"{"email":["Ada@Example.com","b@example.org"],"slack":{"connection":"team","channel":"#ops"},"callback":"https://example.com/hook","workflow":"on-alert"}"##;

        let all = parse(raw).unwrap();

        assert_eq!(all.email, ["ada@example.com", "b@example.org"]);
        let stored = serde_json::to_string(&all).unwrap();
        assert_eq!(serde_json::from_str::<Recipients>(&stored).unwrap(), all);
        assert_eq!(parse("{}").unwrap(), Recipients::default());
        assert_eq!(parse(r#"{"email":"a@example.com","slack":null}"#).unwrap().email, ["a@example.com"]);
        assert_eq!(Recipients::parse_slack_text("team/#ops").unwrap(), all.slack.unwrap());
        for bad in ["team", "/x", "team/", "te am/x", "team/a b", "team/a\n"] {
            assert_eq!(Recipients::parse_slack_text(bad), None, "{bad}");
        }
    }

    #[test]
    fn whom_nobody_can_reach_is_refused_by_name() {
        let eleven = format!(r#"{{"email":[{}]}}"#, [r#""a@example.com""#; 11].join(","));
        for (raw, at, what) in [
            ("[]", "/alert", "an object or null"),
            (r#"{"mail":"a@example.com"}"#, "/alert", "unknown member `mail`"),
            (r#"{"email":7}"#, "/alert/email", "an address"),
            (r#"{"email":["a@example.com",7]}"#, "/alert/email", "an address such as"),
            (r#"{"email":["x\nBcc: y@example.com"]}"#, "/alert/email", "Bcc"),
            (&eleven, "/alert/email", "10 addresses"),
            (r#"{"slack":"team"}"#, "/alert/slack", "connection"),
            (r#"{"slack":{"connection":"../x","channel":"a"}}"#, "/alert/slack", "connection"),
            (r#"{"slack":{"connection":"team"}}"#, "/alert/slack", "channel"),
            (r#"{"callback":"http://127.0.0.1/x"}"#, "/alert/callback", "is refused"),
            (r#"{"callback":"file:///etc/passwd"}"#, "/alert/callback", "is refused"),
            (r#"{"workflow":""}"#, "/alert/workflow", "the name of a workflow"),
        ] {
            let problem = parse(raw).unwrap_err();
            assert_eq!(problem.at, at, "{raw}: {problem}");
            assert!(problem.message.contains(what), "{raw}: {problem}");
        }
    }

    #[test]
    fn an_alert_is_one_line_and_a_payload() {
        let mut budget = default_day(Nano::parse("5").unwrap());
        let of = |budget: &Budget, subject: &str| {
            let passed = Passed {
                budget,
                subject,
                period: "D:2026-11-22",
                threshold_ppm: 800_000,
                spent: Nano::parse("4.1").unwrap(),
                limit: budget.limit,
                at_ms: 0,
            };
            (passed.line(), passed.payload())
        };

        let (line, payload) = of(&budget, "");
        assert_eq!(line, "Budget max-cost-per-day has reached 80 %: $4.10 of $5.00 spent (everything, day)");
        assert_eq!(
            (payload["threshold"].as_str(), payload["spent_micro_usd"].as_i64()),
            (Some("80"), Some(4_100_000))
        );
        budget.scope = Scope::each(ScopeKind::User);
        assert!(
            of(&budget, "ada\r\nBcc: x").0.ends_with("(user ada  Bcc: x, day)"),
            "{}",
            of(&budget, "ada\r\n").0
        );
    }
}
