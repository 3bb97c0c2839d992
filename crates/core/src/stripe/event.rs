//! One event of Stripe's webhooks, read as far as it tells about a payment.
//!
//! A signed event is never refused for a member that reads oddly: what cannot be read is left out, and the rest is kept.

use serde_json::Value;

use crate::currency::currency_code;
use crate::intake::body_hash;
use crate::json::{compact, text_from_body};
use crate::payment::{Payment, PaymentKind};
use crate::user::{check_email, normalize_email};

/// No id or word of Stripe's is nearly as long.
const MAX_TEXT_CHARS: usize = 255;
/// The end of the year 9999.
const MAX_SECS: i64 = 253_402_300_799;

/// The body is no event.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the body is no event: {0}")]
pub struct NoEvent(String);

/// What an event is to us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    Payment {
        payment: Box<Payment>,
        /// Where the customer is reached; a usable address.
        email: Option<String>,
    },
    /// Of a type that tells nothing about payments.
    Other,
}

/// Reads the body of a delivery whose signature was verified. An event without an id is known by its body; without a time it
/// happened now.
pub fn read(body: &[u8], now_ms: i64) -> Result<Event, NoEvent> {
    let text = text_from_body(body).map_err(|problem| NoEvent(problem.to_string()))?;
    let text = compact(text).map_err(|problem| NoEvent(problem.to_string()))?;
    let event: Value = serde_json::from_str(&text).map_err(|problem| NoEvent(problem.to_string()))?;
    let object = &event["data"]["object"];
    if !object.is_object() {
        return Err(NoEvent("there is no object data.object".to_owned()));
    }
    let Some(event_type) = text_of(&event["type"]) else { return Ok(Event::Other) };
    let Some(kind) = kind(&event_type, object) else { return Ok(Event::Other) };
    let secs = event["created"].as_i64().filter(|secs| (0..=MAX_SECS).contains(secs));
    let payment = Payment {
        event_id: text_of(&event["id"]).unwrap_or_else(|| format!("sha256:{}", body_hash(body))),
        happened_at_ms: secs.map_or(now_ms, |secs| secs * 1000),
        ..about(kind, event_type, object)
    };
    let email = if payment.session_id.is_some() { customer_email(object) } else { None };
    Ok(Event::Payment { payment: Box::new(payment), email })
}

fn kind(event_type: &str, object: &Value) -> Option<PaymentKind> {
    Some(match event_type {
        "checkout.session.completed" => match object["payment_status"].as_str() {
            Some("unpaid") => PaymentKind::Pending,
            Some("no_payment_required") => PaymentKind::Free,
            _ => PaymentKind::Paid,
        },
        "checkout.session.async_payment_succeeded" => PaymentKind::Paid,
        "checkout.session.async_payment_failed" => PaymentKind::Failed,
        "charge.refunded" => PaymentKind::RefundTotal,
        "refund.created" | "refund.updated" | "refund.failed" | "charge.refund.updated" => {
            PaymentKind::Refund
        }
        "charge.dispute.created"
        | "charge.dispute.updated"
        | "charge.dispute.closed"
        | "charge.dispute.funds_withdrawn"
        | "charge.dispute.funds_reinstated" => PaymentKind::Dispute,
        _ => return None,
    })
}

/// All but what stands beside the object: sessions, charges, refunds and disputes name the same things differently.
fn about(kind: PaymentKind, event_type: String, object: &Value) -> Payment {
    let object_id = text_of(&object["id"]);
    let is_session = event_type.starts_with("checkout.session.");
    let is_charge = kind == PaymentKind::RefundTotal;
    let (amount, status) = match kind {
        PaymentKind::RefundTotal => {
            let status = object["refunded"].as_bool().map(|all| if all { "full" } else { "partial" });
            (&object["amount_refunded"], status.map(str::to_owned))
        }
        PaymentKind::Refund | PaymentKind::Dispute => (&object["amount"], text_of(&object["status"])),
        _ => (&object["amount_total"], text_of(&object["payment_status"])),
    };
    let user_id = text_of(&object["client_reference_id"]).or_else(|| text_of(&object["metadata"]["user_id"]));
    Payment {
        event_id: String::new(),
        event_type,
        kind,
        session_id: object_id.clone().filter(|_| is_session),
        payment_intent: id_of(&object["payment_intent"]),
        charge: if is_charge { object_id.clone() } else { id_of(&object["charge"]) },
        object_id,
        customer: id_of(&object["customer"]).filter(|_| is_session),
        user_id: user_id.filter(|_| is_session),
        amount: amount.as_i64(),
        currency: object["currency"].as_str().and_then(currency_code),
        status,
        happened_at_ms: 0,
    }
}

/// A text that both databases can keep.
fn text_of(value: &Value) -> Option<String> {
    let text = value.as_str().filter(|text| !text.is_empty() && !text.contains('\0'))?;
    (text.chars().take(MAX_TEXT_CHARS + 1).count() <= MAX_TEXT_CHARS).then(|| text.to_owned())
}

/// The id of what is named, or stands there as a whole.
fn id_of(value: &Value) -> Option<String> {
    text_of(value).or_else(|| text_of(&value["id"]))
}

/// The address given at the checkout, else the one it was made with.
fn customer_email(session: &Value) -> Option<String> {
    let given = [&session["customer_details"]["email"], &session["customer_email"]];
    let mut addresses = given.into_iter().filter_map(Value::as_str).map(normalize_email);
    addresses.find(|address| check_email(address).is_ok())
}

#[cfg(test)]
mod tests;
