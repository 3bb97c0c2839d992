//! What the engine is told at its start. Read from the environment by the binary, never here.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use levqor_connectors::email::Mailer;
use levqor_connectors::{Bases, CostReport, Meter};
use levqor_core::address::OutboundPolicy;
use levqor_core::budget::Recipients;
use levqor_core::seal::Keyring;
use levqor_core::signature::Secret;

use crate::ai::AiSettings;
use crate::backup::BackupSettings;

/// How the engine works. Times in milliseconds.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Jobs that may wait for the outside at the same time on this node. It is about waiting, not about processors.
    pub workers: usize,
    pub shutdown_grace_ms: i64,
    pub outbound: OutboundPolicy,
    pub user_agent: http::HeaderValue,
    /// Newest first; two during a rotation. Every callback is signed with each.
    pub callback_secrets: Vec<Secret>,
    /// Deliveries at the same time: in all, and to one receiver that answers well. They do nothing but wait.
    pub callbacks_at_once: usize,
    pub callbacks_per_host: usize,
    /// Finished jobs are kept this long.
    pub retention_ms: i64,
    /// And at most this many of them, if set.
    pub retention_jobs: Option<i64>,
    pub secrets: Secrets,
    /// Where vendors are reached.
    pub vendors: Bases,
    /// Seal and open stored connections; none: nothing can be stored.
    pub seal_keys: Keyring,
    /// `None`: no backups in this process.
    pub backups: Option<BackupSettings>,
    /// How mails are sent; `None`: not configured, and steps `email` fail.
    pub mailer: Option<Arc<Mailer>>,
    pub ai: AiSettings,
    /// Who is told what people's AI calls cost; `None`: nobody.
    pub meter: Option<Arc<Meter>>,
    /// Providers that can be asked what a day cost.
    pub cost_reports: Vec<CostReport>,
    /// Who is told of thresholds where a budget names nobody.
    pub alerts: Recipients,
}

impl Settings {
    /// What holds where nothing was said. The caller adds the callback secrets.
    pub fn with_callback_secrets(callback_secrets: Vec<Secret>) -> Self {
        Settings {
            workers: 64,
            shutdown_grace_ms: 30_000,
            outbound: OutboundPolicy::default(),
            user_agent: http::HeaderValue::from_static(concat!("Levqor/", env!("CARGO_PKG_VERSION"))),
            callback_secrets,
            callbacks_at_once: 512,
            callbacks_per_host: 32,
            retention_ms: 30 * 86_400_000,
            retention_jobs: None,
            secrets: Secrets::default(),
            vendors: Bases::default(),
            seal_keys: Keyring::default(),
            backups: None,
            mailer: None,
            ai: AiSettings::default(),
            meter: None,
            cost_reports: Vec::new(),
            alerts: Recipients::default(),
        }
    }
}

/// Values for `{{ secrets.NAME }}`. Its Debug shows names only.
#[derive(Clone, Default)]
pub struct Secrets(pub BTreeMap<String, String>);

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}
