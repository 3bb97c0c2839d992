//! People. Each verb is one statement or one transaction, so two callers at once never see or leave half of anything.
//!
//! Reads take what they find: rows of the first version were never checked.

use levqor_core::audit::{Act, Actor};
use levqor_core::user::{UserPatch, UserUpsert, merge_meta};
use serde_json::json;

use crate::tx::{Row, Tx};
use crate::{Error, Result, Store, UserRow, audit, emails, money, payments};

macro_rules! columns {
    () => {
        "id, email, name, locale, currency, meta, created_at_ms, updated_at_ms"
    };
}

/// A change moves `updated_at_ms`, also within the same millisecond and when the clock went back.
macro_rules! moved_to {
    ($now:literal) => {
        concat!(
            "updated_at_ms = case when users.updated_at_ms < ",
            $now,
            " then ",
            $now,
            " else users.updated_at_ms + 1 end"
        )
    };
}

/// Which of two first upserts is the first is the index's business: the other one finds the row and replaces it.
const UPSERT: &str = concat!(
    "insert into users (",
    columns!(),
    ") values ($1, $2, $3, $4, $5, $6, $7, $7) on conflict (email) do update set name = excluded.name, \
     locale = excluded.locale, currency = excluded.currency, meta = excluded.meta, ",
    moved_to!("excluded.updated_at_ms"),
    " returning ",
    columns!()
);

/// Writes the row first, so that a second patch of this person waits and then sees what this one left.
const TOUCH: &str = concat!("update users set ", moved_to!("$2"), " where id = $1 returning ", columns!());

const BY_ID: &str = concat!("select ", columns!(), " from users where id = $1");
const BY_EMAIL: &str = concat!("select ", columns!(), " from users where email = $1");

impl Store {
    /// Inserts the person as `id`, or replaces everything but id, e-mail, creation time and payments of the one with this e-mail.
    /// Returns the row, and whether it is new.
    pub async fn upsert_user(
        &self,
        id: &str,
        user: UserUpsert,
        by: &Actor,
        now_ms: i64,
    ) -> Result<(UserRow, bool)> {
        let (id, by) = (id.to_owned(), by.clone());
        self.write(move |tx| {
            let (id, user, by) = (id.clone(), user.clone(), by.clone());
            Box::pin(async move {
                let (row, is_new) = upsert(tx, &id, &user, now_ms).await?;
                let act = Act::new(&by, "user.upsert", &row.id, now_ms);
                audit::append(tx, &act.detail(json!({"created": is_new}))).await?;
                Ok((row, is_new))
            })
        })
        .await
    }

    /// Changes what the patch names; its meta is merged into what is there. `Conflict` when the merged meta is too large.
    pub async fn patch_user(&self, id: &str, patch: UserPatch, by: &Actor, now_ms: i64) -> Result<UserRow> {
        let act = Act::new(by, "user.patch", id, now_ms).detail(json!({"fields": patched_fields(&patch)}));
        self.write(move |tx| {
            let (act, patch) = (act.clone(), patch.clone());
            Box::pin(async move {
                let row = patch_one(tx, &act.object, patch, now_ms).await?;
                audit::append(tx, &act).await?;
                Ok(row)
            })
        })
        .await
    }

    /// Erases the person, and takes them out of the records of mails; what was paid and spent stays, without a name. `NotFound` if there
    /// is none.
    pub async fn delete_user(&self, id: &str, by: &Actor, now_ms: i64) -> Result<()> {
        let act = Act::new(by, "user.delete", id, now_ms);
        self.write(move |tx| {
            let act = act.clone();
            Box::pin(async move {
                // The row goes first: a payment that is just being recorded for this person holds it, and is waited for.
                let gone = tx
                    .query_opt("delete from users where id = $1 returning email", &[(&act.object).into()])
                    .await?;
                let email = gone.ok_or(Error::NotFound { what: "user" })?.opt_text_of_any(0)?;
                let email = email.unwrap_or_default().to_lowercase();
                let own = payments::mails_of_user(tx, &act.object).await?;
                emails::erase(tx, &email, &own).await?;
                payments::forget_user(tx, &act.object).await?;
                money::erase(tx, &act.object).await?;
                audit::append(tx, &act).await
            })
        })
        .await
    }

    /// Without the payment history.
    pub async fn find_user(&self, id: &str) -> Result<Option<UserRow>> {
        self.find_user_by(BY_ID, id, false).await
    }

    /// By the e-mail as it is stored: trimmed, in lower case. Without the payment history.
    pub async fn find_user_by_email(&self, email: &str) -> Result<Option<UserRow>> {
        self.find_user_by(BY_EMAIL, email, false).await
    }

    /// The same with the payment history.
    pub async fn find_whole_user(&self, id: &str) -> Result<Option<UserRow>> {
        self.find_user_by(BY_ID, id, true).await
    }

    /// The same with the payment history.
    pub async fn find_whole_user_by_email(&self, email: &str) -> Result<Option<UserRow>> {
        self.find_user_by(BY_EMAIL, email, true).await
    }

    async fn find_user_by(&self, sql: &'static str, key: &str, is_whole: bool) -> Result<Option<UserRow>> {
        let key = key.to_owned();
        self.read(move |tx| {
            let key = key.clone();
            Box::pin(async move {
                let found = tx.query_opt(sql, &[(&key).into()]).await?;
                let Some(mut row) = found.as_ref().map(read).transpose()? else { return Ok(None) };
                if is_whole {
                    row.payments = payments::of_user(tx, &row.id).await?;
                }
                Ok(Some(row))
            })
        })
        .await
    }
}

/// The names of what changes, never the values: a person's data must not outlive the person.
fn patched_fields(patch: &UserPatch) -> Vec<&'static str> {
    let fields = [
        ("name", patch.name.is_some()),
        ("locale", patch.locale.is_some()),
        ("currency", patch.currency.is_some()),
        ("meta", patch.meta.is_some()),
    ];
    fields.into_iter().filter(|(_, is_sent)| *is_sent).map(|(name, _)| name).collect()
}

async fn upsert(tx: &mut Tx<'_>, id: &str, user: &UserUpsert, now_ms: i64) -> Result<(UserRow, bool)> {
    let written = tx
        .query_opt(
            UPSERT,
            &[
                id.into(),
                (&user.email).into(),
                user.name.as_ref().into(),
                user.locale.as_ref().into(),
                user.currency.into(),
                (&user.meta).into(),
                now_ms.into(),
            ],
        )
        .await?;
    let mut row = read(&written.ok_or_else(|| Error::bug("an upsert wrote no row"))?)?;
    let is_new = row.id == id;
    row.payments = payments::of_user(tx, &row.id).await?;
    Ok((row, is_new))
}

async fn patch_one(tx: &mut Tx<'_>, id: &str, patch: UserPatch, now_ms: i64) -> Result<UserRow> {
    let held = tx.query_opt(TOUCH, &[id.into(), now_ms.into()]).await?;
    let mut row = read(&held.ok_or(Error::NotFound { what: "user" })?)?;
    row.payments = payments::of_user(tx, &row.id).await?;
    if patch == UserPatch::default() {
        return Ok(row);
    }
    if let Some(sent) = &patch.meta {
        row.meta =
            merge_meta(&row.meta, sent).map_err(|large| Error::Conflict { what: large.to_string() })?;
    }
    row.name = patch.name.or(row.name);
    row.locale = patch.locale.or(row.locale);
    row.currency = patch.currency.map(str::to_owned).or(row.currency);
    tx.execute(
        "update users set name = $2, locale = $3, currency = $4, meta = $5 where id = $1",
        &[
            id.into(),
            row.name.as_ref().into(),
            row.locale.as_ref().into(),
            row.currency.as_ref().into(),
            (&row.meta).into(),
        ],
    )
    .await?;
    Ok(row)
}

fn read(row: &Row) -> Result<UserRow> {
    Ok(UserRow {
        id: row.opt_text_of_any(0)?.unwrap_or_default(),
        email: row.opt_text_of_any(1)?.unwrap_or_default(),
        name: row.opt_text_of_any(2)?,
        locale: row.opt_text_of_any(3)?,
        currency: row.opt_text_of_any(4)?,
        meta: row.opt_text_of_any(5)?.unwrap_or_default(),
        created_at_ms: row.int(6)?,
        updated_at_ms: row.int(7)?,
        payments: Vec::new(),
    })
}
