//! Who can be called, by name.

use std::collections::BTreeMap;
use std::sync::Arc;

use levqor_connectors::ai::Provider;
use levqor_core::money::{Mode, Price, PriceBook, Status, Wire};

use super::{Model, NotHeld};

pub(super) struct Providers(BTreeMap<String, Arc<Provider>>);

impl Providers {
    pub fn new(providers: &[Provider]) -> Self {
        let named = providers.iter().map(|provider| (provider.name.clone(), Arc::new(provider.clone())));
        Providers(named.collect())
    }

    pub fn find(&self, name: &str) -> Result<Arc<Provider>, NotHeld> {
        if let Some(provider) = self.0.get(name) {
            return Ok(provider.clone());
        }
        if Provider::names().any(|known| known == name) {
            return Err(NotHeld::NoKey { provider: name.to_owned() });
        }
        let mut names: Vec<String> = Provider::names().map(str::to_owned).collect();
        names.extend(self.0.keys().cloned());
        names.sort_unstable();
        names.dedup();
        Err(NotHeld::NoProvider { provider: name.chars().take(80).collect(), known: names.join(", ") })
    }

    pub fn models(&self, book: &PriceBook) -> Vec<Model> {
        let callable = book.list().into_iter().filter(|price| price.status != Status::Unpriced);
        let reached = callable.filter_map(|price| {
            let mut all = self.0.values().filter(|it| it.vendor() == price.provider);
            let provider = all.find(|it| is_served(it, price))?;
            Some(Model { provider: provider.name.clone(), price: Arc::new(price.clone()) })
        });
        reached.collect()
    }
}

/// Whether the model can be asked over the provider's wire.
pub(super) fn is_served(provider: &Provider, price: &Price) -> bool {
    match price.mode {
        Mode::Chat => true,
        Mode::Responses => provider.wire == Wire::OpenAiResponses,
        Mode::Embedding => false,
    }
}
