//! Fills a database with many jobs at once, for measurements. No server may be working on it.
//!
//! The rows are those that intake, claim and finish would have left, made by the database itself, because a million calls
//! would take longer than what they are made for. Nothing is counted in the rollups.

use levqor_core::id::JobId;

use crate::tx::{Sql, Tx};
use crate::{Engine, Error, Result, Store};

/// Rows of one statement: well within the time that a statement may take.
const CHUNK: i64 = 50_000;

/// One statement over the numbers from `$1` to below `$2`, where `$3 + i` is a job's time. Differs because the engines
/// write numbers in hexadecimal in different ways. The ids are of version 7 like all others, with a number for the random bits.
macro_rules! for_each_job {
    ($into:literal, $values:literal) => {
        Sql::Each {
            sqlite: concat!(
                $into,
                " with recursive n(i) as (select $1 union all select i + 1 from n where i + 1 < $2) ",
                "select printf('%012x70008%015x', $3 + i, i), ",
                $values,
                " from n"
            ),
            postgres: concat!(
                $into,
                " select lpad(to_hex($3 + i), 12, '0') || '70008' || lpad(to_hex(i), 15, '0'), ",
                $values,
                " from generate_series(cast($1 as bigint), cast($2 as bigint) - 1) as n(i)"
            ),
        }
    };
}

const JOBS: Sql = for_each_job!(
    "insert into jobs (id, workflow, priority, caller, created_at_ms, tags, payload)",
    "$4, 'normal', 'fill', $3 + i, '{}', '{\"n\":1}'"
);

const FINISHED: Sql = for_each_job!(
    "insert into finished_jobs (id, state, version, claim, deaths, started_at_ms, finished_at_ms, result)",
    "'succeeded', 1, 1, 0, $3 + i, $3 + i + 1, '{\"only\":{\"n\":1}}'"
);

const STEPS: Sql = for_each_job!(
    "insert into steps (job_id, step, attempt, status, started_at_ms, finished_at_ms, output)",
    "'only', 1, 'succeeded', $3 + i, $3 + i + 1, '{\"n\":1}'"
);

const QUEUED: Sql = for_each_job!(
    "insert into live_jobs (id, workflow, version, state, sort_at_ms, claim, deaths)",
    "$4, $5, 'queued', $3 + i + 60000, 0, 0"
);

impl Store {
    /// Stores `count` jobs of `workflow` that succeeded, one a millisecond from `first_at_ms` on.
    pub async fn fill_finished(&self, workflow: &str, count: i64, first_at_ms: i64) -> Result<()> {
        for from in (0..count).step_by(CHUNK as usize) {
            let (until, workflow) = (count.min(from + CHUNK), workflow.to_owned());
            self.write(move |tx| {
                let workflow = workflow.clone();
                Box::pin(async move { finished(tx, &workflow, from, until, first_at_ms).await })
            })
            .await?;
        }
        self.settle().await
    }

    /// What a database that got these rows over days has behind it. Without it PostgreSQL vacuums, analyses and writes out a
    /// million rows during the measurement that follows. SQLite does its checkpoint when it is closed. The user of
    /// the database needs the right to a checkpoint.
    async fn settle(&self) -> Result<()> {
        match &self.engine {
            Engine::Sqlite(_) => Ok(()),
            Engine::Postgres(postgres) => postgres.maintain().await,
        }
    }

    /// Stores `count` jobs that wait for a slot, one a millisecond from `first_at_ms` on. Returns their ids, in the order in
    /// which they will be claimed.
    pub async fn fill_queued(
        &self,
        workflow: &str,
        version: i64,
        count: i64,
        first_at_ms: i64,
    ) -> Result<Vec<JobId>> {
        for from in (0..count).step_by(CHUNK as usize) {
            let (until, workflow) = (count.min(from + CHUNK), workflow.to_owned());
            self.write(move |tx| {
                let workflow = workflow.clone();
                Box::pin(async move { queued(tx, &workflow, version, from, until, first_at_ms).await })
            })
            .await?;
        }
        self.settle().await?;
        let id = |i: i64| {
            format!("{:012x}70008{i:015x}", first_at_ms + i)
                .parse()
                .map_err(|error: levqor_core::id::BadId| Error::bug(error.to_string()))
        };
        (0..count).map(id).collect()
    }
}

async fn finished(tx: &mut Tx<'_>, workflow: &str, from: i64, until: i64, first_at_ms: i64) -> Result<()> {
    let range = [from.into(), until.into(), first_at_ms.into()];
    tx.execute(JOBS, &[range[0], range[1], range[2], workflow.into()]).await?;
    tx.execute(FINISHED, &range).await?;
    tx.execute(STEPS, &range).await?;
    Ok(())
}

async fn queued(
    tx: &mut Tx<'_>,
    workflow: &str,
    version: i64,
    from: i64,
    until: i64,
    first_at_ms: i64,
) -> Result<()> {
    let range = [from.into(), until.into(), first_at_ms.into()];
    tx.execute(JOBS, &[range[0], range[1], range[2], workflow.into()]).await?;
    tx.execute(QUEUED, &[range[0], range[1], range[2], workflow.into(), version.into()]).await?;
    Ok(())
}
