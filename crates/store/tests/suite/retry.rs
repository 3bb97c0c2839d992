//! Jobs started again by a person.

use levqor_core::job::{Fenced, JobError, StepStatus, Then};
use levqor_core::state::State;
use levqor_store::{End, Error};

use crate::world::*;

each_engine! {
    async fn a_failed_job_starts_again_and_its_claims_go_on_growing(world: World) {
        world.put(job(NOON)).await;
        let first = world.claim_one(NOON).await;
        let steps = vec![step("a", 1, StepStatus::Succeeded, NOON), step("b", 1, StepStatus::Failed, NOON)];
        assert_eq!(world.record(&first, steps, failed(NOON)).await, Fenced::Done);

        world.store.retry_job(first.id, by(), NOON + HOUR).await.unwrap();

        assert_eq!(world.state(first.id).await, State::Queued);
        let again = world.claim_one(NOON + HOUR).await;
        assert_eq!((again.claim, again.started_at_ms), (2, NOON + HOUR), "its time runs anew");
        let statuses: Vec<_> = again.steps.iter().map(|step| step.status).collect();
        assert_eq!(statuses, [StepStatus::Succeeded, StepStatus::Retried]);
        assert_eq!(world.end(&first, NOON).await, Fenced::Stale);
        assert_eq!(world.end(&again, NOON + HOUR).await, Fenced::Done);
    }

    async fn a_cancelled_job_can_be_retried_and_its_old_run_stays_fenced_off(world: World) {
        world.put(job(NOON)).await;
        let running = world.claim_one(NOON).await;
        let reason = JobError::new("cancelled", "cancelled");
        world.store.end_job(running.id, End::Cancelled { reason }, by(), NOON).await.unwrap();

        world.store.retry_job(running.id, by(), NOON).await.unwrap();

        let again = world.claim_one(NOON).await;
        assert!(again.claim > running.claim + 1, "the cancel took a number too: {}", again.claim);
        assert_eq!(world.end(&running, NOON).await, Fenced::Stale);
        assert_eq!(world.end(&again, NOON).await, Fenced::Done);
    }

    async fn a_step_of_which_only_the_start_is_on_record_reads_retried(world: World) {
        world.put(job(NOON)).await;
        let first = world.claim_one(NOON).await;
        let steps = vec![step("a", 1, StepStatus::Succeeded, NOON), step("b", 1, StepStatus::Started, NOON)];
        assert_eq!(world.record(&first, steps, Then::Stay).await, Fenced::Done);
        let reason = JobError::new("cancelled", "cancelled");
        world.store.end_job(first.id, End::Cancelled { reason }, by(), NOON).await.unwrap();

        world.store.retry_job(first.id, by(), NOON).await.unwrap();

        let again = world.claim_one(NOON).await;
        let statuses: Vec<_> = again.steps.iter().map(|step| step.status).collect();
        assert_eq!(statuses, [StepStatus::Succeeded, StepStatus::Retried]);
    }

    async fn what_did_not_fail_cannot_be_retried(world: World) {
        let queued = world.put(job(NOON)).await;
        let conflict = world.store.retry_job(queued, by(), NOON).await;
        assert!(matches!(conflict, Err(Error::Conflict { .. })), "{conflict:?}");

        let claimed = world.claim_one(NOON).await;
        assert_eq!(world.end(&claimed, NOON).await, Fenced::Done);
        let conflict = world.store.retry_job(queued, by(), NOON).await;
        assert!(matches!(conflict, Err(Error::Conflict { .. })), "{conflict:?}");
        assert_eq!(world.state(queued).await, State::Succeeded);

        let unknown = world.store.retry_job(id(NOON), by(), NOON).await;
        assert!(matches!(unknown, Err(Error::NotFound { what: "job" })), "{unknown:?}");
    }

    async fn of_two_retries_at_once_one_counts(world: World) {
        world.put(job(NOON)).await;
        let claimed = world.claim_one(NOON).await;
        assert_eq!(world.record(&claimed, Vec::new(), failed(NOON)).await, Fenced::Done);

        let (one, other) =
            tokio::join!(world.store.retry_job(claimed.id, by(), NOON), world.store.retry_job(claimed.id, by(), NOON));

        assert!(one.is_ok() != other.is_ok(), "{one:?} {other:?}");
        assert_eq!(ids(&world.claim_all(NOON).await), [claimed.id]);
    }
}
