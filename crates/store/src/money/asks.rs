//! Questions to models that come with a key of their caller's, so that whoever asks again pays for nothing twice.
//!
//! A row per key says what was asked under it and, once there is one, the answer. What keeps a second call from being made is
//! not that row but the place of the call, which is made of the key: one place makes one call, whichever node asks.

use levqor_core::money::{CallId, CallState};

use super::statements::{call_id, call_state};
use super::types::AskPlace;
use crate::tx::Tx;
use crate::{Result, Store};

/// A call from before the key was claimed by so much is one of an earlier life of the key. Longer than clocks differ, much
/// shorter than keys are kept.
const EARLIER_MS: i64 = 3_600_000;

/// What is known of a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    /// Something else was asked under this key.
    Other,
    /// Nobody was charged for it: it may be asked, at this place.
    Free(AskPlace),
    /// A call was made and is not over.
    Open(CallId),
    /// A call was charged, and its answer is not here: not yet, or not any more.
    Charged(CallId),
    /// JSON of the gateway's.
    Answered(String),
}

const CLAIM: &str = "insert into ai_asks (key, fingerprint, user_id, answer, created_at_ms, expires_at_ms) \
    values ($1, $2, $3, null, $4, $5) on conflict (key) do update set fingerprint = excluded.fingerprint, \
    user_id = excluded.user_id, answer = null, created_at_ms = excluded.created_at_ms, \
    expires_at_ms = excluded.expires_at_ms where ai_asks.expires_at_ms <= $4";

const FIND: &str =
    "select fingerprint, answer, created_at_ms from ai_asks where key = $1 and expires_at_ms > $2";

const LAST: &str = "select id, state, place, reserved_at_ms from ai_calls where place >= $1 and place < $2 \
    order by place desc limit 1";

const KEEP: &str = "update ai_asks set answer = $3, expires_at_ms = $4 where key = $1 and fingerprint = $2 and answer is null";

const EXPIRED: &str = "delete from ai_asks where key in \
    (select key from ai_asks where expires_at_ms <= $1 order by expires_at_ms limit $2)";

impl Store {
    /// Claims the key for this question where it is free, and says how the question stands.
    pub async fn ask(
        &self,
        key: &str,
        fingerprint: &str,
        user: Option<&str>,
        now_ms: i64,
        expires_at_ms: i64,
    ) -> Result<Asked> {
        if let Some(asked) = self.find_ask(key, fingerprint, now_ms).await? {
            return Ok(asked);
        }
        let (owned_key, print) = (key.to_owned(), fingerprint.to_owned());
        let user = user.map(str::to_owned);
        self.write(move |tx| {
            let (key, fingerprint, user) = (owned_key.clone(), print.clone(), user.clone());
            Box::pin(async move {
                let values = [
                    (&key).into(),
                    (&fingerprint).into(),
                    user.as_deref().into(),
                    now_ms.into(),
                    expires_at_ms.into(),
                ];
                tx.execute(CLAIM, &values).await.map(drop)
            })
        })
        .await?;
        let asked = self.find_ask(key, fingerprint, now_ms).await?;
        // Erased in between, with the person that it was for: to claim it again is for the next request.
        Ok(asked.unwrap_or(Asked::Other))
    }

    /// How a question stands; `None`: its key is not claimed.
    pub async fn find_ask(&self, key: &str, fingerprint: &str, now_ms: i64) -> Result<Option<Asked>> {
        let (key, fingerprint) = (key.to_owned(), fingerprint.to_owned());
        self.read(move |tx| {
            let (key, fingerprint) = (key.clone(), fingerprint.clone());
            Box::pin(async move { find(tx, &key, &fingerprint, now_ms).await })
        })
        .await
    }

    /// Keeps the answer for whoever asks again. False: the claim is not there any more, or has one.
    pub async fn keep_ask(
        &self,
        key: &str,
        fingerprint: &str,
        answer: &str,
        expires_at_ms: i64,
    ) -> Result<bool> {
        let (key, fingerprint, answer) = (key.to_owned(), fingerprint.to_owned(), answer.to_owned());
        self.write(move |tx| {
            let (key, fingerprint, answer) = (key.clone(), fingerprint.clone(), answer.clone());
            Box::pin(async move {
                let values = [(&key).into(), (&fingerprint).into(), (&answer).into(), expires_at_ms.into()];
                Ok(tx.execute(KEEP, &values).await? == 1)
            })
        })
        .await
    }
}

async fn find(tx: &mut Tx<'_>, key: &str, fingerprint: &str, now_ms: i64) -> Result<Option<Asked>> {
    let Some(row) = tx.query_opt(FIND, &[key.into(), now_ms.into()]).await? else { return Ok(None) };
    if row.text(0)? != fingerprint {
        return Ok(Some(Asked::Other));
    }
    if let Some(answer) = row.opt_text(1)? {
        return Ok(Some(Asked::Answered(answer)));
    }
    let claimed_at_ms = row.int(2)?;
    let (from, until) = AskPlace::range(key);
    let last = tx.query_opt(LAST, &[(&from).into(), (&until).into()]).await?;
    let Some(last) = last else { return Ok(Some(Asked::Free(AskPlace::first(key)))) };
    let (call, state) = (call_id(&last.text(0)?)?, call_state(&last.text(1)?)?);
    let is_earlier = last.int(3)? < claimed_at_ms.saturating_sub(EARLIER_MS);
    Ok(Some(match state {
        state if state.is_open() => Asked::Open(call),
        CallState::Released => Asked::Free(AskPlace::after(key, &last.text(2)?)),
        _ if is_earlier => Asked::Free(AskPlace::after(key, &last.text(2)?)),
        _ => Asked::Charged(call),
    }))
}

/// Takes a person's questions away.
pub(super) async fn forget_user(tx: &mut Tx<'_>, user: &str) -> Result<()> {
    tx.execute("delete from ai_asks where user_id = $1", &[user.into()]).await.map(drop)
}

/// Deletes what is too old.
pub(crate) async fn sweep(tx: &mut Tx<'_>, now_ms: i64, limit: i64) -> Result<()> {
    tx.execute(EXPIRED, &[now_ms.into(), limit.into()]).await.map(drop)
}
