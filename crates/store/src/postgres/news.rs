//! What a commit means to others: who is woken here, and what the other nodes are told.
//!
//! Hints, never the truth: a lost one costs the time until the next look. Nothing is sent abroad while this node is
//! alone, and not that a job is runnable while somebody here waits for one.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use levqor_core::id::JobId;
use tokio::sync::Notify;

use crate::wake::{Effects, Wake};

/// Ended jobs in one message: a payload must stay below 8,000 bytes. What is beyond waits for the next message.
const IDS_IN_MESSAGE: usize = 200;
/// Ended jobs that wait to be told at most; more are dropped.
const IDS_KEPT: usize = 2_000;

pub(super) struct News {
    node: String,
    wake: Arc<Wake>,
    /// For the claims of this process.
    pub runnable: Notify,
    /// A claim of this process waits for a job.
    pub parked: AtomicBool,
    /// Other nodes are there to listen.
    pub peers: AtomicBool,
    abroad: Mutex<Abroad>,
    /// There is something to be sent.
    pub to_send: Notify,
}

/// What the other nodes have not been told yet.
#[derive(Default)]
struct Abroad {
    hello: bool,
    runnable: bool,
    callbacks: bool,
    workflows: bool,
    keys: bool,
    ended: VecDeque<JobId>,
}

impl News {
    pub fn new(node: &str, wake: Arc<Wake>) -> Self {
        News {
            node: node.to_owned(),
            wake,
            runnable: Notify::new(),
            parked: AtomicBool::new(false),
            peers: AtomicBool::new(false),
            abroad: Mutex::default(),
            to_send: Notify::new(),
        }
    }

    fn abroad(&self) -> MutexGuard<'_, Abroad> {
        self.abroad.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells all who should know what was just committed.
    pub fn tell(&self, effects: &Effects) {
        self.wake.deliver(effects);
        let mut elsewhere = false;
        if effects.runnable {
            elsewhere = !self.parked.load(Ordering::Acquire);
            self.runnable.notify_one();
        }
        if !self.peers.load(Ordering::Relaxed) {
            return;
        }
        let mut abroad = self.abroad();
        abroad.runnable |= elsewhere;
        abroad.callbacks |= effects.callbacks;
        abroad.workflows |= effects.workflows;
        abroad.keys |= effects.keys;
        let room = IDS_KEPT.saturating_sub(abroad.ended.len());
        abroad.ended.extend(effects.ended.iter().take(room));
        drop(abroad);
        self.to_send.notify_one();
    }

    /// There may be more runnable jobs than this node can take.
    pub fn offer(&self) {
        if self.peers.load(Ordering::Relaxed) {
            self.abroad().runnable = true;
            self.to_send.notify_one();
        }
    }

    /// Makes this node known to the others, who may have believed that they are alone.
    pub fn greet(&self) {
        self.abroad().hello = true;
        self.to_send.notify_one();
    }

    /// The next message, if there is anything to say.
    pub fn message(&self) -> Option<String> {
        let mut abroad = self.abroad();
        let mut words = vec![self.node.clone()];
        for (said, word) in [
            (std::mem::take(&mut abroad.hello), "hello"),
            (std::mem::take(&mut abroad.runnable), "runnable"),
            (std::mem::take(&mut abroad.callbacks), "callbacks"),
            (std::mem::take(&mut abroad.workflows), "workflows"),
            (std::mem::take(&mut abroad.keys), "keys"),
        ] {
            if said {
                words.push(word.to_owned());
            }
        }
        let ids = abroad.ended.len().min(IDS_IN_MESSAGE);
        words.extend(abroad.ended.drain(..ids).map(|id| id.to_string()));
        if !abroad.ended.is_empty() {
            self.to_send.notify_one();
        }
        (words.len() > 1).then(|| words.join(" "))
    }

    /// Passes on what another node said. Anybody who may connect to the database may say anything here.
    pub fn heard(&self, message: &str) {
        let mut words = message.split(' ');
        if words.next().is_none_or(|node| node == self.node) {
            return;
        }
        self.peers.store(true, Ordering::Relaxed);
        let mut effects = Effects::default();
        for word in words {
            match word {
                "runnable" => self.runnable.notify_one(),
                "callbacks" => effects.callbacks = true,
                "workflows" => effects.workflows = true,
                "keys" => effects.keys = true,
                // `hello`, and words of a later version.
                _ => effects.ended.extend(word.parse::<JobId>().ok()),
            }
        }
        self.wake.deliver(&effects);
    }

    /// Hints may have been missed: everybody looks.
    pub fn wake_all(&self) {
        self.runnable.notify_one();
        self.wake.deliver(&Effects { callbacks: true, workflows: true, keys: true, ..Effects::default() });
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::Hint;

    fn node(name: &str) -> News {
        let news = News::new(name, Arc::new(Wake::new()));
        news.peers.store(true, Ordering::Relaxed);
        news
    }

    #[test]
    fn what_one_node_tells_another_one_hears() {
        let (here, there) = (node("a"), node("b"));
        let mut hints = there.wake.subscribe();
        let id = JobId::new(1, [7; 10]);

        here.tell(&Effects { runnable: true, callbacks: true, workflows: true, keys: true, ended: vec![id] });
        there.heard(&here.message().unwrap());

        assert_eq!(hints.try_recv().unwrap(), Hint::WorkflowsChanged);
        assert_eq!(hints.try_recv().unwrap(), Hint::KeysChanged);
        assert_eq!(hints.try_recv().unwrap(), Hint::Ended([id].into()));
        assert_eq!(here.message(), None, "said once");
    }

    #[test]
    fn a_flood_of_ended_jobs_is_told_in_short_messages_and_then_dropped() {
        let here = node(&"n".repeat(32));
        let ended = (0..10_000).map(|n| JobId::new(n, [0; 10])).collect();

        here.tell(&Effects { ended, ..Effects::default() });

        let messages: Vec<String> = std::iter::from_fn(|| here.message()).collect();
        assert_eq!(messages.len(), IDS_KEPT / IDS_IN_MESSAGE);
        assert!(messages.iter().all(|message| message.len() < 8_000));
    }

    #[test]
    fn garbage_and_our_own_messages_change_nothing() {
        let here = node("a");
        let mut hints = here.wake.subscribe();

        for message in ["", " ", "b", "b nonsense 018b", "a workflows", "b \u{0}", "b  "] {
            here.heard(message);
        }

        assert!(hints.try_recv().is_err());
    }

    #[test]
    fn a_node_that_is_alone_or_has_somebody_waiting_tells_nobody_of_a_runnable_job() {
        let here = node("a");
        let runnable = Effects { runnable: true, ..Effects::default() };

        here.parked.store(true, Ordering::Release);
        here.tell(&runnable);
        assert_eq!(here.message(), None);

        here.parked.store(false, Ordering::Release);
        here.tell(&runnable);
        assert_eq!(here.message().as_deref(), Some("a runnable"));

        here.peers.store(false, Ordering::Relaxed);
        here.tell(&runnable);
        assert_eq!(here.message(), None);
    }
}
