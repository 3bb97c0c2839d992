//! The record of every try to send a mail. Mails are sent by jobs; there is no route that sends one.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use http::{HeaderMap, StatusCode, Uri};
use levqor_core::id::JobId;
use levqor_core::user::normalize_email;
use levqor_store::{EmailFilter, EmailOutcome, EmailRow};
use serde::Serialize;
use utoipa::ToSchema;

use super::query::Query;
use super::views::seconds;
use crate::http::App;
use crate::http::body::json;
use crate::http::context::Context;
use crate::http::error::Result;

const DEFAULT_LIMIT: i64 = 50;
const MAX_LIMIT: i64 = 500;

#[derive(Serialize, ToSchema)]
pub struct EmailPageView {
    emails: Vec<EmailView>,
    /// Hand it in as `cursor` to go on; null at the end.
    next: Option<String>,
}

/// One try to send a mail.
#[derive(Serialize, ToSchema)]
pub struct EmailView {
    at: f64,
    /// The attempt of the step, counted from 1.
    attempt: i64,
    bcc: Vec<String>,
    cc: Vec<String>,
    error: Option<EmailError>,
    finished_at: Option<f64>,
    #[schema(example = "no-reply@levqor.ai")]
    from: String,
    #[schema(example = "018bcfe5687b7fffbfffffffffffffff")]
    job_id: String,
    /// What the provider calls the mail.
    message_id: Option<String>,
    /// `resend`, `smtp`, or `none` where nothing was configured.
    #[schema(example = "resend")]
    provider: String,
    /// `sending`, `sent`, `failed` or `lost` (nobody knows whether it was sent).
    #[schema(example = "sent")]
    status: &'static str,
    step: String,
    /// Empty once a recipient was erased.
    subject: String,
    /// An address is empty once its person was erased.
    to: Vec<String>,
}

#[derive(Serialize, ToSchema)]
pub struct EmailError {
    /// A stable word, listed in docs/api.md.
    #[schema(example = "email_refused")]
    code: String,
    message: Option<String>,
}

impl From<EmailRow> for EmailView {
    fn from(row: EmailRow) -> Self {
        let of = |kind: &str| {
            let chosen = row.recipients.iter().filter(|(known, _)| known == kind);
            chosen.map(|(_, address)| address.clone()).collect()
        };
        EmailView {
            at: seconds(row.at_ms),
            attempt: row.attempt,
            bcc: of("bcc"),
            cc: of("cc"),
            finished_at: row.finished_at_ms.map(seconds),
            job_id: row.job_id.to_string(),
            status: row.outcome.as_str(),
            to: of("to"),
            error: row.code.map(|code| EmailError { code, message: row.error }),
            from: row.sender,
            message_id: row.message_id,
            provider: row.provider,
            step: row.step,
            subject: row.subject,
        }
    }
}

/// List tries to send mails, newest first. All filters that are given must hold.
#[utoipa::path(get, path = "/api/v1/emails", tag = "emails", security(("ApiKey" = [])),
    params(("status" = Option<String>, Query, description = "`sending`, `sent`, `failed` or `lost`"),
        ("recipient" = Option<String>, Query, description = "An address among to, cc and bcc; send `+` as `%2B`"),
        ("job" = Option<String>, Query, description = "The id of the job that sends it"),
        ("limit" = Option<i64>, Query, description = "1 to 500, default 50", minimum = 1, maximum = 500),
        ("cursor" = Option<String>, Query, description = "`next` of the page before")),
    responses((status = 200, body = EmailPageView)))]
pub async fn list_emails(
    State(app): State<Arc<App>>,
    context: Context,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Response> {
    app.require_key(&context, &headers)?;
    let page = app.engine.store().list_emails(&filter(&uri)?).await?;
    let emails = page.emails.into_iter().map(EmailView::from).collect();
    Ok(json(StatusCode::OK, &EmailPageView { emails, next: page.next.map(|id| id.to_string()) }))
}

fn filter(uri: &Uri) -> Result<EmailFilter> {
    let query = Query::parse(uri, &["status", "recipient", "job", "limit", "cursor"], &[])?;
    let id = |text: &str| text.parse::<JobId>().ok();
    Ok(EmailFilter {
        outcome: query.word("status", EmailOutcome::parse, "sending, sent, failed or lost")?,
        recipient: query.text("recipient")?.map(|text| normalize_email(&text)),
        job_id: query.word("job", id, "the id of a job, 32 lower-case hex digits")?,
        before: query.word("cursor", id, "`next` of the page before")?,
        limit: query.number("limit", 1, MAX_LIMIT)?.unwrap_or(DEFAULT_LIMIT) as usize,
    })
}
