//! The checks that come before everything else on a guarded route: key, scope, then rate limit.

use http::HeaderMap;

use super::App;
use super::auth::Caller;
use super::context::Context;
use super::error::{ApiError, Result};
use super::headers::X_API_KEY;

impl App {
    /// The caller behind the request, allowed what the route needs. A wrong key is counted against the client, and never
    /// against holders of a right one.
    pub fn require_key(&self, context: &Context, headers: &HeaderMap) -> Result<Caller> {
        let caller = self.keys.caller(headers).ok_or_else(|| self.wrong_key(context))?;
        permit(context, caller)
    }

    /// The same for scrapers of figures, which may send the key as a bearer token.
    pub fn require_key_or_bearer(&self, context: &Context, headers: &HeaderMap) -> Result<Caller> {
        let caller = self.keys.caller_or_bearer(headers).ok_or_else(|| self.wrong_key(context))?;
        permit(context, caller)
    }

    /// For writes: the key, and a place in both windows.
    pub async fn require_write(&self, context: &Context, headers: &HeaderMap) -> Result<Caller> {
        let caller = self.require_key(context, headers)?;
        self.count_write(context).await?;
        Ok(caller)
    }

    /// For reads that are open to everybody and show more to holders of a key: whether this is one with the scope of
    /// the route. A wrong key is counted like any other, and gets no more than no key does.
    pub fn has_key(&self, context: &Context, headers: &HeaderMap) -> Result<bool> {
        if let Some(caller) = self.keys.caller(headers) {
            return Ok(caller.scopes.has(context.scope()));
        }
        if headers.contains_key(X_API_KEY) {
            self.limits.allow_wrong_key(context.client(), self.clock.now_ms())?;
        }
        Ok(false)
    }

    /// For writes that may be open to everybody: a place in both windows, and a name that tells callers apart.
    pub async fn require_public_write(&self, context: &Context, headers: &HeaderMap) -> Result<String> {
        self.count_write(context).await?;
        let nobody = || format!("public {}", context.client());
        Ok(self.keys.caller(headers).map_or_else(nobody, |caller| caller.name.to_string()))
    }

    async fn count_write(&self, context: &Context) -> Result<()> {
        let left =
            self.limits.count_write(self.engine.store(), context.client(), self.clock.now_ms()).await?;
        context.set_left(left);
        Ok(())
    }

    fn wrong_key(&self, context: &Context) -> ApiError {
        self.limits.count_wrong_key(context.client(), self.clock.now_ms())
    }
}

fn permit(context: &Context, caller: Caller) -> Result<Caller> {
    let needed = context.scope();
    if caller.scopes.has(needed) { Ok(caller) } else { Err(ApiError::lacks_scope(needed, caller.scopes)) }
}
