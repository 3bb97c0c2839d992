//! Keys in memory: a change is in force here at once, and on other nodes soon.

use levqor_core::key::{Scopes, digest, parse_request, parse_rotation};
use levqor_testkit::wait_until;

use crate::support::{Database, LIMIT, NOOP, Node, TestClock, by, settings};

fn hash(minted: &levqor_core::key::Minted) -> [u8; 32] {
    digest(minted.reveal().as_bytes())
}

fn request(scopes: &str) -> levqor_core::key::KeyRequest {
    parse_request(&format!(r#"{{"name":"k","scopes":["{scopes}"]}}"#), 0).unwrap()
}

async fn a_change_is_in_force_before_it_is_answered(database: Database) {
    let clock = TestClock::still();
    let node = Node::start(&database, settings(), clock.clone()).await;
    assert!(!node.had_keys());

    let (row, minted) = node.create_key(request("admin"), false, by()).await.unwrap();
    let key = node.find_key(&hash(&minted)).unwrap();
    assert_eq!(
        (&*key.caller, key.actor.as_str()),
        (&*format!("key:{}", row.id), &*format!("key:{}", row.id))
    );
    assert_eq!(key.scopes, Scopes::parse("admin").unwrap());
    assert!(node.had_keys());

    let now = parse_rotation(r#"{"overlap":"0s"}"#, 0).unwrap();
    let (next, successor) = node.rotate_key(&row.id, now, by()).await.unwrap();
    assert!(node.find_key(&hash(&minted)).is_none());
    let key = node.find_key(&hash(&successor)).unwrap();
    assert_eq!(&*key.caller, format!("key:{}", row.id), "who asks is the same after a rotation");
    assert_eq!(key.actor.as_str(), format!("key:{}", next.id), "which key it was is told all the same");

    node.revoke_key(&next.id, by()).await.unwrap();
    assert!(node.find_key(&hash(&successor)).is_none());
    assert!(node.had_keys(), "without a key that works, a server is closed, not open");
}

async fn a_key_ends_by_itself(database: Database) {
    let clock = TestClock::still();
    let node = Node::start(&database, settings(), clock.clone()).await;
    let (row, minted) = node.create_key(request("admin"), false, by()).await.unwrap();
    let (_, successor) = node.rotate_key(&row.id, parse_rotation("", 0).unwrap(), by()).await.unwrap();

    clock.advance(24 * 3_600_000 - 1);
    assert!(node.find_key(&hash(&minted)).is_some());
    clock.advance(1);
    assert!(node.find_key(&hash(&minted)).is_none());
    assert!(node.find_key(&hash(&successor)).is_some());
}

each_engine!(a_change_is_in_force_before_it_is_answered, a_key_ends_by_itself);

#[tokio::test]
async fn what_one_node_does_to_a_key_another_one_knows_soon() {
    let database = Database::postgres().await;
    let clock = TestClock::still();
    let one = Node::start(&database, settings(), clock.clone()).await;
    let other = Node::start(&database, settings(), clock.clone()).await;

    let (row, minted) = one.create_key(request("admin"), false, by()).await.unwrap();
    wait_until(LIMIT, async || other.find_key(&hash(&minted)).is_some()).await;
    let began = std::time::Instant::now();
    one.revoke_key(&row.id, by()).await.unwrap();
    wait_until(LIMIT, async || other.find_key(&hash(&minted)).is_none()).await;

    assert!(began.elapsed().as_secs() < 3, "{:?}", began.elapsed());
    assert!(other.had_keys());
}

#[tokio::test]
async fn rows_that_somebody_takes_out_of_the_table_open_no_node_that_runs() {
    let database = Database::postgres().await;
    let node = Node::start(&database, settings(), TestClock::still()).await;
    let (_, minted) = node.create_key(request("admin"), false, by()).await.unwrap();

    database.execute("delete from api_keys").await;
    // What makes nodes read the keys again is an entry of the audit log, any.
    node.put_workflow("noop", NOOP, "api", by()).await.unwrap();

    wait_until(LIMIT, async || node.find_key(&hash(&minted)).is_none()).await;
    assert!(node.had_keys());
}
