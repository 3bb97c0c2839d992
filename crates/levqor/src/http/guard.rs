//! The checks that come before everything else on a guarded route: key, then rate limit.

use http::HeaderMap;

use super::App;
use super::auth::Caller;
use super::context::Context;
use super::error::Result;

impl App {
    /// The caller behind the request. A wrong key is counted against the client, and never against holders of a right one.
    pub fn require_key(&self, context: &Context, headers: &HeaderMap) -> Result<Caller> {
        self.keys.caller(headers).ok_or_else(|| self.wrong_key(context))
    }

    /// The same for scrapers of figures, which may send the key as a bearer token.
    pub fn require_key_or_bearer(&self, context: &Context, headers: &HeaderMap) -> Result<Caller> {
        self.keys.caller_or_bearer(headers).ok_or_else(|| self.wrong_key(context))
    }

    /// For writes: the key, and a place in both windows.
    pub async fn require_write(&self, context: &Context, headers: &HeaderMap) -> Result<Caller> {
        let caller = self.require_key(context, headers)?;
        let left =
            self.limits.count_write(self.engine.store(), context.client(), self.clock.now_ms()).await?;
        context.set_left(left);
        Ok(caller)
    }

    fn wrong_key(&self, context: &Context) -> super::error::ApiError {
        self.limits.count_wrong_key(context.client(), self.clock.now_ms())
    }
}
