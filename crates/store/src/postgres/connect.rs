//! Makes connections: with a time limit, and with the session settings that our statements rely on.
//!
//! `search_path` is left alone, so that `?options=-csearch_path=…` chooses a schema.

use std::time::Duration;

use futures_util::future::poll_fn;
use tokio::sync::mpsc;
use tokio_postgres::tls::MakeTlsConnect;
use tokio_postgres::{AsyncMessage, Client, Connection, Notification, Socket};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::url::{self, Target};
use crate::{Error, Result};

/// From nothing to a session with its settings; a server that does not answer in this time is away.
pub(super) const CONNECT_LIMIT: Duration = Duration::from_secs(5);

/// What every session has. A commit is durable whatever the server's default is; a statement that waits for a lock or
/// runs away is ended by the server, so that nobody waits for it for ever. JIT costs more than any statement here.
pub(super) const SESSION: &str = "set synchronous_commit = on; set statement_timeout = '15s'; set lock_timeout = '5s'; \
     set idle_in_transaction_session_timeout = '15s'; set default_transaction_isolation = 'read committed'; set jit = off";

type Wire = Connection<Socket, <MakeRustlsConnect as MakeTlsConnect<Socket>>::Stream>;

/// Knows where the database is.
#[derive(Clone)]
pub(super) struct Connector {
    target: Target,
}

impl Connector {
    pub fn new(url: &str) -> Result<Self> {
        Ok(Connector { target: url::parse(url)? })
    }

    pub fn target(&self) -> Target {
        self.target.clone()
    }

    /// A connection whose messages are driven by a task of its own, which ends with the client. Notifications go to
    /// `heard`; when that is dropped at the other end they are ignored, when the connection is gone it closes.
    pub async fn connect(&self, settings: &str, heard: Option<mpsc::Sender<Notification>>) -> Result<Client> {
        let connecting = async {
            let (client, wire) = self.target.config.connect(self.target.tls.clone()).await?;
            tokio::spawn(drive(wire, heard));
            client.batch_execute(SESSION).await?;
            client.batch_execute(settings).await?;
            Ok(client)
        };
        match tokio::time::timeout(CONNECT_LIMIT, connecting).await {
            Ok(connected) => connected.map_err(unreachable_now),
            Err(_) => Err(Error::away("no connection to the database within 5 s")),
        }
    }
}

async fn drive(mut wire: Wire, heard: Option<mpsc::Sender<Notification>>) {
    loop {
        match poll_fn(|context| wire.poll_message(context)).await {
            Some(Ok(AsyncMessage::Notification(notification))) => {
                // A full channel means that the listener has enough to look at already: these are hints.
                if let Some(heard) = &heard {
                    heard.try_send(notification).ok();
                }
            }
            Some(Ok(_)) => {}
            Some(Err(error)) => {
                tracing::debug!(%error, "a connection to the database ended");
                return;
            }
            None => return,
        }
    }
}

/// A connection that does not come about means that the database is away, whatever the reason.
fn unreachable_now(error: tokio_postgres::Error) -> Error {
    Error::Unavailable(error.into())
}

/// The same at the first start, where a wrong password, name or certificate is a mistake in the configuration, not an
/// outage.
pub(super) fn explain(error: Error) -> Error {
    let Error::Unavailable(source) = &error else { return error };
    let Some(cause) = source.downcast_ref::<tokio_postgres::Error>() else { return error };
    if let Some(answer) = cause.as_db_error()
        // Classes 28 (who are you) and 3D (no such database). The server's words name the user and the database.
        && ["28", "3D"].iter().any(|class| answer.code().code().starts_with(class))
    {
        return Error::Refused {
            what: format!("the PostgreSQL server refused the connection: {}", answer.message()),
        };
    }
    let io = std::error::Error::source(cause).and_then(|cause| cause.downcast_ref::<std::io::Error>());
    match io.and_then(std::io::Error::get_ref).and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(rustls::Error::InvalidCertificate(why)) => Error::Refused {
            what: format!(
                "the certificate of the PostgreSQL server is not accepted ({why}); name the file of its authority in sslrootcert"
            ),
        },
        _ => error,
    }
}
