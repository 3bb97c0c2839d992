//! The cost reports that providers of AI models give to administrators: read page by page, day by day.
//!
//! Only reads, with a key that is for this alone. Of a refusal the status is handed on, never the text: it may repeat the key.

use std::fmt;

use bytes::Bytes;
use http::Method;
use levqor_core::duration::rfc3339;
use levqor_core::money::{Reporter, Stated, read_statement};
use url::form_urlencoded::Serializer;

use crate::connect::Connectors;
use crate::net::{Request, Timeouts};

const ANSWER_MAX_BYTES: usize = 4 << 20;
/// A week has one page; a report that never ends is none.
const PAGES_MOST: usize = 50;
const NEXT_MAX_CHARS: usize = 2_000;

/// One provider's report. Prints no key.
#[derive(Clone)]
pub struct CostReport {
    /// As calls name it.
    pub provider: &'static str,
    pub reporter: Reporter,
    /// Without a slash at the end.
    pub base_url: String,
    pub admin_key: String,
}

impl fmt::Debug for CostReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CostReport({})", self.provider)
    }
}

impl CostReport {
    /// What the days from `from_ms` until before `until_ms` (both midnight, UTC) cost. The error is for people.
    pub async fn fetch(
        &self,
        connectors: &Connectors,
        from_ms: i64,
        until_ms: i64,
        limit_ms: u64,
    ) -> Result<Stated, String> {
        let mut stated = Stated::new();
        let mut next: Option<String> = None;
        for _ in 0..PAGES_MOST {
            let request = self.request(from_ms, until_ms, next.as_deref(), limit_ms);
            let answer = connectors.client.send(request).await;
            let answer =
                answer.map_err(|error| format!("{} cannot be asked ({})", self.provider, error.code()))?;
            if answer.status.as_u16() != 200 {
                return Err(format!("{} answered with status {}", self.provider, answer.status.as_u16()));
            }
            let body = String::from_utf8_lossy(&answer.body);
            let page = read_statement(self.reporter, &body, &mut stated);
            next = page.map_err(|error| self.without_key(&error.to_string()))?;
            match &next {
                None => {
                    stated.retain(|day_ms, _| (from_ms..until_ms).contains(day_ms));
                    return Ok(stated);
                }
                Some(next) if next.len() > NEXT_MAX_CHARS => break,
                Some(_) => {}
            }
        }
        Err(format!("the cost report of {} does not end", self.provider))
    }

    fn without_key(&self, text: &str) -> String {
        text.replace(&self.admin_key, "(hidden)")
    }

    fn request(&self, from_ms: i64, until_ms: i64, page: Option<&str>, limit_ms: u64) -> Request {
        let mut query = Serializer::new(String::new());
        let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let (path, headers) = match self.reporter {
            Reporter::OpenAi => {
                query.append_pair("start_time", &(from_ms / 1_000).to_string());
                query.append_pair("end_time", &(until_ms / 1_000).to_string());
                query.append_pair("bucket_width", "1d");
                query.append_pair("limit", "31");
                let bearer = format!("Bearer {}", self.admin_key);
                ("/v1/organization/costs", vec![header("authorization", &bearer)])
            }
            Reporter::Anthropic => {
                query.append_pair("starting_at", &rfc3339(from_ms));
                query.append_pair("ending_at", &rfc3339(until_ms));
                query.append_pair("bucket_width", "1d");
                query.append_pair("limit", "31");
                let key = header("x-api-key", &self.admin_key);
                ("/v1/organizations/cost_report", vec![key, header("anthropic-version", "2023-06-01")])
            }
        };
        if let Some(page) = page {
            query.append_pair("page", page);
        }
        Request {
            method: Method::GET,
            url: format!("{}{path}?{}", self.base_url, query.finish()),
            headers,
            body: Bytes::new(),
            timeouts: Timeouts::within(limit_ms),
            max_response_bytes: ANSWER_MAX_BYTES,
        }
    }
}
