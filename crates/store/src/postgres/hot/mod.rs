//! The hot verbs: each is one statement over arrays, one round trip, one commit for many callers.
//!
//! Plans are fixed by how the statements are written, since the planner knows neither the size of a batch nor what the
//! tables will hold later: a row of a large table is found by `= any (array)` or in a `lateral … offset 0`, both of which
//! can only become lookups in the primary key. Conditions that a partial index promises are avoided there (`node is not
//! null` instead of `state = 'running'`), because they would make a walk over that index look cheap.

pub(super) mod callback;
pub(super) mod claim;
pub(super) mod finish;
pub(super) mod intake;
pub(super) mod money;
pub(super) mod moving;
pub(super) mod rate;
pub(super) mod steps;

/// A text of this many bytes fills as much of a batch as one small job.
const BYTES_PER_WEIGHT: usize = 16 * 1024;

/// The weight of an item with texts of this many bytes in all.
fn weight_of(bytes: usize) -> usize {
    1 + bytes / BYTES_PER_WEIGHT
}
