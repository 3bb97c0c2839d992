//! A conversation whose process dies after each of its commits: what is on record is not paid for again and no tool is run
//! twice; what was in the air is charged in full.

use levqor_core::clock::Clock as _;
use levqor_core::state::State;
use levqor_testkit::{Receiver, wait_until};

use super::tools::{TOOLS, connect, posted, settings_at, wants};
use super::world::*;
use crate::support::*;

each_engine!(a_conversation_ends_once_whichever_commit_was_the_last_of_its_process);

/// Every commit of a turn writes one row of steps or of calls; from this one on each is refused. A charge alone is not: it is
/// what a task may still manage to do.
const SQLITE_LIMIT: &str = "
create table allowed (n integer not null);
insert into allowed values (1000000);
create trigger limit_calls before insert on ai_calls begin
    select raise(abort, 'no commit is allowed any more') where (select n from allowed) <= 0;
    update allowed set n = n - 1;
end;
create trigger limit_steps before insert on steps when new.step like '%/%' begin
    select raise(abort, 'no commit is allowed any more') where (select n from allowed) <= 0;
    update allowed set n = n - 1;
end;
create trigger limit_end before delete on live_jobs begin
    select raise(abort, 'no commit is allowed any more') where (select n from allowed) <= 0;
end;";

const POSTGRES_LIMIT: &str = "
create table allowed (n bigint not null, last bigint not null);
insert into allowed values (1000000, 0);
create function limit_commits() returns trigger language plpgsql as $$
begin
    update allowed set n = n - 1, last = txid_current() where last <> txid_current();
    if (select n from allowed) < 0 then
        raise exception 'no commit is allowed any more';
    end if;
    return case when tg_op = 'DELETE' then old else new end;
end $$;
create trigger limit_calls before insert or update of state on ai_calls for each row execute function limit_commits();
create trigger limit_steps before insert on steps for each row execute function limit_commits();
create trigger limit_end before delete on live_jobs for each row execute function limit_commits();";

const PLENTY: i64 = 1_000_000;

/// Hold, answer, tool begun, tool over, hold, answer and end.
const COMMITS: i64 = 6;

async fn a_conversation_ends_once_whichever_commit_was_the_last_of_its_process(first: Database) {
    let plain = walk(&first, PLENTY).await;
    assert_eq!(plain, (2, 1), "calls and tools of a walk without a crash");
    for last in 0..=COMMITS {
        let database = if first.is_postgres() { Database::postgres().await } else { Database::sqlite() };
        let (calls, tools) = walk(&database, last).await;
        assert!((2..=4).contains(&calls), "after commit {last}: {calls} calls");
        assert!(tools <= 1, "after commit {last}: the tool ran {tools} times");
    }
}

/// Runs a job whose first process dies after so many commits; how many calls and tools there were.
async fn walk(database: &Database, commits: i64) -> (u64, usize) {
    let (mock, vendor) = (mock().await, Receiver::start().await);
    vendor.script("/chat.postMessage", [posted(), posted()]);
    let clock = TestClock::running();
    let node = Node::start(database, settings_at(&mock, &vendor), clock.clone()).await;
    connect(&node).await;
    node.put("w", &one(TOOLS)).await;
    mock.queue_replies([wants("slack_post_message", r#"{"text": "hi"}"#)]);
    database.execute(if database.is_postgres() { POSTGRES_LIMIT } else { SQLITE_LIMIT }).await;
    database.execute(&format!("update allowed set n = {commits}")).await;
    let id = submit(&node, "hello").await;
    let node = match commits {
        PLENTY => node,
        _ => {
            // Refused often enough that nothing it could still do is new.
            wait_until(LIMIT, async || {
                let n = database.number("select n from allowed").await;
                n <= 0 && is_stuck(&mock, commits)
            })
            .await;
            node.crash(database).await;
            database.execute(&format!("update allowed set n = {PLENTY}")).await;
            clock.advance(1_000_000);
            Node::start(database, settings_at(&mock, &vendor), clock.clone()).await
        }
    };
    let row = node.ended(id).await;
    assert_eq!(row.line.state, State::Succeeded, "after commit {commits}: {row:?}");
    // Lost calls are charged in full, by the sweep.
    wait_until(LIMIT, async || {
        node.store().sweep_calls(clock.now_ms(), 100).await.unwrap();
        counted(database, "held_nano").await == 0
    })
    .await;

    let (bill, ledger) = (i64::try_from(mock.bill().total_nano).unwrap(), spent(database).await);
    assert_eq!(counted(database, "spent_nano").await, ledger);
    assert!(ledger >= bill, "after commit {commits}: {ledger} of {bill}");
    let lost = database.number("select count(*) from ai_calls where state = 'assumed'").await;
    assert!(lost <= 1, "after commit {commits}: {lost} lost");
    assert_eq!(ledger == bill, lost == 0, "only a lost call is charged more than it cost");
    (mock.bill().calls, vendor.received_at("/chat.postMessage").len())
}

/// The first process has done what it could before it met a refusal: the answer that it may not record has come.
fn is_stuck(mock: &levqor_mock_ai::MockAi, commits: i64) -> bool {
    mock.bill().calls >= u64::from(commits >= 1) + u64::from(commits >= 5)
}
