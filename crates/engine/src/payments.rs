//! What was paid: a line of the history, and the mail about it, in one commit.

use levqor_core::intake::IntakeRequest;
use levqor_core::payment::Payment;

use crate::figures::Counters;
use crate::{Engine, IntakeError};

/// The caller of jobs that the service submits on its own.
const OURSELVES: &str = "levqor";

impl Engine {
    /// Records what an event told, once however often it comes, and submits the notice about it, if there is one. Returns
    /// whether the event is new. `Ok` means that both are on disk.
    pub async fn record_payment(
        &self,
        payment: Payment,
        notice: Option<IntakeRequest>,
    ) -> levqor_store::Result<bool> {
        let notice = match notice.map(|request| self.new_job(request, OURSELVES, None)).transpose() {
            Ok(job) => job,
            Err(IntakeError::Store(error)) => return Err(error),
            // Money is on record even where nobody can be told of it.
            Err(error) => {
                tracing::error!(event.id = payment.event_id, %error, "no mail about a payment is possible");
                None
            }
        };
        let has_notice = notice.is_some();
        let now_ms = self.shared.clock.now_ms();
        let is_new = self.shared.store.record_payment(payment, notice, now_ms).await?;
        if is_new && has_notice {
            Counters::add(&self.shared.counters.accepted, 1);
        }
        Ok(is_new)
    }
}
