//! The clock as a value: the binary hands in the real one, tests one that they set.

/// Wall-clock time in milliseconds since 1970. It may jump; nothing that must be monotonic hangs on it.
pub trait Clock: Send + Sync + 'static {
    fn now_ms(&self) -> i64;
}
