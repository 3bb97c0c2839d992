//! `levqor email log`: the record of every try to send a mail.

use clap::Args;
use serde_json::Value;

use crate::cli::client::{Api, Call, Server};
use crate::cli::exit::Failure;
use crate::cli::jobs::time;
use crate::cli::out::{self, plain, say};

/// Lines asked for at once; the server gives no more.
const PAGE_MAX: u32 = 500;

#[derive(Args)]
pub struct Log {
    /// sending, sent, failed or lost
    #[arg(long)]
    status: Option<String>,

    /// Only mails to this address
    #[arg(long, value_name = "ADDRESS")]
    recipient: Option<String>,

    /// Only mails of this job
    #[arg(long, value_name = "ID")]
    job: Option<String>,

    /// How many to show
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,

    /// Print the tries as JSON, one a line
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    server: Server,
}

impl Log {
    pub async fn run(&self) -> Result<(), Failure> {
        let api = Api::new(&self.server)?;
        let (emails, has_more) =
            api.list("emails", self.limit, |limit, cursor| self.page(limit, cursor)).await?;
        if self.json {
            emails.iter().for_each(|email| say!("{email}"));
        } else if emails.is_empty() {
            say!("No mails.");
        } else {
            say!("{}", table(&emails));
            if has_more {
                say!("There are more; see --limit.");
            }
        }
        Ok(())
    }

    fn page(&self, limit: u32, cursor: Option<&str>) -> Call<'_> {
        let mut call = Call::get("/api/v1/emails").query("limit", limit.min(PAGE_MAX).to_string());
        let filters = [("status", &self.status), ("recipient", &self.recipient), ("job", &self.job)];
        for (name, value) in filters {
            if let Some(value) = value {
                call = call.query(name, value);
            }
        }
        match cursor {
            Some(cursor) => call.query("cursor", cursor),
            None => call,
        }
    }
}

/// Tries as columns. Of several recipients the first is named.
pub fn table(emails: &[Value]) -> String {
    let head = ["at", "status", "from", "to", "subject", "message id or error"].map(str::to_owned).to_vec();
    let text = |value: &Value| value.as_str().map(plain).unwrap_or_default();
    let rows = emails.iter().map(|email| {
        let recipients =
            ["to", "cc", "bcc"].into_iter().flat_map(|kind| email[kind].as_array().into_iter().flatten());
        let recipients: Vec<String> = recipients.map(text).collect();
        let to = match recipients.as_slice() {
            [] => String::new(),
            [one] => one.clone(),
            [first, others @ ..] => format!("{first} and {} more", others.len()),
        };
        let end = match email["error"].is_null() {
            true => text(&email["message_id"]),
            false => format!("{}: {}", text(&email["error"]["code"]), text(&email["error"]["message"])),
        };
        vec![
            time(&email["at"]),
            text(&email["status"]),
            text(&email["from"]),
            to,
            text(&email["subject"]),
            end,
        ]
    });
    out::table(&std::iter::once(head).chain(rows).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_try_is_one_line_that_cannot_steer_the_terminal() {
        let emails = [
            json!({"at": 0.5, "status": "sent", "from": "a@x.org", "to": ["b@x.org"], "cc": ["c@x.org"], "bcc": [],
                "subject": "Hi\u{1b}[2J", "message_id": "m-1", "error": null}),
            json!({"at": 1.0, "status": "failed", "from": "a@x.org", "to": ["b@x.org"], "cc": [], "bcc": [], "subject": "s",
                "message_id": null, "error": {"code": "email_refused", "message": "no"}}),
        ];

        let shown = table(&emails);

        let lines: Vec<_> = shown.lines().skip(1).collect();
        assert_eq!(
            lines,
            [
                "1970-01-01 00:00:00Z  sent    a@x.org  b@x.org and 1 more  Hi\\u{1b}[2J  m-1",
                "1970-01-01 00:00:01Z  failed  a@x.org  b@x.org             s            email_refused: no",
            ]
        );
    }
}
