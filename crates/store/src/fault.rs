//! The one place that says what a driver's error means to callers: try again later, or ours to mend.

use std::error::Error as StdError;

use rusqlite::ErrorCode;
use tokio_postgres::error::SqlState;

use crate::Error;

impl Error {
    /// A fact that contradicts this crate's own code.
    pub(crate) fn bug(what: impl Into<String>) -> Error {
        Error::Bug(what.into().into())
    }

    /// The database is away, as far as the caller is concerned.
    pub(crate) fn away(what: impl Into<String>) -> Error {
        Error::Unavailable(what.into().into())
    }

    /// The same verdict for another caller of the same transaction.
    pub(crate) fn copy(&self) -> Error {
        match self {
            Error::NotFound { what } => Error::NotFound { what },
            Error::Conflict { what } => Error::Conflict { what: what.clone() },
            Error::Refused { what } => Error::Refused { what: what.clone() },
            Error::Unavailable(source) => Error::away(source.to_string()),
            Error::Bug(source) => Error::bug(source.to_string()),
        }
    }

    /// The transaction lost against another one and would do if it ran again at once (PostgreSQL).
    pub(crate) fn wants_retry(&self) -> bool {
        let Error::Unavailable(source) = self else { return false };
        let state = source.downcast_ref::<tokio_postgres::Error>().and_then(tokio_postgres::Error::code);
        state.is_some_and(|state| {
            *state == SqlState::T_R_SERIALIZATION_FAILURE || *state == SqlState::T_R_DEADLOCK_DETECTED
        })
    }
}

impl From<rusqlite::Error> for Error {
    fn from(error: rusqlite::Error) -> Self {
        let passes = matches!(
            error.sqlite_error_code(),
            Some(
                ErrorCode::DiskFull
                    | ErrorCode::SystemIoFailure
                    | ErrorCode::DatabaseBusy
                    | ErrorCode::DatabaseLocked
                    | ErrorCode::CannotOpen
                    | ErrorCode::ReadOnly
                    | ErrorCode::OperationInterrupted
                    | ErrorCode::OutOfMemory
            )
        );
        classify(passes, error)
    }
}

impl From<tokio_postgres::Error> for Error {
    fn from(error: tokio_postgres::Error) -> Self {
        let passes = match error.code() {
            Some(state) => passes_by_itself(state),
            // Without a state there was no answer of the server, unless a value did not fit its column.
            None => error.source().is_none_or(|source| source.is::<std::io::Error>()),
        };
        classify(passes, error)
    }
}

/// Classes 08 (connection), 40 (lost against another transaction), 53 (resources), 57 (operator: shutdown, time limit), 58 (its disk).
fn passes_by_itself(state: &SqlState) -> bool {
    ["08", "40", "53", "57", "58"].iter().any(|class| state.code().starts_with(class))
        || [SqlState::READ_ONLY_SQL_TRANSACTION, SqlState::LOCK_NOT_AVAILABLE].contains(state)
}

impl From<deadpool_postgres::PoolError> for Error {
    fn from(error: deadpool_postgres::PoolError) -> Self {
        match error {
            deadpool_postgres::PoolError::Backend(error) => Error::Unavailable(error.into()),
            other => Error::Unavailable(other.into()),
        }
    }
}

fn classify(passes: bool, error: impl StdError + Send + Sync + 'static) -> Error {
    if passes { Error::Unavailable(error.into()) } else { Error::Bug(error.into()) }
}
