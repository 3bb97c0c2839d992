//! What went wrong at a vendor's end, or on the way to it, and whether trying again may help: decided here for all doors.

use levqor_core::duration::format_duration;

/// Why a vendor gave no result. Holds nothing that a client may not see.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// It said no, in its own word where it gave one.
    #[error("the vendor refused the call: {}", shown(word))]
    Refused { word: Option<String> },
    /// It said no to the credentials, not to the call.
    #[error("the vendor does not accept the credentials: {}", shown(word))]
    Unauthorized { word: Option<String> },
    /// It says itself that something is wrong with it.
    #[error("the vendor failed: {}", shown(word))]
    Failed { word: Option<String> },
    #[error("the vendor takes no more calls for {retry_after_secs} s")]
    RateLimited { retry_after_secs: u64, word: Option<String> },
    #[error("the vendor did not answer within {}", format_duration(i64::try_from(*limit_ms).unwrap_or(i64::MAX)))]
    Timeout { limit_ms: u64 },
    #[error("the vendor cannot be reached ({code})")]
    Unreachable { code: &'static str },
    /// Cut off, too large, or not what the vendor documents. It may have acted.
    #[error("the vendor's answer cannot be understood")]
    BadAnswer,
}

fn shown(word: &Option<String>) -> &str {
    word.as_deref().unwrap_or("no reason given")
}

/// Whether the same call may fare better later, without anybody changing it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Again {
    Never,
    /// Not before this time has passed, where the vendor named one.
    After(Option<u64>),
}

impl Failure {
    /// A stable word for records and programs.
    pub fn code(&self) -> &'static str {
        match self {
            Failure::Refused { .. } => "connector_refused",
            Failure::Unauthorized { .. } => "connector_unauthorized",
            Failure::Failed { .. } => "connector_failed",
            Failure::RateLimited { .. } => "connector_rate_limited",
            Failure::Timeout { .. } => "connector_timeout",
            Failure::Unreachable { .. } => "connector_unreachable",
            Failure::BadAnswer => "connector_bad_answer",
        }
    }

    /// The vendor's own word, if it gave one.
    pub fn word(&self) -> Option<&str> {
        match self {
            Failure::Refused { word }
            | Failure::Unauthorized { word }
            | Failure::Failed { word }
            | Failure::RateLimited { word, .. } => word.as_deref(),
            Failure::Timeout { .. } | Failure::Unreachable { .. } | Failure::BadAnswer => None,
        }
    }

    pub fn again(&self) -> Again {
        match self {
            Failure::Refused { .. } | Failure::Unauthorized { .. } => Again::Never,
            // The policy forbids the address; it will tomorrow.
            Failure::Unreachable { code: "address_refused" | "bad_request" } => Again::Never,
            Failure::RateLimited { retry_after_secs, .. } => Again::After(Some(*retry_after_secs)),
            Failure::Failed { .. }
            | Failure::Timeout { .. }
            | Failure::Unreachable { .. }
            | Failure::BadAnswer => Again::After(None),
        }
    }
}
