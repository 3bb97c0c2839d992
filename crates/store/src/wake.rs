//! Wake-ups: hints to those who wait in this process, given after a commit. Polling is the truth; a lost hint costs
//! time, nothing else.

use tokio::sync::{Notify, broadcast};

use crate::Hint;

/// What a transaction wants told once it is committed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Effects {
    /// A job may have become runnable.
    pub(crate) runnable: bool,
    /// A callback may have become due.
    pub(crate) callbacks: bool,
    pub(crate) hints: Vec<Hint>,
}

impl Effects {
    pub(crate) fn merge(&mut self, other: Effects) {
        self.runnable |= other.runnable;
        self.callbacks |= other.callbacks;
        self.hints.extend(other.hints);
    }
}

/// The waiting ends of the hints in this process. Who claims jobs is woken by the engines themselves.
pub(crate) struct Wake {
    hints: broadcast::Sender<Hint>,
    callbacks: Notify,
}

/// A receiver that lags by more is told so and looks at everything.
const HINTS_KEPT: usize = 1024;

impl Wake {
    pub(crate) fn new() -> Self {
        Wake { hints: broadcast::channel(HINTS_KEPT).0, callbacks: Notify::new() }
    }

    /// Passes on what a committed transaction said about callbacks and other hints.
    pub(crate) fn deliver(&self, effects: &Effects) {
        if effects.callbacks {
            self.callbacks.notify_one();
        }
        if self.hints.receiver_count() > 0 {
            for hint in &effects.hints {
                // An error says that the last receiver has just gone.
                self.hints.send(hint.clone()).ok();
            }
        }
    }

    pub(crate) async fn callback_due(&self) {
        self.callbacks.notified().await;
    }

    pub(crate) fn subscribe(&self) -> broadcast::Receiver<Hint> {
        self.hints.subscribe()
    }
}
