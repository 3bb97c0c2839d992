//! Payments as they go out: one line of history, and what meta shows of them.

use levqor_core::payment::{Payment, meta_with_payments};
use levqor_store::UserRow;
use serde::Serialize;
use utoipa::ToSchema;

use super::views::seconds;

#[derive(Serialize, ToSchema)]
pub struct PaymentList {
    payments: Vec<PaymentView>,
}

/// What one event told.
#[derive(Serialize, ToSchema)]
pub struct PaymentView {
    /// In the smallest unit, as Stripe counts it.
    #[schema(example = 1250)]
    amount: Option<i64>,
    /// For people.
    #[schema(example = "12.50 EUR")]
    amount_text: Option<String>,
    #[schema(example = "EUR")]
    currency: Option<String>,
    event_id: String,
    #[schema(example = "checkout.session.completed")]
    event_type: String,
    /// `paid`, `pending`, `free`, `failed`, `refund`, `refund_total` or `dispute`.
    #[schema(example = "paid")]
    kind: &'static str,
    /// The session, refund, charge or dispute that the event is about.
    object_id: Option<String>,
    payment_intent: Option<String>,
    session_id: Option<String>,
    /// In Stripe's word.
    #[schema(example = "paid")]
    status: Option<String>,
    timestamp: f64,
}

impl From<&Payment> for PaymentView {
    fn from(payment: &Payment) -> Self {
        PaymentView {
            amount: payment.amount,
            amount_text: payment.amount_text(),
            currency: payment.currency.clone(),
            event_id: payment.event_id.clone(),
            event_type: payment.event_type.clone(),
            kind: payment.kind.as_str(),
            object_id: payment.object_id.clone(),
            payment_intent: payment.payment_intent.clone(),
            session_id: payment.session_id.clone(),
            status: payment.status.clone(),
            timestamp: seconds(payment.happened_at_ms),
        }
    }
}

/// The newest settled payment, as the first version told of it.
#[derive(Serialize)]
struct LastPayment<'a> {
    amount: Option<i64>,
    session_id: Option<&'a str>,
    timestamp: f64,
}

/// Meta as holders of a key see it.
pub fn meta_of(row: &UserRow) -> String {
    let last = row.payments.iter().rev().find(|payment| payment.is_settled()).map(|payment| LastPayment {
        amount: payment.amount,
        session_id: payment.session_id.as_deref(),
        timestamp: seconds(payment.happened_at_ms),
    });
    let all: Vec<PaymentView> = row.payments.iter().map(PaymentView::from).collect();
    let all = (!all.is_empty()).then(|| text(&all));
    meta_with_payments(&row.meta, all.as_deref(), last.map(|last| text(&last)).as_deref())
}

fn text(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("numbers and texts are JSON")
}

impl PaymentList {
    pub fn of(row: &UserRow) -> Self {
        PaymentList { payments: row.payments.iter().map(PaymentView::from).collect() }
    }
}
