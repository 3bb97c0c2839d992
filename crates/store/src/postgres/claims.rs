//! Who claims jobs waits here. One task asks the database for all of them, one claim at a time.
//!
//! It looks when somebody says that a job may be runnable, and once a second in case nobody could. What was claimed for a
//! caller that went away goes back to its place in the queue.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use levqor_core::clock::Clock;
use levqor_core::id::JobId;
use levqor_core::job::ClaimedJob;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::collector::{closed, describe};
use super::hot::claim::{claim, hand_back};
use super::lane::Lane;
use super::news::News;
use crate::{Error, Result};

/// Jobs in one claim at most, whoever asks for more.
const CLAIM_LIMIT: usize = 512;
/// A hint got lost, or another program queued a job. With jitter, so that nodes do not look at the same moment.
const POLL: Duration = Duration::from_millis(1_000);

struct Ask {
    limit: usize,
    clock: Arc<dyn Clock>,
    reply: oneshot::Sender<Result<Handed>>,
}

/// Claimed jobs on their way to a caller. Dropped on the way (the caller went away), they are handed back.
struct Handed {
    jobs: Vec<ClaimedJob>,
    back: mpsc::UnboundedSender<Vec<(JobId, i64)>>,
}

impl Drop for Handed {
    fn drop(&mut self) {
        if !self.jobs.is_empty() {
            // The task ends only when the store closes, which hands back all that is still ours.
            self.back.send(self.jobs.iter().map(|job| (job.id, job.claim)).collect()).ok();
        }
    }
}

pub(super) struct Claims {
    asks: mpsc::UnboundedSender<Ask>,
}

impl Claims {
    pub fn start(
        node: &str,
        lane: Lane,
        news: Arc<News>,
        closing: CancellationToken,
    ) -> (Self, JoinHandle<()>) {
        let (asks, asked) = mpsc::unbounded_channel();
        let (back, given_back) = mpsc::unbounded_channel();
        let claimer = Claimer {
            node: node.to_owned(),
            lane,
            news,
            asked,
            given_back,
            back,
            waiting: VecDeque::new(),
            owed: Vec::new(),
            look_at: Instant::now(),
        };
        (Claims { asks }, tokio::spawn(claimer.run(closing)))
    }

    /// Waits until there is at least one job.
    pub async fn claim(&self, limit: usize, clock: &Arc<dyn Clock>) -> Result<Vec<ClaimedJob>> {
        if limit == 0 {
            return Ok(Vec::new());
        }
        let (reply, answer) = oneshot::channel();
        self.asks.send(Ask { limit, clock: clock.clone(), reply }).map_err(|_| closed())?;
        let mut handed = answer.await.map_err(|_| closed())??;
        Ok(std::mem::take(&mut handed.jobs))
    }
}

struct Claimer {
    node: String,
    lane: Lane,
    news: Arc<News>,
    asked: mpsc::UnboundedReceiver<Ask>,
    given_back: mpsc::UnboundedReceiver<Vec<(JobId, i64)>>,
    back: mpsc::UnboundedSender<Vec<(JobId, i64)>>,
    waiting: VecDeque<Ask>,
    /// Jobs to be handed back.
    owed: Vec<(JobId, i64)>,
    /// When to look even if nobody says so; in the past while there may be more.
    look_at: Instant,
}

impl Claimer {
    async fn run(mut self, closing: CancellationToken) {
        loop {
            while let Ok(ask) = self.asked.try_recv() {
                self.waiting.push_back(ask);
            }
            self.waiting.retain(|ask| !ask.reply.is_closed());
            self.pay_back().await;
            if closing.is_cancelled() {
                return;
            }
            if !self.waiting.is_empty() && self.look_at <= Instant::now() {
                self.look().await;
            } else {
                self.park(&closing).await;
            }
        }
    }

    /// Waits for something to do.
    async fn park(&mut self, closing: &CancellationToken) {
        let waits = !self.waiting.is_empty();
        self.news.parked.store(waits, Ordering::Release);
        let retry_at = Instant::now() + POLL;
        tokio::select! {
            biased;
            _ = closing.cancelled() => {}
            _ = self.news.runnable.notified(), if waits => self.look_at = Instant::now(),
            ask = self.asked.recv() => match ask {
                Some(ask) => self.waiting.push_back(ask),
                // The store was dropped.
                None => closing.cancel(),
            },
            jobs = self.given_back.recv() => self.owed.extend(jobs.into_iter().flatten()),
            _ = tokio::time::sleep_until(self.look_at), if waits => {}
            _ = tokio::time::sleep_until(retry_at), if !self.owed.is_empty() => {}
        }
        self.news.parked.store(false, Ordering::Release);
        // Whoever waited may have gone, while this node was counted on to take the job.
        if waits && self.waiting.iter().all(|ask| ask.reply.is_closed()) {
            self.news.offer();
        }
    }

    async fn look(&mut self) {
        let limit =
            self.waiting.iter().fold(0usize, |sum, ask| sum.saturating_add(ask.limit)).min(CLAIM_LIMIT);
        let Some(now_ms) = self.waiting.front().map(|ask| ask.clock.now_ms()) else { return };
        match self.claim(limit, now_ms).await {
            Ok(jobs) => {
                if jobs.len() < limit {
                    self.look_at = Instant::now() + POLL + Duration::from_millis(rand::random_range(0..200));
                } else {
                    self.news.offer();
                }
                self.hand_out(jobs);
            }
            Err(error) => {
                for ask in self.waiting.drain(..) {
                    ask.reply.send(Err(Error::away(describe(&error)))).ok();
                }
            }
        }
    }

    async fn claim(&mut self, limit: usize, now_ms: i64) -> Result<Vec<ClaimedJob>> {
        let pulse = self.lane.pulse.clone();
        let mut unsure = Vec::new();
        let claiming =
            async { claim(self.lane.session().await?, &self.node, limit, now_ms, &mut unsure).await };
        let claimed = pulse.watch(claiming).await.unwrap_or_else(|silent| Err(silent.into()));
        if claimed.is_err() {
            self.lane.hang_up();
            self.owed.extend(unsure);
        }
        claimed
    }

    /// Each waiting caller gets what it asked for, in the order in which they came.
    fn hand_out(&mut self, jobs: Vec<ClaimedJob>) {
        let mut jobs = jobs.into_iter().peekable();
        while jobs.peek().is_some() {
            let Some(ask) = self.waiting.pop_front() else { break };
            let handed = Handed { jobs: jobs.by_ref().take(ask.limit).collect(), back: self.back.clone() };
            // One who has gone drops it, which hands the jobs back.
            ask.reply.send(Ok(handed)).ok();
        }
    }

    /// Hands back what is owed; what cannot be done now stays owed.
    async fn pay_back(&mut self) {
        while let Ok(jobs) = self.given_back.try_recv() {
            self.owed.extend(jobs);
        }
        if self.owed.is_empty() {
            return;
        }
        let pulse = self.lane.pulse.clone();
        let paying = async { hand_back(self.lane.session().await?, &self.node, &self.owed).await };
        match pulse.watch(paying).await.unwrap_or_else(|silent| Err(silent.into())) {
            Ok(()) => {
                self.owed.clear();
                self.look_at = Instant::now();
                self.news.offer();
            }
            Err(error) => {
                self.lane.hang_up();
                tracing::debug!(%error, jobs = self.owed.len(), "claimed jobs could not be handed back yet");
            }
        }
    }
}
