//! Writes that all nodes count together: windows are held, judged and written back in one transaction.
//!
//! A crash of the server empties the table, which costs nobody more than a minute of the limit: it is not logged, and no commit
//! waits for the disk. Rows are held in the order of their scopes, so that two batches never wait for each other.

use std::collections::BTreeMap;

use levqor_core::rate::SharedWindow;

use super::super::collector::Verb;
use super::super::lane::Session;
use crate::{Result, SharedHit, SharedVerdict};

/// Added to a lane's settings: nobody waits for the disk.
pub(in super::super) const SETTINGS: &str =
    "set enable_hashjoin = off; set enable_sort = off; set synchronous_commit = off";

/// The scope of all clients together.
const ALL: &str = "all";

const HOLD: &str = "
insert into rate_windows (scope, hits, until_ms)
select scope, '', 0 from unnest($1::text[]) as i (scope) order by scope
on conflict (scope) do update set scope = excluded.scope
returning scope, hits, (extract(epoch from clock_timestamp()) * 1000)::bigint";

const WRITE_BACK: &str = "
update rate_windows w set hits = i.hits, until_ms = i.until_ms
from unnest($1::text[], $2::text[], $3::bigint[]) as i (scope, hits, until_ms)
where w.scope = any ($1) and w.scope = i.scope";

pub(in super::super) struct RateVerb;

impl Verb for RateVerb {
    type Item = SharedHit;
    type Answer = SharedVerdict;

    fn weight(_: &SharedHit) -> usize {
        1
    }

    async fn run(&self, session: &mut Session, items: &[&SharedHit]) -> Result<Vec<SharedVerdict>> {
        let counted = count(session, items).await;
        if counted.is_err() {
            // An open transaction would swallow whatever comes next. Without a connection there is none.
            session.client().batch_execute("rollback").await.ok();
        }
        counted
    }
}

async fn count(session: &mut Session, items: &[&SharedHit]) -> Result<Vec<SharedVerdict>> {
    let scopes: BTreeMap<&str, ()> =
        items.iter().flat_map(|hit| scopes(hit)).map(|(scope, _)| (scope, ())).collect();
    let scopes: Vec<&str> = scopes.into_keys().collect();
    session.client().batch_execute("begin").await?;
    let (mut windows, mut now_ms) = (BTreeMap::<String, SharedWindow>::new(), 0);
    for row in session.query(HOLD, &[&scopes]).await? {
        windows.insert(row.try_get(0)?, SharedWindow::parse(row.try_get(1)?));
        now_ms = now_ms.max(row.try_get(2)?);
    }
    let verdicts = items.iter().map(|hit| judge(hit, &mut windows, now_ms)).collect();
    let window_ms = items.iter().map(|hit| hit.window_ms).max().unwrap_or_default();
    let texts: Vec<String> = windows.values().map(SharedWindow::to_text).collect();
    let until: Vec<i64> = windows.values().map(|it| it.last_ms().unwrap_or(now_ms) + window_ms).collect();
    let scopes: Vec<&String> = windows.keys().collect();
    session.query(WRITE_BACK, &[&scopes, &texts, &until]).await?;
    session.client().batch_execute("commit").await?;
    Ok(verdicts)
}

/// The limits that are shared, with whose hits count towards each.
fn scopes(hit: &SharedHit) -> impl Iterator<Item = (&str, u32)> {
    let client = hit.client_limit.map(|limit| (hit.client.as_str(), limit));
    let all = hit.global_limit.map(|limit| (ALL, limit));
    client.into_iter().chain(all)
}

/// Counts the hit where every limit allows it, and nowhere where one does not.
fn judge(hit: &SharedHit, windows: &mut BTreeMap<String, SharedWindow>, now_ms: i64) -> SharedVerdict {
    let (mut wait_ms, mut everybody_waits) = (0, false);
    for (scope, limit) in scopes(hit) {
        let window = windows.entry(scope.to_owned()).or_default();
        window.expire(now_ms, hit.window_ms);
        let this_ms = window.wait_ms(limit, now_ms, hit.window_ms);
        wait_ms = wait_ms.max(this_ms);
        everybody_waits |= scope == ALL && this_ms > 0;
    }
    if wait_ms > 0 {
        return SharedVerdict::Refused { retry_after_ms: wait_ms as u64, everybody_waits };
    }
    let mut left = u32::MAX;
    for (scope, limit) in scopes(hit) {
        let window = windows.entry(scope.to_owned()).or_default();
        window.add(now_ms);
        left = left.min(window.left(limit));
    }
    SharedVerdict::Counted { left }
}
