//! Lists of jobs.

use levqor_core::id::JobId;
use levqor_core::job::{JobError, NewJob, Tags};
use levqor_core::state::{State, Status};
use levqor_store::{End, JobFilter};

use crate::world::*;

fn tags(name: &str, value: &str) -> Tags {
    [(name.to_owned(), value.to_owned())].into()
}

fn all() -> JobFilter {
    JobFilter { limit: 100, ..JobFilter::default() }
}

impl World {
    /// Follows the pages to their end.
    async fn list(&self, filter: JobFilter) -> Vec<JobId> {
        let (mut filter, mut found) = (filter, Vec::new());
        for _ in 0..1_000 {
            let page = self.store.list_jobs(&filter).await.unwrap();
            assert!(page.jobs.len() <= filter.limit);
            found.extend(page.jobs.iter().map(|line| line.id));
            let Some(next) = page.next else { return found };
            assert!(filter.before.is_none_or(|before| next < before), "a cursor moves");
            filter.before = Some(next);
        }
        panic!("the list has no end");
    }
}

each_engine! {
    async fn a_list_is_newest_first_and_pages_join_without_gap_or_double(world: World) {
        let jobs: Vec<_> = (0..25).map(|n| job(NOON + n / 3)).collect();
        let mut expected: Vec<_> = jobs.iter().map(|job| job.id).collect();
        expected.sort();
        expected.reverse();
        world.store.intake_many(jobs).await.unwrap();

        for limit in [1, 7, 25, 26, 500] {
            assert_eq!(world.list(JobFilter { limit, ..all() }).await, expected, "by {limit}");
        }
        let last = JobFilter { limit: 25, ..all() };
        assert_eq!(world.store.list_jobs(&last).await.unwrap().next, None, "a full last page is the last");
    }

    async fn an_empty_list_is_empty(world: World) {
        for status in [None, Some(Status::Queued), Some(Status::Succeeded), Some(Status::Failed)] {
            assert_eq!(world.list(JobFilter { status, ..all() }).await, []);
        }
    }

    async fn every_status_and_state_finds_its_own(world: World) {
        let succeeded_job = world.put(job(NOON)).await;
        world.end(&world.claim_one(NOON).await, NOON).await;
        let failed_job = world.put(job(NOON)).await;
        let claimed = world.claim_one(NOON).await;
        world.record(&claimed, Vec::new(), failed(NOON)).await;
        let cancelled = world.put(job(NOON)).await;
        let reason = JobError::new("cancelled", "cancelled");
        world.store.end_job(cancelled, End::Cancelled { reason }, by(), NOON).await.unwrap();
        let running = world.put(job(NOON)).await;
        world.claim_one(NOON).await;
        let queued = world.put(job(NOON)).await;
        let scheduled = world.put(NewJob { run_at_ms: Some(NOON + DAY), ..job(NOON) }).await;
        let undefined = world.put(undefined("none", NOON)).await;

        let by_status = async |status| world.list(JobFilter { status: Some(status), ..all() }).await;
        assert_eq!(by_status(Status::Queued).await, [undefined, scheduled, queued]);
        assert_eq!(by_status(Status::Running).await, [running]);
        assert_eq!(by_status(Status::Succeeded).await, [succeeded_job]);
        assert_eq!(by_status(Status::Failed).await, [cancelled, failed_job]);

        let by_state = async |state| world.list(JobFilter { state: Some(state), ..all() }).await;
        assert_eq!(by_state(State::Queued).await, [undefined, queued], "shown as queued, found as queued");
        assert_eq!(by_state(State::Scheduled).await, [scheduled]);
        assert_eq!(by_state(State::Cancelled).await, [cancelled]);
        assert_eq!(by_state(State::Expired).await, []);

        let both = JobFilter { status: Some(Status::Failed), state: Some(State::Running), ..all() };
        assert_eq!(world.list(both).await, [], "no state is both");
    }

    async fn failures_of_all_kinds_page_in_one_order(world: World) {
        let mut expected = Vec::new();
        for n in 0..30 {
            let id = world.put(job(NOON + n)).await;
            if n % 3 == 0 {
                let reason = JobError::new("cancelled", "cancelled");
                world.store.end_job(id, End::Cancelled { reason }, by(), NOON).await.unwrap();
            } else {
                let claimed = world.claim_one(NOON).await;
                world.record(&claimed, Vec::new(), failed(NOON)).await;
            }
            expected.insert(0, id);
        }

        for limit in [1, 4, 30] {
            let filter = JobFilter { status: Some(Status::Failed), limit, ..all() };
            assert_eq!(world.list(filter).await, expected, "by {limit}");
        }
    }

    async fn workflow_tags_and_time_narrow_a_list(world: World) {
        let tagged = world.put(NewJob { tags: tags("customer", "acme"), ..job(NOON) }).await;
        let mut two = tags("customer", "acme");
        two.insert("region".to_owned(), "eu".to_owned());
        let both = world.put(NewJob { tags: two.clone(), ..job(NOON + SECOND) }).await;
        let other = world.put(NewJob { workflow: "other".to_owned(), ..job(NOON + 2 * SECOND) }).await;

        assert_eq!(world.list(JobFilter { tags: tags("customer", "acme"), ..all() }).await, [both, tagged]);
        assert_eq!(world.list(JobFilter { tags: two, ..all() }).await, [both]);
        assert_eq!(world.list(JobFilter { tags: tags("customer", "Acme"), ..all() }).await, []);
        assert_eq!(world.list(JobFilter { workflow: Some("other".to_owned()), ..all() }).await, [other]);
        let from = JobFilter { created_from_ms: Some(NOON + SECOND), ..all() };
        assert_eq!(world.list(from).await, [other, both]);
        let until = JobFilter { created_until_ms: Some(NOON + SECOND), ..all() };
        assert_eq!(world.list(until).await, [tagged], "the end is excluded");
        let none = JobFilter { created_from_ms: Some(NOON + 1), created_until_ms: Some(NOON + 2), ..all() };
        assert_eq!(world.list(none).await, []);
        let hostile = JobFilter { workflow: Some("' or 1=1 --".to_owned()), ..all() };
        assert_eq!(world.list(hostile).await, []);
    }

    async fn a_page_that_finds_little_returns_with_a_cursor(world: World) {
        let wanted = world.put(NewJob { tags: tags("rare", "yes"), ..job(NOON) }).await;
        world.store.intake_many((0..4_500).map(|_| job(NOON + 1)).collect()).await.unwrap();

        let filter = JobFilter { tags: tags("rare", "yes"), limit: 10, ..JobFilter::default() };
        let first = world.store.list_jobs(&filter).await.unwrap();

        assert_eq!(first.jobs, [], "a bounded number of rows is looked at");
        assert!(first.next.is_some());
        assert_eq!(world.list(filter).await, [wanted]);
    }
}
