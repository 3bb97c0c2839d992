//! Where a name becomes a connection. The resolver hands out checked addresses only, and the connector dials exactly those:
//! there is no second look-up in which a name could change its mind (DNS rebinding).
//!
//! A connection that is used again was checked when it was dialled; that stays true, because the policy is fixed for the life
//! of the client. The connector never asks the resolver about IP literals: those are judged with the URL, in `request`.

use std::net::{SocketAddr, ToSocketAddrs};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use levqor_core::address::OutboundPolicy;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio::sync::{Semaphore, watch};
use tower::{BoxError, Layer, Service};

/// A look-up holds a thread for as long as a dead name server lets it, and cannot be cancelled. More than this many wait.
const LOOKUPS_AT_ONCE: usize = 32;

/// For a dial that outlives its call (another connection became free first) before it learnt its limit.
const CONNECT_FALLBACK: Duration = Duration::from_secs(10);

#[derive(Debug, thiserror::Error)]
#[error("no address of the name may be called")]
pub(super) struct RefusedByPolicy;

#[derive(Debug, thiserror::Error)]
#[error("the name cannot be resolved")]
pub(super) struct LookupFailed;

#[derive(Debug, thiserror::Error)]
#[error("the connection took too long")]
pub(super) struct ConnectTimedOut;

/// The system's resolver, less every address that the policy does not permit.
pub(super) struct Resolver {
    policy: Arc<OutboundPolicy>,
    lookups: Arc<Semaphore>,
}

impl Resolver {
    pub(super) fn new(policy: Arc<OutboundPolicy>) -> Self {
        Self { policy, lookups: Arc::new(Semaphore::new(LOOKUPS_AT_ONCE)) }
    }
}

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let (policy, lookups) = (self.policy.clone(), self.lookups.clone());
        Box::pin(async move {
            let permit = lookups.acquire_owned().await?;
            let found = tokio::task::spawn_blocking(move || {
                // Held by the thread, not by the call: a call that gave up does not free the thread.
                let _permit = permit;
                (name.as_str(), 0).to_socket_addrs().map(Vec::from_iter)
            });
            let found = match found.await? {
                Ok(found) if !found.is_empty() => found,
                Ok(_) => return Err(LookupFailed.into()),
                Err(error) => {
                    tracing::debug!(cause = %error, "name look-up failed");
                    return Err(LookupFailed.into());
                }
            };
            let permitted = permitted(found, &policy);
            if permitted.is_empty() {
                return Err(RefusedByPolicy.into());
            }
            Ok(Box::new(permitted.into_iter()) as Addrs)
        })
    }
}

/// A name with both kinds of addresses is called at those that are permitted, in the order of the answer.
fn permitted(mut addresses: Vec<SocketAddr>, policy: &OutboundPolicy) -> Vec<SocketAddr> {
    addresses.retain(|address| policy.permits_ip(address.ip()));
    addresses
}

tokio::task_local! {
    /// The call on whose behalf the connector works. The HTTP library knows one connect limit for a whole client and does
    /// not tell when a connection is up; both belong to a call.
    pub(super) static DIALLING: Arc<Dialling>;
}

/// What a call tells its connector, and learns from it.
pub(super) struct Dialling {
    connect_limit: Duration,
    is_dialling: watch::Sender<bool>,
}

impl Dialling {
    pub(super) fn new(connect_limit: Duration) -> Arc<Self> {
        Arc::new(Self { connect_limit, is_dialling: watch::Sender::new(false) })
    }

    /// Ends `limit` after the connection is up; at once counted when a connection is used again.
    pub(super) async fn up_for(&self, limit: Duration) {
        // The sender is ours, so the wait ends by the state alone.
        let _ = self.is_dialling.subscribe().wait_for(|is_dialling| !is_dialling).await;
        tokio::time::sleep(limit).await;
    }
}

/// Puts [`Dialer`] around the connector.
#[derive(Clone)]
pub(super) struct DialLayer;

impl<S> Layer<S> for DialLayer {
    type Service = Dialer<S>;

    fn layer(&self, inner: S) -> Dialer<S> {
        Dialer { inner }
    }
}

/// Look-up, TCP and TLS under the limit of the call that asks.
#[derive(Clone)]
pub(super) struct Dialer<S> {
    inner: S,
}

impl<S, R> Service<R> for Dialer<S>
where
    S: Service<R, Error = BoxError>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, destination: R) -> Self::Future {
        let call = DIALLING.try_with(Arc::clone).ok();
        let limit = call.as_ref().map_or(CONNECT_FALLBACK, |call| call.connect_limit);
        if let Some(call) = &call {
            call.is_dialling.send_replace(true);
        }
        let connecting = tokio::time::timeout(limit, self.inner.call(destination));
        Box::pin(async move {
            let connected = connecting.await;
            if let Some(call) = &call {
                call.is_dialling.send_replace(false);
            }
            connected.unwrap_or_else(|_| Err(ConnectTimedOut.into()))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(allow: &str) -> Arc<OutboundPolicy> {
        Arc::new(OutboundPolicy::parse(allow).expect("a list of networks"))
    }

    #[test]
    fn only_permitted_addresses_of_a_name_are_dialled() {
        let addresses =
            ["127.0.0.1:0", "93.184.216.34:0", "[::1]:0", "[::ffff:10.0.0.1]:0", "169.254.169.254:0"];
        let addresses: Vec<SocketAddr> =
            addresses.iter().map(|text| text.parse().expect("an address")).collect();

        assert_eq!(permitted(addresses.clone(), &policy("")), [addresses[1]]);
        assert_eq!(permitted(addresses.clone(), &policy("10.0.0.0/8")), [addresses[1], addresses[3]]);
        assert_eq!(permitted(addresses[2..].to_vec(), &policy("")), []);
    }

    #[tokio::test]
    async fn a_name_that_leads_home_is_refused_by_its_addresses() {
        let resolve = |policy| Resolver::new(policy).resolve("localhost".parse().expect("a name"));

        let refused = resolve(policy("")).await.err().expect("localhost is loopback");
        let found: Vec<_> = resolve(policy("127.0.0.0/8, ::1")).await.expect("localhost is known").collect();

        assert!(refused.is::<RefusedByPolicy>(), "{refused}");
        assert!(found.iter().all(|address| address.ip().is_loopback()) && !found.is_empty(), "{found:?}");
    }
}
