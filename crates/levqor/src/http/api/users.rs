//! People: upsert, look up, get, patch as the first version had them; payments, export and delete beside.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;
use bytes::Bytes;
use http::{HeaderMap, StatusCode, Uri};
use levqor_core::mail::told;
use levqor_core::payment::meta_without_payments;
use levqor_core::user::{INVALID_PATCH, normalize_email, parse_patch, parse_upsert};
use levqor_store::{AuditFilter, UserRow};
use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::emails::EmailView;
use super::path::PathText;
use super::payments::{self, PaymentList, PaymentView};
use super::query::Query;
use super::user_costs::UserCostsView;
use super::views::{raw, seconds};
use crate::http::App;
use crate::http::auth::Caller;
use crate::http::body::{self, json};
use crate::http::context::Context;
use crate::http::error::{ApiError, Result};
use crate::http::schema::{
    LegacyError, NamedError, UnknownEmail, UnknownUser, UserPatchBody, UserUpsertBody,
};

const HISTORY_AT_ONCE: usize = 500;

#[derive(Serialize, ToSchema)]
pub struct UserView {
    created_at: f64,
    /// `GBP`, `USD` or `EUR`.
    currency: Option<String>,
    #[schema(example = "ada@example.org")]
    email: String,
    #[schema(example = "3f0c6e8d5b1a4c7e9d2f1a0b3c4d5e6f")]
    id: String,
    locale: Option<String>,
    /// With a key and where something was paid: `payments` and `last_payment` too.
    #[schema(value_type = Object)]
    meta: Box<RawValue>,
    name: Option<String>,
    updated_at: f64,
}

impl UserView {
    /// For holders of a key: meta tells of payments, where there are any.
    fn whole(mut row: UserRow) -> Self {
        row.meta = payments::meta_of(&row);
        UserView::with_meta_as_it_is(row)
    }

    /// For everybody: what was paid is nobody's business.
    fn public(mut row: UserRow) -> Self {
        row.meta = meta_without_payments(&row.meta).into_owned();
        UserView::with_meta_as_it_is(row)
    }

    fn with_meta_as_it_is(row: UserRow) -> Self {
        UserView {
            created_at: seconds(row.created_at_ms),
            currency: row.currency,
            email: row.email,
            id: row.id,
            locale: row.locale,
            meta: raw(&row.meta),
            name: row.name,
            updated_at: seconds(row.updated_at_ms),
        }
    }
}

#[derive(Serialize, ToSchema)]
pub struct UserCreated {
    created: bool,
    user: UserView,
}

#[derive(Serialize, ToSchema)]
pub struct UserUpdated {
    updated: bool,
    user: UserView,
}

#[derive(Serialize, ToSchema)]
pub struct UserExport {
    /// What AI calls for this person cost.
    ai_usage: UserCostsView,
    /// Every try to send a mail to this person, also to an address that was given at a checkout.
    emails: Vec<EmailView>,
    exported_at: f64,
    /// What was done to what is kept about this person, newest first.
    history: Vec<UserActView>,
    /// What those mails said, as long as that is kept.
    mails: Vec<MailView>,
    payments: Vec<PaymentView>,
    user: UserView,
}

/// An entry of the audit log, without who did it.
#[derive(Serialize, ToSchema)]
pub struct UserActView {
    #[schema(example = "user.patch")]
    action: String,
    at: f64,
    #[schema(value_type = Object)]
    detail: Box<RawValue>,
}

#[derive(Serialize, ToSchema)]
pub struct MailView {
    #[schema(example = "018bcfe5687b7fffbfffffffffffffff")]
    job_id: String,
    /// Its part of the job's payload: `from`, `subject`, `text`, `html`, or `template` and `values`.
    #[schema(value_type = Object)]
    mail: Box<RawValue>,
}

#[derive(Serialize, ToSchema)]
pub struct UserDeleted {
    deleted: bool,
}

/// Create a person, or replace the one with this e-mail: what is left out becomes null, meta is replaced whole.
#[utoipa::path(post, path = "/api/v1/users/upsert", tag = "users", security(("ApiKey" = [])), request_body = UserUpsertBody,
    responses((status = 201, description = "A new person", body = UserCreated),
        (status = 200, description = "Replaced; same id and `created_at`", body = UserUpdated)))]
pub async fn upsert_user(
    State(app): State<Arc<App>>,
    context: Context,
    request: Request,
) -> Result<Response> {
    let (caller, body) = app.read_user_body(&context, request).await?;
    let upsert = parse_upsert(&body)?;
    let id = format!("{:032x}", rand::random::<u128>());
    let (row, is_new) =
        app.engine.store().upsert_user(&id, upsert, &caller.actor, app.clock.now_ms()).await?;
    let user = UserView::whole(row);
    Ok(match is_new {
        true => json(StatusCode::CREATED, &UserCreated { created: true, user }),
        false => json(StatusCode::OK, &UserUpdated { updated: true, user }),
    })
}

/// The person with an e-mail address. Needs a key only when public reads are closed.
#[utoipa::path(get, path = "/api/v1/users", tag = "users", security((), ("ApiKey" = [])),
    params(("email" = String, Query, description = "Trimmed and lower-cased; send `+` as `%2B`")),
    responses((status = 200, body = UserView), (status = 400, description = "No address", body = LegacyError),
        (status = 404, description = "Nobody has this address", body = UnknownEmail)))]
pub async fn find_user(
    State(app): State<Arc<App>>,
    context: Context,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Response> {
    let is_keyed = app.require_user_read(&context, &headers)?;
    // The first version took any parameter here and looked at this one alone.
    let email = normalize_email(Query::parse_any(&uri).get("email").unwrap_or_default());
    if email.is_empty() {
        return Err(ApiError::legacy("email query param required", None));
    }
    // PostgreSQL cannot even compare with NUL.
    let store = app.engine.store();
    let found = match (email.contains('\0'), is_keyed) {
        (true, _) => None,
        (false, true) => store.find_whole_user_by_email(&email).await?.map(UserView::whole),
        (false, false) => store.find_user_by_email(&email).await?.map(UserView::public),
    };
    match found {
        Some(user) => Ok(json(StatusCode::OK, &user)),
        None => Err(ApiError::unknown_email(&email)),
    }
}

/// One person. Needs a key only when public reads are closed.
#[utoipa::path(get, path = "/api/v1/users/{user_id}", tag = "users", security((), ("ApiKey" = [])),
    params(("user_id" = String, Path, description = "32 lower-case hex digits")),
    responses((status = 200, body = UserView), (status = 404, description = "No such person", body = UnknownUser)))]
pub async fn get_user(
    State(app): State<Arc<App>>,
    context: Context,
    headers: HeaderMap,
    id: PathText,
) -> Result<Response> {
    let is_keyed = app.require_user_read(&context, &headers)?;
    let found = match is_keyed {
        true => app.find_whole_user(&id).await?.map(UserView::whole),
        false => app.find_public_user(&id).await?.map(UserView::public),
    };
    match found {
        Some(user) => Ok(json(StatusCode::OK, &user)),
        None => Err(ApiError::unknown_user(&id.text)),
    }
}

/// Change what is sent. Meta is merged one level deep: members that are sent replace those that are there, the others stay.
#[utoipa::path(patch, path = "/api/v1/users/{user_id}", tag = "users", security(("ApiKey" = [])), request_body = UserPatchBody,
    params(("user_id" = String, Path, description = "32 lower-case hex digits")),
    responses((status = 200, body = UserUpdated), (status = 404, description = "No such person", body = UnknownUser)))]
pub async fn patch_user(
    State(app): State<Arc<App>>,
    context: Context,
    id: PathText,
    request: Request,
) -> Result<Response> {
    let (caller, body) = app.read_user_body(&context, request).await?;
    let patch = parse_patch(&body)?;
    let user_id = id.user_id().ok_or_else(|| ApiError::unknown_user(&id.text))?;
    match app.engine.store().patch_user(user_id, patch, &caller.actor, app.clock.now_ms()).await {
        Ok(row) => Ok(json(StatusCode::OK, &UserUpdated { updated: true, user: UserView::whole(row) })),
        Err(levqor_store::Error::NotFound { .. }) => Err(ApiError::unknown_user(&id.text)),
        // The one conflict there is: the merged meta is too large.
        Err(levqor_store::Error::Conflict { what }) => Err(ApiError::legacy(INVALID_PATCH, Some(what))),
        Err(error) => Err(error.into()),
    }
}

/// Everything that is kept about a person.
#[utoipa::path(get, path = "/api/v1/users/{user_id}/export", tag = "users", security(("ApiKey" = [])),
    params(("user_id" = String, Path, description = "32 lower-case hex digits")),
    responses((status = 200, body = UserExport), (status = 404, description = "No such person", body = NamedError)))]
pub async fn export_user(
    State(app): State<Arc<App>>,
    context: Context,
    headers: HeaderMap,
    id: PathText,
    uri: Uri,
) -> Result<Response> {
    app.require_key(&context, &headers)?;
    Query::parse(&uri, &[], &[])?;
    let row = app.find_whole_user(&id).await?.ok_or_else(|| ApiError::missing("user"))?;
    let store = app.engine.store();
    let emails = store.list_emails_of(&row.id, &row.email).await?;
    let mut job_ids: Vec<_> = emails.iter().map(|row| row.job_id).collect();
    job_ids.sort_unstable_by(|a, b| b.cmp(a));
    job_ids.dedup();
    let mails = store.find_mails(job_ids).await?.into_iter().filter_map(|(job_id, payload)| {
        let mail = told(&payload)?;
        Some(MailView { job_id: job_id.to_string(), mail: raw(&mail) })
    });
    let mails = mails.collect();
    let costs = store.user_costs(&row.id).await?;
    let export = UserExport {
        ai_usage: UserCostsView::from(&costs),
        emails: emails.into_iter().map(EmailView::from).collect(),
        exported_at: seconds(app.clock.now_ms()),
        history: app.history_of(&row.id).await?,
        mails,
        payments: row.payments.iter().map(PaymentView::from).collect(),
        user: UserView::whole(row),
    };
    Ok(json(StatusCode::OK, &export))
}

/// The payment history of a person, in order of time.
#[utoipa::path(get, path = "/api/v1/users/{user_id}/payments", tag = "billing", security(("ApiKey" = [])),
    params(("user_id" = String, Path, description = "32 lower-case hex digits")),
    responses((status = 200, body = PaymentList), (status = 404, description = "No such person", body = NamedError)))]
pub async fn list_payments(
    State(app): State<Arc<App>>,
    context: Context,
    headers: HeaderMap,
    id: PathText,
    uri: Uri,
) -> Result<Response> {
    app.require_key(&context, &headers)?;
    Query::parse(&uri, &[], &[])?;
    let row = app.find_whole_user(&id).await?.ok_or_else(|| ApiError::missing("user"))?;
    Ok(json(StatusCode::OK, &PaymentList::of(&row)))
}

/// Erase a person. What was paid and what AI calls cost is kept without a name.
#[utoipa::path(delete, path = "/api/v1/users/{user_id}", tag = "users", security(("ApiKey" = [])),
    params(("user_id" = String, Path, description = "32 lower-case hex digits")),
    responses((status = 200, body = UserDeleted), (status = 404, description = "No such person", body = NamedError)))]
pub async fn delete_user(
    State(app): State<Arc<App>>,
    context: Context,
    headers: HeaderMap,
    id: PathText,
    uri: Uri,
) -> Result<Response> {
    let caller = app.require_write(&context, &headers).await?;
    Query::parse(&uri, &[], &[])?;
    let user_id = id.user_id().ok_or_else(|| ApiError::missing("user"))?;
    app.engine.store().delete_user(user_id, &caller.actor, app.clock.now_ms()).await?;
    Ok(json(StatusCode::OK, &UserDeleted { deleted: true }))
}

impl App {
    /// Lookups are open to everybody unless they were closed. Returns whether the caller holds a key.
    fn require_user_read(&self, context: &Context, headers: &HeaderMap) -> Result<bool> {
        if self.config.public_user_reads {
            return self.has_key(context, headers);
        }
        self.require_key(context, headers)?;
        Ok(true)
    }

    async fn find_public_user(&self, id: &PathText) -> Result<Option<UserRow>> {
        match id.user_id() {
            Some(user_id) => Ok(self.engine.store().find_user(user_id).await?),
            None => Ok(None),
        }
    }

    /// Entries of the audit log about this person.
    async fn history_of(&self, user_id: &str) -> Result<Vec<UserActView>> {
        let object = Some(user_id.to_owned());
        let mut filter = AuditFilter { object, limit: HISTORY_AT_ONCE, ..AuditFilter::default() };
        let mut acts = Vec::new();
        loop {
            let page = self.engine.store().list_audit(&filter).await?;
            // Other things may have an id that reads the same; theirs is another noun.
            let of_people = page.entries.into_iter().filter(|entry| entry.action.starts_with("user."));
            acts.extend(of_people.map(|entry| UserActView {
                action: entry.action,
                at: seconds(entry.at_ms),
                detail: raw(&entry.detail),
            }));
            filter.before = page.next;
            if filter.before.is_none() {
                return Ok(acts);
            }
        }
    }

    async fn find_whole_user(&self, id: &PathText) -> Result<Option<UserRow>> {
        match id.user_id() {
            Some(user_id) => Ok(self.engine.store().find_whole_user(user_id).await?),
            None => Ok(None),
        }
    }

    /// The body of a write, after the checks that come before it.
    async fn read_user_body(&self, context: &Context, request: Request) -> Result<(Caller, Bytes)> {
        let (parts, body) = request.into_parts();
        let caller = self.require_write(context, &parts.headers).await?;
        body::refuse_announced(&parts.headers, self.config.max_content_length_bytes)?;
        if !body::is_json(&parts.headers) {
            return Err(ApiError::legacy_content_type("application/json"));
        }
        Ok((caller, body::read(&parts.headers, body, self.config.max_content_length_bytes).await?))
    }
}
