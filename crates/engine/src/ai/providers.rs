//! Who can be called, by name.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use levqor_connectors::ai::Provider;
use levqor_core::money::{Mode, Price, PriceBook, Status, Wire};

use super::{Model, NotHeld};

pub(super) struct Providers {
    keyed: BTreeMap<String, Arc<Provider>>,
    keyless: BTreeMap<String, Arc<Provider>>,
}

impl Providers {
    pub fn new(keyed: &[Provider], keyless: &[Provider]) -> Self {
        let named = |providers: &[Provider]| {
            providers.iter().map(|provider| (provider.name.clone(), Arc::new(provider.clone()))).collect()
        };
        Providers { keyed: named(keyed), keyless: named(keyless) }
    }

    /// A provider with a key of its own.
    pub fn find(&self, name: &str) -> Result<Arc<Provider>, NotHeld> {
        if let Some(provider) = self.keyed.get(name) {
            return Ok(provider.clone());
        }
        if self.keyless.contains_key(name) || Provider::names().any(|known| known == name) {
            return Err(NotHeld::NoKey { provider: name.to_owned() });
        }
        Err(self.unknown(name))
    }

    /// A provider that can be called with somebody's key.
    pub fn find_any(&self, name: &str) -> Result<Arc<Provider>, NotHeld> {
        self.known(name).cloned().ok_or_else(|| self.unknown(name))
    }

    pub fn known(&self, name: &str) -> Option<&Arc<Provider>> {
        self.keyed.get(name).or_else(|| self.keyless.get(name))
    }

    /// Whose keys there are.
    pub fn vendors(&self) -> Vec<&str> {
        let all = self.keyed.values().chain(self.keyless.values());
        all.map(|provider| provider.vendor()).collect::<BTreeSet<_>>().into_iter().collect()
    }

    fn unknown(&self, name: &str) -> NotHeld {
        let mut names: Vec<String> = Provider::names().map(str::to_owned).collect();
        names.extend(self.keyed.keys().chain(self.keyless.keys()).cloned());
        names.sort_unstable();
        names.dedup();
        NotHeld::NoProvider { provider: name.chars().take(80).collect(), known: names.join(", ") }
    }

    pub fn models(&self, book: &PriceBook) -> Vec<Model> {
        let callable = book.list().into_iter().filter(|price| price.status != Status::Unpriced);
        let reached = callable.filter_map(|price| {
            let mut all = self.keyed.values().filter(|it| it.vendor() == price.provider);
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
