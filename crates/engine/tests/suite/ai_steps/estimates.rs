//! `dry_run`: a range that the bill then lies in, and nothing that is held or sent.

use levqor_core::budget::{Budget, BudgetId, Mode, Scope, ScopeKind, Window, Zone};
use levqor_core::intake::IntakeRequest;
use levqor_core::money::Nano;
use levqor_engine::Estimate;
use levqor_mock_ai::Script;

use super::world::*;
use crate::support::*;

each_engine!(
    the_bill_lies_in_the_range_that_was_told,
    what_is_known_only_later_may_cost_what_a_job_may,
    a_budget_that_is_too_small_is_named_before_the_job_is_stored,
    steps_with_a_price_are_part_of_the_estimate,
);

async fn estimate(node: &Node, text: &str) -> Option<Estimate> {
    let payload = serde_json::json!({ "text": text }).to_string();
    node.preview(IntakeRequest { payload, dry_run: true, ..ask("w") }, "tester").await.unwrap().cost
}

async fn the_bill_lies_in_the_range_that_was_told(database: Database) {
    let mock = mock().await;
    let node = Node::start(&database, ai_settings(&mock.url()), TestClock::running()).await;
    let source = formed(", repairs: 2").replace("id: a,", "id: a, retry: {attempts: 2, first: 1ms},");
    node.put("w", &source).await;

    let told = estimate(&node, "hello there").await.unwrap();
    let long = || Script { output_tokens: Some(200), ..says(BAD) };
    let long_good = Script { output_tokens: Some(200), ..says(GOOD) };
    mock.queue_replies([
        Script { text: Some(r#"{"label":"x","y":1}"#.to_owned()), ..long() },
        long(),
        long_good,
    ]);
    let row = {
        let id = submit(&node, "hello there").await;
        node.ended(id).await
    };

    output(&row);
    let bill = Nano::new(i64::try_from(mock.bill().total_nano).unwrap());
    assert_eq!(mock.bill().calls, 3);
    assert!(told.least > Nano::ZERO && told.least <= bill && bill <= told.most, "{bill} {told:?}");
    assert!(told.steps[0].first_hold.unwrap() < told.most && told.starts_now, "{told:?}");
    let budgets: Vec<&str> = told.budgets.iter().map(|effect| effect.id.as_str()).collect();
    assert_eq!(budgets, ["max-cost-per-job", "max-cost-per-day"]);
    assert_eq!(told.budgets[1].left, Nano::parse("10").unwrap());
}

async fn what_is_known_only_later_may_cost_what_a_job_may(database: Database) {
    let mock = mock().await;
    let node = Node::start(&database, ai_settings(&mock.url()), TestClock::running()).await;
    let source = r#"{steps: [{id: a, transform: 1}, {id: b, ai: {model: openai/gpt-6-sol, prompt: "{{ steps.a.output }}"}},
        {id: c, ai: {model: openai/gpt-6-sol, prompt: hi, max_tokens: 10, tools: [{workflow: w}]}}]}"#;
    node.put("w", source).await;

    let told = estimate(&node, "").await.unwrap();

    let cap = Nano::parse("0.35").unwrap();
    assert_eq!((told.steps[0].first_hold, told.steps[0].most, told.most), (None, cap, cap));
    assert!(
        told.steps[1].first_hold.is_some() && told.steps[1].most == cap,
        "tools go on for as long as they like"
    );
    node.put("w", NOOP).await;
    assert_eq!(estimate(&node, "").await, None);
    assert_eq!((mock.bill().calls, database.number("select count(*) from ai_calls").await), (0, 0));
}

async fn a_budget_that_is_too_small_is_named_before_the_job_is_stored(database: Database) {
    let mock = mock().await;
    let node = Node::start(&database, ai_settings(&mock.url()), TestClock::running()).await;
    let budget = Budget {
        id: BudgetId::parse("team").unwrap(),
        scope: Scope { kind: ScopeKind::Workflow, id: "w".to_owned() },
        window: Window::Day,
        zone: Zone::utc(),
        limit: Nano::parse("0.0001").unwrap(),
        mode: Mode::Hard,
        thresholds_ppm: Vec::new(),
        max_open_holds: None,
        enabled: true,
    };
    node.store().put_budget(&budget, "api", by(), 1).await.unwrap();
    node.put("w", &one("")).await;

    let told = estimate(&node, "hello").await.unwrap();

    assert!(!told.starts_now);
    let problem = told.steps[0].problem.as_ref().unwrap();
    assert!(problem.contains("`team`") && problem.contains("$0.0001"), "{problem}");
    let team = told.budgets.iter().find(|effect| effect.id == "team").unwrap();
    assert!(team.left_after < Nano::ZERO && team.left == Nano::parse("0.0001").unwrap());
    node.put("w", &one("").replace("gpt-6-sol", "gpt-unknown")).await;
    let told = estimate(&node, "hello").await.unwrap();
    assert!(told.steps[0].problem.as_ref().unwrap().contains("nobody knows what"), "{told:?}");
}

async fn steps_with_a_price_are_part_of_the_estimate(database: Database) {
    let mock = mock().await;
    let node = Node::start(&database, with_limits(&mock.url(), "0.5", "10"), TestClock::running()).await;
    let source = r#"{steps: [
        {id: a, http: {url: "https://one.example.com/"}, cost: '0.1', retry: {attempts: 3, first: 1s}},
        {id: b, connect: slack.post_message, connection: c, with: {channel: x, text: "{{ steps.a.output }}"}, cost: '0.05'},
        {id: c, if: "{{ payload.text == 'x' }}", http: {url: "https://two.example.com/"}, cost: '0.6'}]}"#;
    node.put("w", source).await;

    let told = estimate(&node, "x").await.unwrap();

    let dollars = |text| Nano::parse(text).unwrap();
    let steps: Vec<_> =
        told.steps.iter().map(|step| (step.model.as_str(), step.least, step.most, step.first_hold)).collect();
    assert_eq!(steps[0], ("http", dollars("0.1"), dollars("0.3"), Some(dollars("0.1"))));
    assert_eq!(steps[1], ("slack/post_message", Nano::ZERO, dollars("0.05"), None));
    assert_eq!(steps[2], ("http", Nano::ZERO, dollars("0.5"), Some(dollars("0.6"))));
    let problem = told.steps[2].problem.as_ref().unwrap();
    assert!(problem.contains("costs $0.6") && problem.contains("max-cost-per-job"), "{problem}");
    assert_eq!((told.least, told.most, told.starts_now), (dollars("0.1"), dollars("0.5"), false));
    assert!(told.budgets.iter().any(|effect| effect.id == "max-cost-per-day"), "{told:?}");
    assert_eq!(database.number("select count(*) from ai_calls").await, 0);
}
