//! The order of the queue: high before normal before low, and low within its stated bound.

use levqor_core::id::JobId;
use levqor_core::job::Priority;

use crate::support::{Database, NOOP, Node, TestClock, ask, settings};

each_engine!(
    high_goes_before_normal_and_normal_before_low_across_workflows,
    a_low_job_is_overtaken_only_by_jobs_at_most_300_s_younger,
);

async fn submit(node: &Node, workflow: &str, priority: Priority) -> JobId {
    let mut request = ask(workflow);
    request.priority = priority;
    node.submit(request).await
}

async fn high_goes_before_normal_and_normal_before_low_across_workflows(database: Database) {
    let clock = TestClock::still();
    let node = Node::by_hand(&database, settings(), clock.clone()).await;
    node.put("a", NOOP).await;
    node.put("b", NOOP).await;

    let low = submit(&node, "a", Priority::Low).await;
    let normal = submit(&node, "b", Priority::Normal).await;
    clock.advance(10);
    let high = submit(&node, "a", Priority::High).await;
    let other = submit(&node, "b", Priority::High).await;
    let mut order = Vec::new();
    for _ in 0..4 {
        order.extend(node.turn_jobs(1).await.unwrap());
    }

    order[..2].sort_unstable();
    let mut first = [high, other];
    first.sort_unstable();
    assert_eq!(order, [first[0], first[1], normal, low]);
}

async fn a_low_job_is_overtaken_only_by_jobs_at_most_300_s_younger(database: Database) {
    let clock = TestClock::still();
    let node = Node::by_hand(&database, settings(), clock.clone()).await;
    node.put("noop", NOOP).await;

    let low = submit(&node, "noop", Priority::Low).await;
    clock.advance(239_999);
    let normal_in_time = submit(&node, "noop", Priority::Normal).await;
    clock.advance(2);
    let normal_late = submit(&node, "noop", Priority::Normal).await;
    clock.advance(59_998);
    let in_time = submit(&node, "noop", Priority::High).await;
    clock.advance(2);
    let late = submit(&node, "noop", Priority::High).await;

    let order = node.turn_jobs(10).await.unwrap();

    assert_eq!(order[2], low, "{order:?}");
    let (mut before, mut after) = (order[..2].to_vec(), order[3..].to_vec());
    before.sort_unstable();
    after.sort_unstable();
    assert_eq!(before, [normal_in_time, in_time]);
    assert_eq!(after, [normal_late, late]);
}
