//! Rate limits that hold across nodes.

use crate::{Engine, Result, SharedHit, SharedVerdict, Store};

impl Store {
    /// Whether other processes may serve the same clients: only then is there anything to share.
    pub fn has_nodes(&self) -> bool {
        matches!(self.engine, Engine::Postgres(_))
    }

    /// Counts a write among those of all nodes. On SQLite one process is all there is: its own window is the whole.
    pub async fn count_shared(&self, hit: SharedHit) -> Result<SharedVerdict> {
        match &self.engine {
            Engine::Sqlite(_) => Ok(SharedVerdict::Counted { left: u32::MAX }),
            Engine::Postgres(postgres) => postgres.count_shared(hit).await,
        }
    }
}
