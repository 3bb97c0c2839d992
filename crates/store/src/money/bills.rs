//! What one job cost, call by call, and with all jobs of its tree.
//!
//! The calls of a job are found by their places, which begin with the job's id; so no index is kept for this alone.

use levqor_core::id::JobId;
use levqor_core::money::{CallId, Nano};

use super::call_rows;
use super::types::CallRow;
use crate::tx::{Row, Tx};
use crate::{Result, Store, decode};

/// Sums over calls, open ones included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BillTotals {
    pub calls: i64,
    pub open: i64,
    /// Charged so far.
    pub cost: Nano,
    /// Held by calls that are still open.
    pub held: Nano,
    /// The part of `cost` that nobody knows for sure.
    pub assumed: Nano,
    /// The part of `cost` beyond what was held.
    pub overrun: Nano,
}

/// A job's sums; none where it made no call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JobCosts {
    pub own: BillTotals,
    /// With its children. Of a child: of the whole tree that it belongs to.
    pub tree: BillTotals,
    /// The job at the root of that tree.
    pub root: Option<JobId>,
    /// By step, in the order of names.
    pub steps: Vec<(String, BillTotals)>,
}

/// The same with the calls.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct JobBill {
    pub costs: JobCosts,
    /// Of this job alone, oldest first, with their ledgers.
    pub calls: Vec<CallRow>,
    /// Hand it in as `after` to go on.
    pub next: Option<CallId>,
}

/// Calls that hold money just now, on all nodes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OpenCalls {
    pub calls: i64,
    pub held: Nano,
}

macro_rules! sums {
    () => {
        "count(*), cast(coalesce(sum(case when settled_nano is null then 1 else 0 end), 0) as bigint), \
         cast(coalesce(sum(settled_nano), 0) as bigint), \
         cast(coalesce(sum(case when settled_nano is null then reserved_nano else 0 end), 0) as bigint), \
         cast(coalesce(sum(case when state = 'assumed' then settled_nano else 0 end), 0) as bigint), \
         cast(coalesce(sum(case when settled_nano > reserved_nano then settled_nano - reserved_nano else 0 end), 0) as bigint)"
    };
}

const BY_STEP: &str = concat!(
    "select step, min(root_job_id), ",
    sums!(),
    " from ai_calls where place >= $1 and place < $2 group by step order by step"
);
const OF_TREE: &str = concat!("select '', '', ", sums!(), " from ai_calls where root_job_id = $1");

impl Store {
    /// What a job cost. Everything is nothing for a job that made no call, or is not known.
    pub async fn job_costs(&self, job: JobId) -> Result<JobCosts> {
        self.read(move |tx| Box::pin(costs(tx, job))).await
    }

    /// Looks at open calls alone, which have an index.
    pub async fn open_calls(&self) -> Result<OpenCalls> {
        let sql = "select count(*), cast(coalesce(sum(reserved_nano), 0) as bigint) from ai_calls \
            where lease_until_ms is not null";
        self.read(move |tx| {
            Box::pin(async move {
                let Some(row) = tx.query_opt(sql, &[]).await? else { return Ok(OpenCalls::default()) };
                Ok(OpenCalls { calls: row.int(0)?, held: Nano::new(row.int(1)?) })
            })
        })
        .await
    }

    /// The same with its calls, page by page.
    pub async fn job_bill(&self, job: JobId, after: Option<CallId>, limit: usize) -> Result<JobBill> {
        self.read(move |tx| {
            Box::pin(async move {
                let (from, until) = places(job);
                let mut calls =
                    call_rows::of_places(tx, &from, &until, after.map(|id| id.to_string()), limit + 1)
                        .await?;
                let next = if calls.len() > limit {
                    calls.truncate(limit);
                    calls.last().map(|call| call.id)
                } else {
                    None
                };
                Ok(JobBill { costs: costs(tx, job).await?, calls, next })
            })
        })
        .await
    }
}

/// From where to where the places of a job's calls lie: `0` comes after `/`.
fn places(job: JobId) -> (String, String) {
    (format!("{job}/"), format!("{job}0"))
}

async fn costs(tx: &mut Tx<'_>, job: JobId) -> Result<JobCosts> {
    let (from, until) = places(job);
    let mut costs = JobCosts::default();
    for row in tx.query(BY_STEP, &[(&from).into(), (&until).into()]).await? {
        let totals = totals(&row)?;
        costs.own.add(&totals);
        costs.root = row.opt_text(1)?.as_deref().map(decode::job_id).transpose()?.or(costs.root);
        costs.steps.push((row.opt_text(0)?.unwrap_or_default(), totals));
    }
    let root = costs.root.unwrap_or(job);
    if let Some(row) = tx.query_opt(OF_TREE, &[(&root.to_string()).into()]).await? {
        costs.tree = totals(&row)?;
    }
    costs.root = (costs.tree.calls > 0).then_some(root);
    Ok(costs)
}

fn totals(row: &Row) -> Result<BillTotals> {
    Ok(BillTotals {
        calls: row.int(2)?,
        open: row.int(3)?,
        cost: Nano::new(row.int(4)?),
        held: Nano::new(row.int(5)?),
        assumed: Nano::new(row.int(6)?),
        overrun: Nano::new(row.int(7)?),
    })
}

impl BillTotals {
    fn add(&mut self, more: &BillTotals) {
        let plus = |sum: &mut Nano, more: Nano| *sum = Nano::new(sum.get().saturating_add(more.get()));
        self.calls += more.calls;
        self.open += more.open;
        plus(&mut self.cost, more.cost);
        plus(&mut self.held, more.held);
        plus(&mut self.assumed, more.assumed);
        plus(&mut self.overrun, more.overrun);
    }
}
