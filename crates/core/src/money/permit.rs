//! The right to send one request. There is one for each committed hold, it cannot be copied, and sending consumes it: so
//! "no request without a hold" is checked by the compiler.
//!
//! Only the store can know that a hold is committed. The one function that makes a permit is forbidden everywhere else by
//! a lint (`clippy.toml`), and a test counts its uses.

use std::fmt;

use super::amount::Nano;
use super::call::CallId;

/// Is told when a permit is dropped unused: its request never went out, and the hold can go back.
pub trait Unused: Send + Sync {
    fn never_sent(&self, call: CallId);
}

/// The right to send the request of one call, once, costing up to `held`.
#[must_use = "a permit holds money until it is used or dropped"]
pub struct Permit {
    call: CallId,
    held: Nano,
    output_tokens: u64,
    unused: Option<Box<dyn Unused>>,
}

impl Permit {
    /// For the store alone, after the commit of the hold. Dropped unused, the permit tells `unused`.
    pub fn of_committed_hold(call: CallId, held: Nano, output_tokens: u64, unused: Box<dyn Unused>) -> Self {
        Permit { call, held, output_tokens, unused: Some(unused) }
    }

    pub fn call(&self) -> CallId {
        self.call
    }

    /// The most that the request may cost.
    pub fn held(&self) -> Nano {
        self.held
    }

    /// The limit on the answer that the hold was made for; a request that asks for more must not be sent.
    pub fn output_tokens(&self) -> u64 {
        self.output_tokens
    }

    /// Called by whoever writes the first byte of the request, just before. From here on the hold goes back on proof only.
    pub fn spend(mut self) -> CallId {
        self.unused = None;
        self.call
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(unused) = self.unused.take() {
            unused.never_sent(self.call);
        }
    }
}

impl fmt::Debug for Permit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Permit({}, {})", self.call, self.held)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    struct Told(Arc<Mutex<Vec<CallId>>>);

    impl Unused for Told {
        fn never_sent(&self, call: CallId) {
            self.0.lock().expect("no panic").push(call);
        }
    }

    #[test]
    fn a_permit_that_is_dropped_unused_gives_its_hold_back_and_a_spent_one_does_not() {
        let told = Arc::new(Mutex::new(Vec::new()));
        let permit = |n| {
            #[allow(clippy::disallowed_methods, reason = "this is its test")]
            Permit::of_committed_hold(CallId::new(n, [0; 10]), Nano::new(5), 1, Box::new(Told(told.clone())))
        };

        let spent = permit(1).spend();
        drop(permit(2));

        assert_eq!(spent, CallId::new(1, [0; 10]));
        assert_eq!(*told.lock().expect("no panic"), [CallId::new(2, [0; 10])]);
    }
}
