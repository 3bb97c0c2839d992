//! Numbers about the whole: kept per hour by the commits that cause them, so that no request counts history.

use levqor_core::state::State;

use crate::settings;
use crate::tx::{Sql, Tx};
use crate::{Figures, LiveCounts, Result, Store, decode};

impl Store {
    pub async fn figures(&self, day_start_ms: i64, now_ms: i64) -> Result<Figures> {
        self.read(move |tx| Box::pin(figures(tx, day_start_ms, now_ms))).await
    }

    pub async fn live_counts(&self) -> Result<LiveCounts> {
        self.read(move |tx| Box::pin(live_counts(tx))).await
    }
}

pub(crate) const ACCEPTED: &str = "accepted";
pub(crate) const FINISHED: &str = "finished";
/// Finished after a process died under it: something it did may be on no record.
pub(crate) const UNRECORDED: &str = "unrecorded";

const HOUR_MS: i64 = 3_600_000;
const MINUTE_MS: i64 = 60_000;
const WEEK_MS: i64 = 7 * 24 * HOUR_MS;
const FIRST_START: &str = "first_start_ms";

/// Both engines; `shard` spreads a row that many transactions add to.
pub(crate) const ADD: &str = "insert into rollups (hour_ms, kind, shard, n) values ($1, $2, $3, $4) \
    on conflict (hour_ms, kind, shard) do update set n = rollups.n + excluded.n";

pub(crate) fn hour_of(at_ms: i64) -> i64 {
    at_ms - at_ms.rem_euclid(HOUR_MS)
}

fn minute_of(at_ms: i64) -> i64 {
    at_ms - at_ms.rem_euclid(MINUTE_MS)
}

/// Adds one to a figure of the hour that `at_ms` lies in.
pub(crate) async fn count(tx: &mut Tx<'_>, at_ms: i64, kind: &str) -> Result<()> {
    tx.execute(ADD, &[hour_of(at_ms).into(), kind.into(), 0.into(), 1.into()]).await?;
    Ok(())
}

/// Marks the minute as one in which a node was up.
pub(crate) async fn mark_up(tx: &mut Tx<'_>, now_ms: i64) -> Result<()> {
    tx.execute(
        "insert into up_minutes (minute_ms) values ($1) on conflict do nothing",
        &[minute_of(now_ms).into()],
    )
    .await?;
    settings::or_insert(tx, FIRST_START, &minute_of(now_ms).to_string()).await?;
    Ok(())
}

/// The minute in which the installation gave its first sign of life.
pub(crate) async fn first_start_ms(tx: &mut Tx<'_>) -> Result<Option<i64>> {
    Ok(settings::find(tx, FIRST_START).await?.and_then(|text| text.parse().ok()))
}

pub(crate) async fn figures(tx: &mut Tx<'_>, day_start_ms: i64, now_ms: i64) -> Result<Figures> {
    let week_start_ms = minute_of(now_ms - WEEK_MS) + MINUTE_MS;
    let first_start_ms = first_start_ms(tx).await?;
    let up_from_ms = first_start_ms.map(|first| first.max(week_start_ms));
    let (mut minutes_up, mut minutes_possible) = (0, 0);
    if let Some(from_ms) = up_from_ms {
        let row = tx
            .query_opt(
                "select count(*) from up_minutes where minute_ms >= $1 and minute_ms <= $2",
                &[from_ms.into(), now_ms.into()],
            )
            .await?;
        minutes_up = row.map_or(Ok(0), |row| row.int(0))?;
        minutes_possible = ((minute_of(now_ms) - from_ms) / MINUTE_MS + 1).max(minutes_up);
    }
    Ok(Figures {
        jobs_today: sum(tx, ACCEPTED, day_start_ms).await?,
        finished_7d: sum(tx, FINISHED, now_ms - WEEK_MS).await?,
        unrecorded_7d: sum(tx, UNRECORDED, now_ms - WEEK_MS).await?,
        minutes_up,
        minutes_possible,
    })
}

/// Whole hours: a start within an hour counts all of it.
async fn sum(tx: &mut Tx<'_>, kind: &str, from_ms: i64) -> Result<i64> {
    let row = tx
        .query_opt(
            "select cast(coalesce(sum(n), 0) as bigint) from rollups where hour_ms >= $1 and kind = $2",
            &[hour_of(from_ms).into(), kind.into()],
        )
        .await?;
    row.map_or(Ok(0), |row| row.int(0))
}

/// The start of the latest hour such that at least `keep` jobs finished since; `None` when fewer are on record.
pub(crate) async fn hour_with_newest(tx: &mut Tx<'_>, keep: i64) -> Result<Option<i64>> {
    let rows = tx
        .query(
            "select hour_ms, cast(sum(n) as bigint) from rollups where kind = $1 group by hour_ms order by hour_ms desc",
            &[FINISHED.into()],
        )
        .await?;
    let mut seen = 0;
    for row in rows {
        seen += row.int(1)?;
        if seen >= keep {
            return Ok(Some(row.int(0)?));
        }
    }
    Ok(None)
}

// Differs because SQLite counts a partial index ten times as fast as it groups the table, and PostgreSQL reads the table with
// several processes. Measured with a million queued jobs.
const LIVE: Sql = Sql::Each {
    sqlite: "select 'queued', count(*) from live_jobs where state = 'queued' union all \
        select 'undefined', count(*) from live_jobs where state = 'undefined' union all \
        select 'running', count(*) from live_jobs where state = 'running' union all \
        select state, count(*) from live_jobs where due_at_ms is not null group by state",
    postgres: "select state, count(*) from live_jobs group by state",
};

pub(crate) async fn live_counts(tx: &mut Tx<'_>) -> Result<LiveCounts> {
    let mut counts = LiveCounts::default();
    for row in tx.query(LIVE, &[]).await? {
        let n = row.int(1)?;
        match decode::state(&row.text(0)?)? {
            State::Queued => counts.queued = n,
            State::Undefined => counts.undefined = n,
            State::Scheduled => counts.scheduled = n,
            State::Running => counts.running = n,
            State::Waiting => counts.waiting = n,
            State::Succeeded | State::Failed | State::Cancelled | State::Expired => {}
        }
    }
    let due = tx.query_opt("select count(*) from callbacks where due_at_ms is not null", &[]).await?;
    counts.callbacks_due = due.map_or(Ok(0), |row| row.int(0))?;
    Ok(counts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hours_and_minutes_begin_where_clocks_say_so() {
        assert_eq!(hour_of(3_600_000), 3_600_000);
        assert_eq!(hour_of(7_199_999), 3_600_000);
        assert_eq!(hour_of(-1), -3_600_000);
        assert_eq!(minute_of(119_999), 60_000);
    }
}
