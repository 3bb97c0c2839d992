//! Short words for budgets and calls, and the books: three sums that must agree at any moment.

use levqor_core::audit::Actor;
use levqor_core::budget::{Budget, BudgetId, Mode, Scope, ScopeKind, Window, Zone};
use levqor_core::id::JobId;
use levqor_core::job::Tags;
use levqor_core::money::{Bound, CallId, Charge, Nano, Permit, Terms, Usage};
use levqor_store::{CallPlace, NewCall, Refusal, Reserved, Settled, Settlement, Store};

use crate::world::*;

/// Everything that tests spend is a number of these.
pub const CENT: i64 = 10_000_000;

pub fn cents(cents: i64) -> Nano {
    Nano::new(cents * CENT)
}

pub fn budget(id: &str, scope: Scope, window: Window, limit_cents: i64) -> Budget {
    Budget {
        id: BudgetId::parse(id).unwrap(),
        scope,
        window,
        zone: Zone::utc(),
        limit: cents(limit_cents),
        mode: Mode::Hard,
        thresholds_ppm: Vec::new(),
        max_open_holds: None,
        enabled: true,
    }
}

pub fn day(limit_cents: i64) -> Budget {
    budget("day", Scope::global(), Window::Day, limit_cents)
}

pub fn per_job(limit_cents: i64) -> Budget {
    budget("job", Scope::each(ScopeKind::Job), Window::Job, limit_cents)
}

pub async fn put(store: &Store, budget: &Budget) {
    store.put_budget(budget, "api", &Actor::system(), NOON).await.unwrap();
}

pub fn call_id() -> CallId {
    id(NOON).to_string().parse().unwrap()
}

/// A call outside of any job.
pub fn call(amount_cents: i64) -> NewCall {
    NewCall {
        id: call_id(),
        place: None,
        ask: None,
        key: Some("key-1".to_owned()),
        user: None,
        tags: Tags::new(),
        provider: "openai".to_owned(),
        model: "gpt-6-sol".to_owned(),
        price_id: "price".to_owned(),
        terms: Terms::STANDARD,
        bound: Bound { input_tokens: 100, output_tokens: 200, amount: cents(amount_cents) },
        at_ms: NOON,
        lease_ms: 600_000,
    }
}

pub fn in_job(root_job: JobId, attempt: i64, call: NewCall) -> NewCall {
    let place = CallPlace {
        job: root_job,
        root_job,
        workflow: "greet".to_owned(),
        step: "ask".to_owned(),
        logical_call: 1,
        attempt,
    };
    NewCall { place: Some(place), ..call }
}

pub async fn granted(store: &Store, call: NewCall) -> Permit {
    match store.reserve(call).await.unwrap() {
        Reserved::Granted(permit) => permit,
        other => panic!("{other:?}"),
    }
}

/// Held, and on its way.
pub async fn sent(store: &Store, call: NewCall) -> CallId {
    granted(store, call).await.spend()
}

pub async fn refused(store: &Store, call: NewCall) -> Refusal {
    match store.reserve(call).await.unwrap() {
        Reserved::Refused(refusal) => *refusal,
        other => panic!("{other:?}"),
    }
}

pub fn usage() -> Usage {
    Usage { uncached_in: 90, cached_in: 10, out: 40, reasoning: 2, ..Usage::default() }
}

pub fn settlement(call: CallId, cost: Nano) -> Settlement {
    let charge = Charge::Settle { cost, usage: usage(), alarm: None };
    Settlement {
        usage_raw: Some(r#"{"prompt_tokens":100}"#.to_owned()),
        ..Settlement::new(call, charge, NOON + SECOND)
    }
}

pub async fn settle(store: &Store, call: CallId, cost_cents: i64) -> Settled {
    store.settle_call(settlement(call, cents(cost_cents))).await.unwrap()
}

pub async fn release(store: &Store, call: CallId) -> Settled {
    store.settle_call(Settlement::new(call, Charge::Release, NOON + SECOND)).await.unwrap()
}

pub async fn assume(store: &Store, call: CallId) -> Settled {
    store.settle_call(Settlement::new(call, Charge::Assume { alarm: None }, NOON + SECOND)).await.unwrap()
}

/// Spent and held of the only row of a budget, in cents.
pub async fn figures(store: &Store, id: &str, now_ms: i64) -> (i64, i64) {
    let view = store.find_budget(id, now_ms).await.unwrap().unwrap();
    match &view.periods[..] {
        [] => (0, 0),
        [one] => (one.spent.get() / CENT, one.held.get() / CENT),
        more => panic!("{more:?}"),
    }
}

impl World {
    /// What the counters say, what the ledger says, what the calls say: the same, to the nano-dollar, row by row.
    pub async fn books_agree(&self) {
        let carried = "ai_call_holds h where h.budget_id = p.budget_id and h.period_key = p.period_key and h.subject = p.subject";
        let ledger = "select coalesce(sum(l.amount_nano), 0) from ai_call_holds h join cost_ledger l on l.call_id = h.call_id \
            where h.budget_id = p.budget_id and h.period_key = p.period_key and h.subject = p.subject \
            and l.kind in ('settle', 'assume', 'adjust', 'overrun')";
        let calls = "select coalesce(sum(c.settled_nano), 0) from ai_call_holds h join ai_calls c on c.id = h.call_id \
            where h.budget_id = p.budget_id and h.period_key = p.period_key and h.subject = p.subject";
        let open =
            format!("select coalesce(sum(h.amount_nano), 0) from {carried} and h.closed_at_ms is null");
        let open_count = format!("select count(*) from {carried} and h.closed_at_ms is null");
        let all_count = format!("select count(*) from {carried}");
        let assumed = "select coalesce(sum(c.settled_nano), 0) from ai_call_holds h join ai_calls c on c.id = h.call_id \
            where h.budget_id = p.budget_id and h.period_key = p.period_key and h.subject = p.subject and c.state = 'assumed'";
        for (what, wrong) in [
            ("spent and ledger", format!("p.spent_nano <> ({ledger})")),
            ("spent and calls", format!("p.spent_nano <> ({calls})")),
            ("held and holds", format!("p.held_nano <> ({open})")),
            ("open holds", format!("p.open_holds <> ({open_count})")),
            ("calls", format!("p.calls <> ({all_count})")),
            ("assumed", format!("p.assumed_nano <> ({assumed})")),
        ] {
            let sql = format!("select count(*) from budget_periods p where {wrong}");
            assert_eq!(self.number(&sql).await, 0, "{what} disagree");
        }
        let reserved = "select count(*) from ai_calls c where c.reserved_nano <> \
            (select coalesce(sum(l.amount_nano), 0) from cost_ledger l where l.call_id = c.id and l.kind = 'reserve')";
        assert_eq!(self.number(reserved).await, 0, "calls and their reservations disagree");
        let charged = "select count(*) from ai_calls c where coalesce(c.settled_nano, 0) <> (select coalesce(sum(l.amount_nano), 0) \
            from cost_ledger l where l.call_id = c.id and l.kind in ('settle', 'assume', 'adjust', 'overrun'))";
        assert_eq!(self.number(charged).await, 0, "calls and their ledgers disagree");
        self.sums_agree().await;
    }

    /// The sums that reports read, against the calls: by all that a call belongs to, in both widths, and by user.
    async fn sums_agree(&self) {
        for width_ms in [900_000, 86_400_000] {
            let wrong = format!(
                "select count(*) from (select coalesce(c.workflow, '') as workflow, c.provider, c.model, \
                 coalesce(c.key_id, '') as key_id, coalesce(c.user_id, '') as user_id, c.tags, \
                 c.reserved_at_ms - c.reserved_at_ms % {width_ms} as start_ms, sum(c.settled_nano) as cost, count(*) as calls, \
                 sum(case when c.state = 'assumed' then c.settled_nano else 0 end) as assumed, \
                 sum(case when c.state = 'released' then 1 else 0 end) as released, sum(coalesce(c.out_said, 0)) as said \
                 from ai_calls c where c.settled_nano is not null group by 1, 2, 3, 4, 5, 6, 7) c \
                 full join (select g.workflow, g.provider, g.model, g.key_id, g.user_id, g.tags, r.start_ms, \
                 sum(r.cost_nano) as cost, sum(r.calls) as calls, sum(r.assumed_nano) as assumed, sum(r.released) as released, \
                 sum(r.out_said) as said from cost_rollups r join cost_groups g on g.id = r.group_id \
                 where r.width_ms = {width_ms} group by 1, 2, 3, 4, 5, 6, 7) r \
                 on r.workflow = c.workflow and r.provider = c.provider and r.model = c.model and r.key_id = c.key_id \
                 and r.user_id = c.user_id and r.tags = c.tags and r.start_ms = c.start_ms \
                 where c.cost is null or r.cost is null or r.cost <> c.cost or r.calls <> c.calls \
                 or r.assumed <> c.assumed or r.released <> c.released or r.said <> c.said"
            );
            assert_eq!(self.number(&wrong).await, 0, "calls and their sums disagree");
            let lost = "select count(*) from cost_rollups r where not exists (select 1 from cost_groups g where g.id = r.group_id)";
            assert_eq!(self.number(lost).await, 0, "sums that belong to nothing");
        }
        let users = "select count(*) from (select user_id, sum(settled_nano) as cost, count(*) as calls from ai_calls \
            where user_id is not null and settled_nano is not null group by user_id) c \
            full join user_costs u on u.user_id = c.user_id \
            where c.cost is null or u.cost_nano is null or u.cost_nano <> c.cost or u.calls <> c.calls";
        assert_eq!(self.number(users).await, 0, "calls and what their users cost disagree");
    }
}
