//! Workflow definitions by name and version. Versions are immutable; a deleted name keeps them for the jobs that run.

use std::sync::Arc;

use levqor_core::audit::{Act, Actor};
use serde_json::json;

use crate::tx::{Row, Tx};
use crate::{Error, Result, Store, WorkflowHead, WorkflowRow, audit};

macro_rules! version_columns {
    () => {
        "v.name, v.version, v.source, v.origin, v.created_at_ms"
    };
}

const CURRENT: &str = concat!(
    "select ",
    version_columns!(),
    " from workflows w join workflow_versions v on v.name = w.name and v.version = w.version \
     where w.name = $1 and w.deleted = false"
);

const VERSION: &str =
    concat!("select ", version_columns!(), " from workflow_versions v where v.name = $1 and v.version = $2");

const NEWEST_FROM: &str = concat!(
    "select ",
    version_columns!(),
    " from workflow_versions v where v.name = $1 and v.origin = $2 order by v.version desc limit 1"
);

/// Writing the row, if only its own name over itself, makes a second writer of this name wait.
const HOLD: &str = "insert into workflows (name, version, deleted, updated_at_ms) values ($1, 0, true, $2) \
    on conflict (name) do update set name = excluded.name returning version";

impl Store {
    /// Stores a new version, unless the source brings nothing new: a file is compared with the last version that came from
    /// it (a restart undoes no put and no delete of the API), a call of the API with what is in force. Returns the row in
    /// force, or the last one of a deleted name, and whether it is new.
    pub async fn put_workflow(
        &self,
        name: &str,
        source: &str,
        origin: &str,
        by: &Actor,
        now_ms: i64,
    ) -> Result<(WorkflowRow, bool)> {
        let (name, source, origin) =
            (Arc::<str>::from(name), Arc::<str>::from(source), Arc::<str>::from(origin));
        let (name_read, source_read, origin_read) = (name.clone(), source.clone(), origin.clone());
        // Looked at first: a start with the files of yesterday needs no write.
        let unchanged = self
            .read(move |tx| {
                let (name, source, origin) = (name_read.clone(), source_read.clone(), origin_read.clone());
                Box::pin(async move { unchanged(tx, &name, &source, &origin).await })
            })
            .await?;
        if let Some(row) = unchanged {
            return Ok((row, false));
        }
        let act = Act::new(by, "workflow.put", &*name, now_ms);
        self.write(move |tx| {
            let (name, source, origin, act) = (name.clone(), source.clone(), origin.clone(), act.clone());
            Box::pin(async move {
                let (row, is_new) = put(tx, &name, &source, &origin, now_ms).await?;
                if is_new {
                    let act = act.detail(json!({"origin": row.origin, "version": row.version}));
                    audit::append(tx, &act).await?;
                }
                Ok((row, is_new))
            })
        })
        .await
    }

    /// Marks the name as deleted; versions stay for the jobs that run on them.
    pub async fn delete_workflow(&self, name: &str, by: &Actor, now_ms: i64) -> Result<()> {
        let act = Act::new(by, "workflow.delete", name, now_ms);
        self.write(move |tx| {
            let act = act.clone();
            Box::pin(async move {
                delete(tx, &act.object, now_ms).await?;
                audit::append(tx, &act).await
            })
        })
        .await
    }

    /// One version; `None` as version: the current one (not if deleted).
    pub async fn find_workflow(&self, name: &str, version: Option<i64>) -> Result<Option<WorkflowRow>> {
        let name = name.to_owned();
        self.read(move |tx| {
            let name = name.clone();
            Box::pin(async move { find(tx, &name, version).await })
        })
        .await
    }

    /// All names, sorted, deleted ones included.
    pub async fn list_workflows(&self) -> Result<Vec<WorkflowHead>> {
        self.read(move |tx| Box::pin(list(tx))).await
    }
}

/// The row that stands if `source` brings nothing new.
///
/// A file that is as it was when it last made a version says nothing, even when the API has put another version or deleted
/// the name since: a restart must not undo that. A call of the API means what it says and is compared with what is in
/// force.
async fn unchanged(tx: &mut Tx<'_>, name: &str, source: &str, origin: &str) -> Result<Option<WorkflowRow>> {
    let current = find(tx, name, None).await?;
    if !origin.starts_with("file:") {
        return Ok(current.filter(|row| row.origin == origin && row.source == source));
    }
    let newest = tx.query_opt(NEWEST_FROM, &[name.into(), origin.into()]).await?;
    let newest = newest.as_ref().map(read).transpose()?.filter(|row| row.source == source);
    Ok(newest.map(|newest| current.unwrap_or(newest)))
}

pub(crate) async fn put(
    tx: &mut Tx<'_>,
    name: &str,
    source: &str,
    origin: &str,
    now_ms: i64,
) -> Result<(WorkflowRow, bool)> {
    let held = tx.query_opt(HOLD, &[name.into(), now_ms.into()]).await?;
    let newest = held.ok_or_else(|| Error::bug("a workflow's row was not written"))?.int(0)?;
    if let Some(current) = unchanged(tx, name, source, origin).await? {
        return Ok((current, false));
    }
    let version = newest + 1;
    tx.execute(
        "insert into workflow_versions (name, version, origin, created_at_ms, source) values ($1, $2, $3, $4, $5)",
        &[name.into(), version.into(), origin.into(), now_ms.into(), source.into()],
    )
    .await?;
    tx.execute(
        "update workflows set version = $2, deleted = false, updated_at_ms = $3 where name = $1",
        &[name.into(), version.into(), now_ms.into()],
    )
    .await?;
    tx.effects.workflows = true;
    let row = WorkflowRow {
        name: name.to_owned(),
        version,
        source: source.to_owned(),
        origin: origin.to_owned(),
        created_at_ms: now_ms,
    };
    Ok((row, true))
}

async fn delete(tx: &mut Tx<'_>, name: &str, now_ms: i64) -> Result<()> {
    let changed = tx
        .execute(
            "update workflows set deleted = true, updated_at_ms = $2 where name = $1 and deleted = false",
            &[name.into(), now_ms.into()],
        )
        .await?;
    if changed == 0 {
        return Err(Error::NotFound { what: "workflow" });
    }
    tx.effects.workflows = true;
    Ok(())
}

async fn find(tx: &mut Tx<'_>, name: &str, version: Option<i64>) -> Result<Option<WorkflowRow>> {
    let row = match version {
        None => tx.query_opt(CURRENT, &[name.into()]).await?,
        Some(version) => tx.query_opt(VERSION, &[name.into(), version.into()]).await?,
    };
    row.as_ref().map(read).transpose()
}

async fn list(tx: &mut Tx<'_>) -> Result<Vec<WorkflowHead>> {
    let rows = tx.query("select name, version, deleted, updated_at_ms from workflows", &[]).await?;
    let mut heads = rows
        .iter()
        .map(|row| {
            Ok(WorkflowHead {
                name: row.text(0)?,
                version: row.int(1)?,
                deleted: row.bool(2)?,
                updated_at_ms: row.int(3)?,
            })
        })
        .collect::<Result<Vec<_>>>()?;
    // Sorted here: the engines' collations differ.
    heads.sort_unstable_by(|one, other| one.name.cmp(&other.name));
    Ok(heads)
}

fn read(row: &Row) -> Result<WorkflowRow> {
    Ok(WorkflowRow {
        name: row.text(0)?,
        version: row.int(1)?,
        source: row.text(2)?,
        origin: row.text(3)?,
        created_at_ms: row.int(4)?,
    })
}
