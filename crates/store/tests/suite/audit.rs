//! The audit log: written with the change it tells of, one chain whoever writes, and nothing can be changed in it unseen.

use levqor_core::audit::{Actor, Broken, Chain, Entry, Head};
use levqor_core::user::{UserPatch, UserUpsert};
use levqor_store::{AuditFilter, AuditPage, End, Error, Store};

use crate::world::*;

fn ada() -> UserUpsert {
    UserUpsert {
        email: "ada@example.org".to_owned(),
        name: Some("Ada Lovelace".to_owned()),
        locale: Some("en".to_owned()),
        currency: Some("EUR"),
        meta: r#"{"phone":"555-0199"}"#.to_owned(),
    }
}

impl World {
    async fn page(&self, filter: AuditFilter) -> AuditPage {
        self.store.list_audit(&filter).await.unwrap()
    }

    /// The whole log, oldest first, read in small pieces, and its head.
    async fn log(&self) -> (Vec<Entry>, Head) {
        let mut filter = AuditFilter { limit: 3, ..AuditFilter::default() };
        let mut entries = Vec::new();
        loop {
            let page = self.page(filter.clone()).await;
            entries.extend(page.entries);
            let Some(next) = page.next else {
                entries.reverse();
                return (entries, page.head);
            };
            filter.before = Some(next);
        }
    }

    async fn verify(&self) -> Result<i64, Broken> {
        let (entries, head) = self.log().await;
        let mut chain = Chain::from_head(head, None);
        entries.iter().rev().for_each(|entry| chain.check(entry));
        chain.end()
    }

    /// Three workflows put by three actors, a second apart.
    async fn put_three(&self) {
        for (n, actor) in [Actor::system(), Actor::cli(), Actor::key("k")].iter().enumerate() {
            let name = format!("flow-{n}");
            self.store.put_workflow(&name, "source", "api", actor, NOON + n as i64 * SECOND).await.unwrap();
        }
    }

    async fn tamper(&self, sql: &str) {
        match &self.location {
            levqor_store::Location::Sqlite(path) => {
                rusqlite::Connection::open(path).unwrap().execute(sql, []).unwrap();
            }
            levqor_store::Location::Postgres(url) => {
                run_postgres(url, sql).await;
            }
        }
    }
}

fn told(entries: &[Entry]) -> Vec<(&str, &str, &str)> {
    entries
        .iter()
        .map(|entry| (entry.action.as_str(), entry.object.as_str(), entry.detail.as_str()))
        .collect()
}

each_engine! {
    async fn an_empty_log_is_a_chain(world: World) {
        assert_eq!(world.log().await, (Vec::new(), Head::origin()));
        assert_eq!(world.verify().await, Ok(0));
    }

    async fn what_is_done_to_people_is_told_without_the_person(world: World) {
        let actor = Actor::key("0123");
        world.store.upsert_user("id-1", ada(), &actor, NOON).await.unwrap();
        world.store.upsert_user("id-2", ada(), &actor, NOON + 1).await.unwrap();
        let patch = UserPatch { name: Some("Augusta".to_owned()), meta: Some(r#"{"phone":null}"#.to_owned()), ..UserPatch::default() };
        world.store.patch_user("id-1", patch, &actor, NOON + 2).await.unwrap();
        world.store.delete_user("id-1", &actor, NOON + 3).await.unwrap();

        let (entries, _) = world.log().await;

        assert_eq!(told(&entries), [
            ("user.upsert", "id-1", r#"{"created":true}"#),
            ("user.upsert", "id-1", r#"{"created":false}"#),
            ("user.patch", "id-1", r#"{"fields":["name","meta"]}"#),
            ("user.delete", "id-1", "{}"),
        ]);
        assert!(entries.iter().all(|entry| entry.actor == "key:0123"));
        assert_eq!(entries.iter().map(|entry| entry.at_ms - NOON).collect::<Vec<_>>(), [0, 1, 2, 3]);
        for secret in ["ada@", "Ada", "Augusta", "555"] {
            assert!(!format!("{entries:?}").contains(secret), "{secret}");
        }
        assert_eq!(world.verify().await, Ok(4));
    }

    async fn what_operators_do_to_jobs_and_workflows_is_told_and_intake_is_not(world: World) {
        let id = world.finished_with_callback("example.com", NOON).await;
        let cancelled = world.put(job(NOON)).await;
        assert_eq!(world.log().await.0, [], "the life of a job is in its own record");

        world.store.put_workflow("greet", "one", "api", by(), NOON).await.unwrap();
        world.store.put_workflow("greet", "one", "api", by(), NOON).await.unwrap();
        let callback = world.store.redeliver(id, by(), NOON).await.unwrap();
        let reason = levqor_core::job::JobError::new("cancelled", "a caller cancelled the job");
        for _ in 0..2 {
            world.store.end_job(cancelled, End::Cancelled { reason: reason.clone() }, by(), NOON).await.unwrap();
        }
        world.store.retry_job(cancelled, by(), NOON).await.unwrap();
        world.store.end_job(cancelled, End::Completed { result: "1".to_owned() }, by(), NOON).await.unwrap();
        world.store.delete_workflow("greet", by(), NOON).await.unwrap();

        let (entries, _) = world.log().await;
        let (id, cancelled) = (id.to_string(), cancelled.to_string());
        assert_eq!(told(&entries), [
            ("workflow.put", "greet", r#"{"origin":"api","version":1}"#),
            ("job.redeliver", &id, &format!(r#"{{"callback":"{callback}"}}"#)),
            ("job.cancel", &cancelled, "{}"),
            ("job.retry", &cancelled, "{}"),
            ("job.complete", &cancelled, "{}"),
            ("workflow.delete", "greet", "{}"),
        ]);
        assert_eq!(world.verify().await, Ok(6));
    }

    async fn what_was_refused_is_not_told(world: World) {
        let unknown = id(NOON);

        assert!(matches!(world.store.delete_user("nobody", by(), NOON).await, Err(Error::NotFound { .. })));
        assert!(matches!(world.store.retry_job(unknown, by(), NOON).await, Err(Error::NotFound { .. })));
        assert!(matches!(world.store.redeliver(unknown, by(), NOON).await, Err(Error::NotFound { .. })));
        assert!(matches!(world.store.delete_workflow("none", by(), NOON).await, Err(Error::NotFound { .. })));
        let large = UserPatch { meta: Some(format!(r#"{{"x":"{}"}}"#, "x".repeat(9_000))), ..UserPatch::default() };
        world.store.upsert_user("id-1", ada(), by(), NOON).await.unwrap();
        world.store.patch_user("id-1", large.clone(), by(), NOON).await.unwrap();
        let more = UserPatch { meta: large.meta.map(|meta| meta.replace('x', "y")), ..UserPatch::default() };
        assert!(matches!(world.store.patch_user("id-1", more, by(), NOON).await, Err(Error::Conflict { .. })));

        assert_eq!(world.verify().await, Ok(2), "the two that worked");
    }

    async fn filters_and_pages_show_what_they_should(world: World) {
        world.put_three().await;
        let all = AuditFilter { limit: 500, ..AuditFilter::default() };
        let seqs = |page: AuditPage| page.entries.iter().map(|entry| entry.seq).collect::<Vec<_>>();
        let text = |text: &str| Some(text.to_owned());

        assert_eq!(seqs(world.page(all.clone()).await), [3, 2, 1]);
        assert_eq!(seqs(world.page(AuditFilter { actor: text("cli"), ..all.clone() }).await), [2]);
        assert_eq!(seqs(world.page(AuditFilter { action: text("workflow.put"), ..all.clone() }).await), [3, 2, 1]);
        assert_eq!(seqs(world.page(AuditFilter { object: text("flow-2"), ..all.clone() }).await), [3]);
        let both = AuditFilter { object: text("flow-2"), actor: text("cli"), ..all.clone() };
        assert_eq!(seqs(world.page(both).await), Vec::<i64>::new());
        let from = AuditFilter { from_ms: Some(NOON + SECOND), ..all.clone() };
        assert_eq!(seqs(world.page(from.clone()).await), [3, 2]);
        assert_eq!(seqs(world.page(AuditFilter { until_ms: Some(NOON + 2 * SECOND), ..from }).await), [2]);
        assert_eq!(seqs(world.page(AuditFilter { before: Some(3), ..all.clone() }).await), [2, 1]);

        let first = world.page(AuditFilter { limit: 2, ..all.clone() }).await;
        assert_eq!(first.next, Some(2));
        let rest = world.page(AuditFilter { limit: 2, before: first.next, ..all.clone() }).await;
        assert_eq!((seqs(rest.clone()), rest.next, rest.head.seq), (vec![1], None, 3));
        let exact = world.page(AuditFilter { limit: 3, ..all }).await;
        assert_eq!(exact.next, None);
    }

    async fn a_change_of_any_column_of_any_row_is_found(world: World) {
        world.put_three().await;
        for column in ["at_ms", "actor", "action", "object", "detail", "prev_hash", "hash"] {
            for seq in 1..=3 {
                let (to, back) = match column {
                    "at_ms" => ("at_ms + 1".to_owned(), "at_ms - 1".to_owned()),
                    text => (format!("{text} || 'x'"), format!("substr({text}, 1, length({text}) - 1)")),
                };
                let set = |value: &str| format!("update audit_entries set {column} = {value} where seq = {seq}");
                world.tamper(&set(&to)).await;

                let broken = world.verify().await.unwrap_err();
                assert!((seq - 1..=seq).contains(&broken.seq), "{column} of {seq}: {broken}");
                world.tamper(&set(&back)).await;
                assert_eq!(world.verify().await, Ok(3));
            }
        }
        world.tamper("update audit_entries set seq = 9 where seq = 3").await;
        assert!(world.verify().await.is_err());
    }

    async fn deleted_rows_are_found_and_a_log_without_its_head_takes_nothing_more(world: World) {
        world.put_three().await;
        world.tamper("delete from audit_entries where seq = 3").await;
        assert_eq!(world.verify().await.unwrap_err().seq, 3, "the tail");
        world.tamper("delete from audit_entries where seq = 1").await;
        assert_eq!(world.verify().await.unwrap_err().seq, 1);

        world.tamper("delete from audit_head").await;
        let refused = world.store.put_workflow("more", "source", "api", by(), NOON).await;
        assert!(matches!(refused, Err(Error::Bug(_))), "{refused:?}");
        assert_eq!(world.store.find_workflow("more", None).await.unwrap(), None);
        assert!(world.store.list_audit(&AuditFilter { limit: 1, ..AuditFilter::default() }).await.is_err());
    }

    async fn many_at_once_write_one_chain(world: World) {
        let puts = (0..40).map(|n| {
            let store = &world.store;
            async move { store.put_workflow(&format!("flow-{n}"), "source", "api", by(), NOON).await.unwrap() }
        });
        futures_util::future::join_all(puts).await;

        assert_eq!(world.verify().await, Ok(40));
    }

    async fn the_chain_goes_on_after_a_crash(world: World) {
        world.put_three().await;
        let world = world.after_a_crash().await;
        world.store.delete_workflow("flow-0", by(), NOON).await.unwrap();

        assert_eq!(world.verify().await, Ok(4));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_nodes_write_one_unbroken_chain() {
    let world = World::postgres().await;
    let mut nodes = Vec::new();
    for n in 2..=4 {
        nodes.push(Store::open(&world.location, &format!("node-{n}")).await.unwrap());
    }
    let acts = nodes.iter().chain([&world.store]).enumerate().map(|(node, store)| async move {
        let actor = Actor::key(&node.to_string());
        let each = (0..15).map(|n| {
            let (actor, name) = (actor.clone(), format!("flow-{node}-{n}"));
            async move {
                store.put_workflow(&name, "source", "api", &actor, NOON).await.unwrap();
                // All nodes fight for this one.
                store.upsert_user(&format!("id-{node}-{n}"), ada(), &actor, NOON).await.unwrap();
            }
        });
        futures_util::future::join_all(each).await;
    });

    futures_util::future::join_all(acts).await;

    assert_eq!(world.verify().await, Ok(4 * 15 * 2));
    let created = r#"{"created":true}"#;
    assert_eq!(world.log().await.0.iter().filter(|entry| entry.detail == created).count(), 1);
}
