//! A job's life: intake, claim, run, finish, callback, rescue. All loops of Levqor live here.
//!
//! Invariant: this crate knows nothing of HTTP servers, HTML, environment variables or a vendor by name. Each loop exposes
//! one turn of itself, which tests call; production loops over it.
//!
//! The walk of a job: `intake.rs` → store → `claim.rs` → `run.rs` (plan, perform, `record.rs`) → `steps/` → `callback.rs`;
//! `upkeep.rs` repairs what a crash between any two of them left. Calls to AI models go through `ai/`.

pub mod ai;
mod alerts;
pub mod backup;
mod built_in;
mod callback;
mod chain;
mod claim;
mod connections;
mod definitions;
mod estimate;
mod family;
mod figures;
mod hints;
mod hosts;
mod intake;
mod jobs;
mod keys;
mod metering;
mod payments;
mod price_books;
mod reconcile;
mod record;
mod run;
mod running;
mod settings;
mod short;
mod steps;
mod turns;
mod upkeep;

use std::sync::Arc;

use levqor_core::clock::Clock;
use levqor_store::Store;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use connections::{ConnectError, check_keys, rekey};
pub use definitions::{DefinitionError, Stored, parse_definition};
pub use estimate::{BudgetEffect, Estimate, StepEstimate};
pub use figures::{AiFigures, Counters, LATENCY_BUCKETS_MS, ModelFigures};
pub use intake::{Accepted, IntakeError, Preview};
pub use jobs::{Completed, JobView, StepView};
pub use keys::KnownKey;
pub use price_books::{Draft, InForce, PricesError};
pub use reconcile::{DRIFT_ALARM_PPM, Reconciled};
pub use running::Running;
pub use settings::{Secrets, Settings};

/// Everything the parts of the engine share.
pub(crate) struct Shared {
    pub store: Arc<Store>,
    pub clock: Arc<dyn Clock>,
    pub settings: Settings,
    pub client: levqor_connectors::net::Client,
    pub connectors: levqor_connectors::Connectors,
    pub ai: ai::Governor,
    pub definitions: definitions::Definitions,
    pub keyring: keys::Keyring,
    pub running: Running,
    pub short: short::Short,
    pub watchers: hints::Watchers,
    pub due: upkeep::Due,
    pub liveness: upkeep::Liveness,
    pub counters: Arc<Counters>,
    pub ai_figures: AiFigures,
    pub backups: Option<backup::Backups>,
    pub last_count: figures::LastCount,
    /// Cancelled when no new work may start.
    pub stopping: CancellationToken,
    /// Cancelled when running steps must be given up.
    pub giving_up: CancellationToken,
    /// Cancelled when the graceful stop is over: until then this node says that it lives.
    pub stopped: CancellationToken,
    pub tasks: TaskTracker,
}

/// The one door to a job's life, for the API, the command line and schedules alike. Cheap to clone.
#[derive(Clone)]
pub struct Engine {
    shared: Arc<Shared>,
}

impl Engine {
    /// Loads what is current and starts all loops. A start needs no write: a full disk or a database that is away delays
    /// work, not the start.
    pub async fn start(
        store: Arc<Store>,
        settings: Settings,
        clock: Arc<dyn Clock>,
    ) -> levqor_store::Result<Engine> {
        let engine = Engine::without_loops(store, settings, clock).await?;
        let shared = &engine.shared;
        shared.tasks.spawn(built_in::until_stored(shared.clone()));
        shared.tasks.spawn(ai::until_in_force(shared.clone()));
        shared.tasks.spawn(claim::claim_loop(shared.clone()));
        shared.tasks.spawn(callback::callback_loop(shared.clone()));
        shared.tasks.spawn(hints::hint_loop(shared.clone()));
        shared.tasks.spawn(short::wake_loop(shared.clone()));
        upkeep::spawn_loops(shared);
        if shared.settings.backups.as_ref().is_some_and(|backups| backups.is_daily) {
            shared.tasks.spawn(backup::backup_loop(shared.clone()));
        }
        if !shared.settings.cost_reports.is_empty() {
            shared.tasks.spawn(reconcile::reconcile_loop(shared.clone()));
        }
        if let Some(meter) = &shared.settings.meter {
            shared.tasks.spawn(metering::metering_loop(shared.clone(), meter.clone()));
        }
        Ok(engine)
    }

    /// The engine with nothing running by itself: tests and tools turn its loops by hand.
    pub async fn without_loops(
        store: Arc<Store>,
        settings: Settings,
        clock: Arc<dyn Clock>,
    ) -> levqor_store::Result<Engine> {
        let client =
            levqor_connectors::net::Client::new(settings.outbound.clone(), settings.user_agent.clone());
        let connectors = levqor_connectors::Connectors::new(
            &settings.outbound,
            settings.user_agent.clone(),
            settings.vendors.clone(),
        );
        let governor = ai::Governor::new(&settings.ai, &settings.outbound, settings.user_agent.clone());
        store.pause_when_assumed(settings.ai.assumed_share_ppm);
        let shared = Shared {
            ai: governor,
            definitions: definitions::Definitions::default(),
            keyring: keys::Keyring::default(),
            running: Running::default(),
            short: short::Short::default(),
            watchers: hints::Watchers::default(),
            due: upkeep::Due::default(),
            liveness: upkeep::Liveness::of(&store),
            counters: Arc::new(Counters::default()),
            ai_figures: AiFigures::default(),
            backups: settings.backups.clone().map(|settings| backup::Backups::new(settings, clock.clone())),
            last_count: figures::LastCount::default(),
            stopping: CancellationToken::new(),
            giving_up: CancellationToken::new(),
            stopped: CancellationToken::new(),
            tasks: TaskTracker::new(),
            store,
            clock,
            settings,
            client,
            connectors,
        };
        shared.definitions.refresh(&shared.store).await?;
        let shared = Arc::new(shared);
        built_in::store_all(&shared).await;
        keys::look(shared.clone()).await?;
        Ok(Engine { shared })
    }

    /// Graceful stop: no new work; running steps get the grace of the settings; the rest is handed back without counting
    /// a death. The store stays open.
    pub async fn stop(&self) {
        let shared = &self.shared;
        shared.stopping.cancel();
        shared.tasks.close();
        let grace = std::time::Duration::from_millis(shared.settings.shutdown_grace_ms as u64);
        if tokio::time::timeout(grace, shared.tasks.wait()).await.is_err() {
            shared.giving_up.cancel();
            // What is left now only records its hand-back; the store bounds how long that takes.
            let _ = tokio::time::timeout(std::time::Duration::from_secs(5), shared.tasks.wait()).await;
        }
        shared.stopped.cancel();
    }

    pub fn store(&self) -> &Arc<Store> {
        &self.shared.store
    }

    /// The way to vendors, for what is no job: payments.
    pub fn connectors(&self) -> &levqor_connectors::Connectors {
        &self.shared.connectors
    }

    /// Live figures of this process, for /metrics.
    pub fn counters(&self) -> &Arc<Counters> {
        &self.shared.counters
    }

    /// What this process charged and refused of AI calls, for /metrics.
    pub fn ai_figures(&self) -> &AiFigures {
        &self.shared.ai_figures
    }

    /// Claimed and unfinished jobs of this node.
    pub fn running_jobs(&self) -> usize {
        self.shared.running.len()
    }
}
