//! Liveness where one process owns the file: whoever else is named in it is dead.

use rusqlite::Connection;

use crate::tx::Tx;
use crate::{Result, figures};

const RESCUE: &str = "update live_jobs set state = 'queued', node = null, deaths = deaths + 1 where id in \
    (select id from live_jobs where state = 'running' and node <> $1 limit $2)";

const HAND_BACK: &str =
    "update live_jobs set state = 'queued', node = null where state = 'running' and node = ?1";

pub(super) async fn rescue(tx: &mut Tx<'_>, node: &str, limit: usize) -> Result<usize> {
    let rescued = tx.execute(RESCUE, &[node.into(), (limit as i64).into()]).await?;
    tx.effects.runnable |= rescued > 0;
    Ok(rescued as usize)
}

/// There is nobody to tell; only the minute is marked.
pub(super) async fn beat(tx: &mut Tx<'_>, now_ms: i64) -> Result<()> {
    figures::mark_up(tx, now_ms).await
}

/// At an orderly close: what is still ours can record nothing any more. No death counts.
pub(super) fn hand_back(conn: &Connection, node: &str) -> Result<()> {
    conn.prepare_cached(HAND_BACK)?.execute([node])?;
    Ok(())
}
