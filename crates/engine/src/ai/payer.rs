//! Whose key a call goes out under: the one of the settings, or that of a stored connection.
//!
//! A connection brings a key and nothing else: where the provider is called stands in the settings. Each connection is a
//! payer of its own to providers' minutes and breakers, since providers count and refuse by key.

use std::sync::Arc;

use levqor_connectors::ai::Provider;

use super::NotHeld;
use crate::Shared;
use crate::connections::{ConnectError, open_ai_key};

pub(super) struct Payer {
    /// With the key.
    pub provider: Arc<Provider>,
    /// As minutes and breakers know it. No provider has a blank in its name.
    pub name: String,
}

impl Payer {
    pub async fn find(shared: &Shared, provider: &str, connection: Option<&str>) -> Result<Payer, NotHeld> {
        let Some(connection) = connection else {
            let provider = shared.ai.providers.find(provider)?;
            return Ok(Payer { name: provider.vendor().to_owned(), provider });
        };
        let provider = shared.ai.providers.find_any(provider)?;
        let vendor = provider.vendor().to_owned();
        let key = open_ai_key(shared, &vendor, connection).await.map_err(|error| match error {
            ConnectError::Store(error) => NotHeld::Store(error),
            error => NotHeld::Connection(error),
        })?;
        let provider = Provider { key: key.expose().to_owned(), ..Provider::clone(&provider) };
        Ok(Payer { provider: Arc::new(provider), name: format!("{vendor} (connection {connection})") })
    }
}
