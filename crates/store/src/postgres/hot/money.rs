//! Holds and charges: what arrives while one batch is with the database becomes the next one, and each row of counters is
//! written once for all of it. Records of runs that paid for something ride along, so that a result and its charge are one
//! commit.

use std::sync::Arc;

use levqor_core::job::{Fenced, Record, Then};

use super::super::collector::{Collector, Verb};
use super::super::lane::Session;
use super::super::news::News;
use super::{finish, moving, steps, weight_of};
use crate::money::{self, Done, Item, Money, Pending, Poke, Work};
use crate::tx::{Conn, Tx};
use crate::wake::Effects;
use crate::{Error, Result};

pub(in super::super) struct MoneyVerb {
    pub news: Arc<News>,
    pub money: Arc<Money>,
    pub node: String,
}

impl Verb for MoneyVerb {
    type Item = Work;
    type Answer = Done;

    fn weight(work: &Work) -> usize {
        work.items.len() + work.record.as_ref().map_or(0, |record| weight_of(steps::bytes(&record.steps)))
    }

    async fn run(&self, session: &mut Session, works: &[&Work]) -> Result<Vec<Done>> {
        match self.transact(session, works).await {
            Ok((verdicts, effects, pending)) => {
                self.news.tell(&effects);
                let answers = money::committed(&self.money, pending).into_iter();
                Ok(answers.zip(verdicts).map(|(answers, fenced)| Done { fenced, answers }).collect())
            }
            Err(error) => {
                // A connection that is gone has rolled it back, or will.
                session.client().batch_execute("rollback").await.ok();
                let items: Vec<&Item> = works.iter().flat_map(|work| &work.items).collect();
                self.money.lost(&items);
                Err(error)
            }
        }
    }
}

impl MoneyVerb {
    async fn transact(
        &self,
        session: &mut Session,
        works: &[&Work],
    ) -> Result<(Vec<Option<Fenced>>, Effects, Pending)> {
        session.client().batch_execute("begin").await?;
        let records: Vec<&Record> = works.iter().filter_map(|work| work.record.as_ref()).collect();
        let (fenced, effects) = record_all(session, &records).await?;
        let mut fenced = fenced.into_iter();
        let mut verdicts = Vec::with_capacity(works.len());
        for work in works {
            let verdict = work
                .record
                .as_ref()
                .map(|_| fenced.next().ok_or_else(|| Error::bug("no verdict on a record")));
            verdicts.push(verdict.transpose()?);
        }
        let mut tx = Tx::new(Conn::PostgresLane(session));
        let pending = money::run(&mut tx, &self.money, &self.node, works).await?;
        // A refusal leaves nothing to be made durable.
        let end = if pending.wrote || !records.is_empty() { "commit" } else { "rollback" };
        session.client().batch_execute(end).await?;
        Ok((verdicts, effects, pending))
    }
}

/// Records in their order: ends by the one statement, everything else by the other.
async fn record_all(session: &mut Session, records: &[&Record]) -> Result<(Vec<Fenced>, Effects)> {
    let mut effects = Effects::default();
    let mut verdicts = Vec::with_capacity(records.len());
    let is_end = |record: &&&Record| matches!(record.then, Then::Finish(_));
    // One after the other where a job has two records in one batch: its first may move it, its second end it.
    for chunk in records.chunk_by(|a, b| is_end(&a) == is_end(&b)) {
        let (fenced, more) = if chunk.first().is_some_and(|first| is_end(&first)) {
            let ends: Vec<finish::FinishItem> =
                chunk.iter().map(|record| finish::FinishItem::new((*record).clone())).collect();
            finish::run_all(session, &ends.iter().collect::<Vec<_>>()).await?
        } else {
            moving::run_all(session, chunk).await?
        };
        verdicts.extend(fenced);
        effects.merge(more);
    }
    Ok((verdicts, effects))
}

/// Has the next batch give back what was never sent.
pub(in super::super) fn poke(holds: &Collector<MoneyVerb>) -> Poke {
    let queue = holds.sender();
    Box::new(move || queue.send_unanswered(Work::one(Item::Flush)))
}
