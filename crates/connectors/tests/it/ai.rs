//! Calls to models over real sockets, against a provider that keeps its own bill: how each ends, and what it says was used.

use std::net::Ipv4Addr;

use levqor_connectors::ai::{Answer, Ask, Finish, Limits, Message, Provider, Role, collect};
use levqor_core::money::{CallId, Ending, Nano, Permit, Unused};
use levqor_mock_ai::{Fault, MockAi, Script, Settings};

const WIRES: [&str; 4] = ["openai", "openai-responses", "anthropic", "gemini"];
const LIMITS: Limits = Limits { first_byte_ms: 500, total_ms: 2_000 };

struct Nobody;

impl Unused for Nobody {
    fn never_sent(&self, _call: CallId) {}
}

fn permit(output_tokens: u64) -> Permit {
    #[allow(clippy::disallowed_methods, reason = "there is no budget in this test")]
    Permit::of_committed_hold(CallId::new(1, [0; 10]), Nano::new(1), output_tokens, Box::new(Nobody))
}

async fn start() -> MockAi {
    MockAi::start((Ipv4Addr::LOCALHOST, 0).into(), Settings::default()).await.unwrap()
}

fn provider(name: &str, mock: &MockAi) -> Provider {
    // OpenAI's paths stand behind /v1, the others bring their own.
    let path = if name.starts_with("openai") { "/v1" } else { "" };
    Provider::known(name, "key-canary-1", Some(&format!("{}{path}", mock.url()))).unwrap()
}

fn ask() -> Ask {
    Ask {
        model: "mock-large".to_owned(),
        system: Some("Be brief.".to_owned()),
        messages: vec![Message::text(Role::User, "Say something")],
        ..Ask::default()
    }
}

async fn call(name: &str, mock: &MockAi, ask: &Ask, output_tokens: u64) -> Answer {
    collect(&crate::local(), &provider(name, mock), ask, LIMITS, permit(output_tokens), 0).await
}

#[tokio::test]
async fn every_wire_brings_the_text_the_reason_to_stop_and_the_usage_of_the_bill() {
    for name in WIRES {
        let mock = start().await;
        mock.queue_replies([Script {
            text: Some("one two three".to_owned()),
            input_tokens: Some(100),
            cached_tokens: 40,
            written_tokens: if name == "gemini" { 0 } else { 10 },
            output_tokens: Some(20),
            reasoning_tokens: if name == "anthropic" { 0 } else { 6 },
            ..Script::default()
        }]);

        let answer = call(name, &mock, &ask(), 30).await;

        let Ending::Answered(Ok(Some(usage))) = &answer.ending else { panic!("{name}: {answer:?}") };
        let billed = mock.bill().entries[0].tokens;
        assert_eq!((usage.input_total(), usage.output_total()), (100, 20), "{name}");
        assert_eq!(usage.uncached_in, billed.input, "{name}");
        assert_eq!(usage.cached_in, billed.cached, "{name}");
        assert_eq!(usage.write_short + usage.write_any, billed.write_short, "{name}");
        assert_eq!(usage.reasoning, billed.reasoning, "{name}");
        assert_eq!(answer.gather.text, "one two three", "{name}");
        assert_eq!(answer.gather.finish, Some(Finish::Stop), "{name}");
        assert_eq!(answer.gather.id.as_deref(), Some("mock-1"), "{name}");
    }
}

#[tokio::test]
async fn the_limit_of_the_permit_is_the_limit_of_the_answer() {
    for name in WIRES {
        let mock = start().await;

        let answer = call(name, &mock, &ask(), 4).await;

        assert_eq!(answer.gather.finish, Some(Finish::Length), "{name}");
        assert_eq!(mock.bill().entries[0].tokens.output, 4, "{name}");
    }
}

#[tokio::test]
async fn refusals_before_acceptance_are_told_from_calls_in_doubt() {
    for name in WIRES {
        let mock = start().await;
        mock.queue_faults([Fault::Status(429), Fault::Status(500), Fault::DropReply].map(Some));

        let limited = call(name, &mock, &ask(), 30).await;
        let broken = call(name, &mock, &ask(), 30).await;
        let dropped = call(name, &mock, &ask(), 30).await;

        assert_eq!(limited.ending, Ending::Refused { status: 429, own_error: true, usage: None }, "{name}");
        assert_eq!(limited.retry_after_ms, Some(1_000), "{name}");
        assert_eq!(broken.ending, Ending::Refused { status: 500, own_error: true, usage: None }, "{name}");
        assert_eq!(dropped.ending, Ending::InDoubt, "{name}");
        assert_eq!(mock.bill().calls, 1, "{name}: only the dropped one was taken");
    }
}

#[tokio::test]
async fn an_answer_that_does_not_come_to_its_end_is_cut_whatever_it_said_before() {
    for name in WIRES {
        let mock = start().await;
        mock.queue_faults([Fault::Cut, Fault::Stall].map(Some));

        let cut = call(name, &mock, &ask(), 30).await;
        let stalled = call(name, &mock, &ask(), 30).await;

        assert_eq!(cut.ending, Ending::Cut, "{name}: {cut:?}");
        assert_eq!(stalled.ending, Ending::Cut, "{name}");
        assert_eq!(stalled.error.as_deref(), Some("timeout"), "{name}");
    }
}

#[tokio::test]
async fn an_answer_without_usage_is_answered_with_none() {
    for name in WIRES {
        let mock = start().await;
        mock.queue_faults([Some(Fault::NoUsage)]);

        let answer = call(name, &mock, &ask(), 30).await;

        assert_eq!(answer.ending, Ending::Answered(Ok(None)), "{name}");
    }
}

#[tokio::test]
async fn nothing_is_charged_when_nobody_listens() {
    let mock = start().await;
    let url = mock.url();
    drop(mock);
    // The port is closed once the task of the mock is gone.
    let closed =
        || async { tokio::net::TcpStream::connect(url.trim_start_matches("http://")).await.is_err() };
    levqor_testkit::wait_until(crate::LIMIT, closed).await;
    let provider = Provider::compatible("local", "", &url);

    let answer = collect(&crate::local(), &provider, &ask(), LIMITS, permit(30), 0).await;

    assert_eq!((answer.ending, answer.error.as_deref()), (Ending::NotSent, Some("connect_failed")));
}
