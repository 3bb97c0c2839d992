//! Secrets go where a definition sends them, and nowhere else: no row, no error, no result, no line of the log.

use levqor_core::state::State;
use levqor_engine::{Secrets, Settings};
use levqor_testkit::{Receiver, marks, wait_until};

use crate::support::{Database, LIMIT, Node, TestClock, ask_with, code, postgres, settings};

each_engine!(
    a_secret_reaches_the_request_and_is_neither_stored_nor_logged,
    a_secret_in_the_name_of_a_host_is_not_shown_when_the_call_fails,
);

const TABLES: [&str; 8] = [
    "jobs",
    "live_jobs",
    "finished_jobs",
    "steps",
    "callbacks",
    "callback_tries",
    "settings",
    "workflow_versions",
];

async fn a_secret_reaches_the_request_and_is_neither_stored_nor_logged(database: Database) {
    let secret = format!("canary-{}-zq", if database.is_postgres() { "pg" } else { "lite" });
    let receiver = Receiver::start().await;
    receiver.statuses("/refused", &[403]);
    let node = Node::start(&database, with_secret(&secret), TestClock::running()).await;
    let call = |path: &str| {
        format!(
            r#"{{steps: [{{id: call, http: {{method: POST, url: "{path}?t={{{{ secrets.TOKEN }}}}",
                headers: {{Authorization: "Bearer {{{{ secrets.TOKEN }}}}"}}, json: {{t: "{{{{ secrets.TOKEN }}}}"}}}}}}]}}"#
        )
    };
    node.put("fine", &call("{{ payload.base }}/fine")).await;
    node.put("refused", &call("{{ payload.base }}/refused")).await;
    node.put("nobody", &call("http://127.0.0.1:1/{{ secrets.TOKEN }}")).await;
    node.put("odd", &call("{{ secrets.TOKEN }}")).await;

    let mut ended = Vec::new();
    for workflow in ["fine", "refused", "nobody", "odd"] {
        let mut request = ask_with(workflow, &receiver);
        request.callback_url = Some(receiver.url("/callback"));
        let id = node.submit(request).await;
        ended.push(node.ended(id).await);
    }
    wait_until(LIMIT, async || receiver.received_at("/callback").len() == 4).await;

    let states: Vec<_> = ended.iter().map(|row| (row.line.state, code(row))).collect();
    assert_eq!(states[0], (State::Succeeded, ""));
    assert_eq!(states[1..3], [(State::Failed, "http_status"), (State::Failed, "connect_failed")]);
    assert_eq!(states[3].0, State::Failed);
    let call = &receiver.received_at("/fine")[0];
    assert_eq!(call.query, format!("t={secret}"));
    assert_eq!(call.header("authorization"), format!("Bearer {secret}"));
    assert_eq!(call.json()["t"], secret.as_str());
    assert!(!format!("{ended:?}").contains(&secret));
    for callback in receiver.received_at("/callback") {
        assert!(!String::from_utf8_lossy(&callback.body).contains(&secret));
    }
    node.stop().await;
    assert!(!everything(&database).await.contains(&secret), "a row holds the secret");
    // A line that held the secret would have ended all tests.
    assert!(marks::heard("call failed"), "the log was listened to");
}

async fn a_secret_in_the_name_of_a_host_is_not_shown_when_the_call_fails(database: Database) {
    let secret = "hidden-tenant.invalid";
    let receiver = Receiver::start().await;
    let node = Node::start(&database, with_secret(secret), TestClock::running()).await;
    node.put("host", r#"{steps: [{id: call, http: {url: "http://{{ secrets.TOKEN }}/"}}]}"#).await;

    let id = node.submit(ask_with("host", &receiver)).await;
    let row = node.ended(id).await;

    assert_eq!(row.line.state, State::Failed);
    assert!(!format!("{row:?}").contains("hidden-tenant"), "{row:?}");
}

fn with_secret(value: &str) -> Settings {
    Settings { secrets: Secrets([("TOKEN".to_owned(), value.to_owned())].into()), ..settings() }
}

/// All rows as text; on SQLite the file itself, deleted rows included.
async fn everything(database: &Database) -> String {
    let mut all = String::new();
    match database {
        Database::Sqlite(folder) => {
            for name in ["levqor.db", "levqor.db-wal"] {
                let bytes = std::fs::read(folder.join(name)).unwrap_or_default();
                all.push_str(&String::from_utf8_lossy(&bytes));
            }
        }
        Database::Postgres(url) => {
            let client = postgres(url).await;
            for table in TABLES {
                let rows = client.query(&format!("select t::text from {table} t"), &[]).await.unwrap();
                rows.iter().for_each(|row| all.push_str(row.get(0)));
            }
        }
    }
    assert!(all.contains("secrets.TOKEN"), "the definitions are there, so this is the data");
    all
}
