//! The connection that hears other nodes and speaks to them, outside the pool: it waits for notifications.
//!
//! Sending is never part of a working transaction: a commit with a NOTIFY in it takes a lock that all of them share, and
//! costs the others up to nine tenths of their speed. One message every few milliseconds carries what many commits said.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_postgres::{Client, Notification};
use tokio_util::sync::CancellationToken;

use super::connect::{CONNECT_LIMIT, Connector};
use super::news::News;
use crate::{Error, Result};

/// At most one message in this time; the first after a silence goes at once.
const PAUSE: Duration = Duration::from_millis(5);
/// Messages that were heard and not looked at yet; more are dropped.
const HEARD_KEPT: usize = 1024;

/// A lost message costs time, not work: its commit does not wait for the disk. No statement here takes long.
const SETTINGS: &str = "set synchronous_commit = off; set application_name = 'levqor listen'; listen levqor";

/// Listens until `closing`. When a connection was away for a while everybody looks, since messages may have been missed.
pub(super) async fn listen_loop(connector: Connector, news: Arc<News>, closing: CancellationToken) {
    let (mut failures, mut missed) = (0u32, false);
    loop {
        let session = async {
            let (sender, receiver) = mpsc::channel(HEARD_KEPT);
            let client = connector.connect(SETTINGS, Some(sender)).await?;
            failures = 0;
            if std::mem::replace(&mut missed, true) {
                news.wake_all();
            }
            converse(&client, receiver, &news).await
        };
        let ended = tokio::select! {
            ended = session => ended,
            _ = closing.cancelled() => return,
        };
        if let Err(error) = ended {
            tracing::debug!(%error, "the connection to the other nodes was lost; it is made again");
        }
        failures = failures.saturating_add(1);
        missed = true;
        let pause = Duration::from_millis(u64::from(100 * failures.min(20)) + rand::random_range(0..100));
        tokio::select! {
            _ = tokio::time::sleep(pause) => {}
            _ = closing.cancelled() => return,
        }
    }
}

/// Hears and speaks until the connection is gone.
async fn converse(client: &Client, mut heard: mpsc::Receiver<Notification>, news: &News) -> Result<()> {
    let statement = client.prepare("select pg_notify('levqor', $1)").await?;
    loop {
        tokio::select! {
            notification = heard.recv() => match notification {
                Some(notification) => news.heard(notification.payload()),
                None => return Err(Error::away("the connection ended")),
            },
            _ = news.to_send.notified() => {
                if let Some(message) = news.message() {
                    let sent =
                        tokio::time::timeout(CONNECT_LIMIT, client.execute(&statement, &[&message])).await;
                    sent.map_err(|_| Error::away("no answer within 5 s"))??;
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }
}
