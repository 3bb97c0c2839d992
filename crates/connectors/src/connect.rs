//! One action at a vendor: reads the request, checks it against the catalogue, lets the vendor's file speak, bounds the time.
//!
//! Where vendors are reached is the operator's to say ([`Bases`]), never a request's. Credentials live as long as the call.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use http::HeaderValue;
use ipnet::IpNet;
use levqor_core::address::{OutboundPolicy, host_port};
use serde_json::Value;
use url::{Host, Url};

use crate::ask::Ask;
use crate::call::Calls;
use crate::catalogue::Vendor;
use crate::credentials::Credentials;
use crate::failure::Failure;
use crate::fresh::FreshTokens;
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
    pub stripe: String,
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
            stripe: "https://api.stripe.com".to_owned(),
        }
    }
}

impl Bases {
    fn all(&self) -> [&str; 6] {
        [&self.slack, &self.telegram, &self.notion, &self.gmail, &self.google_token, &self.stripe]
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

/// All connectors. Cheap until the first call.
pub struct Connectors {
    /// May call the configured addresses, wherever they are.
    pub(crate) client: Client,
    /// For addresses that a vendor hands out: ours inside are none of its business.
    pub(crate) strict: Client,
    pub(crate) bases: Bases,
    pub(crate) fresh: FreshTokens,
}

/// What a call must know beside what it asks for.
#[derive(Clone, Copy, Debug)]
pub struct Terms<'a> {
    /// For vendors that name a date to come back at, and for tokens that run out.
    pub now_ms: i64,
    /// How long all of it may take.
    pub limit_ms: u64,
    /// The same for every try of the same thing; goes to vendors that take one.
    pub idempotency_key: Option<&'a str>,
    /// Says afterwards whether a request may have reached the vendor.
    pub went_out: Option<&'a AtomicBool>,
}

impl Connectors {
    /// Calls vendors where `bases` say; other addresses only as far as the policy permits.
    pub fn new(outbound: &OutboundPolicy, user_agent: HeaderValue, bases: Bases) -> Self {
        let strict = Client::new(outbound.clone(), user_agent.clone());
        let own = bases.all().into_iter().flat_map(addresses).map(IpNet::from);
        let client = Client::new(outbound.and(own), user_agent);
        Connectors { client, strict, bases, fresh: FreshTokens::default() }
    }

    /// Does what was asked for, as whoever the credentials stand for.
    pub async fn run(&self, ask: &Ask, credentials: &Credentials, terms: Terms<'_>) -> Result<Value, Error> {
        let calls = Calls { connectors: self, vendor: ask.vendor(), credentials, terms };
        let work = async {
            match ask.vendor() {
                Vendor::Gmail => gmail::run(&calls, ask).await,
                Vendor::Notion => notion::run(&calls, ask).await,
                Vendor::Slack => slack::run(&calls, ask).await,
                Vendor::Telegram => telegram::run(&calls, ask).await,
            }
        };
        let limit = Duration::from_millis(terms.limit_ms);
        let timeout = Failure::Timeout { limit_ms: terms.limit_ms };
        tokio::time::timeout(limit, work).await.unwrap_or(Err(timeout.into()))
    }
}

/// The addresses that a base names outright. It is the operator's own, so it may be called even on loopback.
pub(crate) fn addresses(base: &str) -> Vec<IpAddr> {
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
