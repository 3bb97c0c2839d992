//! Whatever happens in whatever order, the books agree, no hold passes a hard limit, and nothing counts twice.

use levqor_core::audit::Actor;
use levqor_core::budget::{Budget, Mode, Scope, ScopeKind, Window};
use levqor_core::money::{Alarm, CallId, Charge, Nano};
use levqor_store::{Correction, NewCall, Reserved, Settlement};

use super::help::*;
use crate::world::*;

/// A small generator of numbers that are the same in every run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, sides: i64) -> i64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) % sides.unsigned_abs()) as i64
    }
}

fn budgets(dice: &mut Dice) -> Vec<Budget> {
    let jobs = per_job(20 + dice.below(30));
    let users = budget("users", Scope::each(ScopeKind::User), Window::Hour, 40 + dice.below(60));
    let rolling = budget("rolling", Scope::global(), Window::Rolling { hours: 2 }, 150 + dice.below(200));
    let observed = Budget { mode: Mode::Observe, ..budget("observed", Scope::global(), Window::Total, 1) };
    vec![jobs, users, day(100 + dice.below(200)), rolling, observed]
}

/// Rows that this call was just held in and that hold more than their hard limit. (Others may: limits come down.) A rolling
/// window is all of its buckets; the races look at those.
fn passed(call: CallId) -> String {
    format!(
        "select count(*) from ai_call_holds h join budget_periods p on p.budget_id = h.budget_id and p.subject = h.subject \
         and p.period_key = h.period_key join budgets b on b.id = p.budget_id where h.call_id = '{call}' and b.mode = 'hard' \
         and p.spent_nano + p.held_nano > b.limit_nano"
    )
}

#[derive(Clone)]
enum Charged {
    Settlement(Box<Settlement>),
    Correction(Correction),
}

struct Play {
    dice: Dice,
    now_ms: i64,
    jobs: Vec<levqor_core::id::JobId>,
    attempt: i64,
    /// Held and maybe over.
    calls: Vec<(CallId, i64)>,
    charged: Vec<Charged>,
}

impl Play {
    async fn reserve(&mut self, world: &World) {
        self.attempt += 1;
        let amount = self.dice.below(20);
        let job = self.jobs[self.dice.below(4) as usize];
        let asked = NewCall {
            user: (self.dice.below(3) > 0).then(|| format!("user-{}", self.attempt % 2)),
            at_ms: self.now_ms,
            lease_ms: HOUR * (1 + self.dice.below(30)),
            ..in_job(job, self.attempt, call(amount))
        };
        match world.store.reserve(asked).await.unwrap() {
            Reserved::Granted(permit) => {
                let call = permit.spend();
                self.calls.push((call, amount));
                assert_eq!(world.number(&passed(call)).await, 0, "a hold passed a limit");
            }
            Reserved::Refused(refusal) => {
                assert!(refusal.wanted.get() >= 0 && !refusal.budget.as_str().is_empty())
            }
            Reserved::Known { .. } => panic!("each attempt is another place"),
        }
    }

    async fn charge(&mut self, world: &World) {
        if self.calls.is_empty() {
            return;
        }
        let (call, amount) = self.calls[self.dice.below(self.calls.len() as i64) as usize];
        let charge = match self.dice.below(10) {
            0 | 1 => Charge::Release,
            2 | 3 => Charge::Assume { alarm: Some(Alarm::NoUsage) },
            // Now and then a provider that charges more than it may.
            4 if self.dice.below(4) == 0 => {
                Charge::Settle { cost: cents(amount + 1), usage: usage(), alarm: None }
            }
            _ => Charge::Settle { cost: cents(self.dice.below(amount + 1)), usage: usage(), alarm: None },
        };
        let settlement = Settlement::new(call, charge, self.now_ms);
        world.store.settle_call(settlement.clone()).await.unwrap();
        self.charged.push(Charged::Settlement(Box::new(settlement)));
    }

    async fn correct(&mut self, world: &World) {
        if self.calls.is_empty() {
            return;
        }
        let (call, amount) = self.calls[self.dice.below(self.calls.len() as i64) as usize];
        let cost = cents(self.dice.below(amount + 1));
        let correction =
            Correction { call, cost, reason: "r".to_owned(), actor: Actor::cli(), at_ms: self.now_ms };
        if world.store.correct_call(correction.clone()).await.is_ok() {
            // What was said before is void: replays of it would be another correction.
            self.charged.retain(|it| !matches!(it, Charged::Correction(before) if before.call == call));
            self.charged.push(Charged::Correction(correction));
        }
    }

    async fn edit(&mut self, world: &World) {
        for budget in budgets(&mut self.dice) {
            put(&world.store, &budget).await;
        }
    }

    async fn turn(&mut self, world: &World) {
        match self.dice.below(20) {
            0..=9 => self.reserve(world).await,
            10..=14 => self.charge(world).await,
            15 => self.correct(world).await,
            16 => self.edit(world).await,
            17 => self.now_ms += HOUR / 3 * (1 + self.dice.below(4)),
            18 => {
                world.store.sweep_calls(self.now_ms, 5).await.unwrap();
            }
            _ => {
                let call = in_job(self.jobs[0], 1_000_000, call(1));
                let room = world.store.find_room(&NewCall { at_ms: self.now_ms, ..call }).await.unwrap();
                assert!(room.room.unwrap() >= Nano::ZERO);
            }
        }
    }
}

async fn play(world: World, seed: u64) {
    let mut dice = Dice(seed);
    for budget in budgets(&mut dice) {
        put(&world.store, &budget).await;
    }
    let jobs = (0..4).map(|_| id(NOON)).collect();
    let mut play = Play { dice, now_ms: NOON, jobs, attempt: 0, calls: Vec::new(), charged: Vec::new() };
    for turn in 0..240 {
        play.turn(&world).await;
        if turn % 40 == 39 {
            world.books_agree().await;
        }
    }
    assert!(play.calls.len() > 10, "too little happened: {}", play.calls.len());

    let sums = "select cast(coalesce(sum(spent_nano + held_nano + assumed_nano + overrun_nano), 0) as bigint) from budget_periods";
    let (before, entries) =
        (world.number(sums).await, world.number("select count(*) from cost_ledger").await);
    for charged in play.charged {
        let settled = match charged {
            Charged::Settlement(settlement) => world.store.settle_call(*settlement).await.unwrap(),
            Charged::Correction(correction) => world.store.correct_call(correction).await.unwrap(),
        };
        assert!(!settled.changed, "a replay changed something");
    }
    assert_eq!(
        (world.number(sums).await, world.number("select count(*) from cost_ledger").await),
        (before, entries)
    );
    world.books_agree().await;
}

each_engine! {
    async fn first_sequence(world: World) { play(world, 1).await; }

    async fn second_sequence(world: World) { play(world, 20_261_122).await; }

    async fn third_sequence(world: World) { play(world, 4_242_424_242).await; }
}
