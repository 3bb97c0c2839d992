//! Commits 3 and 4.

use levqor_core::job::{Fenced, JobError, Record, StepRow, StepStatus, Then};
use levqor_core::state::State;
use levqor_store::Hint;

use crate::world::*;

each_engine! {
    async fn the_end_of_a_job_its_steps_and_its_result_are_one(world: World) {
        world.put(job(NOON)).await;
        let claimed = world.claim_one(NOON).await;
        let mut hints = world.store.hints();

        let steps = vec![step("only", 1, StepStatus::Succeeded, NOON)];
        assert_eq!(world.record(&claimed, steps.clone(), succeeded(NOON + 7)).await, Fenced::Done);

        let row = world.store.find_job(claimed.id).await.unwrap().unwrap();
        assert_eq!(row.line.state, State::Succeeded);
        assert_eq!((row.line.started_at_ms, row.line.finished_at_ms), (Some(NOON), Some(NOON + 7)));
        assert_eq!(row.result.as_deref(), Some(r#"{"n":18446744073709551615}"#));
        assert_eq!((row.steps, row.claim, row.error), (steps, 1, None));
        assert_eq!(world.store.list_mine().await.unwrap(), []);
        let hint = tokio::time::timeout(LIMIT, hints.recv()).await.unwrap().unwrap();
        assert_eq!(hint, Hint::Ended([claimed.id].into()));
    }

    async fn a_failure_keeps_its_error(world: World) {
        world.put(job(NOON)).await;
        let claimed = world.claim_one(NOON).await;

        assert_eq!(world.record(&claimed, Vec::new(), failed(NOON)).await, Fenced::Done);

        let status = world.store.find_status(claimed.id).await.unwrap().unwrap();
        assert_eq!(status.state, State::Failed);
        assert_eq!(status.error, Some(JobError::new("step_failed", "it broke").at_step("one")));
        assert_eq!(status.result, None);
    }

    async fn a_record_of_another_claim_changes_nothing_whatever_it_asks(world: World) {
        world.put(job(NOON)).await;
        let first = world.claim_one(NOON).await;
        assert_eq!(world.record(&first, Vec::new(), Then::HandBack).await, Fenced::Done);
        let second = world.claim_one(NOON).await;

        for then in [Then::Stay, Then::Rest { until_ms: NOON }, Then::HandBack, Then::Park, succeeded(NOON)] {
            let steps = vec![step("ghost", 1, StepStatus::Succeeded, NOON)];
            assert_eq!(world.record(&first, steps, then.clone()).await, Fenced::Stale, "{then:?}");
        }

        assert_eq!(world.state(first.id).await, State::Running);
        assert_eq!(world.number("select count(*) from steps").await, 0);
        assert_eq!(world.end(&second, NOON).await, Fenced::Done);
        assert_eq!(world.end(&second, NOON).await, Fenced::Stale, "a job ends once");
        assert_eq!(world.number("select cast(sum(n) as bigint) from rollups where kind = 'finished'").await, 1);
    }

    async fn a_record_of_a_job_that_is_not_running_is_stale(world: World) {
        world.put(job(NOON)).await;
        let claimed = world.claim_one(NOON).await;
        assert_eq!(world.record(&claimed, Vec::new(), Then::Rest { until_ms: NOON + HOUR }).await, Fenced::Done);

        assert_eq!(world.end(&claimed, NOON).await, Fenced::Stale);
        assert_eq!(world.state(claimed.id).await, State::Waiting);
    }

    async fn a_step_is_written_over_by_its_own_next_word(world: World) {
        world.put(job(NOON)).await;
        let claimed = world.claim_one(NOON).await;
        let started = StepRow { finished_at_ms: None, output: None, ..step("pay", 1, StepStatus::Started, NOON) };
        let ended = StepRow {
            error: Some(JobError::new("http_500", "the answer was \"no\"")),
            output: None,
            until_ms: Some(NOON + SECOND),
            ..step("pay", 1, StepStatus::Failed, NOON)
        };

        assert_eq!(world.record(&claimed, vec![started], Then::Stay).await, Fenced::Done);
        assert_eq!(world.state(claimed.id).await, State::Running);
        assert_eq!(world.record(&claimed, vec![ended.clone()], Then::Stay).await, Fenced::Done);

        assert_eq!(world.store.find_job(claimed.id).await.unwrap().unwrap().steps, [ended]);
    }

    async fn a_run_pins_the_version_of_a_job_that_had_none(world: World) {
        world.put(undefined("greet", NOON)).await;
        world.store.put_workflow("greet", "v", "api", by(), NOON).await.unwrap();
        assert_eq!(world.store.move_defined(10).await.unwrap(), 1);
        let claimed = world.claim_one(NOON).await;
        assert_eq!(claimed.version, None);

        let record = Record { id: claimed.id, claim: 1, pin: Some(3), steps: Vec::new(), then: Then::Stay };
        assert_eq!(world.store.record(record).await.unwrap(), Fenced::Done);
        assert_eq!(world.store.find_job(claimed.id).await.unwrap().unwrap().line.version, Some(3));
        assert_eq!(world.end(&claimed, NOON).await, Fenced::Done);
        assert_eq!(world.store.find_job(claimed.id).await.unwrap().unwrap().line.version, Some(3));
    }

    async fn a_job_that_was_handed_back_keeps_its_place(world: World) {
        let old = world.put(job(NOON)).await;
        let claimed = world.claim_one(NOON).await;
        let young = world.put(job(NOON + SECOND)).await;

        assert_eq!(world.record(&claimed, Vec::new(), Then::HandBack).await, Fenced::Done);

        assert_eq!(ids(&world.claim_all(NOON).await), [old, young]);
    }

    async fn a_parked_job_waits_for_its_definition(world: World) {
        let id = world.put(job(NOON)).await;
        let claimed = world.claim_one(NOON).await;

        assert_eq!(world.record(&claimed, Vec::new(), Then::Park).await, Fenced::Done);

        assert_eq!(world.state(id).await, State::Undefined);
        assert_eq!(world.claim_all(NOON).await, []);
        let row = world.store.find_job(id).await.unwrap().unwrap();
        assert_eq!(row.line.started_at_ms, None, "its timeout counts from its first real start");
    }

    async fn many_records_at_once_are_all_kept(world: World) {
        world.store.intake_many((0..300).map(|_| job(NOON)).collect()).await.unwrap();
        let claimed = world.claim(300, NOON).await;
        let steps = |n: usize| vec![step("a", 1, StepStatus::Succeeded, n as i64), step("b", 1, StepStatus::Skipped, n as i64)];

        let records = claimed.iter().enumerate().map(|(n, job)| {
            let then = if n % 3 == 0 { failed(NOON) } else { succeeded(NOON) };
            world.record(job, steps(n), then)
        });
        let verdicts = futures_util::future::join_all(records).await;

        assert!(verdicts.iter().all(|verdict| *verdict == Fenced::Done));
        assert_eq!(world.number("select count(*) from steps").await, 600);
        assert_eq!(world.number("select count(*) from finished_jobs where state = 'failed'").await, 100);
        assert_eq!(world.number("select count(*) from live_jobs").await, 0);
        assert_eq!(world.number("select cast(sum(n) as bigint) from rollups where kind = 'finished'").await, 300);
    }
}
