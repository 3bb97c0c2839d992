//! What the governor is told at the start.

use std::collections::BTreeMap;

use levqor_connectors::ai::{Limits, Provider};
use levqor_core::money::Nano;
use levqor_core::rate::MinuteLimits;

/// Providers, limits, and the budgets that are in force from the first start.
#[derive(Clone, Debug)]
pub struct AiSettings {
    /// Those that have a key, or need none.
    pub providers: Vec<Provider>,
    /// Those that have an address but no key: they are called with that of a stored connection.
    pub keyless: Vec<Provider>,
    /// What a provider allows its key in any minute, by the provider's name; all nodes share it.
    pub provider_limits: BTreeMap<String, MinuteLimits>,
    /// What one job may cost with all its children.
    pub per_job: Nano,
    /// What everything may cost in a day (UTC).
    pub per_day: Nano,
    /// For calls that bring no limits of their own.
    pub limits: Limits,
    /// In millionths: calls pause when more than this share of a budget's period is only assumed.
    pub assumed_share_ppm: u32,
}

impl Default for AiSettings {
    fn default() -> Self {
        AiSettings {
            providers: Vec::new(),
            keyless: Vec::new(),
            provider_limits: BTreeMap::new(),
            per_job: Nano::new(350_000_000),
            per_day: Nano::new(10_000_000_000),
            limits: Limits { first_byte_ms: 120_000, total_ms: 600_000 },
            assumed_share_ppm: 100_000,
        }
    }
}
