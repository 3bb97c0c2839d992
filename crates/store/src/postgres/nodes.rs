//! Who lives: one row a node, by the database's clock, so that nodes whose clocks differ agree.
//!
//! A node without a row, or whose row is older than the lease, is dead. It may not know: what it still does is fenced off
//! by the claim numbers of those who took over.

use crate::tx::Tx;
use crate::wake::Effects;
use crate::{LEASE_MS, Result};

const BEAT: &str = "
insert into nodes (id, beat_at_ms) values ($1, (extract(epoch from clock_timestamp()) * 1000)::bigint)
on conflict (id) do update set beat_at_ms = excluded.beat_at_ms";

const COUNT_OTHERS: &str = "
select count(*) from nodes
where id <> $1 and beat_at_ms > (extract(epoch from clock_timestamp()) * 1000)::bigint - $2";

const RESCUE: &str = "
with lost as materialized (
    select id from live_jobs l
    where state = 'running' and node <> $1 and not exists (
        select 1 from nodes n
        where n.id = l.node and n.beat_at_ms > (extract(epoch from clock_timestamp()) * 1000)::bigint - $2
    )
    limit $3 for update skip locked
)
update live_jobs set state = 'queued', node = null, deaths = deaths + 1
where id = any (array(select id from lost))";

/// Rows of dead nodes whose jobs are all taken over; kept for a while, for whoever looks what happened.
const FORGET: &str = "
delete from nodes
where beat_at_ms < (extract(epoch from clock_timestamp()) * 1000)::bigint - $1
    and not exists (select 1 from live_jobs where state = 'running' and node = nodes.id)";

const HAND_BACK: &str =
    "update live_jobs set state = 'queued', node = null where state = 'running' and node = $1";

/// Windows of clients that were quiet for as long as a window is. What somebody just holds is left for the next time.
const FORGET_QUIET: &str = "
delete from rate_windows where scope = any (array(
    select scope from rate_windows where until_ms < (extract(epoch from clock_timestamp()) * 1000)::bigint
    limit 1000 for update skip locked
))";

const LEAVE: &str = "delete from nodes where id = $1";

/// Says that this node lives; returns how many others do.
pub(super) async fn beat(tx: &mut Tx<'_>, node: &str) -> Result<i64> {
    tx.execute(BEAT, &[node.into()]).await?;
    tx.execute(FORGET_QUIET, &[]).await?;
    match tx.query_opt(COUNT_OTHERS, &[node.into(), LEASE_MS.into()]).await? {
        Some(row) => row.int(0),
        None => Ok(0),
    }
}

/// Hands back jobs of dead nodes, at most `limit`, and counts a death for each.
pub(super) async fn rescue(tx: &mut Tx<'_>, node: &str, limit: i64) -> Result<usize> {
    let rescued = tx.execute(RESCUE, &[node.into(), LEASE_MS.into(), limit.into()]).await?;
    if rescued > 0 {
        tx.effects.merge(Effects { runnable: true, ..Effects::default() });
    } else {
        tx.execute(FORGET, &[(10 * LEASE_MS).into()]).await?;
    }
    Ok(usize::try_from(rescued).unwrap_or(usize::MAX))
}

/// Takes this node's row away and hands back what is still its: it can record nothing any more. No death counts.
pub(super) async fn leave(tx: &mut Tx<'_>, node: &str) -> Result<()> {
    tx.execute(HAND_BACK, &[node.into()]).await?;
    tx.execute(LEAVE, &[node.into()]).await?;
    Ok(())
}
