//! Whether the database answers at all: what tells a slow commit, which is waited for, from a server that hangs with its
//! connections open, which is not.
//!
//! Whoever has waited for [`PATIENCE`] asks for a sign of life: any answer to anybody, else that of a trivial statement on a
//! connection of its own. Without one within [`LAST_CHANCE`] the database counts as silent: all who wait are told so, and who
//! comes later is told at once. A task looks until there is an answer again; then everything goes on by itself.
//!
//! Must not: judge a single connection. One that was lost on the way is ended by the system (see `url.rs`).

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{Mutex, watch};
use tokio_postgres::Client;
use tokio_util::sync::CancellationToken;

use super::connect::Connector;
use crate::Error;

/// Nobody looks before a call has taken this long.
const PATIENCE: Duration = Duration::from_millis(800);
/// For a connection and a trivial statement. With [`PATIENCE`] it makes the 3 s that docs/configuration.md states.
const LAST_CHANCE: Duration = Duration::from_millis(1_600);
/// Between two looks at a silent database.
const PAUSE: Duration = Duration::from_millis(400);
/// A call that takes longer has lost its connection or its server process, while others answer: longer than the server's
/// own limit on a statement.
const CALL_LIMIT: Duration = Duration::from_secs(20);

/// What became of a call that is given up: nobody knows whether it was done. Its connection must not be used again.
#[derive(Debug)]
pub(super) struct Silent(&'static str);

impl From<Silent> for Error {
    fn from(silent: Silent) -> Error {
        Error::away(silent.0)
    }
}

const SILENT: Silent = Silent("the database does not answer; its connections are open, it may hang");
const TOO_LONG: Silent = Silent("no answer of the database within 20 s");

#[derive(Clone)]
pub(super) struct Pulse(Arc<Inner>);

struct Inner {
    connector: Connector,
    /// For the sign of life; made when first needed, held by the one who looks.
    own: Mutex<Option<Client>>,
    /// Answers that anybody got.
    answers: AtomicU64,
    silent: watch::Sender<bool>,
    closing: CancellationToken,
}

impl Pulse {
    pub fn new(connector: &Connector, closing: &CancellationToken) -> Self {
        Pulse(Arc::new(Inner {
            connector: connector.clone(),
            own: Mutex::new(None),
            answers: AtomicU64::new(0),
            silent: watch::Sender::new(false),
            closing: closing.clone(),
        }))
    }

    /// Waits for an answer of the database as long as it lives.
    pub async fn watch<T>(&self, work: impl Future<Output = T>) -> std::result::Result<T, Silent> {
        let output = self.wait(work).await?;
        self.0.answers.fetch_add(1, Ordering::Relaxed);
        Ok(output)
    }

    /// The same for what may end without an answer of the database, and is no sign of life.
    pub async fn wait<T>(&self, work: impl Future<Output = T>) -> std::result::Result<T, Silent> {
        let mut silence = self.0.silent.subscribe();
        if *silence.borrow() {
            return Err(SILENT);
        }
        tokio::select! {
            biased;
            output = work => Ok(output),
            silent = self.0.lose_patience() => Err(silent),
            _ = silence.wait_for(|silent| *silent) => Err(SILENT),
        }
    }

    /// Closes the connection that served a look and is not needed any more.
    pub fn trim(&self) {
        if let Ok(mut own) = self.0.own.try_lock() {
            *own = None;
        }
    }
}

impl Inner {
    /// Ends when the database is silent, or the call takes too long.
    async fn lose_patience(self: &Arc<Self>) -> Silent {
        let too_long = tokio::time::sleep(CALL_LIMIT);
        let silence = async {
            loop {
                tokio::time::sleep(PATIENCE).await;
                if !self.lives().await {
                    self.fall_silent();
                    return SILENT;
                }
            }
        };
        tokio::select! {
            silent = silence => silent,
            _ = too_long => TOO_LONG,
        }
    }

    /// Whether there is a sign of life since this was asked. One looks at a time; the others see by its answer.
    async fn lives(&self) -> bool {
        let before = self.answers.load(Ordering::Relaxed);
        let mut own = self.own.lock().await;
        if self.answers.load(Ordering::Relaxed) == before
            && tokio::time::timeout(LAST_CHANCE, self.look(&mut own)).await.is_ok()
        {
            self.answers.fetch_add(1, Ordering::Relaxed);
        }
        self.answers.load(Ordering::Relaxed) != before
    }

    /// Returns when the server answered, whatever it said: a refusal is an answer, and for others to explain.
    async fn look(&self, own: &mut Option<Client>) {
        // Taken out: a look that is broken off leaves no connection with a question on its way.
        if let Some(client) = own.take().filter(|client| !client.is_closed())
            && client.batch_execute("").await.is_ok()
        {
            *own = Some(client);
            return;
        }
        if let Ok(client) = self.connector.connect("", None).await {
            *own = Some(client);
        }
    }

    fn fall_silent(self: &Arc<Self>) {
        if self.silent.send_replace(true) {
            return;
        }
        tracing::error!("the database does not answer; calls are refused until it does");
        let inner = self.clone();
        tokio::spawn(async move {
            while !inner.closing.is_cancelled() && !inner.lives().await {
                tokio::time::sleep(PAUSE).await;
            }
            inner.silent.send_replace(false);
            tracing::info!("the database answers again");
        });
    }
}
