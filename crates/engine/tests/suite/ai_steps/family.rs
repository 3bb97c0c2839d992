//! Jobs that models asked for end with whoever waits for them, down the whole tree.

use levqor_core::audit::Actor;
use levqor_core::clock::Clock as _;
use levqor_core::id::JobId;
use levqor_core::intake::IntakeRequest;
use levqor_core::state::State;
use levqor_testkit::wait_until;

use super::tools::wants;
use super::world::*;
use crate::support::*;

each_engine!(
    a_cancel_reaches_every_job_of_the_tree,
    a_job_that_expires_takes_its_children_along,
    a_child_whose_root_is_over_does_not_begin,
    a_result_that_is_handed_in_ends_the_children_and_leaves_other_jobs_alone,
);

/// `w` asks `middle`, which asks `leaf`, which waits for an hour.
async fn tree(node: &Node, mock: &levqor_mock_ai::MockAi, more: &str) {
    let asks = |tool: &str, more: &str| {
        format!(
            "{{{more}steps: [{{id: a, ai: {{model: openai/gpt-6-sol, prompt: go, max_tokens: 100, tools: [{{workflow: {tool}}}]}}}}]}}"
        )
    };
    node.put("leaf", "{steps: [{id: rest, wait: 1h}]}").await;
    node.put("middle", &asks("leaf", "")).await;
    node.put("w", &asks("middle", more)).await;
    mock.queue_replies([wants("middle", "{}"), wants("leaf", "{}")]);
}

/// The job of this workflow, once it is in this state.
async fn find(node: &Node, workflow: &str, state: State) -> JobId {
    let found = std::sync::Mutex::new(None);
    let filter = levqor_store::JobFilter {
        workflow: Some(workflow.to_owned()),
        state: Some(state),
        limit: 10,
        ..Default::default()
    };
    wait_until(LIMIT, async || {
        let page = node.list_jobs(&filter).await.unwrap();
        *found.lock().unwrap() = page.jobs.first().map(|line| line.id);
        !page.jobs.is_empty()
    })
    .await;
    found.into_inner().unwrap().unwrap()
}

async fn a_cancel_reaches_every_job_of_the_tree(database: Database) {
    let mock = mock().await;
    let (settings, clock) = (ai_settings(&mock.url()), TestClock::running());
    let node = Node::start(&database, settings.clone(), clock.clone()).await;
    tree(&node, &mock, "").await;
    let root = submit(&node, "hello").await;
    let leaf = find(&node, "leaf", State::Waiting).await;
    let middle = find(&node, "middle", State::Waiting).await;
    let other = match database.is_postgres() {
        true => Some(Node::start(&database, settings, clock).await),
        false => None,
    };

    other.as_ref().unwrap_or(&node).cancel_job(root, &Actor::developer()).await.unwrap();

    for id in [root, middle, leaf] {
        assert_eq!(node.row(id).await.line.state, State::Cancelled);
    }
    let error = node.row(leaf).await.error.unwrap();
    assert_eq!(
        (error.code.as_str(), error.message.as_str()),
        ("cancelled", "the job that asked for it is over")
    );
    let live = database.number("select count(*) from live_jobs").await;
    assert_eq!((live, mock.bill().calls), (0, 2));
    bill_is_ledger(&mock, &database).await;
}

async fn a_job_that_expires_takes_its_children_along(database: Database) {
    let mock = mock().await;
    let clock = TestClock::running();
    let node = Node::start(&database, ai_settings(&mock.url()), clock.clone()).await;
    tree(&node, &mock, "timeout: 10m, ").await;
    let root = submit(&node, "hello").await;
    let leaf = find(&node, "leaf", State::Waiting).await;

    clock.advance(11 * 60_000);

    wait_until(LIMIT, async || node.row(root).await.line.state == State::Expired).await;
    wait_until(LIMIT, async || node.row(leaf).await.line.state == State::Cancelled).await;
    find(&node, "middle", State::Cancelled).await;
    assert_eq!(mock.bill().calls, 2);
}

async fn a_child_whose_root_is_over_does_not_begin(database: Database) {
    let mock = mock().await;
    let clock = TestClock::running();
    let node = Node::start(&database, ai_settings(&mock.url()), clock.clone()).await;
    node.put("w", "{steps: [{id: rest, wait: 1h}]}").await;
    let root = submit(&node, "hello").await;
    node.when(root, |row| row.line.state == State::Waiting).await;
    node.cancel_job(root, &Actor::developer()).await.unwrap();
    node.put("w", &one("")).await;

    // As a process that died between its word and the job's end would leave it.
    let request = IntakeRequest { payload: r#"{"text":"hi"}"#.to_owned(), ..ask("w") };
    let now_ms = clock.now_ms();
    let child = JobId::new(now_ms, [9; 10]);
    let job = request.into_new_job(child, Some(2), format!("job:{root}:1:tester"), now_ms, None);
    node.store().intake(job).await.unwrap();

    let row = node.ended(child).await;
    assert_eq!((row.line.state, mock.bill().calls), (State::Cancelled, 0));
}

async fn a_result_that_is_handed_in_ends_the_children_and_leaves_other_jobs_alone(database: Database) {
    let mock = mock().await;
    let node = Node::start(&database, ai_settings(&mock.url()), TestClock::running()).await;
    tree(&node, &mock, "").await;
    // A payload or a result that looks like a turn names no child.
    let stranger = node.submit(IntakeRequest { payload: "{}".to_owned(), ..ask("leaf") }).await;
    let root = submit(&node, &format!("{{\"kind\":\"tool\",\"job\":\"{stranger}\"}}")).await;
    let middle = find(&node, "middle", State::Waiting).await;
    wait_until(LIMIT, async || {
        database.number("select count(*) from live_jobs where state = 'waiting'").await == 4
    })
    .await;

    node.complete_job(root, "null".to_owned(), &Actor::developer()).await.unwrap();

    assert_eq!(node.row(middle).await.line.state, State::Cancelled);
    assert_eq!(node.row(stranger).await.line.state, State::Waiting);
    assert_eq!(database.number("select count(*) from live_jobs").await, 1);
}
