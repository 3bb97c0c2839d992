//! API keys. What is kept of a key is its hash; a revoked or expired one keeps its row.
//!
//! Every change of a key is an entry of the audit log too, so the log's head tells whether keys may have changed.

use levqor_core::audit::{Act, Actor};
use levqor_core::key::{Minted, Scope, Scopes, parse_hash};
use serde_json::json;

use crate::tx::{Row, Tx};
use crate::{Error, Result, Store, audit};

/// Keys that work at the same time. Each node holds them all in memory.
const LIVE_MOST: i64 = 1_000;

macro_rules! columns {
    () => {
        "id, family, name, scopes, created_at_ms, created_by, expires_at_ms, last_used_at_ms, revoked_at_ms, replaced_by"
    };
}

macro_rules! live {
    ($now:literal) => {
        concat!("revoked_at_ms is null and (expires_at_ms is null or expires_at_ms > ", $now, ")")
    };
}

const BY_ID: &str = concat!("select ", columns!(), " from api_keys where id = $1");
/// Writing the row over itself makes a second change of this key wait for this one.
const HOLD: &str = concat!("update api_keys set id = id where id = $1 returning ", columns!());
const LIST: &str = concat!("select ", columns!(), " from api_keys where id < $1 order by id desc limit $2");
const LIVE: &str =
    concat!("select hash, id, family, scopes, expires_at_ms from api_keys where ", live!("$1"));
const LIVE_SCOPES: &str = concat!("select scopes from api_keys where ", live!("$1"));
const IS_ANY: &str = "select 1 from api_keys limit 1";
const IS_ANY_LIVE: &str = concat!("select 1 from api_keys where ", live!("$1"), " limit 1");

/// A key to be stored.
#[derive(Clone, Debug)]
pub struct NewKey {
    pub minted: Minted,
    pub name: String,
    pub scopes: Scopes,
    pub expires_at_ms: Option<i64>,
}

/// A key, as far as it can be shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRow {
    pub id: String,
    /// The id of the first key in its line of rotations: who asks stays the same.
    pub family: String,
    pub name: String,
    pub scopes: Scopes,
    pub created_at_ms: i64,
    /// Who made it, as in the audit log.
    pub created_by: String,
    pub expires_at_ms: Option<i64>,
    /// Up to a minute late.
    pub last_used_at_ms: Option<i64>,
    pub revoked_at_ms: Option<i64>,
    /// The key that a rotation made in its place.
    pub replaced_by: Option<String>,
}

/// A page of keys, newest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyPage {
    pub keys: Vec<KeyRow>,
    /// Hand it in as `before` to go on; `None` at the end.
    pub next: Option<String>,
}

/// What it takes to recognise a key and to know what it may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LiveKey {
    /// SHA-256 of the key.
    pub hash: [u8; 32],
    pub id: String,
    pub family: String,
    pub scopes: Scopes,
    pub expires_at_ms: Option<i64>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LiveKeys {
    /// Hand it in the next time: no answer means no change.
    pub seen: i64,
    /// Whether a key was ever made, usable or not.
    pub any: bool,
    pub keys: Vec<LiveKey>,
}

/// Whether the database holds keys at all, and one that works.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeyTally {
    pub any: bool,
    pub usable: bool,
}

/// Sorts after every id.
const AFTER_ALL: &str = "g";

impl Store {
    /// Stores a key. Unless `has_others` (keys that the database does not know), one with the scope admin must exist or
    /// be this one: `Conflict`, because nobody could make another.
    pub async fn insert_key(&self, key: NewKey, has_others: bool, by: &Actor, now_ms: i64) -> Result<KeyRow> {
        let by = by.clone();
        self.write(move |tx| {
            let (key, by) = (key.clone(), by.clone());
            Box::pin(async move {
                let scopes = live_scopes(tx, now_ms).await?;
                let has_admin = key.scopes.has(Scope::Admin) || scopes.iter().any(|one| one.has(Scope::Admin));
                if !has_others && !has_admin {
                    let what = "the first key needs the scope admin: without it nobody could make another";
                    return Err(Error::Conflict { what: what.to_owned() });
                }
                if scopes.len() as i64 >= LIVE_MOST {
                    return Err(too_many());
                }
                let family = key.minted.id.clone();
                let row = insert(tx, &key, &family, &by, now_ms).await?;
                let detail = json!({"name": row.name, "scopes": row.scopes.to_string(), "expires_at_ms": row.expires_at_ms});
                audit::append(tx, &Act::new(&by, "key.create", &row.id, now_ms).detail(detail)).await?;
                tx.effects.keys = true;
                Ok(row)
            })
        })
        .await
    }

    /// Ends a key at once. Returns its row; revoking twice is a success.
    pub async fn revoke_key(&self, id: &str, by: &Actor, now_ms: i64) -> Result<KeyRow> {
        let act = Act::new(by, "key.revoke", id, now_ms);
        self.write(move |tx| {
            let act = act.clone();
            Box::pin(async move {
                let mut row = hold(tx, &act.object).await?;
                if row.revoked_at_ms.is_some() {
                    return Ok(row);
                }
                row.revoked_at_ms = Some(now_ms);
                let sql = "update api_keys set revoked_at_ms = $2 where id = $1";
                tx.execute(sql, &[(&row.id).into(), now_ms.into()]).await?;
                audit::append(tx, &act.detail(json!({"name": row.name}))).await?;
                tx.effects.keys = true;
                Ok(row)
            })
        })
        .await
    }

    /// Makes a successor with the same name, scopes and family; the old key lives on until `old_until_ms` at most. With no
    /// `expires_at_ms` the new one lives as long as the old one was meant to. `Conflict` for a key that is over or was
    /// replaced.
    pub async fn rotate_key(
        &self,
        id: &str,
        minted: Minted,
        expires_at_ms: Option<i64>,
        old_until_ms: i64,
        by: &Actor,
        now_ms: i64,
    ) -> Result<KeyRow> {
        let act = Act::new(by, "key.rotate", id, now_ms);
        self.write(move |tx| {
            let (act, minted) = (act.clone(), minted.clone());
            Box::pin(async move {
                let old = hold(tx, &act.object).await?;
                let conflict = |what: String| Err(Error::Conflict { what });
                if old.revoked_at_ms.is_some() {
                    return conflict("the key was revoked; create another".to_owned());
                }
                if let Some(new) = &old.replaced_by {
                    return conflict(format!("the key was replaced by {new}; rotate that one"));
                }
                if old.expires_at_ms.is_some_and(|at_ms| at_ms <= now_ms) {
                    return conflict("the key has expired; create another".to_owned());
                }
                if live_scopes(tx, now_ms).await?.len() as i64 >= LIVE_MOST {
                    return Err(too_many());
                }
                let as_long = old.expires_at_ms.map(|at_ms| now_ms + (at_ms - old.created_at_ms));
                let expires_at_ms = expires_at_ms.or(as_long);
                let new = NewKey { minted, name: old.name.clone(), scopes: old.scopes, expires_at_ms };
                let row = insert(tx, &new, &old.family, &act.actor, now_ms).await?;
                let until_ms = old.expires_at_ms.map_or(old_until_ms, |at_ms| at_ms.min(old_until_ms));
                tx.execute(
                    "update api_keys set replaced_by = $2, expires_at_ms = $3 where id = $1",
                    &[(&old.id).into(), (&row.id).into(), until_ms.into()],
                )
                .await?;
                let detail = json!({"name": row.name, "replaced_by": row.id, "old_until_ms": until_ms, "expires_at_ms": row.expires_at_ms});
                audit::append(tx, &act.detail(detail)).await?;
                tx.effects.keys = true;
                Ok(row)
            })
        })
        .await
    }

    /// Keys, newest first; `before` is the cursor of the page before.
    pub async fn list_keys(&self, before: Option<&str>, limit: usize) -> Result<KeyPage> {
        let before = before.unwrap_or(AFTER_ALL).to_owned();
        self.read(move |tx| {
            let before = before.clone();
            Box::pin(async move {
                let most = limit as i64 + 1;
                let rows = tx.query(LIST, &[(&before).into(), most.into()]).await?;
                let mut keys = rows.iter().map(read).collect::<Result<Vec<_>>>()?;
                let has_more = keys.len() > limit;
                keys.truncate(limit);
                let next = keys.last().filter(|_| has_more).map(|key| key.id.clone());
                Ok(KeyPage { keys, next })
            })
        })
        .await
    }

    pub async fn find_key(&self, id: &str) -> Result<Option<KeyRow>> {
        let id = id.to_owned();
        self.read(move |tx| {
            let id = id.clone();
            Box::pin(
                async move { tx.query_opt(BY_ID, &[(&id).into()]).await?.as_ref().map(read).transpose() },
            )
        })
        .await
    }

    /// All keys that work now; `None` if none can have changed since `seen`. Those that are over by now are left out; that
    /// a key ends later is the reader's to watch.
    pub async fn live_keys(&self, seen: Option<i64>, now_ms: i64) -> Result<Option<LiveKeys>> {
        self.read(move |tx| Box::pin(live_keys(tx, seen, now_ms))).await
    }

    /// Notes when keys were last used. Never moves a time back.
    pub async fn touch_keys(&self, uses: Vec<(String, i64)>) -> Result<()> {
        self.write(move |tx| {
            let uses = uses.clone();
            Box::pin(async move {
                let sql = "update api_keys set last_used_at_ms = $2 where id = $1 \
                    and (last_used_at_ms is null or last_used_at_ms < $2)";
                for (id, at_ms) in &uses {
                    tx.execute(sql, &[id.into(), (*at_ms).into()]).await?;
                }
                Ok(())
            })
        })
        .await
    }
}

async fn live_keys(tx: &mut Tx<'_>, seen: Option<i64>, now_ms: i64) -> Result<Option<LiveKeys>> {
    // The head first: what is read after it is at least as new.
    let head = tx.query_opt("select seq from audit_head where one = 1", &[]).await?;
    let seen_now = head.ok_or_else(|| Error::bug("the audit log has no head"))?.int(0)?;
    if seen == Some(seen_now) {
        return Ok(None);
    }
    let any = tx.query_opt(IS_ANY, &[]).await?.is_some();
    let rows = tx.query(LIVE, &[now_ms.into()]).await?;
    let key = |row: &Row| {
        let hash = parse_hash(&row.text(0)?).ok_or_else(|| Error::bug("the hash of a key is none"))?;
        let scopes = scopes(&row.text(3)?)?;
        Ok(LiveKey { hash, id: row.text(1)?, family: row.text(2)?, scopes, expires_at_ms: row.opt_int(4)? })
    };
    Ok(Some(LiveKeys { seen: seen_now, any, keys: rows.iter().map(key).collect::<Result<_>>()? }))
}

/// Whether there are keys, where there may be no table of them yet.
pub(crate) async fn tally_if_there(tx: &mut Tx<'_>, now_ms: i64) -> Result<KeyTally> {
    if crate::migrate::pending(tx).await?.iter().any(|migration| migration.name.ends_with("_keys")) {
        return Ok(KeyTally::default());
    }
    let any = tx.query_opt(IS_ANY, &[]).await?.is_some();
    let usable = tx.query_opt(IS_ANY_LIVE, &[now_ms.into()]).await?.is_some();
    Ok(KeyTally { any, usable })
}

async fn live_scopes(tx: &mut Tx<'_>, now_ms: i64) -> Result<Vec<Scopes>> {
    let rows = tx.query(LIVE_SCOPES, &[now_ms.into()]).await?;
    rows.iter().map(|row| scopes(&row.text(0)?)).collect()
}

async fn hold(tx: &mut Tx<'_>, id: &str) -> Result<KeyRow> {
    let held = tx.query_opt(HOLD, &[id.into()]).await?;
    read(&held.ok_or(Error::NotFound { what: "key" })?)
}

async fn insert(tx: &mut Tx<'_>, key: &NewKey, family: &str, by: &Actor, now_ms: i64) -> Result<KeyRow> {
    let (scopes, hash) = (key.scopes.to_string(), key.minted.hash());
    tx.execute(
        "insert into api_keys (id, family, name, scopes, hash, created_at_ms, created_by, expires_at_ms) \
         values ($1, $2, $3, $4, $5, $6, $7, $8)",
        &[
            (&key.minted.id).into(),
            family.into(),
            (&key.name).into(),
            (&scopes).into(),
            (&hash).into(),
            now_ms.into(),
            by.as_str().into(),
            key.expires_at_ms.into(),
        ],
    )
    .await?;
    Ok(KeyRow {
        id: key.minted.id.clone(),
        family: family.to_owned(),
        name: key.name.clone(),
        scopes: key.scopes,
        created_at_ms: now_ms,
        created_by: by.as_str().to_owned(),
        expires_at_ms: key.expires_at_ms,
        last_used_at_ms: None,
        revoked_at_ms: None,
        replaced_by: None,
    })
}

fn too_many() -> Error {
    Error::Conflict { what: format!("there are {LIVE_MOST} keys that work, which is the most; revoke some") }
}

fn scopes(text: &str) -> Result<Scopes> {
    Scopes::parse(text).ok_or_else(|| Error::bug("the scopes of a key are none"))
}

fn read(row: &Row) -> Result<KeyRow> {
    Ok(KeyRow {
        id: row.text(0)?,
        family: row.text(1)?,
        name: row.text(2)?,
        scopes: scopes(&row.text(3)?)?,
        created_at_ms: row.int(4)?,
        created_by: row.text(5)?,
        expires_at_ms: row.opt_int(6)?,
        last_used_at_ms: row.opt_int(7)?,
        revoked_at_ms: row.opt_int(8)?,
        replaced_by: row.opt_text(9)?,
    })
}
