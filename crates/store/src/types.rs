//! What the store hands out and takes, beside the values of core: rows for readers, filters, pages, errors.

use std::collections::HashMap;

use levqor_core::audit::{Entry, Head};
use levqor_core::id::JobId;
use levqor_core::job::{JobError, NewCallback, Priority, StepRow, Tags};
use levqor_core::payment::Payment;
use levqor_core::state::{State, Status};

/// Why the store did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not there, or not visible.
    #[error("{what} not found")]
    NotFound { what: &'static str },
    /// There, but in a state that does not allow it.
    #[error("{what}")]
    Conflict { what: String },
    /// The database cannot be reached, is full or too busy: try again later.
    #[error("the database is not available")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The database cannot be opened as it is: a wrong path, another process on it, made by a newer version. A start
    /// stops with this line.
    #[error("{what}")]
    Refused { what: String },
    /// Ours to mend: a statement that does not fit its table, a value that cannot be read back.
    #[error("unexpected answer of the database")]
    Bug(#[source] Box<dyn std::error::Error + Send + Sync>),
}

pub type Result<T> = std::result::Result<T, Error>;

/// What the public status route tells: nothing but this.
#[derive(Clone, Debug, PartialEq)]
pub struct StatusRow {
    pub id: JobId,
    pub state: State,
    pub created_at_ms: i64,
    pub result: Option<String>,
    pub error: Option<JobError>,
}

/// One line of a list of jobs.
#[derive(Clone, Debug, PartialEq)]
pub struct JobLine {
    pub id: JobId,
    pub workflow: String,
    pub version: Option<i64>,
    pub state: State,
    pub priority: Priority,
    pub tags: Tags,
    pub created_at_ms: i64,
    pub started_at_ms: Option<i64>,
    pub finished_at_ms: Option<i64>,
    /// When a scheduled or waiting job goes on.
    pub due_at_ms: Option<i64>,
}

/// All there is about a job.
#[derive(Clone, Debug, PartialEq)]
pub struct JobRow {
    pub line: JobLine,
    pub payload: String,
    pub callback_url: Option<String>,
    pub caller: String,
    pub claim: i64,
    pub deaths: i64,
    pub result: Option<String>,
    pub error: Option<JobError>,
    pub steps: Vec<StepRow>,
    pub callbacks: Vec<CallbackRow>,
}

/// Which jobs a list shows. All that are set must hold. Newest first.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct JobFilter {
    pub status: Option<Status>,
    pub state: Option<State>,
    pub workflow: Option<String>,
    /// Every pair must be among the job's tags.
    pub tags: Tags,
    /// Created at or after.
    pub created_from_ms: Option<i64>,
    /// Created before.
    pub created_until_ms: Option<i64>,
    /// Only jobs older than this one: the cursor of the page before.
    pub before: Option<JobId>,
    /// 1 to 500.
    pub limit: usize,
}

/// A page of a list. It may hold fewer lines than asked for, even none, and still have a `next`: a page examines a
/// bounded number of rows.
#[derive(Clone, Debug, PartialEq)]
pub struct JobPage {
    pub jobs: Vec<JobLine>,
    /// Hand it in as `before` to go on; `None` at the end.
    pub next: Option<JobId>,
}

/// A callback with every try that was made.
#[derive(Clone, Debug, PartialEq)]
pub struct CallbackRow {
    pub id: String,
    pub url: String,
    pub state: CallbackState,
    pub created_at_ms: i64,
    /// When the next try is due, while `state` is `Due`.
    pub due_at_ms: Option<i64>,
    pub tries: Vec<CallbackTry>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallbackState {
    /// Waits for its next try, or is being tried.
    Due,
    Delivered,
    /// The receiver answered 410.
    Gone,
    /// All tries failed.
    Exhausted,
}

impl CallbackState {
    pub const ALL: [CallbackState; 4] =
        [CallbackState::Due, CallbackState::Delivered, CallbackState::Gone, CallbackState::Exhausted];

    pub fn as_str(self) -> &'static str {
        match self {
            CallbackState::Due => "due",
            CallbackState::Delivered => "delivered",
            CallbackState::Gone => "gone",
            CallbackState::Exhausted => "exhausted",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        CallbackState::ALL.into_iter().find(|state| state.as_str() == text)
    }
}

/// One try of a callback, as recorded.
#[derive(Clone, Debug, PartialEq)]
pub struct CallbackTry {
    /// Counts from 1 over the life of the callback, redeliveries included.
    pub attempt: i64,
    pub at_ms: i64,
    pub duration_ms: i64,
    /// The receiver's status, if it answered.
    pub status: Option<i64>,
    /// Why it failed, in words that are safe to show; `None` on success. A try whose process died reads `lost`.
    pub error: Option<String>,
}

/// How many more tries may go to a receiver, named as in [`NewCallback::host`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostRoom {
    pub known: HashMap<String, usize>,
    /// To each that is not among the known.
    pub unknown: usize,
}

impl HostRoom {
    pub fn of(&self, host: &str) -> usize {
        self.known.get(host).copied().unwrap_or(self.unknown)
    }
}

/// A callback that this node may try now. The claim holds for `CALLBACK_LEASE_MS`; after that somebody else tries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimedCallback {
    pub callback: NewCallback,
    /// Number of this try, counted from 1 over the life of the callback; it is the fencing number too.
    pub attempt: i64,
    /// Number of this try within the current schedule: it starts again at 1 after a redelivery was asked for.
    pub round: i64,
}

/// What one try came to.
#[derive(Clone, Debug, PartialEq)]
pub enum CallbackEnd {
    Delivered,
    Gone,
    Exhausted,
    /// Try again then.
    Retry {
        due_at_ms: i64,
    },
}

/// One stored version of a workflow.
#[derive(Clone, Debug, PartialEq)]
pub struct WorkflowRow {
    pub name: String,
    pub version: i64,
    /// The text as it came in, YAML or JSON.
    pub source: String,
    /// `api`, `built-in` or `file:<file name>`.
    pub origin: String,
    pub created_at_ms: i64,
}

/// A try to send a mail that is about to go out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewEmailTry {
    /// Made like a job's id: it sorts by time.
    pub id: JobId,
    pub job_id: JobId,
    /// Under which the job must be running.
    pub claim: i64,
    pub step: String,
    /// The step's attempt.
    pub attempt: i64,
    pub at_ms: i64,
    /// The address that it comes from.
    pub sender: String,
    pub subject: String,
    /// `resend`, `smtp`, or `none` where no provider is configured.
    pub provider: &'static str,
    /// `to`, `cc` or `bcc`, and the address in lower case, each once.
    pub recipients: Vec<(&'static str, String)>,
}

/// How a try to send a mail ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EmailEnd {
    Sent {
        message_id: String,
    },
    /// A stable word, and why in words that are safe to show.
    Failed {
        code: String,
        error: String,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EmailOutcome {
    /// Out at this moment, or its process died and nobody has taken the job up yet.
    Sending,
    Sent,
    Failed,
    /// Its process died, or its job was cancelled: nobody knows whether it was sent.
    Lost,
}

impl EmailOutcome {
    pub const ALL: [EmailOutcome; 4] =
        [EmailOutcome::Sending, EmailOutcome::Sent, EmailOutcome::Failed, EmailOutcome::Lost];

    pub fn as_str(self) -> &'static str {
        match self {
            EmailOutcome::Sending => "sending",
            EmailOutcome::Sent => "sent",
            EmailOutcome::Failed => "failed",
            EmailOutcome::Lost => "lost",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        EmailOutcome::ALL.into_iter().find(|outcome| outcome.as_str() == text)
    }
}

/// A try to send a mail, as recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EmailRow {
    pub id: JobId,
    pub job_id: JobId,
    pub step: String,
    pub attempt: i64,
    pub at_ms: i64,
    pub finished_at_ms: Option<i64>,
    pub sender: String,
    /// Empty once a recipient was erased.
    pub subject: String,
    pub provider: String,
    pub outcome: EmailOutcome,
    /// What the provider calls the mail.
    pub message_id: Option<String>,
    pub code: Option<String>,
    pub error: Option<String>,
    /// `to`, `cc` or `bcc`, and the address; empty for a person who was erased.
    pub recipients: Vec<(String, String)>,
}

/// Which tries a list shows. All that are set must hold. Newest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EmailFilter {
    pub job_id: Option<JobId>,
    pub outcome: Option<EmailOutcome>,
    /// In lower case.
    pub recipient: Option<String>,
    /// Only tries before this one: the cursor of the page before.
    pub before: Option<JobId>,
    /// 1 to 500.
    pub limit: usize,
}

/// A page of a list. It may hold fewer rows than asked for and still have a `next`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EmailPage {
    pub emails: Vec<EmailRow>,
    /// Hand it in as `before` to go on; `None` at the end.
    pub next: Option<JobId>,
}

/// A person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserRow {
    /// 32 hex digits, or what the first version had there.
    pub id: String,
    /// Trimmed and in lower case; checked only if this version wrote it.
    pub email: String,
    pub name: Option<String>,
    pub locale: Option<String>,
    pub currency: Option<String>,
    /// A JSON object. What it holds under the names of the payment history means nothing.
    pub meta: String,
    pub created_at_ms: i64,
    pub updated_at_ms: i64,
    /// The payment history in order of time. Empty when it was not asked for.
    pub payments: Vec<Payment>,
}

/// A write to be counted by all nodes together. A limit that is not named is not shared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SharedHit {
    /// Who is counted, in a text that is the same on every node.
    pub client: String,
    pub client_limit: Option<u32>,
    pub global_limit: Option<u32>,
    pub window_ms: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SharedVerdict {
    /// `left`: how many more would be.
    Counted { left: u32 },
    /// Nothing was counted. `everybody_waits`: the limit of all clients is reached.
    Refused { retry_after_ms: u64, everybody_waits: bool },
}

/// What exists under a name.
#[derive(Clone, Debug, PartialEq)]
pub struct WorkflowHead {
    pub name: String,
    /// The version that new jobs get.
    pub version: i64,
    pub deleted: bool,
    pub updated_at_ms: i64,
}

/// Numbers for /public/metrics and /metrics. No row of history is counted for them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Figures {
    /// Accepted since `day_start_ms`.
    pub jobs_today: i64,
    /// Jobs finished in the last seven days, and those among them with a try that is not on record.
    pub finished_7d: i64,
    pub unrecorded_7d: i64,
    /// Minutes in which some node was up, of the minutes that could be (since the first start, seven days at most).
    pub minutes_up: i64,
    pub minutes_possible: i64,
}

/// Live work by state (bounded by what is live, never by history), for /metrics and the start banner.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LiveCounts {
    pub queued: i64,
    pub undefined: i64,
    pub scheduled: i64,
    pub running: i64,
    pub waiting: i64,
    pub callbacks_due: i64,
}

/// Which entries of the audit log a list shows. All that are set must hold. Newest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditFilter {
    pub actor: Option<String>,
    pub action: Option<String>,
    pub object: Option<String>,
    /// At or after.
    pub from_ms: Option<i64>,
    /// Before.
    pub until_ms: Option<i64>,
    /// Only entries older than this one: the cursor of the page before.
    pub before: Option<i64>,
    /// 1 to 500.
    pub limit: usize,
}

/// A page of the audit log. Like every page it may hold fewer entries than asked for, even none, and still have a `next`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditPage {
    pub entries: Vec<Entry>,
    /// The end of the whole log, whatever the filter.
    pub head: Head,
    /// Hand it in as `before` to go on; `None` at the end.
    pub next: Option<i64>,
}

/// A connection to store. `sealed` holds for this name and connector alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewConnection {
    pub name: String,
    pub connector: String,
    pub sealed: String,
    pub fingerprint: String,
    pub put: PutConnection,
}

/// What becomes of a connection of the same name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PutConnection {
    /// There must be none.
    New,
    /// Its credentials are replaced.
    NewOrReplace,
}

/// A stored connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectionRow {
    pub name: String,
    pub connector: String,
    pub sealed: String,
    pub fingerprint: String,
    pub created_at_ms: i64,
    pub updated_at_ms: i64,
    /// To the minute; `None`: never.
    pub used_at_ms: Option<i64>,
}

/// The same credentials under another key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resealed {
    pub name: String,
    /// As it was read.
    pub before: String,
    pub after: String,
}
