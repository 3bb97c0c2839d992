//! Workflow definitions in memory: the current version of each name, and the older ones that jobs still run on.
//!
//! Each version is parsed once. The store is the truth; this is refreshed when a hint or the upkeep loop says so, so that
//! a definition put on another node is in force here within about a second. (A name deleted there is refused here at once: the
//! commit of an intake looks at that.)

use std::collections::HashMap;
use std::sync::{Arc, RwLock, RwLockReadGuard, RwLockWriteGuard};

use levqor_core::audit::Actor;
use levqor_core::workflow::{Definition, Problem};
use levqor_store::{Store, WorkflowHead, WorkflowRow};

use crate::steps::connect;
use crate::{Engine, built_in};

/// Older versions kept parsed at the same time; beyond that all are dropped and read again when needed.
const OLD_VERSIONS: usize = 512;

#[derive(Default)]
pub(crate) struct Definitions {
    current: RwLock<HashMap<String, Current>>,
    old: RwLock<HashMap<(String, i64), Arc<Definition>>>,
    /// One refresh at a time, so that what was read earlier never replaces what was read later.
    refreshing: tokio::sync::Mutex<()>,
}

/// What new jobs of a name get.
#[derive(Clone)]
pub(crate) enum Current {
    Version(i64, Arc<Definition>),
    Deleted,
    /// Stored by another version of Levqor, and not readable by this one.
    Unreadable,
}

fn read<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(|poisoned| poisoned.into_inner())
}

fn write<T>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(|poisoned| poisoned.into_inner())
}

impl Definitions {
    pub fn current(&self, name: &str) -> Option<Current> {
        read(&self.current).get(name).cloned()
    }

    /// Reads what changed. Names that vanished from the store vanish here.
    pub async fn refresh(&self, store: &Store) -> levqor_store::Result<()> {
        let _alone = self.refreshing.lock().await;
        let heads = store.list_workflows().await?;
        let mut next = HashMap::with_capacity(heads.len());
        for head in heads {
            let current = match self.current(&head.name) {
                _ if head.deleted => Current::Deleted,
                Some(Current::Version(version, definition)) if version == head.version => {
                    Current::Version(version, definition)
                }
                _ => match self.version(store, &head.name, head.version).await? {
                    Some(definition) => Current::Version(head.version, definition),
                    None => Current::Unreadable,
                },
            };
            next.insert(head.name, current);
        }
        *write(&self.current) = next;
        Ok(())
    }

    /// One version, parsed; `None` if it is not there or cannot be read by this version of Levqor.
    pub async fn version(
        &self,
        store: &Store,
        name: &str,
        version: i64,
    ) -> levqor_store::Result<Option<Arc<Definition>>> {
        if let Some(Current::Version(current, definition)) = self.current(name)
            && current == version
        {
            return Ok(Some(definition));
        }
        let key = (name.to_owned(), version);
        if let Some(definition) = read(&self.old).get(&key).cloned() {
            return Ok(Some(definition));
        }
        let Some(row) = store.find_workflow(name, Some(version)).await? else { return Ok(None) };
        match Definition::parse(&row.source, Some(name)) {
            Ok(definition) => {
                let definition = Arc::new(definition);
                let mut old = write(&self.old);
                if old.len() >= OLD_VERSIONS {
                    old.clear();
                }
                old.insert(key, definition.clone());
                Ok(Some(definition))
            }
            Err(problems) => {
                let first = problems.first().map(ToString::to_string).unwrap_or_default();
                tracing::error!(
                    workflow = name,
                    version,
                    problem = first,
                    "a stored workflow cannot be read"
                );
                Ok(None)
            }
        }
    }
}

/// Whether a payload fits the workflow's `input`; JSON pointers with what is wrong there where it does not.
pub(crate) fn check_payload(definition: &Definition, payload: &str) -> Result<(), Vec<(String, String)>> {
    let Some(schema) = &definition.input else { return Ok(()) };
    schema.validate(payload).map_err(|violations| {
        violations.into_iter().map(|violation| (violation.pointer, violation.message)).collect()
    })
}

/// Reads a definition as a new one: its connectors, actions and parameters are checked too. A stored one is read without that,
/// so that no job loses its definition to another version of the catalogue.
pub fn parse_definition(source: &str, name: Option<&str>) -> Result<Definition, Vec<Problem>> {
    Definition::parse_with(source, name, &connect::check)
}

/// A definition as it now stands in the store.
#[derive(Clone)]
pub struct Stored {
    pub row: WorkflowRow,
    pub definition: Arc<Definition>,
    /// Whether this call made the version.
    pub created: bool,
}

/// Why a definition was not taken.
#[derive(Debug, thiserror::Error)]
pub enum DefinitionError {
    #[error("the definition has mistakes")]
    Invalid(Vec<Problem>),
    #[error(transparent)]
    Store(#[from] levqor_store::Error),
}

impl Engine {
    /// Checks and stores a definition (YAML or JSON). `origin` is `api` or `file:<name>`. Jobs that wait for this name
    /// are moved to the queue.
    pub async fn put_workflow(
        &self,
        name: &str,
        source: &str,
        origin: &str,
        by: &Actor,
    ) -> Result<Stored, DefinitionError> {
        let shared = &self.shared;
        let definition = parse_definition(source, Some(name)).map_err(DefinitionError::Invalid)?;
        if let Some(problem) = built_in::reserved(name) {
            return Err(DefinitionError::Invalid(vec![problem]));
        }
        let (row, created) =
            shared.store.put_workflow(name, source, origin, by, shared.clock.now_ms()).await?;
        shared.definitions.refresh(&shared.store).await?;
        while shared.store.move_defined(500).await? > 0 {}
        Ok(Stored { row, definition: Arc::new(definition), created })
    }

    /// New jobs of this name are refused from now on; running ones stay on their versions.
    pub async fn delete_workflow(&self, name: &str, by: &Actor) -> levqor_store::Result<()> {
        let shared = &self.shared;
        if built_in::is_reserved(name) {
            return Err(levqor_store::Error::Conflict {
                what: format!("workflow `{name}` is built in and stays"),
            });
        }
        shared.store.delete_workflow(name, by, shared.clock.now_ms()).await?;
        shared.definitions.refresh(&shared.store).await
    }

    /// One stored version with its parsed form; the current one where `version` is `None`.
    pub async fn find_workflow(
        &self,
        name: &str,
        version: Option<i64>,
    ) -> levqor_store::Result<Option<WorkflowRow>> {
        self.shared.store.find_workflow(name, version).await
    }

    /// All names that are not deleted, sorted, with the parsed current version.
    pub async fn list_workflows(&self) -> levqor_store::Result<Vec<(WorkflowHead, Option<Arc<Definition>>)>> {
        let shared = &self.shared;
        let mut lines = Vec::new();
        for head in shared.store.list_workflows().await? {
            if head.deleted {
                continue;
            }
            let definition = shared.definitions.version(&shared.store, &head.name, head.version).await?;
            lines.push((head, definition));
        }
        Ok(lines)
    }
}
