//! Prices as people change them: a list is imported as a draft, looked at as a difference to what is in force, and put in
//! force once what looks wrong in it was accepted by name.

use levqor_core::audit::Actor;
use levqor_core::money::{BadRow, Difference, Price, PriceBook, Warning, difference, parse_price_list};
use levqor_store::{BookKind, Error, PriceBookRow, PriceBooks};

use crate::Engine;

/// The prices in force, and where they come from.
#[derive(Clone, Debug)]
pub struct InForce {
    pub book: PriceBook,
    /// The id of the list; `None`: the one that comes with the program.
    pub list_id: Option<String>,
    /// The id of the book of own prices.
    pub own_id: Option<String>,
    own: Vec<Price>,
}

impl InForce {
    /// The book that a model's price stands in; `None`: the list that comes with the program.
    pub fn book_of(&self, price: &Price) -> Option<&str> {
        let is_own = self.own.iter().any(|own| own.provider == price.provider && own.model == price.model);
        if is_own { self.own_id.as_deref() } else { self.list_id.as_deref() }
    }
}

/// A book, and what putting it in force would change.
#[derive(Clone, Debug)]
pub struct Draft {
    pub row: PriceBookRow,
    pub difference: Difference,
    /// The ids of the books that it was compared with.
    in_force: Vec<String>,
}

/// Why prices were not stored, or not put in force.
#[derive(Debug, thiserror::Error)]
pub enum PricesError {
    #[error("it is no price list")]
    Invalid(Vec<BadRow>),
    #[error("some prices look wrong and were not accepted")]
    Unaccepted(Vec<Warning>),
    #[error(transparent)]
    Store(#[from] Error),
}

impl Engine {
    /// Stores a list as a draft.
    pub async fn import_prices(
        &self,
        kind: BookKind,
        source: &str,
        list: &str,
        by: &Actor,
    ) -> Result<Draft, PricesError> {
        parse_price_list(list).map_err(PricesError::Invalid)?;
        let shared = &self.shared;
        let row = shared.store.import_prices(kind, source, list, by, shared.clock.now_ms()).await?;
        Ok(self.compare(row).await?)
    }

    /// A book with its difference to what is in force now.
    pub async fn find_prices(&self, id: &str) -> levqor_store::Result<Option<Draft>> {
        match self.shared.store.find_price_book(id).await? {
            Some(row) => self.compare(row).await.map(Some),
            None => Ok(None),
        }
    }

    /// Puts a book in force, if all that is warned of is among `accepted` (`provider/model`, or `*`).
    pub async fn activate_prices(
        &self,
        id: &str,
        accepted: &[String],
        by: &Actor,
    ) -> Result<PriceBookRow, PricesError> {
        let draft = self.find_prices(id).await?.ok_or(Error::NotFound { what: "price book" })?;
        let is_accepted = |warning: &Warning| {
            let name = format!("{}/{}", warning.provider, warning.model);
            accepted.iter().any(|it| it == "*" || *it == name)
        };
        let mut open = draft.difference.warnings;
        open.retain(|warning| !is_accepted(warning));
        if !open.is_empty() {
            return Err(PricesError::Unaccepted(open));
        }
        let (store, now_ms) = (&self.shared.store, self.shared.clock.now_ms());
        let row = store.activate_prices_over(id, Some(draft.in_force), by, now_ms).await?;
        // At once here; other nodes look every few seconds.
        self.ai().forget_prices().await;
        Ok(row)
    }

    /// The prices in force, and the newest books of all.
    pub async fn prices_in_force(&self) -> levqor_store::Result<(InForce, Vec<PriceBookRow>)> {
        let PriceBooks { active, newest } = self.shared.store.list_price_books().await?;
        Ok((in_force(&active)?, newest))
    }

    async fn compare(&self, row: PriceBookRow) -> levqor_store::Result<Draft> {
        let active = self.shared.store.list_price_books().await?.active;
        let mut next: Vec<PriceBookRow> = active.clone();
        next.retain(|book| book.kind != row.kind);
        next.push(row.clone());
        let list = |books: &[PriceBookRow]| -> levqor_store::Result<Vec<Price>> {
            Ok(in_force(books)?.book.list().into_iter().cloned().collect())
        };
        let difference = difference(&list(&active)?, &list(&next)?);
        Ok(Draft { row, difference, in_force: active.into_iter().map(|book| book.id).collect() })
    }
}

fn in_force(books: &[PriceBookRow]) -> levqor_store::Result<InForce> {
    let (mut list_id, mut own_id) = (None, None);
    let (mut book, mut own) = (PriceBook::embedded().clone(), Vec::new());
    for row in books {
        let prices = parse_price_list(&row.content).map_err(|_| Error::Conflict {
            what: format!("the price book {} cannot be read by this version of Levqor", row.id),
        })?;
        match row.kind {
            BookKind::List => (book, list_id) = (PriceBook::new(prices), Some(row.id.clone())),
            BookKind::Own => (own, own_id) = (prices, Some(row.id.clone())),
        }
    }
    Ok(InForce { book: book.with_own(own.clone()), list_id, own_id, own })
}
