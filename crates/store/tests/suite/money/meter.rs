//! What people's AI calls cost, told once, whatever dies in between.

use levqor_core::audit::Actor;
use levqor_core::money::Nano;
use levqor_core::payment::{Payment, PaymentKind};
use levqor_core::user::UserUpsert;
use levqor_store::{Correction, Error, MeterEvent, MeterTry, NewCall};

use super::help::*;
use crate::world::*;

const MINUTE: i64 = 60_000;

impl World {
    /// A person, and a customer where `customer` says so.
    async fn person(&self, id: &str, customer: Option<&str>) {
        let user = UserUpsert {
            email: format!("{id}@example.org"),
            name: None,
            locale: None,
            currency: None,
            meta: "{}".to_owned(),
        };
        self.store.upsert_user(id, user, &Actor::system(), NOON).await.unwrap();
        let payment = Payment {
            event_id: format!("evt-{id}"),
            event_type: "checkout.session.completed".to_owned(),
            kind: PaymentKind::Paid,
            object_id: None,
            session_id: None,
            payment_intent: None,
            charge: None,
            customer: customer.map(str::to_owned),
            user_id: Some(id.to_owned()),
            amount: None,
            currency: None,
            status: None,
            happened_at_ms: NOON,
        };
        self.store.record_payment(payment, None, NOON).await.unwrap();
    }

    async fn charge(&self, user: &str, nano: i64) -> levqor_core::money::CallId {
        let id = sent(&self.store, NewCall { user: Some(user.to_owned()), ..call(1_000) }).await;
        self.store.settle_call(settlement(id, Nano::new(nano))).await.unwrap();
        id
    }

    async fn meter(&self, now_ms: i64) -> usize {
        self.store.make_meter_events(now_ms, 20).await.unwrap()
    }

    async fn meter_due(&self, now_ms: i64) -> Vec<MeterEvent> {
        let events = self.store.claim_meter_events(now_ms, now_ms + 5 * MINUTE, 20).await.unwrap();
        self.meter_agrees().await;
        events
    }

    async fn ended(&self, event: &MeterEvent, outcome: MeterTry, now_ms: i64) -> bool {
        let ended = self.store.end_meter_try(&event.id, outcome, now_ms).await.unwrap();
        self.meter_agrees().await;
        ended
    }

    /// Told, doubted, pending and waiting, in nano-dollars; together they are what was spent.
    async fn stands(&self) -> (i64, i64, i64, i64) {
        let status = self.store.meter_status().await.unwrap();
        let all =
            (status.told_micro + status.doubted_micro + status.pending_micro) * 1_000 + status.waiting.get();
        assert_eq!(all, status.cost.get());
        (status.told_micro, status.doubted_micro, status.pending_micro, status.waiting.get())
    }

    async fn meter_agrees(&self) {
        let of = |state: &str| {
            format!(
                "(select coalesce(sum(e.value_micro), 0) from meter_events e where e.user_id = u.user_id and e.state {state})"
            )
        };
        let wrong = format!(
            "select count(*) from user_costs u where u.told_micro <> {} or u.doubted_micro <> {} or u.metered_micro <> {}",
            of("= 'told'"),
            of("= 'doubted'"),
            of("<> 'dropped'")
        );
        assert_eq!(self.number(&wrong).await, 0, "people and their events disagree");
    }
}

fn refused(event: &MeterEvent, again_at_ms: i64) -> MeterTry {
    MeterTry::Refused { error: "no".to_owned(), in_doubt: event.in_doubt, again_at_ms }
}

fn unknown(again_at_ms: i64) -> MeterTry {
    MeterTry::Unknown { error: "cut off".to_owned(), again_at_ms }
}

each_engine! {
    async fn each_micro_dollar_is_told_once_and_the_rest_waits(world: World) {
        world.person("ada", Some("cus_1")).await;
        world.person("eve", None).await;
        world.charge("ada", 1_999).await;
        world.charge("eve", 5_000_000).await;
        assert_eq!(world.meter(NOON).await, 1, "who is no customer waits");
        assert_eq!(world.meter(NOON).await, 0);

        let event = world.meter_due(NOON).await.remove(0);
        assert_eq!((event.customer.as_str(), event.value_micro, event.tries), ("cus_1", 1, 1));
        assert!(event.id.starts_with("levqor-") && event.id.len() < 100);
        assert!(world.ended(&event, MeterTry::Told, NOON).await);
        assert!(!world.ended(&event, MeterTry::Told, NOON).await);
        world.charge("ada", 2_002).await;
        assert_eq!(world.meter(NOON + HOUR - 1).await, 0, "one in an hour");
        assert_eq!(world.meter(NOON + HOUR).await, 1);

        let event = world.meter_due(NOON + HOUR).await.remove(0);
        assert_eq!(event.value_micro, 3, "4,001 nano-dollars are 4 micro-dollars, 1 of which was told");
        world.ended(&event, MeterTry::Told, NOON + HOUR).await;
        assert_eq!(world.stands().await, (4, 0, 0, 5_000_001));
        world.books_agree().await;
    }

    async fn what_a_crash_left_is_sent_again_under_the_same_id(world: World) {
        world.person("ada", Some("cus_1")).await;
        world.charge("ada", 70_000).await;
        world.meter(NOON).await;
        let first = world.meter_due(NOON).await.remove(0);

        let world = world.after_a_crash().await;
        assert_eq!(world.meter_due(NOON + 4 * MINUTE).await, [], "another node may still be at it");
        let again = world.meter_due(NOON + 5 * MINUTE).await.remove(0);

        assert_eq!((&again.id, again.value_micro, again.tries, again.in_doubt), (&first.id, 70, 2, true));
        world.ended(&again, MeterTry::Told, NOON + 5 * MINUTE).await;
        assert_eq!(world.meter(NOON + DAY).await, 0);
        assert_eq!(world.stands().await, (70, 0, 0, 0));
    }

    async fn what_may_have_arrived_is_not_sent_when_its_id_is_forgotten(world: World) {
        world.person("ada", Some("cus_1")).await;
        world.charge("ada", 70_000).await;
        world.meter(NOON).await;
        let event = world.meter_due(NOON).await.remove(0);
        world.ended(&event, unknown(NOON + HOUR), NOON).await;
        let event = world.meter_due(NOON + HOUR).await.remove(0);
        world.ended(&event, refused(&event, NOON + 30 * HOUR), NOON + HOUR).await;

        assert_eq!(world.meter_due(NOON + 30 * HOUR).await, []);

        assert_eq!(world.stands().await, (0, 70, 0, 0));
        let shown = world.store.meter_status().await.unwrap().events;
        assert_eq!((shown[0].state.as_str(), shown[0].error.as_deref()), ("doubted", Some("no")));
        assert_eq!(world.meter(NOON + 30 * HOUR).await, 0, "nothing is told twice by itself");
        let settle = async |arrived| world.store.settle_meter_event(&event.id, arrived, &Actor::system(), NOON + 31 * HOUR).await;
        settle(false).await.unwrap();
        world.meter_agrees().await;
        assert_eq!(world.stands().await, (0, 0, 0, 70_000));
        assert!(matches!(settle(true).await, Err(Error::Conflict { what }) if what.contains("is dropped")));
        assert_eq!(world.meter(NOON + 31 * HOUR).await, 1, "its amount goes into another event");
        let unknown = world.store.settle_meter_event("nobody' or 1=1", true, &Actor::system(), NOON).await;
        assert!(matches!(unknown, Err(Error::NotFound { what: "meter event" })));
        assert_eq!(world.number("select count(*) from audit_entries where action = 'meter.settle'").await, 1);
    }

    async fn a_person_may_say_that_it_did_arrive(world: World) {
        world.person("ada", Some("cus_1")).await;
        world.charge("ada", 70_000).await;
        world.meter(NOON).await;
        let event = world.meter_due(NOON).await.remove(0);
        assert_eq!(world.meter_due(NOON + DAY).await, []);

        world.store.settle_meter_event(&event.id, true, &Actor::system(), NOON + DAY).await.unwrap();

        world.meter_agrees().await;
        assert_eq!(world.stands().await, (70, 0, 0, 0));
    }

    async fn what_was_refused_is_tried_for_as_long_as_it_would_be_taken(world: World) {
        world.person("ada", Some("cus_1")).await;
        world.charge("ada", 70_000).await;
        world.meter(NOON).await;
        for day in 0..34 {
            let event = world.meter_due(NOON + day * DAY).await.remove(0);
            assert!(!event.in_doubt, "a refusal leaves no doubt");
            world.ended(&event, refused(&event, NOON + (day + 1) * DAY), NOON + day * DAY).await;
        }

        assert_eq!(world.meter_due(NOON + 35 * DAY).await, []);
        assert_eq!(world.stands().await, (0, 0, 0, 70_000));
        assert_eq!(world.meter(NOON + 35 * DAY).await, 1, "with a time that is taken");
    }

    async fn what_is_taken_back_is_made_up_for_by_what_comes(world: World) {
        world.person("ada", Some("cus_1")).await;
        let call = world.charge("ada", 50_000).await;
        world.meter(NOON).await;
        let event = world.meter_due(NOON).await.remove(0);
        world.ended(&event, MeterTry::Told, NOON).await;
        let correction = Correction { call, cost: Nano::new(20_000), reason: "invoice".to_owned(), actor: Actor::cli(), at_ms: NOON };
        world.store.correct_call(correction).await.unwrap();
        assert_eq!(world.stands().await, (50, 0, 0, -30_000));

        world.charge("ada", 30_999).await;
        assert_eq!(world.meter(NOON + HOUR).await, 0, "that is what was told too much");
        world.charge("ada", 1).await;

        assert_eq!(world.meter(NOON + HOUR).await, 1);
        assert_eq!(world.meter_due(NOON + HOUR).await[0].value_micro, 1);
    }

    async fn many_at_once_make_one_event(world: World) {
        world.person("ada", Some("cus_1")).await;
        world.charge("ada", 50_000).await;

        let made = futures_util::future::join_all((0..16).map(|_| world.store.make_meter_events(NOON, 20))).await;
        assert_eq!(made.into_iter().map(Result::unwrap).sum::<usize>(), 1);
        let claimed = futures_util::future::join_all((0..16).map(|_| world.store.claim_meter_events(NOON, NOON + HOUR, 20))).await;
        assert_eq!(claimed.into_iter().map(|events| events.unwrap().len()).sum::<usize>(), 1);
        world.meter_agrees().await;
    }

    async fn who_is_erased_is_told_of_no_more(world: World) {
        world.person("ada", Some("cus_1")).await;
        world.charge("ada", 50_000).await;
        world.meter(NOON).await;

        world.store.delete_user("ada", &Actor::system(), NOON).await.unwrap();

        assert_eq!(world.meter_due(NOON).await, []);
        assert_eq!(world.number("select count(*) from meter_events where user_id is not null or customer is not null").await, 0);
        assert_eq!(world.stands().await, (0, 0, 0, 0));
        world.books_agree().await;
    }
}
