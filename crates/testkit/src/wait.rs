//! The one way to wait in a test: for a condition, with a limit. Nothing else may sleep.

use std::future::Future;
use std::panic::Location;
use std::time::{Duration, Instant};

/// Short enough that a test does not notice, long enough that a poll of a database does not eat the processor.
const POLL_EVERY: Duration = Duration::from_millis(5);

/// Asks `condition` until it says yes; panics, naming the caller's line, when it has not within `limit`.
///
/// The condition is asked at least once, and once more after the limit, so that a stalled machine does not fail a test whose
/// condition holds. A condition that hangs is cut off at the limit.
#[track_caller]
pub fn wait_until<F, Fut>(limit: Duration, mut condition: F) -> impl Future<Output = ()>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = bool>,
{
    let caller = Location::caller();
    async move {
        let deadline = Instant::now() + limit;
        loop {
            let last = Instant::now() >= deadline;
            let left = deadline.saturating_duration_since(Instant::now()).max(POLL_EVERY);
            if tokio::time::timeout(left, condition()).await == Ok(true) {
                return;
            }
            if last {
                panic!("the condition at {caller} did not hold within {limit:?}");
            }
            tokio::time::sleep(POLL_EVERY).await;
        }
    }
}
