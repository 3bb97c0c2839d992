//! An answer as it comes. A task of the engine reads the provider, whoever listens; what it reads goes through a bounded
//! channel to the client. A client that is gone, or does not take anything for a while, is let go, and the rest is read and
//! charged all the same.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http::{HeaderValue, header};
use levqor_connectors::ai::{Event, Gather, Speaker, Title};
use levqor_core::json::{self, PathSegment};
use levqor_core::money::{Ending, Wire};
use levqor_engine::ai::{Open, Over};
use tokio::sync::mpsc;

use super::once::Record;
use super::order::Asked;
use super::whole::{about, begun, usage};
use super::{charge, in_task, tell, with_cost};
use crate::http::App;
use crate::http::error::{ApiError, Result};

/// The media type of a stream.
pub const EVENTS: &str = "text/event-stream; charset=utf-8";
/// Pieces that may wait for the client.
const WAITING: usize = 256;
/// A client that takes nothing for so long, while so many wait, is let go.
const PATIENCE: Duration = Duration::from_secs(15);

/// Sends the call; what is refused at once is an error like any other.
pub async fn answer_stream(app: &Arc<App>, mut asked: Asked) -> Response {
    let (answering, wire, once) = (app.clone(), asked.wire, asked.once.take());
    in_task(app, async move {
        match begin(&answering, asked).await {
            Ok((response, mut pump)) => {
                pump.record = once.map(Record::new);
                answering.clone().engine.ai().spawn(pump.run(answering));
                response
            }
            Err(error) => answering.keep_once(once.as_ref(), error.on_wire(wire)).await,
        }
    })
    .await
}

/// The head of the answer, and what is to be run for the rest of it.
async fn begin(app: &App, asked: Asked) -> Result<(Response, Pump)> {
    let Asked { ready, wire, is_raw, wants_usage, model, .. } = asked;
    let (call, bound) = (ready.call().to_string(), ready.bound());
    let open = ready.send().await;
    if !open.status().is_some_and(|status| status.is_success()) {
        let over = charge(open.end().await).await;
        let mut error = ApiError::no_answer(&over);
        for (name, value) in about(&over, bound.output_tokens) {
            error = error.told_of(name, &value);
        }
        return Err(error);
    }
    let voice = if is_raw {
        Voice::Own { wire, wants_usage, last: Vec::new() }
    } else {
        let created_secs = app.clock.now_ms().div_euclid(1_000);
        let title = Title { id: call.clone(), model, created_secs };
        Voice::Translated { wire, speaker: Box::new(Speaker::new(wire, title, wants_usage)) }
    };
    let (outlet, body) = channel(PATIENCE);
    let pump = Pump { open, voice, outlet, record: None, output_tokens: bound.output_tokens };
    let mut response = Response::new(body);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(EVENTS));
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    tell(&mut response, &begun(call, bound.amount, bound.output_tokens));
    Ok((response, pump))
}

/// Reads the provider to its end, and tells what it says as long as somebody listens.
struct Pump {
    open: Open,
    voice: Voice,
    outlet: Outlet,
    /// What is kept for whoever asks again.
    record: Option<Record>,
    output_tokens: u64,
}

impl Pump {
    async fn run(self, app: Arc<App>) {
        let Pump { mut open, mut voice, outlet, mut record, output_tokens } = self;
        let mut is_heard = true;
        while let Some(event) = open.next().await {
            let Some(gather) = open.gather() else { break };
            let text = written(&voice.more(event, gather));
            record.iter_mut().for_each(|record| record.push(&text));
            is_heard = is_heard && outlet.send(text).await;
            if !is_heard && record.is_none() {
                break;
            }
        }
        let over = charge(open.end().await).await;
        let last = written(&voice.end(&over));
        // Before the end is told: whoever has seen it finds it again.
        if let Some(mut record) = record {
            record.push(&last);
            app.keep_stream(record, &about(&over, output_tokens)).await;
        }
        if is_heard && outlet.send(last).await {
            outlet.is_whole.store(true, Ordering::Release);
        }
    }
}

/// How the answer is told: the provider's events as they are, or in other words.
enum Voice {
    /// `last`: what is kept back until the cost is known.
    Own {
        wire: Wire,
        wants_usage: bool,
        last: Vec<Event>,
    },
    Translated {
        wire: Wire,
        speaker: Box<Speaker>,
    },
}

impl Voice {
    fn more(&mut self, event: Event, gather: &Gather) -> Vec<Event> {
        match self {
            Voice::Translated { speaker, .. } => speaker.more(gather),
            Voice::Own { wire, wants_usage, last } => {
                if !last.is_empty() || is_last(*wire, &event) {
                    let is_unwanted = !*wants_usage && is_usage_alone(&event);
                    if !is_unwanted {
                        last.push(event);
                    }
                    return Vec::new();
                }
                vec![event]
            }
        }
    }

    /// The end, or why there is none.
    fn end(self, over: &Over) -> Vec<Event> {
        let is_answered = matches!(over.answer.ending, Ending::Answered(_));
        let (wire, last) = match self {
            Voice::Own { wire, last, .. } => (wire, last),
            Voice::Translated { wire, speaker } if is_answered => {
                (wire, speaker.end(&over.answer.gather, usage(over)))
            }
            Voice::Translated { wire, .. } => (wire, Vec::new()),
        };
        if is_answered {
            let priced = |event: Event| Event { data: with_cost(&event.data, over.cost), ..event };
            return last.into_iter().map(priced).collect();
        }
        let name = if wire == Wire::Anthropic { "error" } else { "" };
        let data = ApiError::no_answer(over).wire_body(wire).to_string();
        vec![Event { name: name.to_owned(), data }]
    }
}

/// Whether nothing but the end comes after this event, so that it can wait for the cost.
fn is_last(wire: Wire, event: &Event) -> bool {
    match wire {
        Wire::Anthropic => event.name == "message_delta" || event.name == "message_stop",
        _ => event.data == "[DONE]" || is_usage_alone(event),
    }
}

/// A chunk of a chat that has no answer in it, but the usage.
fn is_usage_alone(event: &Event) -> bool {
    let member = |name: &str| json::lookup(&event.data, &[PathSegment::Name(name.to_owned())]);
    member("choices") == Some("[]") && member("usage").is_some_and(|usage| usage != "null")
}

/// Where the pieces go. Closed without `is_whole`, the client's connection is broken off, so that half an answer is not
/// taken for a whole one.
struct Outlet {
    sender: mpsc::Sender<Bytes>,
    is_whole: Arc<AtomicBool>,
    patience: Duration,
}

impl Outlet {
    /// False: nobody listens any more.
    async fn send(&self, text: String) -> bool {
        if self.sender.is_closed() {
            return false;
        }
        if text.is_empty() {
            return true;
        }
        matches!(self.sender.send_timeout(text.into(), self.patience).await, Ok(()))
    }
}

fn written(events: &[Event]) -> String {
    let mut text = String::new();
    for event in events {
        write(event, &mut text);
    }
    text
}

/// An event as it goes over the wire.
fn write(event: &Event, out: &mut String) {
    if !event.name.is_empty() {
        out.push_str("event: ");
        out.push_str(&event.name);
        out.push('\n');
    }
    for line in event.data.split('\n') {
        out.push_str("data: ");
        out.push_str(line);
        out.push('\n');
    }
    out.push('\n');
}

fn channel(patience: Duration) -> (Outlet, Body) {
    let (sender, receiver) = mpsc::channel(WAITING);
    let is_whole = Arc::new(AtomicBool::new(false));
    let outlet = Outlet { sender, is_whole: is_whole.clone(), patience };
    let pieces = futures_util::stream::unfold((receiver, is_whole), |(mut receiver, is_whole)| async move {
        match receiver.recv().await {
            Some(piece) => Some((Ok(piece), (receiver, is_whole))),
            None if is_whole.swap(true, Ordering::AcqRel) => None,
            None => Some((Err(std::io::Error::other("the answer is not whole")), (receiver, is_whole))),
        }
    });
    (outlet, Body::from_stream(pieces))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use http_body_util::BodyExt as _;

    use super::*;

    fn event(data: &str) -> Event {
        Event { name: String::new(), data: data.to_owned() }
    }

    #[tokio::test]
    async fn a_client_that_takes_nothing_is_let_go_and_sees_that_the_answer_is_not_whole() {
        let (outlet, body) = channel(Duration::from_millis(30));
        let mut sent = 0;
        while outlet.send(written(&[event("x")])).await {
            sent += 1;
        }
        drop(outlet);

        assert_eq!(sent, WAITING);
        assert!(body.collect().await.is_err());
    }

    #[tokio::test]
    async fn a_client_that_is_gone_is_noticed_and_one_that_listens_gets_all() {
        let (outlet, body) = channel(PATIENCE);
        drop(body);
        assert!(!outlet.send(written(&[event("x")])).await);

        let (outlet, body) = channel(PATIENCE);
        let named = Event { name: "n".to_owned(), data: "a\nb".to_owned() };
        assert!(outlet.send(written(&[event("x"), named])).await);
        assert!(outlet.send(String::new()).await);
        outlet.is_whole.store(true, Ordering::Release);
        drop(outlet);
        let told = body.collect().await.unwrap().to_bytes();
        assert_eq!(told, "data: x\n\nevent: n\ndata: a\ndata: b\n\n");
    }

    #[test]
    fn the_end_of_an_answer_waits_for_its_cost() {
        let usage = event(r#"{"choices":[],"usage":{"total_tokens":1}}"#);
        assert!(is_last(Wire::OpenAiChat, &usage) && is_last(Wire::OpenAiChat, &event("[DONE]")));
        for data in [r#"{"choices":[],"usage":null}"#, r#"{"choices":[{}],"usage":{}}"#, "", "nonsense"] {
            assert!(!is_last(Wire::OpenAiChat, &event(data)), "{data}");
        }
    }
}
