//! When backups are made: daily at 00:00 UTC by one node of all, and when somebody asks.
//!
//! A midnight that nobody was up for is made up for at the next start. What fails is tried again after one minute, then two, and
//! so on to an hour; a node that dies at it is followed by another within the lease.

use std::sync::Arc;
use std::time::Duration;

use levqor_core::backup::{DAY_MS, Kind, midnight_before};
use levqor_store::backup::Stop;
use levqor_store::{BackupEnd, BackupRun};

use super::folder::Folder;
use super::{BackupError, Listed, Made, Result};
use crate::chain::chain;
use crate::figures::Counters;
use crate::{Engine, Shared};

/// A look is one read. It also bounds what a clock that is set forward costs.
const LOOK: Duration = Duration::from_secs(10);
const FIRST_PAUSE_MS: i64 = 60_000;
const LONGEST_PAUSE_MS: i64 = 3_600_000;
/// A day, and the time for two failures and a slow disk.
const LATE_MS: i64 = 26 * 3_600_000;
const RUNS_SHOWN: i64 = 20;

/// How backups do.
#[derive(Clone, Debug, Default)]
pub struct BackupReport {
    /// In this node's folder, newest first.
    pub files: Vec<Listed>,
    /// Of all nodes, newest first.
    pub runs: Vec<BackupRun>,
    pub last_success: Option<BackupRun>,
    /// When the newest backup that is known was begun.
    pub newest_ms: Option<i64>,
    /// It should be newer.
    pub is_late: bool,
}

impl Engine {
    /// Makes the backup of the day if it is due and nobody else does. Returns what became of it.
    pub async fn turn_backup(&self) -> levqor_store::Result<Option<bool>> {
        turn(&self.shared).await
    }

    /// Begins a backup by hand and returns its record at once; [`Engine::backup_report`] tells what becomes of it.
    pub async fn start_backup(&self) -> Result<BackupRun> {
        let shared = self.shared.clone();
        let backups = shared.backups.clone().ok_or(BackupError::Off)?;
        let folder = Folder::open(backups.dir())?;
        let (id, name) = (format!("{:032x}", rand::random::<u128>()), backups.name(Kind::Manual).to_string());
        let run = shared.store.begin_backup(&id, &name, shared.clock.now_ms()).await?;
        let begun = run.clone();
        self.shared.tasks.spawn(async move {
            let stop = Stop::default();
            let made = stoppable(&shared, &stop, backups.create_in(folder, Kind::Manual, &stop)).await;
            record(&shared, &begun, made, &stop).await;
        });
        Ok(run)
    }

    pub async fn backup_report(&self) -> Result<BackupReport> {
        let shared = &self.shared;
        let backups = shared.backups.clone().ok_or(BackupError::Off)?;
        let is_daily = backups.settings.is_daily;
        let health = shared.store.backup_health().await?;
        let runs = shared.store.list_backup_runs(RUNS_SHOWN).await?;
        let listing = tokio::task::spawn_blocking(move || backups.list()).await;
        let files = listing.map_err(|error| levqor_store::Error::Bug(error.into()))??;
        // Backups made by the command line are on no record, but in the folder.
        let newest_ms = health.last_success.as_ref().map(|run| run.started_at_ms);
        let newest_ms = newest_ms.max(files.first().map(|listed| listed.name.at_ms()));
        let since_ms = newest_ms.or(health.first_start_ms);
        let is_late = is_daily && since_ms.is_some_and(|since_ms| shared.clock.now_ms() - since_ms > LATE_MS);
        Ok(BackupReport { files, runs, last_success: health.last_success, newest_ms, is_late })
    }
}

pub(crate) async fn backup_loop(shared: Arc<Shared>) {
    let mut failing = false;
    while !shared.stopping.is_cancelled() {
        match turn(&shared).await {
            Ok(_) => failing = false,
            Err(error) => {
                if !failing {
                    tracing::warn!(error = %chain(&error), "whether a backup is due cannot be told; trying again");
                }
                failing = true;
            }
        }
        let now_ms = shared.clock.now_ms();
        let until_midnight_ms = midnight_before(now_ms) + DAY_MS - now_ms;
        let pause = LOOK.min(Duration::from_millis(u64::try_from(until_midnight_ms).unwrap_or(0)));
        tokio::select! {
            _ = tokio::time::sleep(pause) => {}
            _ = shared.stopping.cancelled() => {}
        }
    }
}

async fn turn(shared: &Arc<Shared>) -> levqor_store::Result<Option<bool>> {
    let Some(backups) = shared.backups.clone().filter(|backups| backups.settings.is_daily) else {
        return Ok(None);
    };
    let name = backups.name(Kind::Automatic).to_string();
    let Some(run) = shared.store.claim_backup(&name, shared.clock.now_ms()).await? else { return Ok(None) };
    let stop = Stop::default();
    let made = stoppable(shared, &stop, backups.create(Kind::Automatic, &stop)).await;
    Ok(Some(record(shared, &run, made, &stop).await))
}

/// A stop of the process stops a backup too: it is made again after the start.
async fn stoppable<T>(shared: &Shared, stop: &Stop, work: impl Future<Output = T>) -> T {
    let mut work = std::pin::pin!(work);
    tokio::select! {
        done = &mut work => done,
        _ = shared.stopping.cancelled() => {
            stop.ask();
            work.await
        }
    }
}

/// Tells the log, the figures and the database. True when there is a backup.
async fn record(shared: &Shared, run: &BackupRun, made: Result<Made>, stop: &Stop) -> bool {
    let now_ms = shared.clock.now_ms();
    let end = match made {
        Ok(made) => {
            Counters::add(&shared.counters.backups_made, 1);
            tracing::info!(
                backup = %made.name, size_bytes = made.size_bytes, took_ms = made.took_ms, jobs = made.contents.of("jobs"),
                pruned = made.pruned.len(), "a backup was made and checked"
            );
            if let Err(why) = &made.uploaded {
                Counters::add(&shared.counters.backup_uploads_failed, 1);
                tracing::error!(backup = %made.name, why, "a backup is on this machine only");
            }
            BackupEnd::Succeeded {
                name: made.name.to_string(),
                size_bytes: i64::try_from(made.size_bytes).unwrap_or(i64::MAX),
                uploaded: made.uploaded == Ok(true),
                warning: made.uploaded.err(),
            }
        }
        Err(error) if stop.is_asked() => BackupEnd::Failed { error: chain(&error), again_at_ms: None },
        Err(error) => {
            Counters::add(&shared.counters.backups_failed, 1);
            let error = chain(&error);
            tracing::error!(backup = run.name, error, "a backup failed");
            let pause_ms = FIRST_PAUSE_MS << (run.attempt - 1).clamp(0, 10);
            BackupEnd::Failed { error, again_at_ms: Some(now_ms + pause_ms.min(LONGEST_PAUSE_MS)) }
        }
    };
    let succeeded = matches!(end, BackupEnd::Succeeded { .. });
    // The file is there or not, whatever the record says: a record that fails leaves the day's backup to be made again.
    match shared.store.end_backup(run, end, now_ms).await {
        Ok(true) => {}
        Ok(false) => tracing::warn!(backup = run.name, "another node has taken this backup over meanwhile"),
        Err(error) => tracing::warn!(error = %chain(&error), "what became of a backup could not be recorded"),
    }
    succeeded
}
