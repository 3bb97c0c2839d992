//! The payment history: each event once, whatever the order, and what is left of it when a person is erased.

use levqor_core::job::{JobError, NewJob, Priority};
use levqor_core::mail::WORKFLOW;
use levqor_core::payment::{Payment, PaymentKind};
use levqor_core::user::UserUpsert;
use levqor_store::{End, Error};

use crate::world::*;

fn payment(event_id: &str, kind: PaymentKind) -> Payment {
    Payment {
        event_id: event_id.to_owned(),
        event_type: "checkout.session.completed".to_owned(),
        kind,
        object_id: Some("cs_1".to_owned()),
        session_id: Some("cs_1".to_owned()),
        payment_intent: Some("pi_1".to_owned()),
        charge: None,
        customer: Some("cus_1".to_owned()),
        user_id: Some("id-1".to_owned()),
        amount: Some(1250),
        currency: Some("EUR".to_owned()),
        status: Some("paid".to_owned()),
        happened_at_ms: NOON,
    }
}

fn refund(event_id: &str, happened_at_ms: i64) -> Payment {
    Payment {
        event_type: "refund.created".to_owned(),
        object_id: Some("re_1".to_owned()),
        session_id: None,
        customer: None,
        user_id: None,
        amount: Some(300),
        happened_at_ms,
        ..payment(event_id, PaymentKind::Refund)
    }
}

fn notice() -> NewJob {
    NewJob { payload: r#"{"to":["ada@example.org"]}"#.to_owned(), ..job(NOON) }
}

impl World {
    async fn put_user(&self, id: &str) {
        let user = UserUpsert {
            email: format!("{id}@example.org"),
            name: None,
            locale: None,
            currency: None,
            meta: "{}".to_owned(),
        };
        assert!(self.store.upsert_user(id, user, by(), NOON).await.unwrap().1);
    }

    async fn payments(&self, id: &str) -> Vec<Payment> {
        self.store.find_whole_user(id).await.unwrap().unwrap().payments
    }
}

each_engine! {
    async fn an_event_is_one_line_and_one_job_however_often_it_comes(world: World) {
        world.put_user("id-1").await;
        let line = payment("evt_1", PaymentKind::Paid);

        let deliveries = (0..16).map(|_| world.store.record_payment(line.clone(), Some(notice()), NOON + 5));
        let outcomes: Vec<bool> =
            futures_util::future::join_all(deliveries).await.into_iter().map(Result::unwrap).collect();

        assert_eq!(outcomes.iter().filter(|is_new| **is_new).count(), 1);
        assert_eq!(world.payments("id-1").await, std::slice::from_ref(&line));
        assert_eq!(world.number("select count(*) from jobs").await, 1);
        assert_eq!(world.number("select cast(sum(n) as bigint) from rollups where kind = 'accepted'").await, 1);
        let claimed = world.claim_one(NOON + 6).await;
        assert_eq!((claimed.workflow.as_str(), claimed.payload.as_str()), ("greet", r#"{"to":["ada@example.org"]}"#));

        let changed = Payment { amount: Some(1), ..line.clone() };
        assert!(!world.store.record_payment(changed, Some(notice()), NOON + 9).await.unwrap());
        assert_eq!(world.payments("id-1").await, [line], "a line is written once");
        assert_eq!(world.number("select count(*) from jobs").await, 1);
    }

    async fn a_job_that_waits_is_woken_by_the_commit_of_a_payment(world: World) {
        let clock = at(NOON);
        let claim = world.store.claim(1, &clock);
        let recording = world.store.record_payment(payment("evt_1", PaymentKind::Paid), Some(notice()), NOON);

        let (claimed, recorded) = tokio::time::timeout(LIMIT, futures_util::future::join(claim, recording)).await.unwrap();

        assert_eq!((claimed.unwrap().len(), recorded.unwrap()), (1, true));
    }

    async fn a_refund_finds_its_person_whichever_comes_first(world: World) {
        world.put_user("id-1").await;
        world.put_user("id-2").await;
        world.store.record_payment(refund("evt_2", NOON + 2), None, NOON + 3).await.unwrap();
        assert_eq!(world.payments("id-1").await, [], "nobody knows yet whose it is");

        world.store.record_payment(payment("evt_1", PaymentKind::Paid), None, NOON + 4).await.unwrap();
        world.store.record_payment(refund("evt_3", NOON + 1), None, NOON + 5).await.unwrap();
        let elsewhere = Payment { payment_intent: Some("pi_2".to_owned()), ..refund("evt_4", NOON) };
        world.store.record_payment(elsewhere, None, NOON + 6).await.unwrap();
        let unknown = Payment { payment_intent: None, ..refund("evt_5", NOON) };
        world.store.record_payment(unknown, None, NOON + 6).await.unwrap();

        let ids: Vec<String> = world.payments("id-1").await.into_iter().map(|line| line.event_id).collect();
        assert_eq!(ids, ["evt_1", "evt_3", "evt_2"], "in the order in which it happened");
        assert_eq!(world.payments("id-2").await, []);
        let by_email = world.store.find_whole_user_by_email("id-1@example.org").await.unwrap().unwrap();
        assert_eq!(by_email.payments.len(), 3);
        assert_eq!(world.store.find_user("id-1").await.unwrap().unwrap().payments, [], "not asked for");
    }

    async fn upserts_and_patches_keep_the_history_and_show_it(world: World) {
        world.put_user("id-1").await;
        world.store.record_payment(payment("evt_1", PaymentKind::Paid), None, NOON).await.unwrap();

        let user = UserUpsert { email: "id-1@example.org".to_owned(), name: None, locale: None, currency: None, meta: "{}".to_owned() };
        let (row, is_new) = world.store.upsert_user("id-9", user, by(), NOON).await.unwrap();
        assert_eq!((row.payments.len(), is_new), (1, false));
        let patched = world.store.patch_user("id-1", Default::default(), by(), NOON).await.unwrap();
        assert_eq!(patched.payments.len(), 1);
    }

    async fn a_payment_of_nobody_we_know_is_kept_without_a_name(world: World) {
        world.store.record_payment(payment("evt_1", PaymentKind::Paid), None, NOON).await.unwrap();

        assert_eq!(world.number("select count(*) from payments where user_id is null and customer is null and amount = 1250").await, 1);
        world.put_user("id-1").await;
        assert_eq!(world.payments("id-1").await, []);
    }

    async fn who_is_erased_leaves_what_was_paid_without_a_name(world: World) {
        world.put_user("id-1").await;
        world.store.record_payment(payment("evt_1", PaymentKind::Paid), None, NOON).await.unwrap();
        world.store.record_payment(refund("evt_2", NOON + 1), None, NOON).await.unwrap();

        world.store.delete_user("id-1", by(), NOON).await.unwrap();

        let kept = "select count(*) from payments where user_id is null and customer is null and session_id = 'cs_1' \
            and amount = 1250 and currency = 'EUR' and happened_at_ms = 1800014400000";
        assert_eq!(world.number(kept).await, 1);
        assert_eq!(world.number("select count(*) from payments").await, 2);
        let late = payment("evt_3", PaymentKind::Dispute);
        assert!(world.store.record_payment(late, None, NOON).await.unwrap());
        assert!(!world.store.record_payment(payment("evt_1", PaymentKind::Paid), None, NOON).await.unwrap());
        assert_eq!(world.number("select count(*) from payments where user_id is not null or customer is not null").await, 0);
    }

    async fn the_mail_about_a_payment_goes_with_its_person_wherever_it_went(world: World) {
        world.put_user("id-1").await;
        let mail = |event_id: &str| {
            let payload = r#"{"to":["private@example.com"],"template":"payment-received"}"#.to_owned();
            (payment(event_id, PaymentKind::Paid), NewJob { workflow: WORKFLOW.to_owned(), payload, ..notice() })
        };
        let mut jobs = Vec::new();
        for event_id in ["evt_1", "evt_2"] {
            let (line, notice) = mail(event_id);
            jobs.push(notice.id);
            world.store.record_payment(line, Some(notice), NOON).await.unwrap();
        }
        let guest = Payment { user_id: None, ..payment("evt_3", PaymentKind::Paid) };
        let (_, for_a_guest) = mail("evt_3");
        let guests = for_a_guest.id;
        let for_a_guest = NewJob { priority: Priority::Low, ..for_a_guest };
        world.store.record_payment(guest, Some(for_a_guest), NOON).await.unwrap();
        let done = world.claim_one(NOON).await;
        world.end(&done, NOON).await;
        let live = *jobs.iter().find(|id| **id != done.id).unwrap();
        let payload = async |id| world.store.find_job(id).await.unwrap().unwrap().payload;

        world.store.delete_user("id-1", by(), NOON).await.unwrap();

        assert_eq!(payload(done.id).await, "{}");
        assert!(payload(live).await.contains("private@"), "it is still to be sent");
        let cancelled = End::Cancelled { reason: JobError::new("cancelled", "by somebody") };
        world.store.end_job(live, cancelled, by(), NOON).await.unwrap();
        world.store.prune(NOON - DAY, None, NOON).await.unwrap();
        assert_eq!(payload(live).await, "{}", "it never went out, so there was no try to find it by");
        assert!(payload(guests).await.contains("private@"), "whose it is nobody knows");
        assert_eq!(world.number("select count(*) from payments where mail_job_id is not null").await, 0);
    }

    async fn payments_and_an_erasure_at_once_leave_no_name_behind(world: World) {
        for round in 0..8 {
            world.put_user("id-1").await;
            let lines = (0..6).map(|n| {
                let line = payment(&format!("evt_{round}_{n}"), PaymentKind::Paid);
                world.store.record_payment(line, None, NOON)
            });
            let (recorded, erased) =
                futures_util::future::join(futures_util::future::join_all(lines), world.store.delete_user("id-1", by(), NOON)).await;

            erased.unwrap();
            assert!(recorded.into_iter().all(|outcome| outcome.unwrap()));
            assert_eq!(world.number("select count(*) from payments where user_id is not null").await, 0);
        }
        assert_eq!(world.number("select count(*) from payments").await, 48);
    }

    async fn a_customer_is_the_one_of_the_newest_payment(world: World) {
        let nobody = world.store.get_customer("id-1").await;
        assert!(matches!(nobody, Err(Error::NotFound { what: "user" })), "{nobody:?}");
        world.put_user("id-1").await;
        let none = world.store.get_customer("id-1").await;
        assert!(matches!(none, Err(Error::Conflict { .. })), "{none:?}");

        for (event_id, customer, at_ms) in [("evt_2", "cus_2", NOON + 2), ("evt_1", "cus_1", NOON + 1)] {
            let line = Payment { customer: Some(customer.to_owned()), happened_at_ms: at_ms, ..payment(event_id, PaymentKind::Paid) };
            world.store.record_payment(line, None, NOON).await.unwrap();
        }
        let guest = Payment { customer: None, happened_at_ms: NOON + 3, ..payment("evt_3", PaymentKind::Paid) };
        world.store.record_payment(guest, None, NOON).await.unwrap();

        assert_eq!(world.store.get_customer("id-1").await.unwrap(), "cus_2");
    }

    async fn history_outlives_a_crash(world: World) {
        world.put_user("id-1").await;
        world.store.record_payment(payment("evt_1", PaymentKind::Paid), Some(notice()), NOON).await.unwrap();

        let world = world.after_a_crash().await;

        assert_eq!(world.payments("id-1").await.len(), 1);
        assert!(!world.store.record_payment(payment("evt_1", PaymentKind::Paid), Some(notice()), NOON).await.unwrap());
        assert_eq!(world.number("select count(*) from jobs").await, 1);
    }
}
