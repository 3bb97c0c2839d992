//! The prices in force, kept in memory for some seconds. A call is charged by the price that its hold named, so an old one
//! does no harm; and that price is on record before a call names it.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use levqor_core::money::{Lookup, Price, PriceBook};
use levqor_store::{Result, Store};

/// How long another node may go on with the prices of before.
const GOOD_FOR: Duration = Duration::from_secs(3);

#[derive(Default)]
pub(super) struct Prices {
    kept: tokio::sync::Mutex<Option<(Instant, Arc<PriceBook>)>>,
    /// Ids of prices that are on record.
    on_record: Mutex<HashSet<String>>,
}

impl Prices {
    pub async fn book(&self, store: &Store) -> Result<Arc<PriceBook>> {
        // Held while looking, so that one look serves all who wait for it.
        let mut kept = self.kept.lock().await;
        if let Some((until, book)) = &*kept
            && Instant::now() < *until
        {
            return Ok(book.clone());
        }
        let book = Arc::new(store.price_book().await?);
        *kept = Some((Instant::now() + GOOD_FOR, book.clone()));
        Ok(book)
    }

    pub async fn forget(&self) {
        *self.kept.lock().await = None;
    }

    /// The model's price; `None` if nobody knows it.
    pub async fn find(&self, store: &Store, vendor: &str, model: &str) -> Result<Option<Arc<Price>>> {
        Ok(match self.book(store).await?.find(vendor, model) {
            Lookup::Priced(price) | Lookup::Free(price) => Some(price),
            Lookup::Unknown => None,
        })
    }

    /// Puts the price on record, unless this process knows that it is. Returns its id.
    pub async fn keep(&self, store: &Store, price: &Price) -> Result<String> {
        let id = price.id();
        if !self.on_record.lock().unwrap_or_else(PoisonError::into_inner).contains(&id) {
            store.keep_price(price).await?;
            self.on_record.lock().unwrap_or_else(PoisonError::into_inner).insert(id.clone());
        }
        Ok(id)
    }
}
