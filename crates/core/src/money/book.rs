//! The prices in force: a list, and the installation's own prices on top of it.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use super::price::{Price, Status};
use super::price_list::parse_price_list;

const EMBEDDED: &str = include_str!("../../data/model_prices.csv");

/// What is known about a model's price. There is no zero for "unknown".
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lookup {
    Priced(Arc<Price>),
    /// Costs nothing, and is counted all the same.
    Free(Arc<Price>),
    /// Not called: nobody knows what it would cost.
    Unknown,
}

/// Prices by provider and model.
#[derive(Clone, Debug, Default)]
pub struct PriceBook {
    prices: HashMap<(String, String), Arc<Price>>,
}

impl PriceBook {
    /// The list that comes with the program.
    pub fn embedded() -> &'static PriceBook {
        static BOOK: LazyLock<PriceBook> = LazyLock::new(|| {
            let prices = parse_price_list(EMBEDDED).expect("a test reads the embedded list");
            PriceBook::new(prices)
        });
        &BOOK
    }

    /// The text that [`PriceBook::embedded`] is read from.
    pub fn embedded_list() -> &'static str {
        EMBEDDED
    }

    pub fn new(prices: Vec<Price>) -> Self {
        let keyed =
            prices.into_iter().map(|price| ((price.provider.clone(), price.model.clone()), Arc::new(price)));
        PriceBook { prices: keyed.collect() }
    }

    /// With own models and private prices: they stand in front of the list's.
    pub fn with_own(&self, own: Vec<Price>) -> Self {
        let mut prices = self.prices.clone();
        prices.extend(PriceBook::new(own).prices);
        PriceBook { prices }
    }

    pub fn find(&self, provider: &str, model: &str) -> Lookup {
        match self.prices.get(&(provider.to_owned(), model.to_owned())) {
            Some(price) => match price.status {
                Status::Priced => Lookup::Priced(price.clone()),
                Status::Free => Lookup::Free(price.clone()),
                Status::Unpriced => Lookup::Unknown,
            },
            None => Lookup::Unknown,
        }
    }

    /// All of them, unpriced ones included, sorted by name.
    pub fn list(&self) -> Vec<&Price> {
        let mut all: Vec<&Price> = self.prices.values().map(Arc::as_ref).collect();
        all.sort_by(|a, b| (&a.provider, &a.model).cmp(&(&b.provider, &b.model)));
        all
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::money::{Rate, Tier, Unit};

    #[test]
    fn the_embedded_list_is_read_whole() {
        let book = PriceBook::embedded();

        assert_eq!(book.list().len(), 74);
        let Lookup::Priced(sol) = book.find("openai", "gpt-6-sol") else { panic!() };
        assert_eq!(sol.rate(Unit::Input, Tier::Standard, 272_000), Some(Rate::from_pico(2_000_000)));
        assert_eq!(sol.rate(Unit::Input, Tier::Standard, 272_001), Some(Rate::from_pico(4_000_000)));
        assert_eq!(sol.rate(Unit::CacheWriteLong, Tier::Standard, 1), Some(Rate::from_pico(5_000_000)));
        assert_eq!(sol.rate(Unit::WebSearch, Tier::Standard, 1), Some(Rate::from_pico(10_000_000_000)));
        assert_eq!(sol.region_ppm, Some(1_100_000));
        assert_eq!(sol.rate(Unit::Input, Tier::Flex, 1), None);
    }

    #[test]
    fn what_has_no_price_is_unknown_and_never_free() {
        let book = PriceBook::embedded();

        assert_eq!(book.find("cohere_chat", "command-a-plus-05-2026"), Lookup::Unknown);
        assert_eq!(book.find("openai", "gpt-6-sol-2026-10-01"), Lookup::Unknown);
        assert_eq!(book.find("OpenAI", "gpt-6-sol"), Lookup::Unknown);
        assert_eq!(book.find("", ""), Lookup::Unknown);
    }

    #[test]
    fn own_prices_stand_in_front_of_the_list() {
        let own = parse_price_list(
            "provider,model,status,input_usd_per_mtok,output_usd_per_mtok,max_output_tokens\n\
             openai,gpt-6-sol,priced,1.5,8,128000\n\
             local,llama,free,,,4096\n\
             openai,gpt-5,unpriced,,,\n",
        )
        .unwrap();

        let book = PriceBook::embedded().with_own(own);

        let Lookup::Priced(sol) = book.find("openai", "gpt-6-sol") else { panic!() };
        assert_eq!(sol.rate(Unit::Output, Tier::Standard, 1), Some(Rate::from_pico(8_000_000)));
        assert!(matches!(book.find("local", "llama"), Lookup::Free(_)));
        assert_eq!(book.find("openai", "gpt-5"), Lookup::Unknown, "an operator can close a model");
        assert!(matches!(book.find("openai", "gpt-5-mini"), Lookup::Priced(_)));
    }
}
