//! Whom a budget binds: a kind of thing, and which one of them, or each of them by itself.

use crate::id::JobId;
use crate::job::Tags;
use crate::money::{CallId, words};

words! {
    /// From narrow to wide.
    ScopeKind {
        /// A job with all its children.
        Job = "job",
        Step = "step",
        Key = "key",
        User = "user",
        Tag = "tag",
        Workflow = "workflow",
        Model = "model",
        Provider = "provider",
        Global = "global",
    }
}

impl ScopeKind {
    /// The order of locks: narrow first.
    pub fn rank(self) -> i64 {
        match self {
            ScopeKind::Job => 10,
            ScopeKind::Step => 20,
            ScopeKind::Key => 30,
            ScopeKind::User => 40,
            ScopeKind::Tag => 50,
            ScopeKind::Workflow => 60,
            ScopeKind::Model => 70,
            ScopeKind::Provider => 80,
            ScopeKind::Global => 90,
        }
    }
}

/// The id of a scope that counts each of its kind by itself.
const EACH: &str = "*";

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Scope {
    pub kind: ScopeKind,
    /// Which one: a workflow's name, `workflow/step`, a key's id, a user's id, `name=value` of a tag, `provider/model`, a
    /// provider; `*` for each by itself. Nothing for global.
    pub id: String,
}

/// What is known about a call that is about to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts<'a> {
    pub call: CallId,
    /// The job at the root of the tree; `None` for a call outside of any job.
    pub root_job: Option<JobId>,
    pub workflow: Option<&'a str>,
    pub step: Option<&'a str>,
    pub key: Option<&'a str>,
    pub user: Option<&'a str>,
    pub tags: &'a Tags,
    pub provider: &'a str,
    pub model: &'a str,
}

impl Scope {
    pub fn global() -> Self {
        Scope { kind: ScopeKind::Global, id: String::new() }
    }

    pub fn each(kind: ScopeKind) -> Self {
        Scope { kind, id: EACH.to_owned() }
    }

    pub fn is_each(&self) -> bool {
        self.id == EACH
    }

    /// Those of its kind that the call belongs to and that this scope binds; one period row each. A call outside of any
    /// job is a job of its own.
    pub fn subjects(&self, facts: &Facts<'_>) -> Vec<String> {
        let step = || Some(format!("{}/{}", facts.workflow?, facts.step?));
        let own = |value: Option<&str>| value.map(str::to_owned).into_iter().collect();
        let found: Vec<String> = match self.kind {
            ScopeKind::Job => vec![job_subject(facts)],
            ScopeKind::Step => step().into_iter().collect(),
            ScopeKind::Key => own(facts.key),
            ScopeKind::User => own(facts.user),
            ScopeKind::Tag => facts.tags.iter().map(|(name, value)| format!("{name}={value}")).collect(),
            ScopeKind::Workflow => own(facts.workflow),
            ScopeKind::Model => vec![format!("{}/{}", facts.provider, facts.model)],
            ScopeKind::Provider => vec![facts.provider.to_owned()],
            ScopeKind::Global => return vec![String::new()],
        };
        found.into_iter().filter(|subject| self.is_each() || *subject == self.id).collect()
    }

    /// Under which names the counters of this scope count the call: a scope that names one has a counter without a name.
    pub fn counted_as(&self, facts: &Facts<'_>) -> Vec<String> {
        let subjects = self.subjects(facts);
        match self.is_each() {
            true => subjects,
            false => subjects.into_iter().take(1).map(|_| String::new()).collect(),
        }
    }
}

/// What counts as the job of a call.
pub(super) fn job_subject(facts: &Facts<'_>) -> String {
    facts.root_job.map_or_else(|| facts.call.to_string(), |job| job.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locks_are_taken_from_narrow_to_wide() {
        let ranks: Vec<i64> = ScopeKind::ALL.iter().map(|kind| kind.rank()).collect();

        assert_eq!(ranks, [10, 20, 30, 40, 50, 60, 70, 80, 90]);
    }

    #[test]
    fn a_scope_binds_what_it_names_or_each_of_its_kind() {
        let job = JobId::new(7, [1; 10]);
        let tags = Tags::from([("team".to_owned(), "a".to_owned()), ("env".to_owned(), "prod".to_owned())]);
        let facts = Facts {
            call: CallId::new(8, [2; 10]),
            root_job: Some(job),
            workflow: Some("triage"),
            step: Some("ask"),
            key: Some("k1"),
            user: None,
            tags: &tags,
            provider: "openai",
            model: "gpt-6-sol",
        };
        let subjects = |kind, id: &str| Scope { kind, id: id.to_owned() }.subjects(&facts);

        assert_eq!(subjects(ScopeKind::Job, "*"), [job.to_string()]);
        assert_eq!(subjects(ScopeKind::Step, "triage/ask"), ["triage/ask"]);
        assert_eq!(subjects(ScopeKind::Step, "triage/other"), [""; 0]);
        assert_eq!(subjects(ScopeKind::Key, "*"), ["k1"]);
        assert_eq!(subjects(ScopeKind::User, "*"), [""; 0], "a call of nobody is bound by no user's budget");
        assert_eq!(subjects(ScopeKind::Tag, "team=a"), ["team=a"]);
        assert_eq!(subjects(ScopeKind::Tag, "*"), ["env=prod", "team=a"]);
        assert_eq!(subjects(ScopeKind::Workflow, "triage"), ["triage"]);
        assert_eq!(subjects(ScopeKind::Model, "openai/gpt-6-sol"), ["openai/gpt-6-sol"]);
        assert_eq!(subjects(ScopeKind::Provider, "anthropic"), [""; 0]);
        assert_eq!(Scope::global().subjects(&facts), [""]);
        let alone = Facts { root_job: None, ..facts };
        assert_eq!(Scope::each(ScopeKind::Job).subjects(&alone), [alone.call.to_string()]);
    }
}
