//! Turns single calls into batches: what arrives while one batch is with the database becomes the next one.
//!
//! There is no timer, so a call that comes alone goes at once. Each verb has one lane: with two, batches were half as large
//! and the same work cost the server a fifth more (measured with 64 callers on two cores). A batch that fails because of one item is run again item by
//! item; one that fails because the database is away fails for all in it, and nobody knows whether it was committed.

use std::future::Future;

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::lane::{Lane, Session};
use crate::{Error, Result};

/// Units of weight in one batch. Measured: beyond 512 jobs a commit's cost per job no longer falls.
const BATCH_WEIGHT: usize = 512;
/// A batch that lost against another transaction is run again so often.
const TRIES: usize = 4;

/// What a batch does.
pub(super) trait Verb: Send + Sync + 'static {
    type Item: Send + Sync + 'static;
    type Answer: Send + 'static;

    /// How much of a batch this takes: 1 for something small.
    fn weight(item: &Self::Item) -> usize;

    /// Does it for all, in one transaction, and tells others after the commit. One answer for each item, in order.
    fn run(
        &self,
        session: &mut Session,
        items: &[&Self::Item],
    ) -> impl Future<Output = Result<Vec<Self::Answer>>> + Send;
}

struct Waiting<V: Verb> {
    item: V::Item,
    reply: oneshot::Sender<Result<V::Answer>>,
}

type Queue<V> = mpsc::UnboundedReceiver<Waiting<V>>;

/// The door to a verb. The queue is as long as there are callers: each waits for its answer.
pub(super) struct Collector<V: Verb> {
    queue: mpsc::UnboundedSender<Waiting<V>>,
}

impl<V: Verb> Collector<V> {
    /// Starts the task. It ends when `closing` is cancelled (or the collector dropped) and all that was accepted is done.
    pub fn start(verb: V, lane: Lane, closing: &CancellationToken) -> (Self, JoinHandle<()>) {
        let (queue, receiver) = mpsc::unbounded_channel();
        (Collector { queue }, tokio::spawn(flush_loop(verb, lane, receiver, closing.clone())))
    }

    pub fn sender(&self) -> Sender<V> {
        Sender { queue: self.queue.clone() }
    }

    pub async fn submit(&self, item: V::Item) -> Result<V::Answer> {
        let (reply, answer) = oneshot::channel();
        self.queue.send(Waiting { item, reply }).map_err(|_| closed())?;
        answer.await.map_err(|_| closed())?
    }
}

/// A way to ask without waiting for the answer.
pub(super) struct Sender<V: Verb> {
    queue: mpsc::UnboundedSender<Waiting<V>>,
}

impl<V: Verb> Sender<V> {
    /// Nothing happens once the store is closed.
    pub fn send_unanswered(&self, item: V::Item) {
        self.queue.send(Waiting { item, reply: oneshot::channel().0 }).ok();
    }
}

pub(super) fn closed() -> Error {
    Error::away("the store is closed")
}

async fn flush_loop<V: Verb>(verb: V, mut lane: Lane, mut queue: Queue<V>, closing: CancellationToken) {
    while let Some(batch) = next_batch(&mut queue, &closing).await {
        let items: Vec<&V::Item> = batch.iter().map(|waiting| &waiting.item).collect();
        let outcomes = match run(&verb, &mut lane, &items).await {
            Ok(answers) => answers.into_iter().map(Ok).collect(),
            Err(Error::Bug(_)) if items.len() > 1 => one_by_one(&verb, &mut lane, &items).await,
            Err(error) => share(error, items.len()),
        };
        for (waiting, outcome) in batch.into_iter().zip(outcomes) {
            // A caller that went away does not want its answer.
            waiting.reply.send(outcome).ok();
        }
    }
}

/// All that waits, up to a batch's weight; `None` once the queue is closed and empty.
async fn next_batch<V: Verb>(queue: &mut Queue<V>, closing: &CancellationToken) -> Option<Vec<Waiting<V>>> {
    let first = tokio::select! {
        biased;
        first = queue.recv() => first?,
        _ = closing.cancelled() => {
            queue.close();
            queue.recv().await?
        }
    };
    // Those who were answered by the batch before are just now asking again: one turn of the scheduler lets them in.
    tokio::task::yield_now().await;
    let mut weight = V::weight(&first.item);
    let mut batch = vec![first];
    while weight < BATCH_WEIGHT
        && let Ok(next) = queue.try_recv()
    {
        weight += V::weight(&next.item);
        batch.push(next);
    }
    Some(batch)
}

async fn run<V: Verb>(verb: &V, lane: &mut Lane, items: &[&V::Item]) -> Result<Vec<V::Answer>> {
    let mut tries = 1;
    loop {
        let pulse = lane.pulse.clone();
        let running = async { verb.run(lane.session().await?, items).await };
        let outcome = pulse.watch(running).await.unwrap_or_else(|silent| {
            lane.hang_up();
            Err(silent.into())
        });
        match outcome {
            Err(error) if error.wants_retry() && tries < TRIES => tries += 1,
            Ok(answers) if answers.len() != items.len() => {
                return Err(Error::bug(format!("{} answers for {} items", answers.len(), items.len())));
            }
            outcome => return outcome,
        }
    }
}

async fn one_by_one<V: Verb>(verb: &V, lane: &mut Lane, items: &[&V::Item]) -> Vec<Result<V::Answer>> {
    let mut outcomes = Vec::with_capacity(items.len());
    for item in items {
        let answers = run(verb, lane, &[*item]).await;
        outcomes.push(answers.and_then(|mut answers| answers.pop().ok_or_else(closed)));
    }
    outcomes
}

/// The same error for each, since an error cannot be copied.
fn share<T>(error: Error, callers: usize) -> Vec<Result<T>> {
    let again = |error: &Error| match error {
        Error::Unavailable(source) => Error::away(describe(source.as_ref())),
        other => Error::bug(describe(other)),
    };
    let mut outcomes: Vec<Result<T>> = (1..callers).map(|_| Err(again(&error))).collect();
    outcomes.push(Err(error));
    outcomes
}

pub(super) fn describe(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
