//! One call, from permit to ending. The permit is spent just before the first byte leaves; what comes afterwards is told
//! as an [`Ending`], and whoever charges the call looks at nothing else.

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};
use levqor_core::money::{Ending, Permit, Wire};
use serde_json::Value;

use super::ask::Ask;
use super::gather::{Gather, error_word};
use super::provider::Provider;
use super::sse::{Event, Sse};
use super::{anthropic, chat, gemini, responses};
use crate::net::{CallError, Client, Incoming, Request, Timeouts, retry_after_ms};

/// How long a call may take, and how much may come back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// From the connection to the first byte of the answer: models think before they speak.
    pub first_byte_ms: u64,
    /// From the start to the last byte.
    pub total_ms: u64,
}

/// A request that is ready to go.
pub struct Outgoing {
    pub model: String,
    pub body: Bytes,
    pub stream: bool,
    /// The caller's own headers, such as `anthropic-beta`; never a key.
    pub headers: Vec<(String, String)>,
}

/// The body of `ask` with this output limit.
pub fn body_for(ask: &Ask, provider: &Provider, output_tokens: u64, stream: bool) -> Bytes {
    let body = match provider.wire {
        Wire::OpenAiChat => chat::render(ask, &provider.dialect, output_tokens, stream),
        Wire::OpenAiResponses => responses::render(ask, output_tokens, stream),
        Wire::Anthropic => anthropic::render(ask, output_tokens, stream),
        Wire::Gemini => gemini::render(ask, output_tokens),
    };
    body.to_string().into()
}

/// The bytes of an error body that are read.
const MAX_ERROR_BYTES: usize = 64 << 10;
const MAX_SAID_CHARS: usize = 1_000;
/// Around what is said: names, ids, framing.
const EVENT_BYTES_A_TOKEN: u64 = 1_024;
/// No token is as long on average.
const SAID_BYTES_A_TOKEN: u64 = 16;
/// Short answers may have long tokens.
const SAID_BYTES_ALWAYS: u64 = 64 << 10;

/// How a call ended, with all that is known of it.
#[derive(Debug)]
pub struct Answer {
    pub ending: Ending,
    pub gather: Gather,
    pub status: Option<StatusCode>,
    /// The vendor's word for what is wrong, or ours.
    pub error: Option<String>,
    /// The vendor's own text for it. It may repeat what was sent: for whoever sent that, and for no log and no record.
    pub said: Option<String>,
    pub retry_after_ms: Option<i64>,
    pub headers: HeaderMap,
}

/// An answer that is being read, event by event.
pub struct Exchange {
    incoming: Option<Incoming>,
    sse: Sse,
    waiting: std::collections::VecDeque<Event>,
    answer: Answer,
    stream: bool,
    /// Of an answer that is no stream, as far as it has come.
    body: Vec<u8>,
    max_said_bytes: usize,
    is_done: bool,
}

/// Sends `outgoing`, once. The call is over only when the exchange has been read to its end.
pub async fn send(
    client: &Client,
    provider: &Provider,
    outgoing: Outgoing,
    limits: Limits,
    permit: Permit,
    now_ms: i64,
) -> Exchange {
    let output_tokens = permit.output_tokens();
    let mut headers = provider.headers();
    headers.extend(outgoing.headers);
    let request = Request {
        method: Method::POST,
        url: provider.url(&outgoing.model, outgoing.stream),
        headers,
        body: outgoing.body,
        timeouts: Timeouts {
            connect_ms: limits.total_ms.min(10_000),
            first_byte_ms: limits.first_byte_ms,
            total_ms: limits.total_ms,
        },
        max_response_bytes: to_bytes(output_tokens, EVENT_BYTES_A_TOKEN, 4 << 20),
    };
    let mut exchange = Exchange {
        incoming: None,
        sse: Sse::default(),
        waiting: Default::default(),
        answer: Answer {
            ending: Ending::InDoubt,
            gather: Gather::new(provider.wire),
            status: None,
            error: None,
            said: None,
            retry_after_ms: None,
            headers: HeaderMap::new(),
        },
        stream: outgoing.stream,
        body: Vec::new(),
        max_said_bytes: to_bytes(output_tokens, SAID_BYTES_A_TOKEN, SAID_BYTES_ALWAYS),
        is_done: false,
    };
    permit.spend();
    match client.open(request).await {
        Ok(incoming) if incoming.status.is_success() => {
            exchange.answer.status = Some(incoming.status);
            exchange.answer.headers = incoming.headers.clone();
            exchange.answer.ending = Ending::Cut;
            exchange.incoming = Some(incoming);
        }
        Ok(incoming) => exchange.refused(incoming, now_ms).await,
        Err(error) => {
            if error.was_not_sent() {
                exchange.answer.ending = Ending::NotSent;
            }
            exchange.end_with(&error);
        }
    }
    exchange
}

fn to_bytes(tokens: u64, each: u64, always: u64) -> usize {
    usize::try_from(tokens.saturating_mul(each).saturating_add(always)).unwrap_or(usize::MAX)
}

impl Exchange {
    /// The next event as it came, `None` at the end. The caller must go on to the end even if nobody listens any more:
    /// the usage comes last.
    pub async fn next(&mut self) -> Option<Event> {
        while self.waiting.is_empty() && !self.is_done {
            self.read_more().await;
        }
        let event = self.waiting.pop_front()?;
        self.answer.gather.event(&event.data);
        // Each of several answers has the limit for itself.
        let most_said = self.max_said_bytes.saturating_mul(self.answer.gather.choices());
        if self.answer.gather.said_bytes > most_said {
            // The provider does not keep to its own limit: the rest is not waited for.
            self.answer.error = Some("answer_too_long".to_owned());
            self.finish();
        }
        Some(event)
    }

    async fn read_more(&mut self) {
        let Some(incoming) = &mut self.incoming else {
            self.is_done = true;
            return;
        };
        match incoming.next().await {
            Ok(Some(bytes)) => {
                let mut events = Vec::new();
                let fed = self.sse.feed(&bytes, &mut events);
                self.waiting.extend(events);
                if fed.is_err() {
                    self.answer.error = Some("answer_too_long".to_owned());
                    self.finish();
                }
            }
            Ok(None) => self.finish(),
            Err(error) => self.end_with(&error),
        }
    }

    /// The status of the answer; `None` where there is none.
    pub fn status(&self) -> Option<StatusCode> {
        self.answer.status
    }

    /// The answer as far as it has come.
    pub fn gather(&self) -> &Gather {
        &self.answer.gather
    }

    /// The answer as it came, for a request that was no stream. Dropped in the middle it loses nothing: `end` goes on.
    pub async fn whole(&mut self) -> Bytes {
        while let Some(incoming) = &mut self.incoming {
            match incoming.next().await {
                Ok(Some(bytes)) => self.body.extend_from_slice(&bytes),
                Ok(None) => {
                    self.finish();
                    self.answer.gather.whole(&String::from_utf8_lossy(&self.body));
                }
                Err(error) => self.end_with(&error),
            }
        }
        std::mem::take(&mut self.body).into()
    }

    /// Reads what is left. Dropped in the middle it loses nothing: another call goes on.
    pub async fn finish_reading(&mut self) {
        if self.stream {
            while self.next().await.is_some() {}
        } else if self.incoming.is_some() {
            self.whole().await;
        }
    }

    /// Reads what is left and says how it ended.
    pub async fn end(mut self) -> Answer {
        self.finish_reading().await;
        let mut answer = self.answer;
        if answer.ending == Ending::Cut && answer.gather.is_over && answer.error.is_none() {
            answer.ending = Ending::Answered(answer.gather.usage());
        }
        if let Some(error) = &answer.gather.error {
            answer.error.get_or_insert(error.clone());
        }
        answer
    }

    fn finish(&mut self) {
        self.is_done = true;
        self.incoming = None;
    }

    fn end_with(&mut self, error: &CallError) {
        self.answer.error.get_or_insert(error.code().to_owned());
        self.finish();
    }

    /// Anything but a 2xx: an error in the provider's own words, or of something on the way.
    async fn refused(&mut self, mut incoming: Incoming, now_ms: i64) {
        self.is_done = true;
        let status = incoming.status;
        self.answer.status = Some(status);
        self.answer.retry_after_ms = retry_after_ms(&incoming.headers, now_ms);
        self.answer.headers = incoming.headers.clone();
        let mut body = Vec::new();
        while body.len() < MAX_ERROR_BYTES
            && let Ok(Some(bytes)) = incoming.next().await
        {
            body.extend_from_slice(&bytes);
        }
        let body: Option<Value> = serde_json::from_slice(&body).ok();
        let error = body.as_ref().and_then(|body| body.get("error")).filter(|error| error.is_object());
        if let Some(body) = &body {
            self.answer.gather.whole(&body.to_string());
        }
        let usage = self.answer.gather.usage().ok().flatten();
        self.answer.said = error.and_then(|error| error["message"].as_str()).map(shortened);
        self.answer.error = Some(error.map_or_else(|| format!("http_{}", status.as_u16()), error_word));
        self.answer.ending = Ending::Refused { status: status.as_u16(), own_error: error.is_some(), usage };
    }
}

/// As much of a vendor's text as helps anybody.
fn shortened(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(MAX_SAID_CHARS).collect()
}

/// Sends an ask and reads its answer to the end.
pub async fn collect(
    client: &Client,
    provider: &Provider,
    ask: &Ask,
    limits: Limits,
    permit: Permit,
    now_ms: i64,
) -> Answer {
    let body = body_for(ask, provider, permit.output_tokens(), true);
    let outgoing = Outgoing { model: ask.model.clone(), body, stream: true, headers: Vec::new() };
    send(client, provider, outgoing, limits, permit, now_ms).await.end().await
}
