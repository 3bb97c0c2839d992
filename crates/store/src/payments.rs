//! The payment history: lines that are added once and read by person. What a line means is core's business.

use levqor_core::job::NewJob;
use levqor_core::payment::{Payment, PaymentKind};

use crate::tx::{Row, Sql, Tx};
use crate::{Error, Result, Store, job};

macro_rules! columns {
    () => {
        "event_id, event_type, kind, object_id, session_id, payment_intent, charge, customer, user_id, amount, currency, \
         status, happened_at_ms"
    };
}

/// No row: the event was recorded before, perhaps a moment ago by somebody else, whose commit was waited for.
const RECORD: &str = concat!(
    "insert into payments (",
    columns!(),
    ", recorded_at_ms, mail_job_id) values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15) \
     on conflict (event_id) do nothing"
);

/// Refunds and disputes name nobody; they belong to whom their payment belongs.
const OF_USER: &str = concat!(
    "select ",
    columns!(),
    " from payments where user_id = $1 or (user_id is null and payment_intent in \
     (select p.payment_intent from payments p where p.user_id = $1 and p.payment_intent is not null)) \
     order by happened_at_ms, event_id"
);

const NEWEST_CUSTOMER: &str = "select customer from payments where user_id = $1 and customer is not null \
    order by happened_at_ms desc, event_id desc limit 1";

/// Differs because PostgreSQL has other writers, which must not erase the person before this payment is committed.
const HOLD_USER: Sql = Sql::Each {
    sqlite: "select id from users where id = $1",
    postgres: "select id from users where id = $1 for key share",
};

impl Store {
    /// Adds a line to the history and, in the same commit, the job that tells about it. Returns whether the line is new; if not,
    /// nothing is stored. A person who is not there is left out.
    pub async fn record_payment(
        &self,
        payment: Payment,
        notice: Option<NewJob>,
        now_ms: i64,
    ) -> Result<bool> {
        self.write(move |tx| {
            let (payment, notice) = (payment.clone(), notice.clone());
            Box::pin(async move { record(tx, payment, notice, now_ms).await })
        })
        .await
    }

    /// Whom a person is at the payment service, as the newest payment says. `NotFound` without the person, `Conflict` without
    /// such a payment.
    pub async fn get_customer(&self, user_id: &str) -> Result<String> {
        let user_id = user_id.to_owned();
        self.read(move |tx| {
            let user_id = user_id.clone();
            Box::pin(async move {
                let user = tx.query_opt("select id from users where id = $1", &[(&user_id).into()]).await?;
                user.ok_or(Error::NotFound { what: "user" })?;
                let found = tx.query_opt(NEWEST_CUSTOMER, &[(&user_id).into()]).await?;
                let what = "this person has no payment that belongs to a customer";
                found.ok_or_else(|| Error::Conflict { what: what.to_owned() })?.text(0)
            })
        })
        .await
    }
}

async fn record(tx: &mut Tx<'_>, mut payment: Payment, notice: Option<NewJob>, now_ms: i64) -> Result<bool> {
    if let Some(user_id) = &payment.user_id
        && tx.query_opt(HOLD_USER, &[user_id.into()]).await?.is_none()
    {
        payment.user_id = None;
    }
    // Somebody's number elsewhere is kept for whom we know, and goes with them.
    let customer = payment.customer.as_ref().filter(|_| payment.user_id.is_some());
    let mail_job_id = notice.as_ref().filter(|_| payment.user_id.is_some()).map(|job| job.id.to_string());
    let written = tx
        .execute(
            RECORD,
            &[
                (&payment.event_id).into(),
                (&payment.event_type).into(),
                payment.kind.as_str().into(),
                payment.object_id.as_ref().into(),
                payment.session_id.as_ref().into(),
                payment.payment_intent.as_ref().into(),
                payment.charge.as_ref().into(),
                customer.into(),
                payment.user_id.as_ref().into(),
                payment.amount.into(),
                payment.currency.as_ref().into(),
                payment.status.as_ref().into(),
                payment.happened_at_ms.into(),
                now_ms.into(),
                mail_job_id.as_ref().into(),
            ],
        )
        .await?;
    if written == 0 {
        return Ok(false);
    }
    if let Some(job) = &notice {
        job::intake::put(tx, job).await?;
    }
    Ok(true)
}

pub(crate) async fn of_user(tx: &mut Tx<'_>, user_id: &str) -> Result<Vec<Payment>> {
    tx.query(OF_USER, &[user_id.into()]).await?.iter().map(read).collect()
}

/// The jobs whose mails told this person of payments.
pub(crate) async fn mails_of_user(tx: &mut Tx<'_>, user_id: &str) -> Result<Vec<String>> {
    let sql =
        "select mail_job_id from payments where user_id = $1 and mail_job_id is not null order by event_id";
    tx.query(sql, &[user_id.into()]).await?.iter().map(|row| row.text(0)).collect()
}

/// Takes out who paid. What was paid, when, and under which numbers stays.
pub(crate) async fn forget_user(tx: &mut Tx<'_>, user_id: &str) -> Result<()> {
    let sql = "update payments set user_id = null, customer = null, mail_job_id = null where user_id = $1";
    tx.execute(sql, &[user_id.into()]).await?;
    Ok(())
}

fn read(row: &Row) -> Result<Payment> {
    let kind = row.text(2)?;
    Ok(Payment {
        event_id: row.text(0)?,
        event_type: row.text(1)?,
        kind: PaymentKind::parse(&kind).ok_or_else(|| Error::bug(format!("kind of payment {kind}")))?,
        object_id: row.opt_text(3)?,
        session_id: row.opt_text(4)?,
        payment_intent: row.opt_text(5)?,
        charge: row.opt_text(6)?,
        customer: row.opt_text(7)?,
        user_id: row.opt_text(8)?,
        amount: row.opt_int(9)?,
        currency: row.opt_text(10)?,
        status: row.opt_text(11)?,
        happened_at_ms: row.int(12)?,
    })
}
