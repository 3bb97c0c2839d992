//! The gateway through the real server, with the billing mock as every provider: what clients get, what the mock charges, and
//! that our ledger says the same.

mod answers;
mod complete;
mod faults;
mod limits;
mod looks;
mod once;
mod refusals;
mod sdks;
mod workflows;

use std::collections::BTreeMap;
use std::time::Duration;

use levqor_core::money::Nano;
use levqor_mock_ai::{MockAi, Rates, Settings as Mock};
use levqor_testkit::wait_until;
use serde_json::{Value, json};

use crate::client::{Client, Connection, Reply};
use crate::server::TestServer;

/// In the price list, at these rates.
const SONNET: &str = "claude-sonnet-5";
const FLASH: &str = "gemini-3.5-flash";
const CHAT: &str = "/v1/chat/completions";
const MESSAGES: &str = "/v1/messages";

/// A server whose providers are all one mock.
struct World {
    mock: MockAi,
    server: TestServer,
}

impl World {
    async fn start(vars: &[(&str, &str)]) -> World {
        World::with(Mock::default(), vars).await
    }

    async fn with(settings: Mock, vars: &[(&str, &str)]) -> World {
        let book = levqor_core::money::PriceBook::embedded();
        let rates = |provider: &str, model: &str| {
            use levqor_core::money::{Lookup, Tier, Unit};
            let Lookup::Priced(price) = book.find(provider, model) else { panic!("{model}") };
            let rate = |unit| price.rate(unit, Tier::Standard, 1).map_or(0, |rate| rate.pico() as u64);
            Rates::new(
                rate(Unit::Input),
                rate(Unit::CachedRead),
                rate(Unit::CacheWriteShort),
                rate(Unit::CacheWriteLong),
                rate(Unit::Output),
            )
        };
        let models = BTreeMap::from([
            (SONNET.to_owned(), rates("anthropic", SONNET)),
            (FLASH.to_owned(), rates("gemini", FLASH)),
        ]);
        let mock = MockAi::start(([127, 0, 0, 1], 0).into(), Mock { models, ..settings }).await.unwrap();
        let server = TestServer::start(
            &[&providers(&mock.url()).each_ref().map(|(name, url)| (*name, url.as_str()))[..], vars].concat(),
        )
        .await;
        World { mock, server }
    }

    fn client(&self) -> Client {
        self.server.anon()
    }

    /// What the budget of all days counts: spent, and held.
    async fn day(&self) -> (Nano, Nano) {
        let view =
            self.server.engine.store().find_budget("max-cost-per-day", now_ms()).await.unwrap().unwrap();
        let sum = |part: fn(&levqor_store::PeriodRow) -> Nano| {
            Nano::new(view.periods.iter().map(|period| part(period).get()).sum())
        };
        (sum(|period| period.spent), sum(|period| period.held))
    }

    fn billed(&self) -> Nano {
        Nano::new(self.mock.bill().total_nano as i64)
    }

    /// Our ledger says what the provider says, and nothing is held any more.
    async fn agrees(&self) {
        wait_until(Duration::from_secs(20), || async { self.day().await == (self.billed(), Nano::ZERO) })
            .await;
    }
}

#[allow(clippy::disallowed_methods, reason = "the server's clock is the system's too")]
fn now_ms() -> i64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as i64
}

/// The variables that lead all providers to `url`.
fn providers(url: &str) -> [(&'static str, String); 6] {
    [
        ("OPENAI_API_KEY", "sk-provider".to_owned()),
        ("OPENAI_BASE_URL", format!("{url}/v1")),
        ("ANTHROPIC_API_KEY", "ant-provider".to_owned()),
        ("ANTHROPIC_BASE_URL", url.to_owned()),
        ("GEMINI_API_KEY", "gem-provider".to_owned()),
        ("GEMINI_BASE_URL", url.to_owned()),
    ]
}

/// A request that says hello.
fn hello(path: &str, model: &str, changes: Value) -> String {
    let mut body = json!({"model": model, "messages": [{"role": "user", "content": "Hello there"}]});
    if path == MESSAGES {
        body["max_tokens"] = json!(200);
    }
    body.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    body.to_string()
}

/// The text of an answer, whichever wire it came by.
fn text(path: &str, body: &Value) -> String {
    let said = if path == MESSAGES {
        &body["content"][0]["text"]
    } else {
        &body["choices"][0]["message"]["content"]
    };
    said.as_str().unwrap_or_else(|| panic!("{body}")).to_owned()
}

/// Everything that a server sent, until it closed.
struct Streamed {
    head: String,
    /// The chunks end as they should.
    is_whole: bool,
    /// Name and data of each event.
    events: Vec<(String, String)>,
}

impl Streamed {
    fn data(&self) -> Vec<Value> {
        self.events.iter().filter_map(|(_, data)| serde_json::from_str(data).ok()).collect()
    }

    fn text(&self, path: &str) -> String {
        let piece = |event: &Value| {
            let piece = if path == MESSAGES {
                &event["delta"]["text"]
            } else {
                &event["choices"][0]["delta"]["content"]
            };
            piece.as_str().map(str::to_owned)
        };
        self.data().iter().filter_map(piece).collect()
    }
}

fn request(path: &str, body: &str) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

async fn stream(server: &TestServer, path: &str, body: &str) -> Streamed {
    let mut connection = Connection::open(server.address).await;
    connection.write(request(path, body).as_bytes()).await;
    read_stream(connection.all().await)
}

fn read_stream(all: Vec<u8>) -> Streamed {
    let all = String::from_utf8(all).unwrap();
    let (head, mut rest) = all.split_once("\r\n\r\n").unwrap();
    let (mut body, mut is_whole) = (String::new(), false);
    while let Some((size, behind)) = rest.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).unwrap();
        if size == 0 {
            is_whole = true;
            break;
        }
        let Some(piece) = behind.get(..size) else { break };
        body.push_str(piece);
        rest = behind.get(size + 2..).unwrap_or_default();
    }
    let event = |block: &str| {
        let field = |name: &str| {
            let lines = block.lines().filter_map(|line| line.strip_prefix(name));
            lines.map(str::to_owned).collect::<Vec<_>>().join("\n")
        };
        (field("event: "), field("data: "))
    };
    let events = body.split("\n\n").filter(|block| !block.is_empty()).map(event).collect();
    Streamed { head: head.to_ascii_lowercase(), is_whole, events }
}

fn dollars(reply: &Reply, header: &str) -> Nano {
    Nano::parse(reply.header(header).unwrap_or_else(|| panic!("no {header}: {reply:?}"))).unwrap()
}
