//! Price lists: stored as they came in, put in force by a person. At most one of each kind is in force.

use levqor_core::audit::{Act, Actor};
use levqor_core::money::Price;
use serde_json::json;

use super::types::{BookKind, PriceBookRow};
use crate::tx::{Row, Sql, Tx};
use crate::{Error, Result, audit};

macro_rules! columns {
    () => {
        "select id, kind, source, sha256, status, content, imported_at_ms, activated_at_ms from price_books "
    };
}

const ONE: &str = concat!(columns!(), "where id = $1");
const ACTIVE: &str = concat!(columns!(), "where status = 'active' order by kind");

/// Without their content, which may be large.
const NEWEST: &str = "select id, kind, source, sha256, status, '', imported_at_ms, activated_at_ms from price_books \
    order by imported_at_ms desc, id limit 200";

// Differs because on PostgreSQL somebody else may be putting another book in force.
const HOLD: Sql = Sql::Each {
    sqlite: "select id from price_books where kind = $1 and status = 'active'",
    postgres: "select id from price_books where kind = $1 order by id for update",
};

const INSERT: &str = "insert into price_books (id, kind, source, sha256, status, content, imported_at_ms) \
    values ($1, $2, $3, $4, 'draft', $5, $6)";

const INSERT_PRICE: &str = "insert into model_prices (id, provider, model, price) values ($1, $2, $3, $4) on conflict (id) do nothing";

/// A list that was read by core, with its prices.
pub(super) struct NewBook {
    pub id: String,
    pub kind: BookKind,
    pub source: String,
    pub sha256: String,
    pub content: String,
    pub prices: Vec<Price>,
}

/// Stores a draft. The same content again is the same book.
pub(super) async fn import(
    tx: &mut Tx<'_>,
    book: &NewBook,
    actor: &Actor,
    now_ms: i64,
) -> Result<PriceBookRow> {
    if let Some(row) = find(tx, &book.id).await? {
        return Ok(row);
    }
    let values = [
        (&book.id).into(),
        book.kind.as_str().into(),
        (&book.source).into(),
        (&book.sha256).into(),
        (&book.content).into(),
        now_ms.into(),
    ];
    tx.execute(INSERT, &values).await?;
    for price in &book.prices {
        put_price(tx, price).await?;
    }
    let detail = json!({ "kind": book.kind.as_str(), "source": book.source, "models": book.prices.len() });
    audit::append(tx, &Act::new(actor, "prices.import", &book.id, now_ms).detail(detail)).await?;
    find(tx, &book.id).await?.ok_or_else(|| Error::bug("a price book that was written is not there"))
}

/// Puts the book in force instead of the one of its kind that was, if those in force are still `in_force`.
pub(super) async fn activate(
    tx: &mut Tx<'_>,
    id: &str,
    in_force: Option<&[String]>,
    actor: &Actor,
    now_ms: i64,
) -> Result<PriceBookRow> {
    let kind = find(tx, id).await?.ok_or(Error::NotFound { what: "price book" })?.kind;
    tx.query(HOLD, &[kind.as_str().into()]).await?;
    let row = find(tx, id).await?.ok_or(Error::NotFound { what: "price book" })?;
    if let Some(expected) = in_force {
        let found: Vec<String> = active(tx).await?.into_iter().map(|book| book.id).collect();
        if found != expected {
            let what = "other prices were put in force meanwhile: look at the difference again".to_owned();
            return Err(Error::Conflict { what });
        }
    }
    if row.status != "active" {
        let retire = "update price_books set status = 'retired' where kind = $1 and status = 'active'";
        tx.execute(retire, &[row.kind.as_str().into()]).await?;
        let activate = "update price_books set status = 'active', activated_at_ms = $2 where id = $1";
        tx.execute(activate, &[id.into(), now_ms.into()]).await?;
        audit::append(tx, &Act::new(actor, "prices.activate", id, now_ms)).await?;
    }
    find(tx, id).await?.ok_or_else(|| Error::bug("a price book that was written is not there"))
}

pub(super) async fn find(tx: &mut Tx<'_>, id: &str) -> Result<Option<PriceBookRow>> {
    tx.query_opt(ONE, &[id.into()]).await?.as_ref().map(read).transpose()
}

pub(super) async fn active(tx: &mut Tx<'_>) -> Result<Vec<PriceBookRow>> {
    tx.query(ACTIVE, &[]).await?.iter().map(read).collect()
}

pub(super) async fn newest(tx: &mut Tx<'_>) -> Result<Vec<PriceBookRow>> {
    tx.query(NEWEST, &[]).await?.iter().map(read).collect()
}

pub(super) async fn put_price(tx: &mut Tx<'_>, price: &Price) -> Result<()> {
    let text = serde_json::to_string(price).map_err(|error| Error::Bug(error.into()))?;
    let id = price.id();
    let values = [(&id).into(), (&price.provider).into(), (&price.model).into(), (&text).into()];
    tx.execute(INSERT_PRICE, &values).await?;
    Ok(())
}

/// The price that a call names.
pub(super) async fn find_price(tx: &mut Tx<'_>, id: &str) -> Result<Option<Price>> {
    let row = tx.query_opt("select price from model_prices where id = $1", &[id.into()]).await?;
    row.map(|row| serde_json::from_str(&row.text(0)?).map_err(|error| Error::Bug(error.into()))).transpose()
}

fn read(row: &Row) -> Result<PriceBookRow> {
    let kind = row.text(1)?;
    Ok(PriceBookRow {
        id: row.text(0)?,
        kind: BookKind::parse(&kind)
            .ok_or_else(|| Error::bug(format!("{kind:?} is no kind of price book")))?,
        source: row.text(2)?,
        sha256: row.text(3)?,
        status: row.text(4)?,
        content: row.text(5)?,
        imported_at_ms: row.int(6)?,
        activated_at_ms: row.opt_int(7)?,
    })
}
