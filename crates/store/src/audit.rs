//! The audit log: entries are appended in the transaction of the change they tell of, and read.
//!
//! Nothing here changes or deletes an entry. What an entry may hold stands in `levqor_core::audit`.

use levqor_core::audit::{Act, Entry, Head};

use crate::tx::{Row, Tx, Value};
use crate::{AuditFilter, AuditPage, Error, Result, Store};

/// Rows examined for one page at most, give or take a chunk.
const EXAMINED_MOST: usize = 2_000;

/// Takes the head's row first: on PostgreSQL whoever comes second waits here until the first has committed, so that there
/// is one chain for all nodes. On SQLite the one writer sees to that.
const HOLD: &str = "update audit_head set seq = seq + 1 where one = 1 returning seq, hash";

const INSERT: &str = "insert into audit_entries (seq, at_ms, actor, action, object, detail, prev_hash, hash) \
    values ($1, $2, $3, $4, $5, $6, $7, $8)";

/// Writes the act down as the next entry of the chain.
///
/// Call it after the change itself, as the last statement of a verb: every verb then takes its own rows before the head,
/// which rules deadlocks out, and holds the head only for a moment.
pub(crate) async fn append(tx: &mut Tx<'_>, act: &Act) -> Result<()> {
    let held = tx.query_opt(HOLD, &[]).await?.ok_or_else(|| Error::bug("the audit log has no head"))?;
    let before = Head { seq: held.int(0)? - 1, hash: held.text(1)? };
    let entry = Entry::after(&before, act);
    tx.execute(
        INSERT,
        &[
            entry.seq.into(),
            entry.at_ms.into(),
            (&entry.actor).into(),
            (&entry.action).into(),
            (&entry.object).into(),
            (&entry.detail).into(),
            (&entry.prev_hash).into(),
            (&entry.hash).into(),
        ],
    )
    .await?;
    tx.execute("update audit_head set hash = $1 where one = 1", &[(&entry.hash).into()]).await?;
    Ok(())
}

// The head and the entries in one statement: one snapshot, so that no entry seems to lie beyond the head.
macro_rules! page {
    ($condition:literal) => {
        concat!(
            "select h.seq, h.hash, e.seq, e.at_ms, e.actor, e.action, e.object, e.detail, e.prev_hash, e.hash \
             from audit_head h left join (select seq, at_ms, actor, action, object, detail, prev_hash, hash \
             from audit_entries where seq < $1",
            $condition,
            " order by seq desc limit $2) e on true where h.one = 1 order by e.seq desc"
        )
    };
}

const ALL: &str = page!("");
const OF_OBJECT: &str = page!(" and object = $3");
const OF_ACTOR: &str = page!(" and actor = $3");
const OF_ACTION: &str = page!(" and action = $3");

impl Store {
    /// Entries, newest first, and the head of the log at that moment.
    pub async fn list_audit(&self, filter: &AuditFilter) -> Result<AuditPage> {
        let filter = filter.clone();
        self.read(move |tx| {
            let filter = filter.clone();
            Box::pin(async move { list(tx, &filter).await })
        })
        .await
    }
}

async fn list(tx: &mut Tx<'_>, filter: &AuditFilter) -> Result<AuditPage> {
    // The filter that leaves least goes through its index; the others are looked at here.
    let (sql, by) = match (&filter.object, &filter.actor, &filter.action) {
        (Some(object), _, _) => (OF_OBJECT, Some(object)),
        (None, Some(actor), _) => (OF_ACTOR, Some(actor)),
        (None, None, Some(action)) => (OF_ACTION, Some(action)),
        (None, None, None) => (ALL, None),
    };
    // One more than asked for tells whether there is a next page.
    let is_filtered =
        *filter != AuditFilter { before: filter.before, limit: filter.limit, ..AuditFilter::default() };
    let most = if is_filtered { EXAMINED_MOST } else { filter.limit + 1 };
    let mut values: Vec<Value<'_>> = vec![filter.before.unwrap_or(i64::MAX).into(), (most as i64).into()];
    values.extend(by.map(Value::from));
    let rows = tx.query(sql, &values).await?;
    let first = rows.first().ok_or_else(|| Error::bug("the audit log has no head"))?;
    let head = Head { seq: first.int(0)?, hash: first.text(1)? };
    let (mut entries, mut examined, mut last) = (Vec::new(), 0, 0);
    for row in &rows {
        // The one row of an empty log holds the head alone.
        let Some(seq) = row.opt_int(2)? else { break };
        if entries.len() == filter.limit {
            // This one begins the next page.
            return Ok(AuditPage { entries, head, next: Some(last) });
        }
        (examined, last) = (examined + 1, seq);
        entries.extend(Some(entry(row)?).filter(|entry| shows(filter, entry)));
    }
    let next = (examined == most).then_some(last);
    Ok(AuditPage { entries, head, next })
}

fn shows(filter: &AuditFilter, entry: &Entry) -> bool {
    let is = |wanted: &Option<String>, found: &str| wanted.as_ref().is_none_or(|wanted| wanted == found);
    is(&filter.actor, &entry.actor)
        && is(&filter.action, &entry.action)
        && is(&filter.object, &entry.object)
        && filter.from_ms.is_none_or(|from_ms| entry.at_ms >= from_ms)
        && filter.until_ms.is_none_or(|until_ms| entry.at_ms < until_ms)
}

fn entry(row: &Row) -> Result<Entry> {
    Ok(Entry {
        seq: row.int(2)?,
        at_ms: row.int(3)?,
        actor: row.text(4)?,
        action: row.text(5)?,
        object: row.text(6)?,
        detail: row.text(7)?,
        prev_hash: row.text(8)?,
        hash: row.text(9)?,
    })
}
