//! Retention: deletes old finished jobs in small pieces, or one that somebody names, with all that hangs on them.
//!
//! There is no index on the time of the end (each end would pay for it): ids sort by creation, and nothing created after a
//! moment ended before it. So the oldest finished jobs are looked at by id, from where the last turn stopped.

use levqor_core::id::JobId;

use super::intake::KEY_KEPT_MS;
use crate::tx::{Sql, Tx};
use crate::{Error, Result, figures};

/// Jobs deleted in one turn: some milliseconds of the writer's time.
const JOBS_AT_ONCE: usize = 200;
/// Finished jobs looked at in one search.
const EXAMINED_MOST: usize = 4_000;
const ROLLUPS_KEPT_MS: i64 = 400 * 24 * 3_600_000;
const MINUTES_KEPT_MS: i64 = 8 * 24 * 3_600_000;
const ROWS_AT_ONCE: i64 = 1_000;

/// A range of ids, its first excluded, and the end before which its jobs must have finished.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    pub(crate) after: String,
    pub(crate) until: String,
    pub(crate) finished_before_ms: i64,
}

/// What a search found, and where the next one goes on.
pub(crate) struct Found {
    pub(crate) piece: Option<Piece>,
    pub(crate) next_after: String,
}

macro_rules! expired {
    () => {
        "select f.id from finished_jobs f where f.id > $1 and f.id <= $2 and f.finished_at_ms < $3 \
         and not exists (select 1 from callbacks c where c.job_id = f.id and c.state = 'due')"
    };
}

/// Deletes these finished jobs with all that hangs on them. The selection may not depend on anything else that is deleted;
/// `finished_jobs` goes last, because it is what is selected from.
macro_rules! forget {
    ($($these:tt)+) => {
        [
            concat!(
                "delete from callback_tries where callback_id in (select id from callbacks where job_id in (",
                $($these)+,
                "))"
            ),
            concat!("delete from callbacks where job_id in (", $($these)+, ")"),
            concat!("delete from steps where job_id in (", $($these)+, ")"),
            concat!("delete from jobs where id in (", $($these)+, ")"),
            concat!("delete from finished_jobs where id in (", $($these)+, ")"),
        ]
    };
}

const FORGET_PIECE: [&str; 5] = forget!(expired!());
const FORGET_ONE: [&str; 5] = forget!("select id from finished_jobs where id = $1");

/// Looks, without writing, for the next piece that holds something to delete.
pub(crate) async fn find(
    tx: &mut Tx<'_>,
    after: &str,
    finished_before_ms: i64,
    keep_newest: Option<i64>,
) -> Result<Found> {
    let newest_ms = match keep_newest {
        Some(keep) => figures::hour_with_newest(tx, keep.max(1)).await?,
        None => None,
    };
    let finished_before_ms = finished_before_ms.max(newest_ms.unwrap_or(i64::MIN));
    let bound = JobId::floor(finished_before_ms).to_string();
    let rows = tx
        .query(
            "select id, finished_at_ms from finished_jobs where id > $1 and id < $2 order by id limit $3",
            &[after.into(), (&bound).into(), (EXAMINED_MOST as i64).into()],
        )
        .await?;
    let (mut expired, mut last, mut first_after) = (0, after.to_owned(), after.to_owned());
    for row in &rows {
        let id = row.text(0)?;
        if row.int(1)? < finished_before_ms {
            expired += 1;
        } else if expired == 0 {
            first_after.clone_from(&id);
        }
        last = id;
        if expired == JOBS_AT_ONCE {
            break;
        }
    }
    if expired > 0 {
        let piece = Piece { after: first_after, until: last.clone(), finished_before_ms };
        return Ok(Found { piece: Some(piece), next_after: last });
    }
    // At the end of what could be old enough, the next search starts from the beginning.
    let next_after = if rows.len() < EXAMINED_MOST { String::new() } else { last };
    Ok(Found { piece: None, next_after })
}

/// Deletes the piece's jobs. A job whose callback is still due stays until that is settled.
pub(crate) async fn delete(tx: &mut Tx<'_>, piece: &Piece) -> Result<usize> {
    let values = [(&piece.after).into(), (&piece.until).into(), piece.finished_before_ms.into()];
    // Differs because on PostgreSQL a retry at the same time must wait, or find the job gone as a whole.
    const LOCK: Sql = Sql::Each {
        sqlite: concat!("select count(*) from (", expired!(), ")"),
        postgres: concat!("select count(*) from (", expired!(), " for update of f) locked"),
    };
    let count = tx.query_opt(LOCK, &values).await?.map_or(Ok(0), |row| row.int(0))?;
    for text in FORGET_PIECE {
        tx.execute(text, &values).await?;
    }
    Ok(count.max(0) as usize)
}

/// Deletes one job that somebody asks to forget. Only after its end, and after its callback's: what was promised is kept.
pub(crate) async fn delete_one(tx: &mut Tx<'_>, id: JobId) -> Result<()> {
    let key = id.to_string();
    // Differs because on PostgreSQL a retry at the same time must wait, or find the job gone as a whole.
    const LOCK: Sql = Sql::Each {
        sqlite: "select 1 from finished_jobs where id = $1",
        postgres: "select 1 from finished_jobs where id = $1 for update",
    };
    if tx.query_opt(LOCK, &[(&key).into()]).await?.is_none() {
        let known = tx.query_opt("select 1 from jobs where id = $1", &[(&key).into()]).await?;
        known.ok_or(Error::NotFound { what: "job" })?;
        return Err(Error::Conflict { what: "the job has not ended; cancel it first".to_owned() });
    }
    let due = "select 1 from callbacks where job_id = $1 and state = 'due' limit 1";
    if tx.query_opt(due, &[(&key).into()]).await?.is_some() {
        return Err(Error::Conflict { what: "its callback is still to be delivered".to_owned() });
    }
    for text in FORGET_ONE {
        tx.execute(text, &[(&key).into()]).await?;
    }
    Ok(())
}

/// Deletes idempotency keys, rollups and minutes that nobody asks for any more.
pub(crate) async fn sweep(tx: &mut Tx<'_>, now_ms: i64) -> Result<()> {
    tx.execute(
        "delete from idempotency_keys where (caller, key) in \
         (select caller, key from idempotency_keys where created_at_ms <= $1 order by created_at_ms limit $2)",
        &[(now_ms - KEY_KEPT_MS).into(), ROWS_AT_ONCE.into()],
    )
    .await?;
    tx.execute("delete from rollups where hour_ms < $1", &[(now_ms - ROLLUPS_KEPT_MS).into()]).await?;
    tx.execute("delete from up_minutes where minute_ms < $1", &[(now_ms - MINUTES_KEPT_MS).into()]).await?;
    give_back_pages(tx).await
}

/// SQLite keeps freed pages for later; when they are more than a quarter of the file, some go back to the disk.
async fn give_back_pages(tx: &mut Tx<'_>) -> Result<()> {
    // Differs because PostgreSQL has its autovacuum.
    if !tx.is_sqlite() {
        return Ok(());
    }
    let free = tx.query_opt("pragma freelist_count", &[]).await?.map_or(Ok(0), |row| row.int(0))?;
    let all = tx.query_opt("pragma page_count", &[]).await?.map_or(Ok(0), |row| row.int(0))?;
    if free > 1_000 && free > all / 4 {
        tx.query("pragma incremental_vacuum(500)", &[]).await?;
    }
    Ok(())
}
