//! Writes that several nodes count together.

use std::sync::Arc;

use levqor_store::{Location, SharedHit, SharedVerdict, Store};

use crate::world::*;

fn hit(client: &str, client_limit: Option<u32>, global_limit: Option<u32>) -> SharedHit {
    SharedHit { client: client.to_owned(), client_limit, global_limit, window_ms: 60_000 }
}

async fn nodes(count: usize) -> (String, Vec<Arc<Store>>) {
    let url = levqor_testkit::postgres_url().await;
    let mut nodes = Vec::new();
    for n in 0..count {
        let store = Store::open(&Location::Postgres(url.clone()), &format!("node-{n}")).await.unwrap();
        nodes.push(Arc::new(store));
    }
    (url, nodes)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_nodes_asked_at_once_let_through_exactly_the_limits() {
    let (url, nodes) = nodes(3).await;
    let asking = (0..300).map(|n| {
        let node = nodes[n % 3].clone();
        let client = format!("10.0.0.{}", n % 5);
        tokio::spawn(
            async move { (n % 5, node.count_shared(hit(&client, Some(20), Some(70))).await.unwrap()) },
        )
    });

    let mut counted = [0; 5];
    for asked in asking.collect::<Vec<_>>() {
        match asked.await.unwrap() {
            (client, SharedVerdict::Counted { left }) => {
                assert!(left < 20);
                counted[client] += 1;
            }
            (_, SharedVerdict::Refused { retry_after_ms, .. }) => {
                assert!((1..=60_000).contains(&retry_after_ms))
            }
        }
    }

    assert_eq!(counted.iter().sum::<usize>(), 70, "{counted:?}");
    assert!(counted.iter().all(|of_one| *of_one <= 20), "{counted:?}");
    let rows = run_postgres(&url, "select count(*) from rate_windows").await[0].get::<_, i64>(0);
    assert_eq!(rows, 6, "one a client and one for all");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_write_counts_for_nobody_and_who_must_wait_is_told() {
    let (_, nodes) = nodes(2).await;
    let asked = hit("10.0.0.1", Some(1), Some(2));

    assert_eq!(nodes[0].count_shared(asked.clone()).await.unwrap(), SharedVerdict::Counted { left: 0 });
    for _ in 0..5 {
        let refused = nodes[1].count_shared(asked.clone()).await.unwrap();
        assert!(matches!(refused, SharedVerdict::Refused { everybody_waits: false, .. }), "{refused:?}");
    }
    let other = hit("10.0.0.2", Some(1), Some(2));
    assert_eq!(nodes[1].count_shared(other).await.unwrap(), SharedVerdict::Counted { left: 0 });
    let third = nodes[0].count_shared(hit("10.0.0.3", Some(1), Some(2))).await.unwrap();
    assert!(matches!(third, SharedVerdict::Refused { everybody_waits: true, .. }), "{third:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn windows_end_and_their_rows_go() {
    let (url, nodes) = nodes(1).await;
    let asked = hit("10.0.0.1", Some(1), None);
    nodes[0].count_shared(asked.clone()).await.unwrap();

    // The minute is over.
    run_postgres(&url, "update rate_windows set hits = '1000', until_ms = 61000").await;
    let again = nodes[0].count_shared(asked).await.unwrap();
    assert_eq!(again, SharedVerdict::Counted { left: 0 });
    run_postgres(&url, "update rate_windows set until_ms = 61000").await;
    nodes[0].beat(NOON).await.unwrap();

    assert_eq!(run_postgres(&url, "select count(*) from rate_windows").await[0].get::<_, i64>(0), 0);
}
