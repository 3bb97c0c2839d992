//! Thresholds of budgets: told once, by everybody who is to tell, whichever nodes race and wherever one dies.

use std::sync::Arc;

use levqor_connectors::Bases;
use levqor_connectors::email::{Mailer, Provider};
use levqor_core::audit::Actor;
use levqor_core::budget::{Budget, BudgetId, Mode, Recipients, Scope, ScopeKind, SlackChannel, Window, Zone};
use levqor_core::clock::Clock;
use levqor_core::money::{Bound, CallId, Charge, Nano, Terms, Usage};
use levqor_core::seal::{Keyring, SealKey};
use levqor_engine::Settings;
use levqor_engine::ai::AiSettings;
use levqor_store::{NewCall, Reserved, Settlement};
use levqor_testkit::{Answer, Receiver, wait_until};
use serde_json::{Value, json};
use standardwebhooks::Webhook;

use crate::support::{Database, LIMIT, Node, TestClock, by, secret};

each_engine!(
    a_threshold_is_told_by_mail_slack_callback_and_workflow,
    nodes_that_race_tell_each_threshold_once,
    a_crash_on_either_side_of_the_commit_tells_once,
    who_cannot_be_told_holds_up_nobody_and_is_on_record,
    where_a_budget_names_nobody_the_settings_do,
    a_limit_that_is_lowered_tells_what_lies_behind_it_by_now,
);

const CENT: i64 = 10_000_000;

/// The budgets of the settings are far away from what these tests spend.
fn settings() -> Settings {
    let most = Nano::new(1_000_000 * CENT);
    let ai = AiSettings { per_job: most, per_day: most, ..AiSettings::default() };
    Settings { ai, ..crate::support::settings() }
}

fn budget(id: &str, limit_cents: i64, thresholds_ppm: &[u32]) -> Budget {
    Budget {
        id: BudgetId::parse(id).unwrap(),
        scope: Scope::global(),
        window: Window::Total,
        zone: Zone::utc(),
        limit: Nano::new(limit_cents * CENT),
        mode: Mode::Hard,
        thresholds_ppm: thresholds_ppm.to_vec(),
        max_open_holds: None,
        enabled: true,
    }
}

async fn put(node: &Node, budget: &Budget, recipients: Option<&Recipients>) {
    let recipients = recipients.map(|it| serde_json::to_string(it).unwrap());
    node.store().put_budget_telling(budget, recipients, by(), 1).await.unwrap();
}

/// A call that is over and cost this.
async fn spend(node: &Node, clock: &TestClock, cents: i64) {
    let now_ms = clock.now_ms();
    let call = NewCall {
        id: CallId::new(now_ms, rand::random()),
        place: None,
        ask: None,
        key: None,
        user: Some("ada".to_owned()),
        tags: Default::default(),
        provider: "openai".to_owned(),
        model: "gpt-6-sol".to_owned(),
        price_id: "price".to_owned(),
        terms: Terms::STANDARD,
        bound: Bound { input_tokens: 1, output_tokens: 1, amount: Nano::new(cents * CENT) },
        at_ms: now_ms,
        lease_ms: 60_000,
    };
    let Reserved::Granted(permit) = node.store().reserve(call).await.unwrap() else { panic!("refused") };
    let charge = Charge::Settle { cost: Nano::new(cents * CENT), usage: Usage::default(), alarm: None };
    node.store().settle_call(Settlement::new(permit.spend(), charge, now_ms)).await.unwrap();
}

/// Jobs of these workflows so far, whatever became of them.
async fn jobs(database: &Database, workflow: &str) -> i64 {
    database.number(&format!("select count(*) from jobs where workflow = '{workflow}'")).await
}

async fn a_threshold_is_told_by_mail_slack_callback_and_workflow(database: Database) {
    let outside = Receiver::start().await;
    outside.script("/emails", [Answer::json(&json!({"id": "m-1"}))]);
    outside.script("/chat.postMessage", [Answer::json(&json!({"ok": true, "channel": "C1", "ts": "1.2"}))]);
    outside.script("/hook", [Answer::status(200)]);
    let agent = http::HeaderValue::from_static("levqor-test/1");
    let provider = Provider::Resend { api_key: "re_canary".to_owned(), base_url: outside.url("") };
    let settings = Settings {
        mailer: Some(Arc::new(Mailer::new(&provider, "example.com", &[], agent))),
        vendors: Bases { slack: outside.url("").trim_end_matches('/').to_owned(), ..Bases::default() },
        seal_keys: Keyring::new([SealKey::from_random(std::array::from_fn(|at| at as u8))]),
        ..settings()
    };
    let clock = TestClock::running();
    let node = Node::start(&database, settings, clock.clone()).await;
    let connection =
        json!({"name": "team-slack", "connector": "slack", "token": "xoxb-canary-1"}).to_string();
    node.put_connection(&connection, &Actor::developer()).await.unwrap();
    node.put("on-alert", r#"{steps: [{id: keep, transform: "{{ payload }}"}]}"#).await;
    let recipients = Recipients {
        callback: Some(outside.url("/hook")),
        email: vec!["ops@example.org".to_owned()],
        slack: Some(SlackChannel { connection: "team-slack".to_owned(), channel: "#ops".to_owned() }),
        workflow: Some("on-alert".to_owned()),
    };
    put(&node, &budget("all", 100, &[800_000]), Some(&recipients)).await;

    spend(&node, &clock, 82).await;

    let line = "Budget all has reached 80 %: $0.82 of $1.00 spent (everything, total)";
    let came = |path: &str| outside.received().into_iter().find(|it| it.path == path);
    wait_until(LIMIT, async || {
        ["/emails", "/chat.postMessage", "/hook"].iter().all(|path| came(path).is_some())
    })
    .await;
    let mail = came("/emails").unwrap().json();
    assert_eq!((&mail["to"], &mail["subject"]), (&json!(["ops@example.org"]), &json!(line)));
    assert!(mail["text"].as_str().unwrap().contains("further AI calls are refused"), "{mail}");
    let slack = came("/chat.postMessage").unwrap().json();
    assert_eq!((&slack["channel"], &slack["text"]), (&json!("#ops"), &json!(line)));
    let hook = came("/hook").unwrap();
    Webhook::new(&secret(1).expose()).unwrap().verify(&hook.body, &hook.headers).unwrap();
    let told = hook.json()["data"]["result"].clone();
    assert_eq!(
        (&told["budget"], &told["threshold"], &told["spent"]),
        (&json!("all"), &json!("80"), &json!("0.82"))
    );
    let kept = database
        .number(
            "select count(*) from jobs where workflow = 'on-alert' and payload like '%\"threshold\":\"80\"%'",
        )
        .await;
    assert_eq!((kept, jobs(&database, "levqor-alert").await), (1, 1));
    assert_eq!(outside.received().len(), 3, "each was told once");
}

async fn nodes_that_race_tell_each_threshold_once(database: Database) {
    let clock = TestClock::still();
    let first = Node::by_hand(&database, settings(), clock.clone()).await;
    let second = match database.is_postgres() {
        true => Some(Node::by_hand(&database, settings(), clock.clone()).await),
        false => None,
    };
    put(&first, &budget("all", 100, &[100_000, 200_000, 300_000, 400_000, 500_000]), None).await;
    let each = Budget { scope: Scope::each(ScopeKind::User), ..budget("each", 100, &[500_000]) };
    put(&first, &each, None).await;
    for _ in 0..10 {
        spend(&first, &clock, 6).await;
    }

    let nodes: Vec<&Node> = [Some(&first), second.as_ref()].into_iter().flatten().collect();
    let turns = (0..12).map(|turn| nodes[turn % nodes.len()].turn_alerts());
    let told: usize = futures_util::future::join_all(turns).await.into_iter().map(Result::unwrap).sum();

    assert_eq!((told, jobs(&database, "levqor-alert").await), (6, 6));
    let different = "select count(distinct payload) from jobs where workflow = 'levqor-alert'";
    assert_eq!(database.number(different).await, 6);
    assert_eq!(first.turn_alerts().await.unwrap(), 0);
}

async fn a_crash_on_either_side_of_the_commit_tells_once(database: Database) {
    let clock = TestClock::still();
    let node = Node::by_hand(&database, settings(), clock.clone()).await;
    put(&node, &budget("all", 100, &[500_000]), None).await;
    spend(&node, &clock, 50).await;
    node.crash(&database).await;
    assert_eq!(jobs(&database, "levqor-alert").await, 0);

    let node = Node::by_hand(&database, settings(), clock.clone()).await;
    assert_eq!(node.turn_alerts().await.unwrap(), 1);
    node.crash(&database).await;

    let node = Node::start(&database, settings(), clock.clone()).await;
    let open = "select count(*) from alert_outbox where closed_at_ms is null";
    assert_eq!((node.turn_alerts().await.unwrap(), database.number(open).await), (0, 0));
    let ended = "select count(*) from finished_jobs where state = 'succeeded'";
    wait_until(LIMIT, async || database.number(ended).await == 1).await;
    assert_eq!(jobs(&database, "levqor-alert").await, 1);
}

async fn who_cannot_be_told_holds_up_nobody_and_is_on_record(database: Database) {
    let clock = TestClock::still();
    let node = Node::by_hand(&database, settings(), clock.clone()).await;
    node.put("strict", "{input: {type: object, required: [other]}, steps: [{id: a, transform: 1}]}").await;
    let recipients = Recipients {
        email: vec!["ops@example.org".to_owned()],
        workflow: Some("strict".to_owned()),
        ..Recipients::default()
    };
    put(&node, &budget("all", 100, &[500_000]), Some(&recipients)).await;
    spend(&node, &clock, 50).await;

    assert_eq!(node.turn_alerts().await.unwrap(), 1);

    assert_eq!((jobs(&database, "levqor-email").await, jobs(&database, "strict").await), (1, 0));
    let record = "select count(*) from jobs where workflow = 'levqor-alert' and payload like '%\"told\":[\"email\"]%' \
        and payload like '%workflow: the payload does not fit%'";
    assert_eq!(database.number(record).await, 1);
}

async fn where_a_budget_names_nobody_the_settings_do(database: Database) {
    let clock = TestClock::still();
    let alerts = Recipients { email: vec!["settings@example.org".to_owned()], ..Recipients::default() };
    let node = Node::by_hand(&database, Settings { alerts, ..settings() }, clock.clone()).await;
    put(&node, &budget("plain", 100, &[500_000]), None).await;
    put(&node, &budget("silent", 100, &[500_000]), Some(&Recipients::default())).await;
    spend(&node, &clock, 50).await;

    assert_eq!(node.turn_alerts().await.unwrap(), 2);

    let mails = "select count(*) from jobs where workflow = 'levqor-email' and payload like '%settings@example.org%' \
        and payload like '%Budget plain%'";
    assert_eq!((database.number(mails).await, jobs(&database, "levqor-email").await), (1, 1));
    assert_eq!(jobs(&database, "levqor-alert").await, 2, "the record is made all the same");
}

async fn a_limit_that_is_lowered_tells_what_lies_behind_it_by_now(database: Database) {
    let clock = TestClock::still();
    let node = Node::by_hand(&database, settings(), clock.clone()).await;
    put(&node, &budget("all", 100, &[500_000, 900_000]), None).await;
    spend(&node, &clock, 40).await;
    assert_eq!(node.turn_alerts().await.unwrap(), 0);

    put(&node, &budget("all", 60, &[500_000, 900_000]), None).await;
    assert_eq!(node.turn_alerts().await.unwrap(), 1);
    put(&node, &budget("all", 100, &[500_000, 900_000]), None).await;
    put(&node, &budget("all", 60, &[500_000, 900_000]), None).await;

    assert_eq!(node.turn_alerts().await.unwrap(), 0, "once a period");
    let told: Value = json!("50");
    let like = format!("select count(*) from jobs where payload like '%\"threshold\":{told}%'");
    assert_eq!(database.number(&like).await, 1);
}
