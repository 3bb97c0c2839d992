//! A lane: one connection that belongs to one kind of work, made when first needed and again after it was lost.
//!
//! Lanes stand outside the pool: their sessions keep prepared statements and planner settings of their own.
//! Must not: retry work. A batch whose connection went away may or may not have been committed; its owner decides.

use std::collections::HashMap;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Row, Statement};

use super::connect::Connector;
use super::pulse::Pulse;
use crate::{Error, Result};

/// Fixed plans. The statements work on batches whose size the planner cannot know, and a plan that was made while a
/// table was empty must not become a scan of it when it is full: so only index lookups are left to choose from.
const PLANS: &str = "set plan_cache_mode = force_generic_plan; set enable_seqscan = off; set enable_bitmapscan = off; \
     set enable_mergejoin = off";

/// Rows are looked up one by one and come in the order of an index.
pub(super) const BY_LOOKUP: &str = "set enable_hashjoin = off; set enable_sort = off";
/// Two batches of the same size meet.
pub(super) const BY_HASH: &str = "set enable_nestloop = off";

pub(super) struct Lane {
    connector: Connector,
    settings: String,
    /// Spreads rows that every lane of every node counts in.
    shard: i64,
    session: Option<Session>,
    pub pulse: Pulse,
}

/// An open connection with its prepared statements.
pub(crate) struct Session {
    client: Client,
    statements: HashMap<&'static str, Statement>,
    pub shard: i64,
}

impl Lane {
    pub fn new(connector: &Connector, pulse: &Pulse, plans: &str, shard: i64) -> Self {
        let settings = format!("{PLANS}; {plans}");
        Lane { connector: connector.clone(), settings, shard, session: None, pulse: pulse.clone() }
    }

    /// The open session; makes one when there is none.
    pub async fn session(&mut self) -> Result<&mut Session> {
        if self.session.as_ref().is_none_or(|session| session.client.is_closed()) {
            self.session = None;
            let client = self.connector.connect(&self.settings, None).await?;
            self.session = Some(Session { client, statements: HashMap::new(), shard: self.shard });
        }
        self.session.as_mut().ok_or_else(|| Error::away("no connection"))
    }

    /// Drops the connection: the server rolls back what was not committed.
    pub fn hang_up(&mut self) {
        self.session = None;
    }
}

impl Session {
    /// One statement, one round trip after its first use; a transaction of its own unless one is open.
    pub async fn query(&mut self, sql: &'static str, values: &[&(dyn ToSql + Sync)]) -> Result<Vec<Row>> {
        let statement = self.prepare(sql).await?;
        Ok(self.client.query(&statement, values).await?)
    }

    pub async fn prepare(&mut self, sql: &'static str) -> Result<Statement> {
        if let Some(statement) = self.statements.get(sql) {
            return Ok(statement.clone());
        }
        let statement = self.client.prepare(sql).await?;
        self.statements.insert(sql, statement.clone());
        Ok(statement)
    }

    pub fn client(&self) -> &Client {
        &self.client
    }
}
