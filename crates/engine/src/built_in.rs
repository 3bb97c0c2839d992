//! Workflows that Levqor brings along, and the names that are kept for them. They are stored like any other, so that their
//! jobs are pinned to a version, survive a restart and can be looked at; only nobody else may put or delete one.

use std::sync::Arc;
use std::time::Duration;

use levqor_core::audit::Actor;
use levqor_core::mail;
use levqor_core::workflow::Problem;

use crate::chain::chain;
use crate::{Shared, alerts};

/// Names that begin so are Levqor's own.
pub(crate) const PREFIX: &str = "levqor-";

pub(crate) const ORIGIN: &str = "built-in";
const ALL: [(&str, &str); 2] = [
    (mail::WORKFLOW, include_str!("built_in/levqor-email.yaml")),
    (alerts::WORKFLOW, include_str!("built_in/levqor-alert.yaml")),
];
const AGAIN: Duration = Duration::from_secs(5);

pub(crate) fn is_reserved(name: &str) -> bool {
    name.starts_with(PREFIX)
}

/// What is wrong with a definition of somebody's under such a name.
pub(crate) fn reserved(name: &str) -> Option<Problem> {
    is_reserved(name).then(|| Problem {
        path: "/name".to_owned(),
        message: format!("names that begin with `{PREFIX}` are kept for built-in workflows"),
        line: None,
        column: None,
    })
}

/// Stores what is new; normally nothing is. A start needs no write, so a database that takes none only delays this: jobs
/// that come meanwhile wait for the definition.
pub(crate) async fn store_all(shared: &Shared) -> bool {
    for (name, source) in ALL {
        let stored =
            shared.store.put_workflow(name, source, ORIGIN, &Actor::system(), shared.clock.now_ms()).await;
        let refreshed = match stored {
            Ok((_, false)) => Ok(()),
            Ok((_, true)) => shared.definitions.refresh(&shared.store).await,
            Err(error) => Err(error),
        };
        if let Err(error) = refreshed {
            tracing::warn!(workflow = name, error = %chain(&error), "a built-in workflow cannot be stored; trying again");
            return false;
        }
    }
    true
}

/// Tries until all are stored.
pub(crate) async fn until_stored(shared: Arc<Shared>) {
    while !store_all(&shared).await {
        tokio::select! {
            _ = tokio::time::sleep(AGAIN) => {}
            _ = shared.stopping.cancelled() => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use levqor_core::workflow::Definition;

    use super::*;

    #[test]
    fn built_in_workflows_are_right_and_named_as_they_should_be() {
        for (name, source) in ALL {
            let definition = Definition::parse(source, Some(name));
            assert!(definition.is_ok() && is_reserved(name), "{name}: {definition:?}");
        }
    }
}
