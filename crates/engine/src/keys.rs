//! API keys in memory, so that no request reads the database to know who asks, and what operators do to keys.
//!
//! A change is in force here before its answer is sent, on other nodes with the next hint or the next look, a second later
//! at most. A node that cannot reach its database keeps the keys it knows: it can do nothing for them either.

use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use levqor_core::audit::Actor;
use levqor_core::key::{KeyRequest, Minted, Rotation, Scopes};
use levqor_store::{KeyPage, KeyRow, LiveKey, LiveKeys, NewKey};

use crate::{Engine, Shared};

/// Between two looks: on SQLite nobody else can change a key.
pub(crate) const LOOK: Duration = Duration::from_secs(1);
pub(crate) const LOOK_ALONE: Duration = Duration::from_secs(10);
/// Between two notes of when keys were used.
pub(crate) const NOTE_USES: Duration = Duration::from_secs(60);

#[derive(Default)]
pub(crate) struct Keyring {
    known: RwLock<Arc<Known>>,
    /// One refresh at a time, so that what was read earlier never replaces what was read later.
    refreshing: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Known {
    seen: Option<i64>,
    /// Once true it stays true: rows that somebody takes out of the table open no server that listens to the world.
    any: bool,
    /// Found by what a client cannot choose (SHA-256 of what it sent), so the time that a search takes tells nothing of a
    /// key.
    keys: HashMap<[u8; 32], Arc<KnownKey>>,
}

/// A key that works.
pub struct KnownKey {
    pub id: String,
    /// Who asks, the same before and after a rotation.
    pub caller: Arc<str>,
    pub actor: Actor,
    pub scopes: Scopes,
    expires_at_ms: Option<i64>,
    /// When it was used since that was noted last; 0: not since.
    used_at_ms: Arc<AtomicI64>,
}

impl Keyring {
    fn known(&self) -> Arc<Known> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn refresh(&self, shared: &Shared) -> levqor_store::Result<()> {
        let _alone = self.refreshing.lock().await;
        let known = self.known();
        let Some(live) = shared.store.live_keys(known.seen, shared.clock.now_ms()).await? else {
            return Ok(());
        };
        let next = Arc::new(Known::new(live, &known));
        *self.known.write().unwrap_or_else(PoisonError::into_inner) = next;
        Ok(())
    }

    /// Takes a key out by what the caller knows for sure, in case the refresh after it fails.
    fn forget(&self, id: &str) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        let keys = known.keys.iter().filter(|(_, key)| key.id != id).map(|(hash, key)| (*hash, key.clone()));
        // Whatever was seen is to be read again.
        *known = Arc::new(Known { seen: None, any: true, keys: keys.collect() });
    }
}

impl Known {
    fn new(live: LiveKeys, before: &Known) -> Known {
        let known = |key: LiveKey| {
            let used_at_ms = before.keys.get(&key.hash).map(|old| old.used_at_ms.clone()).unwrap_or_default();
            let LiveKey { hash, id, family, scopes, expires_at_ms } = key;
            let (caller, actor) = (format!("key:{family}").into(), Actor::key(&id));
            (hash, Arc::new(KnownKey { id, caller, actor, scopes, expires_at_ms, used_at_ms }))
        };
        Known {
            seen: Some(live.seen),
            any: live.any || before.any,
            keys: live.keys.into_iter().map(known).collect(),
        }
    }
}

/// One turn: reads the keys again if any may have changed.
pub(crate) async fn look(shared: Arc<Shared>) -> levqor_store::Result<()> {
    shared.keyring.refresh(&shared).await
}

/// One turn: writes down which keys were used since the last one. A crash loses a minute of it.
pub(crate) async fn note_uses(shared: Arc<Shared>) -> levqor_store::Result<()> {
    let known = shared.keyring.known();
    let used: Vec<(Arc<KnownKey>, i64)> = known
        .keys
        .values()
        .map(|key| (key.clone(), key.used_at_ms.swap(0, Ordering::Relaxed)))
        .filter(|(_, at_ms)| *at_ms > 0)
        .collect();
    if used.is_empty() {
        return Ok(());
    }
    let uses = used.iter().map(|(key, at_ms)| (key.id.clone(), *at_ms)).collect();
    let noted = shared.store.touch_keys(uses).await;
    if noted.is_err() {
        // For the next turn, unless the key was used again meanwhile.
        used.iter().for_each(|(key, at_ms)| _ = key.used_at_ms.fetch_max(*at_ms, Ordering::Relaxed));
    }
    noted
}

impl Engine {
    /// Whether the database ever held a key, usable or not.
    pub fn had_keys(&self) -> bool {
        self.shared.keyring.known().any
    }

    /// The key with this SHA-256, if it works, and notes that it was used.
    pub fn find_key(&self, hash: &[u8; 32]) -> Option<Arc<KnownKey>> {
        let now_ms = self.shared.clock.now_ms();
        let key = self.shared.keyring.known().keys.get(hash)?.clone();
        if key.expires_at_ms.is_some_and(|at_ms| at_ms <= now_ms) {
            return None;
        }
        key.used_at_ms.fetch_max(now_ms, Ordering::Relaxed);
        Some(key)
    }

    /// Makes a key. `has_others`: there are keys that the database does not know. The only time that its text is to be had.
    pub async fn create_key(
        &self,
        request: KeyRequest,
        has_others: bool,
        by: &Actor,
    ) -> levqor_store::Result<(KeyRow, Minted)> {
        let now_ms = self.shared.clock.now_ms();
        let minted = Minted::new(now_ms, rand::random());
        let KeyRequest { name, scopes, expires_at_ms } = request;
        let key = NewKey { minted: minted.clone(), name, scopes, expires_at_ms };
        let row = self.shared.store.insert_key(key, has_others, by, now_ms).await?;
        self.keys_changed().await;
        Ok((row, minted))
    }

    /// Ends a key at once, on this node before this returns.
    pub async fn revoke_key(&self, id: &str, by: &Actor) -> levqor_store::Result<KeyRow> {
        let row = self.shared.store.revoke_key(id, by, self.shared.clock.now_ms()).await?;
        self.shared.keyring.forget(id);
        self.keys_changed().await;
        Ok(row)
    }

    /// Makes a successor of a key; the old one lives on for the overlap.
    pub async fn rotate_key(
        &self,
        id: &str,
        rotation: Rotation,
        by: &Actor,
    ) -> levqor_store::Result<(KeyRow, Minted)> {
        let now_ms = self.shared.clock.now_ms();
        let minted = Minted::new(now_ms, rand::random());
        let until_ms = now_ms + rotation.overlap_ms;
        let rotated =
            self.shared.store.rotate_key(id, minted.clone(), rotation.expires_at_ms, until_ms, by, now_ms);
        let row = rotated.await?;
        if rotation.overlap_ms == 0 {
            self.shared.keyring.forget(id);
        }
        self.keys_changed().await;
        Ok((row, minted))
    }

    pub async fn list_keys(&self, before: Option<&str>, limit: usize) -> levqor_store::Result<KeyPage> {
        self.shared.store.list_keys(before, limit).await
    }

    /// What was done is committed, whatever becomes of this look; the next one makes up for it.
    async fn keys_changed(&self) {
        if let Err(error) = self.shared.keyring.refresh(&self.shared).await {
            tracing::warn!(%error, "keys could not be read again; trying later");
        }
    }
}
