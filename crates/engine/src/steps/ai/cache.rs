//! Answers that were paid for already. The key is the whole request as it would go out, so that nothing is answered but what
//! was asked; a hit is a call of its own on record, at no cost.

use levqor_connectors::ai::body_for;
use levqor_core::job::JobError;
use levqor_core::money::{CallId, Nano};
use levqor_core::talk::{Ask, Said, Spot, Tokens};
use levqor_store::{CacheHit, CachedAnswer};
use sha2::{Digest, Sha256};

use super::{Conversation, Stop, budget_key};
use crate::ai::Body;
use crate::chain::chain;

fn unread<T>(error: levqor_store::Error) -> Option<T> {
    tracing::warn!(error = %chain(&error), "the cache of answers cannot be used");
    None
}

impl Conversation<'_> {
    /// The answer to the same request, if there is one that is young enough.
    pub(super) async fn find_cached(&self, ask: &Ask<'_>, spot: Spot) -> Result<Option<Said>, Stop> {
        let (Some(cache_ms), None) = (self.step.cache_ms, ask.again) else { return Ok(None) };
        let Some(key) = self.cache_key(ask, spot)? else { return Ok(None) };
        let now_ms = self.shared.clock.now_ms();
        // A cache that cannot be read is a cache without the answer.
        let found = self.shared.store.find_answer(&key, now_ms - cache_ms).await.unwrap_or_else(unread);
        let Some(mut said) = found.as_ref().and_then(|found| serde_json::from_str::<Said>(&found.said).ok())
        else {
            return Ok(None);
        };
        let Some(of) = found.and_then(|found| found.call.parse().ok()) else { return Ok(None) };
        let hit = CacheHit {
            id: CallId::new(now_ms, rand::random()),
            of,
            place: self.place.call(spot.question, spot.attempt),
            key: Some(budget_key(&self.place.caller).to_owned()),
            tags: self.place.tags.clone(),
            at_ms: now_ms,
        };
        let Some(call) = self.shared.store.record_cache_hit(&hit).await.unwrap_or_else(unread) else {
            return Ok(None);
        };
        said.spot = spot;
        said.call = call.to_string();
        said.cached = true;
        said.cost_nano = Nano::ZERO;
        said.usage = Tokens::default();
        said.why = None;
        Ok(Some(said))
    }

    /// Keeps an answer that stands.
    pub(super) async fn keep_cached(&self, said: &Said) {
        let Some(cache_ms) = self.step.cache_ms.filter(|_| !said.cached) else { return };
        let ask = Ask {
            question: said.spot.question,
            attempt: said.spot.attempt,
            candidate: Some(said.spot.candidate),
            cuts: 0,
            again: None,
            why: None,
        };
        let (Ok(Some(key)), Ok(text)) = (self.cache_key(&ask, said.spot), serde_json::to_string(said)) else {
            return;
        };
        let now_ms = self.shared.clock.now_ms();
        let answer = CachedAnswer { call: said.call.clone(), said: text };
        if let Err(error) = self.shared.store.put_answer(&key, &answer, now_ms, now_ms + cache_ms).await {
            tracing::warn!(error = %chain(&error), "an answer could not be kept in the cache");
        }
    }

    fn cache_key(&self, ask: &Ask<'_>, spot: Spot) -> Result<Option<String>, JobError> {
        let order = match self.order(ask, spot, false) {
            Ok(order) => order,
            Err(Stop::Outcome(levqor_core::outcome::Outcome::Fail { error })) => return Err(error),
            Err(_) => return Ok(None),
        };
        let provider = self.shared.ai.provider(&order.provider);
        let (Some(provider), Body::Ask(mut request)) = (provider, order.body) else { return Ok(None) };
        request.model = order.model;
        let mut hash = Sha256::new();
        let limit = order.wish.requested.map_or_else(|| "-".to_owned(), |limit| limit.to_string());
        for part in [b"v1", provider.name.as_bytes(), provider.base_url.as_bytes(), limit.as_bytes()] {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        hash.update(body_for(&request, provider, 1, true));
        Ok(Some(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()))
    }
}
