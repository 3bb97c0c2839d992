//! Wake-ups: hints to those who wait in this process, given after a commit. Polling is the truth; a lost hint costs
//! time, nothing else.

use levqor_core::id::JobId;
use tokio::sync::{Notify, broadcast};

use crate::Hint;

/// What a transaction wants told once it is committed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Effects {
    /// A job may have become runnable.
    pub(crate) runnable: bool,
    /// A callback may have become due.
    pub(crate) callbacks: bool,
    pub(crate) workflows: bool,
    pub(crate) keys: bool,
    /// Jobs that ended or were taken away.
    pub(crate) ended: Vec<JobId>,
}

impl Effects {
    pub(crate) fn merge(&mut self, other: Effects) {
        self.runnable |= other.runnable;
        self.callbacks |= other.callbacks;
        self.workflows |= other.workflows;
        self.keys |= other.keys;
        self.ended.extend(other.ended);
    }
}

/// The waiting ends of the hints in this process. Who claims jobs is woken by the engines themselves.
pub(crate) struct Wake {
    hints: broadcast::Sender<Hint>,
    callbacks: Notify,
}

/// A receiver that lags by more is told so and looks at everything. One commit is one hint, or two.
const HINTS_KEPT: usize = 256;

impl Wake {
    pub(crate) fn new() -> Self {
        Wake { hints: broadcast::channel(HINTS_KEPT).0, callbacks: Notify::new() }
    }

    /// Passes on what a committed transaction said about callbacks and other hints.
    pub(crate) fn deliver(&self, effects: &Effects) {
        if effects.callbacks {
            self.callbacks.notify_one();
        }
        // Nobody listens: nothing is copied. An error further down says that the last one has just gone.
        if self.hints.receiver_count() == 0 {
            return;
        }
        if effects.workflows {
            self.hints.send(Hint::WorkflowsChanged).ok();
        }
        if effects.keys {
            self.hints.send(Hint::KeysChanged).ok();
        }
        if !effects.ended.is_empty() {
            self.hints.send(Hint::Ended(effects.ended.as_slice().into())).ok();
        }
    }

    pub(crate) async fn callback_due(&self) {
        self.callbacks.notified().await;
    }

    pub(crate) fn subscribe(&self) -> broadcast::Receiver<Hint> {
        self.hints.subscribe()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn all_jobs_that_one_commit_ended_are_one_hint() {
        let wake = Wake::new();
        let mut hints = wake.subscribe();
        let ended: Vec<JobId> = (0..10_000).map(|n| JobId::new(n, [0; 10])).collect();

        wake.deliver(&Effects { ended: ended.clone(), workflows: true, ..Effects::default() });

        assert_eq!(hints.try_recv().unwrap(), Hint::WorkflowsChanged);
        assert_eq!(hints.try_recv().unwrap(), Hint::Ended(ended.into()));
        assert!(hints.try_recv().is_err());
    }
}
