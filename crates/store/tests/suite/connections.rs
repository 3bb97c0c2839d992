//! Stored connections: put, replaced, used, sealed anew, deleted; one at a time and many at once.

use levqor_store::{
    AuditFilter, ConnectionRow, Error, MAX_CONNECTIONS, NewConnection, PutConnection, Resealed,
};

use crate::world::*;

fn new(name: &str, sealed: &str) -> NewConnection {
    NewConnection {
        name: name.to_owned(),
        connector: "slack".to_owned(),
        sealed: sealed.to_owned(),
        fingerprint: format!("print of {sealed}"),
        put: PutConnection::New,
    }
}

fn or_replace(connection: NewConnection) -> NewConnection {
    NewConnection { put: PutConnection::NewOrReplace, ..connection }
}

fn is_conflict<T: std::fmt::Debug>(outcome: &Result<T, Error>, words: &str) -> bool {
    matches!(outcome, Err(Error::Conflict { what }) if what.contains(words))
}

each_engine! {
    async fn a_connection_is_stored_and_replaced_only_on_purpose(world: World) {
        let (row, is_new) = world.store.put_connection(new("team", "one"), by(), NOON).await.unwrap();
        let expected = ConnectionRow {
            name: "team".to_owned(),
            connector: "slack".to_owned(),
            sealed: "one".to_owned(),
            fingerprint: "print of one".to_owned(),
            created_at_ms: NOON,
            updated_at_ms: NOON,
            used_at_ms: None,
        };
        assert_eq!((&row, is_new), (&expected, true));

        let again = world.store.put_connection(new("team", "two"), by(), NOON + 1).await;
        assert!(is_conflict(&again, "replace"), "{again:?}");
        let other = NewConnection { connector: "notion".to_owned(), ..or_replace(new("team", "two")) };
        let other = world.store.put_connection(other, by(), NOON + 1).await;
        assert!(is_conflict(&other, "another connector"), "{other:?}");
        assert_eq!(world.store.find_connection("team").await.unwrap(), Some(expected.clone()));

        let (row, is_new) = world.store.put_connection(or_replace(new("team", "two")), by(), NOON - 5).await.unwrap();
        let replaced = ConnectionRow {
            sealed: "two".to_owned(),
            fingerprint: "print of two".to_owned(),
            updated_at_ms: NOON + 1,
            ..expected
        };
        assert_eq!((&row, is_new), (&replaced, false), "the time of a change moves forwards only");
        assert_eq!(world.store.find_connection("Team").await.unwrap(), None);
        assert!(world.store.put_connection(or_replace(new("another", "x")), by(), NOON).await.unwrap().1);
        let names: Vec<_> = world.store.list_connections().await.unwrap().into_iter().map(|row| row.name).collect();
        assert_eq!(names, ["another", "team"]);
    }

    async fn of_many_first_puts_at_once_one_creates(world: World) {
        let texts: Vec<String> = (0..16).map(|n| n.to_string()).collect();
        let puts = texts.iter().map(|text| world.store.put_connection(new("team", text), by(), NOON));

        let outcomes = futures_util::future::join_all(puts).await;

        let made: Vec<_> = outcomes.iter().filter_map(|outcome| outcome.as_ref().ok()).collect();
        assert_eq!(made.len(), 1, "{outcomes:?}");
        assert_eq!(world.store.find_connection("team").await.unwrap().as_ref(), Some(&made[0].0));
        assert!(outcomes.iter().filter(|outcome| outcome.is_err()).all(|outcome| is_conflict(outcome, "replace")));
    }

    async fn a_use_is_noted_once_a_minute(world: World) {
        let (row, _) = world.store.put_connection(new("team", "one"), by(), NOON).await.unwrap();
        let used = async || world.store.find_connection("team").await.unwrap().unwrap().used_at_ms;

        world.store.note_connection_use(&row, NOON + 5).await.unwrap();
        let row = world.store.find_connection("team").await.unwrap().unwrap();
        assert_eq!((row.used_at_ms, row.updated_at_ms), (Some(NOON + 5), NOON));
        world.store.note_connection_use(&row, NOON + 30 * SECOND).await.unwrap();
        assert_eq!(used().await, Some(NOON + 5));
        world.store.note_connection_use(&row, NOON + 61 * SECOND).await.unwrap();
        assert_eq!(used().await, Some(NOON + 61 * SECOND));
        world.store.note_connection_use(&row, NOON + 60_500).await.unwrap();
        assert_eq!(used().await, Some(NOON + 61 * SECOND), "an older use does not replace a newer one");

        world.store.delete_connection("team", by(), NOON).await.unwrap();
        world.store.note_connection_use(&row, NOON + HOUR).await.unwrap();
        let gone = world.store.delete_connection("team", by(), NOON).await;
        assert!(matches!(gone, Err(Error::NotFound { what: "connection" })), "{gone:?}");
    }

    async fn all_are_sealed_anew_or_none(world: World) {
        for name in ["a", "b", "c"] {
            world.store.put_connection(new(name, "old"), by(), NOON).await.unwrap();
        }
        let resealed = |name: &str, before: &str| Resealed {
            name: name.to_owned(),
            before: before.to_owned(),
            after: "new".to_owned(),
        };
        let sealed = async || {
            let rows = world.store.list_connections().await.unwrap();
            rows.into_iter().map(|row| (row.sealed, row.updated_at_ms)).collect::<Vec<_>>()
        };

        let stale = world.store.reseal_connections(vec![resealed("a", "old"), resealed("b", "other")], "k1", by(), NOON).await;
        assert!(is_conflict(&stale, "meanwhile"), "{stale:?}");
        assert_eq!(sealed().await, vec![("old".to_owned(), NOON); 3]);

        let all = ["a", "b", "c"].map(|name| resealed(name, "old")).to_vec();
        world.store.reseal_connections(all, "k1", by(), NOON).await.unwrap();
        assert_eq!(sealed().await, vec![("new".to_owned(), NOON); 3], "another key is no change of the credentials");
    }

    async fn their_number_is_bounded(world: World) {
        for from in (0..MAX_CONNECTIONS).step_by(20) {
            let put = |n| world.store.put_connection(new(&format!("c{n}"), "x"), by(), NOON);
            for outcome in futures_util::future::join_all((from..from + 20).map(put)).await {
                outcome.unwrap();
            }
        }

        let over = world.store.put_connection(new("over", "x"), by(), NOON).await;

        assert!(is_conflict(&over, "1000"), "{over:?}");
        assert_eq!(world.number("select count(*) from connections").await, MAX_CONNECTIONS);
        assert!(world.store.put_connection(or_replace(new("c7", "y")), by(), NOON).await.is_ok());
    }

    async fn connections_outlive_a_crash(world: World) {
        let (row, _) = world.store.put_connection(new("team", "one"), by(), NOON).await.unwrap();

        let world = world.after_a_crash().await;

        assert_eq!(world.store.find_connection("team").await.unwrap(), Some(row));
    }

    async fn every_change_stands_in_the_audit_log_without_the_credentials(world: World) {
        world.store.put_connection(new("team", "one"), by(), NOON).await.unwrap();
        world.store.put_connection(or_replace(new("team", "two")), by(), NOON).await.unwrap();
        let resealed = Resealed { name: "team".to_owned(), before: "two".to_owned(), after: "three".to_owned() };
        world.store.reseal_connections(vec![resealed.clone()], "k1", by(), NOON).await.unwrap();
        world.store.reseal_connections(vec![resealed], "k1", by(), NOON).await.unwrap_err();
        world.store.put_connection(new("team", "four"), by(), NOON).await.unwrap_err();
        world.store.delete_connection("team", by(), NOON).await.unwrap();
        world.store.delete_connection("team", by(), NOON).await.unwrap_err();

        let page = world.store.list_audit(&AuditFilter { limit: 100, ..AuditFilter::default() }).await.unwrap();

        let told = page.entries.iter().rev().map(|entry| (entry.action.as_str(), entry.object.as_str(), entry.detail.as_str()));
        assert_eq!(
            told.collect::<Vec<_>>(),
            [
                ("connection.put", "team", r#"{"connector":"slack","created":true,"fingerprint":"print of one"}"#),
                ("connection.put", "team", r#"{"connector":"slack","created":false,"fingerprint":"print of two"}"#),
                ("connection.rekey", "k1", r#"{"count":1}"#),
                ("connection.delete", "team", "{}"),
            ]
        );
    }
}
