//! Workflow definitions.

use levqor_store::{Error, Hint};

use crate::world::*;

each_engine! {
    async fn versions_count_up_and_stay(world: World) {
        let mut hints = world.store.hints();

        let (first, new) = world.store.put_workflow("greet", "one", "api", by(), NOON).await.unwrap();
        assert_eq!((first.version, first.created_at_ms, new), (1, NOON, true));
        let hint = tokio::time::timeout(LIMIT, hints.recv()).await.unwrap().unwrap();
        assert_eq!(hint, Hint::WorkflowsChanged);
        let (second, new) = world.store.put_workflow("greet", "two", "api", by(), NOON + 1).await.unwrap();
        assert_eq!((second.version, new), (2, true));

        assert_eq!(world.store.find_workflow("greet", None).await.unwrap(), Some(second));
        assert_eq!(world.store.find_workflow("greet", Some(1)).await.unwrap(), Some(first));
        assert_eq!(world.store.find_workflow("greet", Some(3)).await.unwrap(), None);
        assert_eq!(world.store.find_workflow("Greet", None).await.unwrap(), None);
    }

    async fn the_same_source_again_is_no_new_version(world: World) {
        let (first, _) = world.store.put_workflow("greet", "one", "api", by(), NOON).await.unwrap();

        assert_eq!(world.store.put_workflow("greet", "one", "api", by(), NOON + 1).await.unwrap(), (first, false));
        world.store.put_workflow("greet", "two", "api", by(), NOON + 2).await.unwrap();
        let (third, new) = world.store.put_workflow("greet", "one", "api", by(), NOON + 3).await.unwrap();
        assert_eq!((third.version, new), (3, true), "what was in force before can be put again");
    }

    async fn a_file_makes_a_version_only_when_it_changed(world: World) {
        world.store.put_workflow("greet", "file", "file:greet.yaml", by(), NOON).await.unwrap();
        let (by_api, _) = world.store.put_workflow("greet", "api", "api", by(), NOON + 1).await.unwrap();

        let restarted = world.store.put_workflow("greet", "file", "file:greet.yaml", by(), NOON + 2).await.unwrap();
        assert_eq!(restarted, (by_api, false), "a restart does not undo what the API did");

        let (edited, new) = world.store.put_workflow("greet", "edited", "file:greet.yaml", by(), NOON + 3).await.unwrap();
        assert_eq!((edited.version, new), (3, true));
        let (back, new) = world.store.put_workflow("greet", "api", "api", by(), NOON + 4).await.unwrap();
        assert_eq!((back.version, new), (4, true), "a call of the API means what it says");
    }

    async fn a_restart_does_not_bring_back_what_was_deleted(world: World) {
        let (first, _) = world.store.put_workflow("greet", "file", "file:greet.yaml", by(), NOON).await.unwrap();
        world.store.delete_workflow("greet", by(), NOON + 1).await.unwrap();

        let restarted = world.store.put_workflow("greet", "file", "file:greet.yaml", by(), NOON + 2).await.unwrap();
        assert_eq!(restarted, (first, false));
        assert_eq!(world.store.find_workflow("greet", None).await.unwrap(), None, "still deleted");

        let (edited, new) = world.store.put_workflow("greet", "edited", "file:greet.yaml", by(), NOON + 3).await.unwrap();
        assert_eq!((edited.version, new), (2, true), "an edited file is meant");
    }

    async fn a_deleted_name_keeps_its_versions_and_can_come_back(world: World) {
        world.store.put_workflow("greet", "one", "api", by(), NOON).await.unwrap();
        let mut hints = world.store.hints();

        world.store.delete_workflow("greet", by(), NOON + 1).await.unwrap();

        let hint = tokio::time::timeout(LIMIT, hints.recv()).await.unwrap().unwrap();
        assert_eq!(hint, Hint::WorkflowsChanged);
        assert_eq!(world.store.find_workflow("greet", None).await.unwrap(), None);
        assert!(world.store.find_workflow("greet", Some(1)).await.unwrap().is_some());
        let again = world.store.delete_workflow("greet", by(), NOON + 2).await;
        assert!(matches!(again, Err(Error::NotFound { what: "workflow" })), "{again:?}");
        let (back, new) = world.store.put_workflow("greet", "one", "api", by(), NOON + 3).await.unwrap();
        assert_eq!((back.version, new), (2, true));
    }

    async fn all_names_are_listed_in_order(world: World) {
        for name in ["b", "a", "B", "ä"] {
            world.store.put_workflow(name, "x", "api", by(), NOON).await.unwrap();
        }
        world.store.delete_workflow("a", by(), NOON + 1).await.unwrap();

        let heads = world.store.list_workflows().await.unwrap();

        let names: Vec<_> = heads.iter().map(|head| (head.name.as_str(), head.deleted)).collect();
        assert_eq!(names, [("B", false), ("a", true), ("b", false), ("ä", false)]);
        assert_eq!((heads[1].version, heads[1].updated_at_ms), (1, NOON + 1));
    }

    async fn two_puts_at_once_make_two_versions(world: World) {
        let puts = (0..8).map(|n| {
            let store = &world.store;
            async move { store.put_workflow("greet", &format!("source {n}"), "api", by(), NOON).await.unwrap() }
        });

        let mut versions: Vec<_> =
            futures_util::future::join_all(puts).await.into_iter().map(|(row, _)| row.version).collect();

        versions.sort();
        assert_eq!(versions, [1, 2, 3, 4, 5, 6, 7, 8]);
    }
}
