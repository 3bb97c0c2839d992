//! Takes a person out of the records of mails: the address, the subject, and what Levqor's own workflow was told to write. That
//! there was a mail, and when, stays.
//!
//! A mail that has not ended still goes out: somebody may have to know that money arrived. It is forgotten by the first turn of
//! upkeep after its end.

use levqor_core::mail::WORKFLOW;

use crate::Result;
use crate::tx::Tx;

/// Stands for every recipient of a mail.
const EVERYBODY: &str = "";
const MAILS_AT_ONCE: i64 = 200;

/// Takes out `address` wherever a mail went to it, and all of `own`: the mails that Levqor sent this person itself, to whatever
/// address.
pub(crate) async fn erase(tx: &mut Tx<'_>, address: &str, own: &[String]) -> Result<()> {
    // The first version took people without one; an empty address is that of people who were erased.
    if !address.is_empty() {
        tx.execute(
            "insert into mail_erasures (job_id, address) select distinct t.job_id, cast($1 as text) from email_recipients r \
             join email_tries t on t.id = r.try_id join live_jobs l on l.id = t.job_id where r.address = $1 \
             on conflict do nothing",
            &[address.into()],
        )
        .await?;
        tx.execute(
            "update jobs set payload = '{}' where workflow = $2 and id in (select t.job_id from email_tries t \
             join email_recipients r on r.try_id = t.id where r.address = $1) \
             and id in (select id from finished_jobs)",
            &[address.into(), WORKFLOW.into()],
        )
        .await?;
        tx.execute(
            "update email_tries set subject = '', error = null where id in \
             (select try_id from email_recipients where address = $1)",
            &[address.into()],
        )
        .await?;
        tx.execute("update email_recipients set address = '' where address = $1", &[address.into()]).await?;
    }
    for job_id in own {
        let is_live = tx.query_opt("select 1 from live_jobs where id = $1", &[job_id.into()]).await?;
        match is_live {
            Some(_) => {
                let sql =
                    "insert into mail_erasures (job_id, address) values ($1, $2) on conflict do nothing";
                tx.execute(sql, &[job_id.into(), EVERYBODY.into()]).await?;
            }
            None => forget(tx, job_id, EVERYBODY).await?,
        }
    }
    Ok(())
}

/// One turn: forgets mails whose recipient was erased before they ended.
pub(crate) async fn sweep(tx: &mut Tx<'_>) -> Result<()> {
    let over = tx
        .query(
            "select e.job_id, e.address from mail_erasures e \
             where not exists (select 1 from live_jobs l where l.id = e.job_id) limit $1",
            &[MAILS_AT_ONCE.into()],
        )
        .await?;
    for row in &over {
        let (job_id, address) = (row.text(0)?, row.text(1)?);
        forget(tx, &job_id, &address).await?;
        let sql = "delete from mail_erasures where job_id = $1 and address = $2";
        tx.execute(sql, &[(&job_id).into(), (&address).into()]).await?;
    }
    Ok(())
}

/// What is on record of one mail that has ended.
async fn forget(tx: &mut Tx<'_>, job_id: &str, address: &str) -> Result<()> {
    tx.execute(
        "update jobs set payload = '{}' where id = $1 and workflow = $2",
        &[job_id.into(), WORKFLOW.into()],
    )
    .await?;
    tx.execute(
        "update email_tries set subject = '', error = null where job_id = $1 and exists \
         (select 1 from email_recipients r where r.try_id = email_tries.id and (cast($2 as text) = '' or r.address = $2))",
        &[job_id.into(), address.into()],
    )
    .await?;
    tx.execute(
        "update email_recipients set address = '' where try_id in (select id from email_tries where job_id = $1) \
         and (cast($2 as text) = '' or address = $2)",
        &[job_id.into(), address.into()],
    )
    .await?;
    Ok(())
}
