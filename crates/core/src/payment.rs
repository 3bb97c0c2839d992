//! One line of a person's payment history: what an event told, kept as it was told. Lines are added, never changed, so it does
//! not matter in which order events arrive.

use std::borrow::Cow;
use std::collections::BTreeMap;

use crate::currency;
use crate::intake::IntakeRequest;
use crate::job::Priority;
use crate::json::{members, push_quoted, quote};

/// What a line tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PaymentKind {
    /// Money arrived.
    Paid,
    /// A checkout was completed with a way of paying that takes days.
    Pending,
    /// A checkout was completed and cost nothing.
    Free,
    /// Such a way of paying failed in the end.
    Failed,
    /// One refund.
    Refund,
    /// The sum of all refunds of a charge so far.
    RefundTotal,
    /// How a dispute stands.
    Dispute,
}

impl PaymentKind {
    pub const ALL: [PaymentKind; 7] = [
        PaymentKind::Paid,
        PaymentKind::Pending,
        PaymentKind::Free,
        PaymentKind::Failed,
        PaymentKind::Refund,
        PaymentKind::RefundTotal,
        PaymentKind::Dispute,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            PaymentKind::Paid => "paid",
            PaymentKind::Pending => "pending",
            PaymentKind::Free => "free",
            PaymentKind::Failed => "failed",
            PaymentKind::Refund => "refund",
            PaymentKind::RefundTotal => "refund_total",
            PaymentKind::Dispute => "dispute",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        PaymentKind::ALL.into_iter().find(|kind| kind.as_str() == text)
    }
}

/// What one event told. Texts hold no NUL and at most 255 characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payment {
    /// Unique: an event that is delivered again is the same line.
    pub event_id: String,
    pub event_type: String,
    pub kind: PaymentKind,
    /// The session, refund, charge or dispute that the event is about.
    pub object_id: Option<String>,
    pub session_id: Option<String>,
    /// What a refund and its payment have in common.
    pub payment_intent: Option<String>,
    pub charge: Option<String>,
    pub customer: Option<String>,
    /// Whom the checkout was made for, as far as it says.
    pub user_id: Option<String>,
    /// In the smallest unit.
    pub amount: Option<i64>,
    /// In upper case.
    pub currency: Option<String>,
    /// In the vendor's word.
    pub status: Option<String>,
    pub happened_at_ms: i64,
}

impl Payment {
    /// The amount for people.
    pub fn amount_text(&self) -> Option<String> {
        Some(currency::display(self.amount?, self.currency.as_deref()?))
    }

    /// Whether a checkout was completed and nothing is open.
    pub fn is_settled(&self) -> bool {
        matches!(self.kind, PaymentKind::Paid | PaymentKind::Free)
    }

    /// The mail that this line is worth: about money that arrived or did not. Nothing without an amount in a known currency.
    pub fn mail_to(&self, address: &str) -> Option<IntakeRequest> {
        let template = match self.kind {
            PaymentKind::Paid => "payment-received",
            PaymentKind::Failed => "payment-failed",
            _ => return None,
        };
        let payload = format!(
            r#"{{"from":"billing","template":{},"to":[{}],"values":{{"amount":{},"reference":{}}}}}"#,
            quote(template),
            quote(address),
            quote(&self.amount_text()?),
            quote(self.session_id.as_deref().unwrap_or(&self.event_id)),
        );
        Some(IntakeRequest {
            workflow: "levqor-email".to_owned(),
            payload,
            callback_url: None,
            priority: Priority::Normal,
            run_at_ms: None,
            tags: BTreeMap::new(),
            dry_run: false,
            idempotency_key: None,
        })
    }
}

/// The members of a person's meta that stand for the history. They are ours: what a caller sends under these names is dropped.
pub const META_PAYMENTS: &str = "payments";
pub const META_LAST_PAYMENT: &str = "last_payment";

/// Meta without what stands for the history; as it is when there is nothing of it. `meta` is a valid JSON object.
pub fn meta_without_payments(meta: &str) -> Cow<'_, str> {
    let all = members(meta).unwrap_or_default();
    match all.iter().any(|(name, _)| is_ours(name)) {
        true => Cow::Owned(object(
            all.iter().filter(|(name, _)| !is_ours(name)).map(|(name, value)| (name.as_ref(), *value)),
        )),
        false => Cow::Borrowed(meta),
    }
}

/// Meta with the history where there is one: `payments` and `last_payment`, both JSON.
pub fn meta_with_payments(meta: &str, payments: Option<&str>, last: Option<&str>) -> String {
    if payments.is_none() && last.is_none() {
        return meta_without_payments(meta).into_owned();
    }
    let all = members(meta).unwrap_or_default();
    let others = all.iter().filter(|(name, _)| !is_ours(name)).map(|(name, value)| (name.as_ref(), *value));
    let ours = [(META_PAYMENTS, payments), (META_LAST_PAYMENT, last)];
    object(others.chain(ours.into_iter().filter_map(|(name, value)| Some((name, value?)))))
}

fn is_ours(name: &str) -> bool {
    name == META_PAYMENTS || name == META_LAST_PAYMENT
}

fn object<'a>(members: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    let mut out = "{".to_owned();
    for (name, value) in members {
        if out.len() > 1 {
            out.push(',');
        }
        push_quoted(&mut out, name);
        out.push(':');
        out.push_str(value);
    }
    out.push('}');
    out
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn payment(kind: PaymentKind) -> Payment {
        Payment {
            event_id: "evt_1".to_owned(),
            event_type: "checkout.session.completed".to_owned(),
            kind,
            object_id: Some("cs_1".to_owned()),
            session_id: Some("cs_1".to_owned()),
            payment_intent: None,
            charge: None,
            customer: None,
            user_id: None,
            amount: Some(500),
            currency: Some("JPY".to_owned()),
            status: None,
            happened_at_ms: 0,
        }
    }

    #[test]
    fn money_that_came_or_failed_is_worth_a_mail_and_nothing_else_is() {
        let mail = payment(PaymentKind::Paid).mail_to("ada@example.org").unwrap();

        let expected = r#"{"from":"billing","template":"payment-received","to":["ada@example.org"],"values":{"amount":"500 JPY","reference":"cs_1"}}"#;
        assert_eq!((mail.workflow.as_str(), mail.payload.as_str()), ("levqor-email", expected));
        for kind in PaymentKind::ALL {
            let template = match kind {
                PaymentKind::Paid => Some("payment-received"),
                PaymentKind::Failed => Some("payment-failed"),
                _ => None,
            };
            let mail = payment(kind).mail_to("ada@example.org");
            assert_eq!(mail.is_some(), template.is_some(), "{kind:?}");
            assert!(mail.is_none_or(|mail| mail.payload.contains(template.unwrap())));
            assert_eq!(PaymentKind::parse(kind.as_str()), Some(kind));
        }
        let unknown = Payment { currency: None, ..payment(PaymentKind::Paid) };
        assert_eq!((unknown.amount_text(), unknown.mail_to("a@b.co")), (None, None));
    }

    #[test]
    fn what_stands_for_the_history_is_taken_out_however_it_is_written() {
        for (meta, expected) in [
            ("{}", "{}"),
            (r#"{"a": 1.50}"#, r#"{"a": 1.50}"#),
            (r#"{"payments":[1],"a":1}"#, r#"{"a":1}"#),
            (r#"{"a":{"payments":1},"last_payment":{"amount":1},"b":2}"#, r#"{"a":{"payments":1},"b":2}"#),
            (r#"{"paym\u0065nts":[1],"payments":[2]}"#, "{}"),
            (r#"{"Payments":[1]}"#, r#"{"Payments":[1]}"#),
        ] {
            assert_eq!(meta_without_payments(meta), expected);
        }
        let meta = r#"{"last_payment":"mine","a":1,"payments":"mine"}"#;
        assert_eq!(
            meta_with_payments(meta, Some("[7]"), Some("{}")),
            r#"{"a":1,"payments":[7],"last_payment":{}}"#
        );
        assert_eq!(meta_with_payments(meta, None, None), r#"{"a":1}"#);
    }
}
