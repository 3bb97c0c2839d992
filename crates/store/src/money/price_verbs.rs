//! The verbs of prices, as everybody calls them.

use std::sync::Arc;

use levqor_core::audit::Actor;
use levqor_core::money::{Price, PriceBook, parse_price_list};
use sha2::{Digest, Sha256};

use super::{BookKind, PriceBookRow, PriceBooks, prices};
use crate::{Error, Result, Store};

impl Store {
    /// Stores a price list as a draft, to be looked at and activated. The same text again is the same book. `Conflict` for
    /// a text that is no price list, with the first thing that is wrong.
    pub async fn import_prices(
        &self,
        kind: BookKind,
        source: &str,
        content: &str,
        actor: &Actor,
        now_ms: i64,
    ) -> Result<PriceBookRow> {
        let parsed = parse_price_list(content);
        let prices = parsed.map_err(|bad| Error::Conflict {
            what: bad.first().map_or_else(|| "it is no price list".to_owned(), ToString::to_string),
        })?;
        let sha256: String = Sha256::digest(content).iter().map(|byte| format!("{byte:02x}")).collect();
        let book = Arc::new(prices::NewBook {
            id: format!("{}-{}", kind.as_str(), &sha256[..16]),
            kind,
            source: source.to_owned(),
            sha256,
            content: content.to_owned(),
            prices,
        });
        let actor = actor.clone();
        self.write(move |tx| {
            let (book, actor) = (book.clone(), actor.clone());
            Box::pin(async move { prices::import(tx, &book, &actor, now_ms).await })
        })
        .await
    }

    /// Puts a book in force instead of the one of its kind that was.
    pub async fn activate_prices(&self, id: &str, actor: &Actor, now_ms: i64) -> Result<PriceBookRow> {
        self.activate_prices_over(id, None, actor, now_ms).await
    }

    /// The same if the books in force are still these: what somebody looked at is what is replaced (`Conflict`).
    pub async fn activate_prices_over(
        &self,
        id: &str,
        in_force: Option<Vec<String>>,
        actor: &Actor,
        now_ms: i64,
    ) -> Result<PriceBookRow> {
        let (id, actor) = (Arc::new((id.to_owned(), in_force)), actor.clone());
        self.write(move |tx| {
            let (id, actor) = (id.clone(), actor.clone());
            Box::pin(async move { prices::activate(tx, &id.0, id.1.as_deref(), &actor, now_ms).await })
        })
        .await
    }

    /// The books in force, and the newest 200 of all.
    pub async fn list_price_books(&self) -> Result<PriceBooks> {
        self.read_snapshot(|tx| {
            Box::pin(async move {
                let active = prices::active(tx).await?;
                Ok(PriceBooks { active, newest: prices::newest(tx).await? })
            })
        })
        .await
    }

    pub async fn find_price_book(&self, id: &str) -> Result<Option<PriceBookRow>> {
        let id = id.to_owned();
        self.read(move |tx| {
            let id = id.clone();
            Box::pin(async move { prices::find(tx, &id).await })
        })
        .await
    }

    /// The prices in force: the active list, or the one that comes with the program, with own prices in front.
    pub async fn price_book(&self) -> Result<PriceBook> {
        let books = self.read(|tx| Box::pin(prices::active(tx))).await?;
        let read = |kind: BookKind| -> Result<Option<Vec<Price>>> {
            let Some(book) = books.iter().find(|book| book.kind == kind) else { return Ok(None) };
            let prices = parse_price_list(&book.content);
            prices.map(Some).map_err(|_| Error::bug(format!("the price book {} cannot be read", book.id)))
        };
        let list = read(BookKind::List)?.map_or_else(|| PriceBook::embedded().clone(), PriceBook::new);
        Ok(list.with_own(read(BookKind::Own)?.unwrap_or_default()))
    }

    /// Keeps a price, so that calls can name it by its id.
    pub async fn keep_price(&self, price: &Price) -> Result<()> {
        let id = price.id();
        if self.find_price(&id).await?.is_some() {
            return Ok(());
        }
        let price = Arc::new(price.clone());
        self.write(move |tx| {
            let price = price.clone();
            Box::pin(async move { prices::put_price(tx, &price).await })
        })
        .await
    }

    /// The price that a call names.
    pub async fn find_price(&self, id: &str) -> Result<Option<Price>> {
        let id = id.to_owned();
        self.read(move |tx| {
            let id = id.clone();
            Box::pin(async move { prices::find_price(tx, &id).await })
        })
        .await
    }
}
