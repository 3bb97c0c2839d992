//! Sums of what calls cost and used, written by the commit that charges them. Reports read these and never the calls.
//!
//! A charge counts where its call was held, like everywhere: a correction weeks later changes the sums of that quarter of
//! an hour and of that day. What is added is the difference between a call before the batch and after it, so whatever the
//! batch did to it in between, the sums of all groups are the sums of all calls, and of the ledger.

use std::collections::BTreeMap;

use levqor_core::money::{CallState, Charge, Usage};
use serde_json::{Value as Json, json};
use sha2::{Digest, Sha256};

use super::calls::Call;
use super::write::{Writes, classes};
use crate::tx::Sql;

/// All zones of today are whole quarters of an hour away from UTC, so days and hours of any zone are made of these.
pub(crate) const QUARTER_MS: i64 = 900_000;
pub(crate) const DAY_MS: i64 = 86_400_000;

/// No call uses more of anything, whatever a provider says: so many of them add up to a number that can be stored.
const MOST_OF_A_CLASS: u64 = 1_000_000_000_000;

/// calls, settled, released, assumed; cost, assumed, overrun; then the classes of usage.
type Sums = [i64; 18];

/// What a call belongs to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Belongs {
    pub workflow: String,
    pub provider: String,
    pub model: String,
    pub key: String,
    pub user: String,
    pub tags: String,
    pub reserved_at_ms: i64,
}

impl Belongs {
    /// Those that belong to the same have the same.
    fn group(&self) -> String {
        let text =
            json!([self.workflow, self.provider, self.model, self.key, self.user, self.tags]).to_string();
        Sha256::digest(text)[..16].iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// What the batch adds for this call; `None` where it is still open, or as it was.
fn added(call: &Call) -> Option<Sums> {
    let (state_before, settled_before) = call.before;
    let settled = call.settled?;
    let is_new = settled_before.is_none();
    let before = settled_before.unwrap_or(0);
    let counted = |state| i64::from(call.state == state) - i64::from(!is_new && state_before == state);
    let assumed = |state: CallState, amount: i64| if state == CallState::Assumed { amount } else { 0 };
    let beyond = |amount: i64| amount.saturating_sub(call.reserved).max(0);
    let mut sums = [0; 18];
    sums[..7].copy_from_slice(&[
        i64::from(is_new),
        counted(CallState::Settled),
        counted(CallState::Released),
        counted(CallState::Assumed),
        settled - before,
        assumed(call.state, settled) - assumed(state_before, before),
        beyond(settled) - beyond(before),
    ]);
    if let Some(usage) = used(call) {
        for (sum, class) in sums[7..].iter_mut().zip(classes(usage)) {
            *sum = class.min(MOST_OF_A_CLASS) as i64;
        }
    }
    sums.iter().any(|sum| *sum != 0).then_some(sums)
}

/// A usage is written once: what has one was settled by its provider, and that happens once.
fn used(call: &Call) -> Option<&Usage> {
    match &call.write.as_ref()?.settlement.as_ref()?.charge {
        Charge::Settle { usage, .. } => Some(usage),
        Charge::Release | Charge::Assume { .. } => None,
    }
}

// Differs because lists are taken apart differently.
const GROUPS: Sql = Sql::Each {
    sqlite: "insert into cost_groups (id, workflow, provider, model, key_id, user_id, tags) \
        select value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5, value ->> 6 \
        from json_each($1) where true on conflict (id) do nothing",
    postgres: "insert into cost_groups (id, workflow, provider, model, key_id, user_id, tags) \
        select w ->> 0, w ->> 1, w ->> 2, w ->> 3, w ->> 4, w ->> 5, w ->> 6 \
        from jsonb_array_elements($1::text::jsonb) as e (w) on conflict (id) do nothing",
};

macro_rules! adding {
    () => {
        " on conflict (width_ms, start_ms, group_id) do update set calls = r.calls + excluded.calls, \
         settled = r.settled + excluded.settled, released = r.released + excluded.released, \
         assumed = r.assumed + excluded.assumed, cost_nano = r.cost_nano + excluded.cost_nano, \
         assumed_nano = r.assumed_nano + excluded.assumed_nano, overrun_nano = r.overrun_nano + excluded.overrun_nano, \
         uncached_in = r.uncached_in + excluded.uncached_in, cached_in = r.cached_in + excluded.cached_in, \
         write_short = r.write_short + excluded.write_short, write_long = r.write_long + excluded.write_long, \
         write_any = r.write_any + excluded.write_any, image_in = r.image_in + excluded.image_in, \
         audio_in = r.audio_in + excluded.audio_in, out_said = r.out_said + excluded.out_said, \
         out_thought = r.out_thought + excluded.out_thought, audio_out = r.audio_out + excluded.audio_out, \
         searches = r.searches + excluded.searches"
    };
}

macro_rules! into_rollups {
    () => {
        "insert into cost_rollups as r (width_ms, start_ms, group_id, calls, settled, released, assumed, cost_nano, \
         assumed_nano, overrun_nano, uncached_in, cached_in, write_short, write_long, write_any, image_in, audio_in, out_said, \
         out_thought, audio_out, searches) select "
    };
}

// Differs because lists are taken apart differently.
const ROLLUPS: Sql = Sql::Each {
    sqlite: concat!(
        into_rollups!(),
        "value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5, value ->> 6, value ->> 7, \
         value ->> 8, value ->> 9, value ->> 10, value ->> 11, value ->> 12, value ->> 13, value ->> 14, value ->> 15, \
         value ->> 16, value ->> 17, value ->> 18, value ->> 19, value ->> 20 from json_each($1) where true",
        adding!()
    ),
    postgres: concat!(
        into_rollups!(),
        "(w ->> 0)::bigint, (w ->> 1)::bigint, w ->> 2, (w ->> 3)::bigint, (w ->> 4)::bigint, (w ->> 5)::bigint, \
         (w ->> 6)::bigint, (w ->> 7)::bigint, (w ->> 8)::bigint, (w ->> 9)::bigint, (w ->> 10)::bigint, \
         (w ->> 11)::bigint, (w ->> 12)::bigint, (w ->> 13)::bigint, (w ->> 14)::bigint, (w ->> 15)::bigint, \
         (w ->> 16)::bigint, (w ->> 17)::bigint, (w ->> 18)::bigint, (w ->> 19)::bigint, (w ->> 20)::bigint \
         from jsonb_array_elements($1::text::jsonb) as e (w)",
        adding!()
    ),
};

// Differs because lists are taken apart differently.
const USERS: Sql = Sql::Each {
    sqlite: "insert into user_costs as u (user_id, calls, cost_nano, updated_at_ms) \
        select value ->> 0, value ->> 1, value ->> 2, value ->> 3 from json_each($1) where true \
        on conflict (user_id) do update set calls = u.calls + excluded.calls, cost_nano = u.cost_nano + excluded.cost_nano, \
        updated_at_ms = max(u.updated_at_ms, excluded.updated_at_ms)",
    postgres: "insert into user_costs as u (user_id, calls, cost_nano, updated_at_ms) \
        select w ->> 0, (w ->> 1)::bigint, (w ->> 2)::bigint, (w ->> 3)::bigint \
        from jsonb_array_elements($1::text::jsonb) as e (w) \
        on conflict (user_id) do update set calls = u.calls + excluded.calls, cost_nano = u.cost_nano + excluded.cost_nano, \
        updated_at_ms = greatest(u.updated_at_ms, excluded.updated_at_ms)",
};

/// Adds what the batch did to its calls. Comes after the counters, and in the order of keys, so that no two batches wait
/// for each other.
pub(super) fn write<'a>(writes: &mut Writes, calls: impl Iterator<Item = &'a Call>, at_ms: i64) {
    let mut groups: BTreeMap<String, &Belongs> = BTreeMap::new();
    let mut rollups: BTreeMap<(i64, i64, String), Sums> = BTreeMap::new();
    let mut users: BTreeMap<&str, (i64, i64)> = BTreeMap::new();
    for (call, sums) in calls.filter_map(|call| Some((call, added(call)?))) {
        let belongs = &call.belongs;
        let group = belongs.group();
        for width_ms in [QUARTER_MS, DAY_MS] {
            let start_ms = belongs.reserved_at_ms - belongs.reserved_at_ms.rem_euclid(width_ms);
            let sum = rollups.entry((width_ms, start_ms, group.clone())).or_default();
            sum.iter_mut().zip(sums).for_each(|(sum, more)| *sum += more);
        }
        if !belongs.user.is_empty() {
            let user = users.entry(&belongs.user).or_default();
            *user = (user.0 + sums[0], user.1 + sums[4]);
        }
        groups.insert(group, belongs);
    }
    let groups = groups
        .iter()
        .map(|(id, it)| json!([id, it.workflow, it.provider, it.model, it.key, it.user, it.tags]));
    let rollups = rollups.iter().map(|((width_ms, start_ms, group), sums)| {
        let key = [json!(width_ms), json!(start_ms), json!(group)];
        Json::from_iter(key.into_iter().chain(sums.iter().map(|sum| json!(sum))))
    });
    let users = users.iter().map(|(user, (calls, cost))| json!([user, calls, cost, at_ms]));
    writes.any(GROUPS, groups.collect());
    writes.any(ROLLUPS, rollups.collect());
    writes.any(USERS, users.collect());
}
