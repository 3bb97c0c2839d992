//! One action at a vendor: reads the request, checks it against the catalogue, lets the vendor's file speak, bounds the time.
//!
//! Where vendors are reached is the operator's to say ([`Bases`]), never a request's. Credentials live as long as the call.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use http::HeaderValue;
use ipnet::IpNet;
use levqor_core::address::{OutboundPolicy, host_port};
use serde_json::Value;
use url::{Host, Url};

use crate::ask::Ask;
use crate::call::Calls;
use crate::catalogue::Vendor;
use crate::net::Client;
use crate::{gmail, notion, slack, telegram};

/// How long one action may take, whatever number of calls it needs. Shorter than what clients of ours wait.
pub const LIMIT_MS: u64 = 10_000;

/// Where vendors are reached: `http://` or `https://`, a host, perhaps a path, no slash at the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bases {
    pub slack: String,
    pub telegram: String,
    pub notion: String,
    pub gmail: String,
    /// The whole address that refreshes Google's tokens.
    pub google_token: String,
}

impl Default for Bases {
    /// The vendors' own addresses.
    fn default() -> Self {
        Bases {
            slack: "https://slack.com/api".to_owned(),
            telegram: "https://api.telegram.org".to_owned(),
            notion: "https://api.notion.com".to_owned(),
            gmail: "https://gmail.googleapis.com".to_owned(),
            google_token: "https://oauth2.googleapis.com/token".to_owned(),
        }
    }
}

impl Bases {
    fn all(&self) -> [&str; 5] {
        [&self.slack, &self.telegram, &self.notion, &self.gmail, &self.google_token]
    }
}

/// Why there is no result.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("action required")]
    ActionRequired,
    #[error("{}", .0.required())]
    CredentialsRequired(Vendor),
    #[error("unknown action: {0}")]
    UnknownAction(String),
    /// Names the parameters that the action needs.
    #[error("{0}")]
    ParamsRequired(String),
    /// JSON pointer into the request and what is wrong there, one or more.
    #[error("{}", .0.first().map_or("", |(_, what)| what))]
    Invalid(Vec<(String, String)>),
    #[error(transparent)]
    Vendor(#[from] Failure),
}

impl Error {
    pub(crate) fn invalid(at: &str, what: impl Into<String>) -> Self {
        Error::Invalid(vec![(at.to_owned(), what.into())])
    }
}

/// What went wrong at the vendor's end, or on the way to it. Holds nothing that a client may not see.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// It said no, in its own word where it gave one.
    #[error("the vendor refused the call: {}", word.as_deref().unwrap_or("no reason given"))]
    Refused { word: Option<String> },
    #[error("the vendor takes no more calls for {retry_after_secs} s")]
    RateLimited { retry_after_secs: u64, word: Option<String> },
    #[error("the vendor did not answer within {} s", LIMIT_MS / 1000)]
    Timeout,
    #[error("the vendor cannot be reached ({code})")]
    Unreachable { code: &'static str },
    #[error("the vendor's answer cannot be understood")]
    BadAnswer,
}

/// All connectors. Cheap until the first call.
pub struct Connectors {
    /// May call the configured addresses, wherever they are.
    pub(crate) client: Client,
    /// For addresses that a vendor hands out: ours inside are none of its business.
    pub(crate) strict: Client,
    pub(crate) bases: Bases,
    limit_ms: u64,
}

impl Connectors {
    pub fn new(outbound_allow: &[IpNet], user_agent: HeaderValue, bases: Bases) -> Self {
        let strict = Client::new(OutboundPolicy::new(outbound_allow.to_vec()), user_agent.clone());
        let own = bases.all().into_iter().flat_map(addresses).map(IpNet::from);
        let allow = outbound_allow.iter().copied().chain(own).collect();
        let client = Client::new(OutboundPolicy::new(allow), user_agent);
        Connectors { client, strict, bases, limit_ms: LIMIT_MS }
    }

    /// The same with another limit of time.
    pub fn limited_to(self, limit_ms: u64) -> Self {
        Connectors { limit_ms, ..self }
    }

    /// Does what `text`, the JSON of a request, asks for. `now_ms` is for vendors that name a date to come back at.
    pub async fn run(&self, vendor: Vendor, text: &str, now_ms: i64) -> Result<Value, Error> {
        let ask = Ask::read(vendor, text)?;
        let calls = Calls { connectors: self, vendor, now_ms, limit_ms: self.limit_ms, hidden: ask.hidden() };
        let work = async {
            match vendor {
                Vendor::Gmail => gmail::run(&calls, &ask).await,
                Vendor::Notion => notion::run(&calls, &ask).await,
                Vendor::Slack => slack::run(&calls, &ask).await,
                Vendor::Telegram => telegram::run(&calls, &ask).await,
            }
        };
        let limit = Duration::from_millis(self.limit_ms);
        tokio::time::timeout(limit, work).await.unwrap_or(Err(Failure::Timeout.into()))
    }
}

/// The addresses that a base names outright. It is the operator's own, so it may be called even on loopback.
fn addresses(base: &str) -> Vec<IpAddr> {
    // What is no address that we would call is told at the call.
    if host_port(base).is_none() {
        return Vec::new();
    }
    match Url::parse(base).ok().as_ref().and_then(Url::host) {
        Some(Host::Ipv4(ip)) => vec![ip.into()],
        Some(Host::Ipv6(ip)) => vec![ip.into()],
        Some(Host::Domain("localhost")) => vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()],
        _ => Vec::new(),
    }
}
