//! Tries to send mails: begun under a claim, ended, lost, listed, forgotten, and without the person who was erased.

use levqor_core::id::JobId;
use levqor_core::job::{ClaimedJob, Fenced};
use levqor_core::mail::WORKFLOW;
use levqor_core::user::UserUpsert;
use levqor_store::{EmailEnd, EmailFilter, EmailOutcome, EmailRow, NewEmailTry};

use crate::world::*;

fn id(at_ms: i64, byte: u8) -> JobId {
    JobId::new(at_ms, [byte; 10])
}

fn new(job: &ClaimedJob, at_ms: i64, byte: u8, to: &[&str]) -> NewEmailTry {
    NewEmailTry {
        id: id(at_ms, byte),
        job_id: job.id,
        claim: job.claim,
        step: "send".to_owned(),
        attempt: 1,
        at_ms,
        sender: "billing@example.org".to_owned(),
        subject: "Hello".to_owned(),
        provider: "resend",
        recipients: to.iter().map(|address| ("to", (*address).to_owned())).collect(),
    }
}

fn all() -> EmailFilter {
    EmailFilter { limit: 500, ..EmailFilter::default() }
}

fn sent() -> EmailEnd {
    EmailEnd::Sent { message_id: "m-1".to_owned() }
}

impl World {
    async fn emails(&self, filter: EmailFilter) -> Vec<EmailRow> {
        let page = self.store.list_emails(&filter).await.unwrap();
        assert_eq!(page.next, None);
        page.emails
    }

    async fn mail_job(&self) -> ClaimedJob {
        let payload = r#"{"to":"ada@example.org","text":"private"}"#.to_owned();
        let mail = levqor_core::job::NewJob { workflow: WORKFLOW.to_owned(), payload, ..job(NOON) };
        self.put(mail).await;
        self.claim_one(NOON).await
    }
}

each_engine! {
    async fn a_try_is_on_record_before_it_goes_out_and_after(world: World) {
        let job = world.mail_job().await;
        let mut try_one = new(&job, NOON, 1, &["ada@example.org", "b@example.org"]);
        try_one.recipients.push(("bcc", "c@example.org".to_owned()));

        assert_eq!(world.store.begin_email(try_one.clone()).await.unwrap(), Fenced::Done);
        let out = world.emails(all()).await.remove(0);
        world.store.end_email(try_one.id, sent(), NOON + 7).await.unwrap();
        let over = world.emails(all()).await.remove(0);

        let expected = EmailRow {
            id: try_one.id,
            job_id: job.id,
            step: "send".to_owned(),
            attempt: 1,
            at_ms: NOON,
            finished_at_ms: None,
            sender: "billing@example.org".to_owned(),
            subject: "Hello".to_owned(),
            provider: "resend".to_owned(),
            outcome: EmailOutcome::Sending,
            message_id: None,
            code: None,
            error: None,
            recipients: [("to", "ada@example.org"), ("to", "b@example.org"), ("bcc", "c@example.org")]
                .map(|(kind, address)| (kind.to_owned(), address.to_owned()))
                .to_vec(),
        };
        assert_eq!(out, expected);
        let expected = EmailRow {
            finished_at_ms: Some(NOON + 7),
            outcome: EmailOutcome::Sent,
            message_id: Some("m-1".to_owned()),
            ..expected
        };
        assert_eq!(over, expected);
    }

    async fn nothing_begins_under_a_claim_that_is_not_the_current_one(world: World) {
        let job = world.mail_job().await;
        let stranger = ClaimedJob { claim: job.claim + 1, ..job.clone() };
        assert_eq!(world.store.begin_email(new(&stranger, NOON, 1, &["a@example.org"])).await.unwrap(), Fenced::Stale);

        assert_eq!(world.end(&job, NOON).await, Fenced::Done);
        assert_eq!(world.store.begin_email(new(&job, NOON, 1, &["a@example.org"])).await.unwrap(), Fenced::Stale);
        assert_eq!(world.emails(all()).await, []);
    }

    async fn a_try_that_never_ended_is_lost_once_the_next_begins_unless_it_ends_after_all(world: World) {
        let job = world.mail_job().await;
        for byte in [1, 2, 3] {
            world.store.begin_email(new(&job, NOON, byte, &["a@example.org"])).await.unwrap();
        }
        world.store.end_email(id(NOON, 3), EmailEnd::Failed { code: "x".to_owned(), error: "no".to_owned() }, NOON).await.unwrap();
        world.store.end_email(id(NOON, 1), sent(), NOON + 1).await.unwrap();
        world.store.end_email(id(NOON, 3), sent(), NOON + 1).await.unwrap();

        let outcomes: Vec<_> = world.emails(all()).await.into_iter().map(|row| row.outcome).collect();
        assert_eq!(outcomes, [EmailOutcome::Failed, EmailOutcome::Lost, EmailOutcome::Sent]);
    }

    async fn lists_filter_by_outcome_recipient_and_job_and_page_from_new_to_old(world: World) {
        let (first, second) = (world.mail_job().await, world.mail_job().await);
        for n in 0..9i64 {
            let job = if n % 3 == 0 { &second } else { &first };
            let address = if n % 2 == 0 { "even@example.org" } else { "odd@example.org" };
            let new = NewEmailTry { step: format!("s{n}"), ..new(job, NOON + n, 1, &[address, "all@example.org"]) };
            world.store.begin_email(new).await.unwrap();
            if n < 6 {
                world.store.end_email(id(NOON + n, 1), sent(), NOON + n).await.unwrap();
            }
        }
        let times = |rows: Vec<EmailRow>| rows.into_iter().map(|row| row.at_ms - NOON).collect::<Vec<_>>();
        let to = |address: &str| Some(address.to_owned());

        assert_eq!(times(world.emails(all()).await), [8, 7, 6, 5, 4, 3, 2, 1, 0]);
        assert_eq!(times(world.emails(EmailFilter { job_id: Some(second.id), ..all() }).await), [6, 3, 0]);
        assert_eq!(times(world.emails(EmailFilter { recipient: to("odd@example.org"), ..all() }).await), [7, 5, 3, 1]);
        assert_eq!(times(world.emails(EmailFilter { outcome: Some(EmailOutcome::Sending), ..all() }).await), [8, 7, 6]);
        assert!(world.emails(EmailFilter { recipient: to("x@example.org"), ..all() }).await.is_empty());
        let both = EmailFilter { recipient: to("even@example.org"), outcome: Some(EmailOutcome::Sent), job_id: Some(first.id), ..all() };
        assert_eq!(times(world.emails(both).await), [4, 2]);

        for recipient in [None, to("all@example.org")] {
            let mut filter = EmailFilter { limit: 4, recipient, ..EmailFilter::default() };
            let mut pages = Vec::new();
            loop {
                let page = world.store.list_emails(&filter).await.unwrap();
                pages.push(times(page.emails));
                filter.before = page.next;
                if filter.before.is_none() {
                    break;
                }
            }
            assert_eq!(pages, [vec![8, 7, 6, 5], vec![4, 3, 2, 1], vec![0]]);
        }
    }

    async fn retention_forgets_old_tries_and_calls_those_lost_that_are_out_for_a_day(world: World) {
        let job = world.mail_job().await;
        world.store.begin_email(new(&job, NOON, 1, &["a@example.org"])).await.unwrap();
        world.store.end_email(id(NOON, 1), sent(), NOON).await.unwrap();
        world.store.begin_email(new(&job, NOON + DAY, 1, &["a@example.org"])).await.unwrap();

        world.store.prune(NOON + HOUR, None, NOON + DAY + HOUR).await.unwrap();
        let young = world.emails(all()).await;
        world.store.prune(NOON + HOUR, None, NOON + 2 * DAY + 1).await.unwrap();

        assert_eq!(young.iter().map(|row| row.outcome).collect::<Vec<_>>(), [EmailOutcome::Sending]);
        assert_eq!(world.emails(all()).await[0].outcome, EmailOutcome::Lost);
        assert_eq!(world.number("select count(*) from email_recipients").await, 1);
    }

    async fn erasing_a_person_takes_them_out_of_the_records_of_mails(world: World) {
        let person = UserUpsert { email: "ada@example.org".to_owned(), name: None, locale: None, currency: None, meta: "{}".to_owned() };
        world.store.upsert_user("id-1", person, by(), NOON).await.unwrap();
        let (done, live) = (world.mail_job().await, world.mail_job().await);
        for (job, byte) in [(&done, 1), (&live, 2)] {
            world.store.begin_email(new(job, NOON, byte, &["ada@example.org", "b@example.org"])).await.unwrap();
        }
        let failed = EmailEnd::Failed { code: "x".to_owned(), error: "about somebody".to_owned() };
        world.store.end_email(id(NOON, 1), failed, NOON).await.unwrap();
        assert_eq!(world.end(&done, NOON).await, Fenced::Done);
        let exported = world.store.list_emails_of("id-1", "Ada@Example.org").await.unwrap();

        world.store.delete_user("id-1", by(), NOON).await.unwrap();

        assert_eq!(exported.len(), 2);
        assert_eq!(exported[0].recipients, [("to".to_owned(), "ada@example.org".to_owned())], "others are not theirs");
        assert_eq!(world.store.list_emails_of("id-1", "ada@example.org").await.unwrap(), []);
        for row in world.emails(all()).await {
            let addresses: Vec<_> = row.recipients.iter().map(|(_, address)| address.as_str()).collect();
            assert_eq!((addresses, row.subject.as_str(), row.error), (vec!["", "b@example.org"], "", None));
        }
        assert_eq!(world.store.find_job(done.id).await.unwrap().unwrap().payload, "{}");
        assert!(world.store.find_job(live.id).await.unwrap().unwrap().payload.contains("ada@"), "its mail is still to be sent");
        assert_eq!(world.store.list_emails_of("id-1", "").await.unwrap(), [], "nobody's address is not everybody's");

        world.store.begin_email(new(&live, NOON, 3, &["ada@example.org", "b@example.org"])).await.unwrap();
        world.store.end_email(id(NOON, 3), sent(), NOON + 1).await.unwrap();
        world.store.prune(NOON - DAY, None, NOON + 2).await.unwrap();
        assert_eq!(world.number("select count(*) from mail_erasures").await, 1, "it has not ended");
        assert_eq!(world.end(&live, NOON + 3).await, Fenced::Done);
        world.store.prune(NOON - DAY, None, NOON + 4).await.unwrap();

        assert_eq!(world.store.find_job(live.id).await.unwrap().unwrap().payload, "{}");
        let left = world.emails(EmailFilter { job_id: Some(live.id), ..all() }).await.remove(0);
        assert_eq!((left.recipients[0].1.as_str(), left.recipients[1].1.as_str(), left.subject.as_str()), ("", "b@example.org", ""));
        assert_eq!(world.number("select count(*) from mail_erasures").await, 0);
    }
}
