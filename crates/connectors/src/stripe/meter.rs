//! Meter events: usage that Stripe bills (POST /v1/billing/meter_events).
//!
//! Values are whole numbers. Stripe refuses an identifier that it has seen within a day at least, so a refusal for that reason
//! is the proof that an earlier try arrived.

use std::fmt;

use super::{Error, Stripe};
use crate::connect::Connectors;
use crate::failure::Failure;

/// Usage of one customer.
#[derive(Clone, Debug)]
pub struct MeterEvent<'a> {
    pub event_name: &'a str,
    /// The same with every try.
    pub identifier: &'a str,
    pub customer: &'a str,
    pub value: i64,
    pub at_ms: i64,
}

/// What became of an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Metered {
    /// Now, or by an earlier try.
    Taken,
    /// Surely not, and why.
    Refused(Failure),
    /// Perhaps.
    Unknown(Failure),
}

/// The word of a refusal, and the beginning of its sentence for versions that give no word.
const SEEN: [&str; 2] = ["duplicate_meter_event", "An event already exists with identifier"];

impl Stripe<'_> {
    pub async fn meter(&self, event: &MeterEvent<'_>) -> Metered {
        let (value, at) = (event.value.to_string(), event.at_ms.div_euclid(1000).to_string());
        let form = [
            ("event_name", event.event_name),
            ("identifier", event.identifier),
            ("timestamp", at.as_str()),
            ("payload[stripe_customer_id]", event.customer),
            ("payload[value]", value.as_str()),
        ];
        let answer = match self.post("/v1/billing/meter_events", &form, event.identifier).await {
            Ok(answer) => answer,
            // Nothing was sent where there was no connection.
            Err(failure @ Failure::Unreachable { .. }) => return Metered::Refused(failure),
            Err(failure) => return Metered::Unknown(failure),
        };
        let body: serde_json::Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        let names_another = body["identifier"].as_str().is_some_and(|id| id != event.identifier);
        let is_ours = body["object"] == "billing.meter_event" && !names_another;
        let error = &body["error"];
        let says = |member: &str| {
            error[member].as_str().is_some_and(|text| SEEN.iter().any(|seen| text.starts_with(seen)))
        };
        match answer.status.as_u16() {
            200..=299 if is_ours => Metered::Taken,
            200..=299 => Metered::Unknown(Failure::BadAnswer),
            400 | 409 if says("code") || says("message") => Metered::Taken,
            500.. => Metered::Unknown(Failure::Failed { word: None }),
            _ => match self.sort(&answer) {
                Err(Error::Vendor(failure)) => Metered::Refused(failure),
                // Another body under this key: not our doing, and nothing that arrived.
                Err(Error::IdempotencyMismatch) => Metered::Unknown(Failure::BadAnswer),
                Ok(_) => Metered::Unknown(Failure::BadAnswer),
            },
        }
    }
}

/// Under which name usage is metered, and with which key. Prints neither.
pub struct Meter {
    pub event_name: String,
    pub secret_key: String,
}

impl fmt::Debug for Meter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Meter")
    }
}

impl Meter {
    /// Tells of a customer's usage; the same `id` is the same usage.
    #[allow(clippy::too_many_arguments, reason = "each is said once, by one caller")]
    pub async fn tell(
        &self,
        connectors: &Connectors,
        id: &str,
        customer: &str,
        value: i64,
        at_ms: i64,
        now_ms: i64,
        limit_ms: u64,
    ) -> Metered {
        let stripe = Stripe { connectors, secret_key: &self.secret_key, limit_ms, now_ms };
        let event = MeterEvent { event_name: &self.event_name, identifier: id, customer, value, at_ms };
        stripe.meter(&event).await
    }
}
