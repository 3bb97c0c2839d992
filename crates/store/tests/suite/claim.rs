//! Commit 2.

use std::sync::Arc;

use futures_util::FutureExt;
use levqor_core::job::{Fenced, NewJob, Priority, StepStatus, Then};
use levqor_core::state::State;
use levqor_testkit::wait_until;

use crate::world::*;

each_engine! {
    async fn a_claimed_job_brings_what_its_run_needs(world: World) {
        let tags = [("a".to_owned(), "b".to_owned())].into();
        let new = NewJob { callback_url: Some("https://a.example/".to_owned()), tags, ..job(NOON) };
        world.put(new.clone()).await;

        let claimed = world.claim_one(NOON + SECOND).await;

        assert_eq!(claimed.id, new.id);
        assert_eq!((claimed.claim, claimed.deaths, claimed.started_at_ms), (1, 0, NOON + SECOND));
        assert_eq!((claimed.workflow.as_str(), claimed.version), ("greet", Some(1)));
        assert_eq!((claimed.payload, claimed.callback_url), (new.payload, new.callback_url));
        assert_eq!((claimed.priority, claimed.tags), (new.priority, new.tags));
        assert_eq!(claimed.steps, Vec::new());
        assert_eq!(world.state(new.id).await, State::Running);
        assert_eq!(world.store.list_mine().await.unwrap(), [(new.id, 1)]);
    }

    async fn a_claim_takes_no_more_than_it_asked_for(world: World) {
        world.store.intake_many((0..10).map(|_| job(NOON)).collect()).await.unwrap();

        assert_eq!(world.claim(3, NOON).await.len(), 3);
        assert_eq!(world.claim(100, NOON).await.len(), 7);
    }

    async fn urgent_jobs_go_first_and_low_ones_wait_no_longer_than_the_bound(world: World) {
        let low = world.put(NewJob { priority: Priority::Low, ..job(NOON) }).await;
        let normal = world.put(job(NOON + SECOND)).await;
        let high = world.put(NewJob { priority: Priority::High, ..job(NOON + 2 * SECOND) }).await;
        let high_within = world.put(NewJob { priority: Priority::High, ..job(NOON + 299 * SECOND) }).await;
        let high_beyond = world.put(NewJob { priority: Priority::High, ..job(NOON + 301 * SECOND) }).await;

        let order = ids(&world.claim_all(NOON).await);

        assert_eq!(order, [high, normal, high_within, low, high_beyond]);
    }

    async fn equals_go_in_the_order_of_their_ids(world: World) {
        let jobs: Vec<_> = (0..20).map(|_| job(NOON)).collect();
        let expected: Vec<_> = jobs.iter().map(|job| job.id).collect();
        world.store.intake_many(jobs.into_iter().rev().collect()).await.unwrap();

        assert_eq!(ids(&world.claim_all(NOON).await), expected);
    }

    async fn a_parked_claim_gets_the_job_that_comes(world: World) {
        let store = Arc::new(world.store);
        let parked = {
            let store = store.clone();
            tokio::spawn(async move { store.claim(5, &at(NOON)).await.unwrap() })
        };
        // The claim is parked once a ping that came after it is answered; that it is not yet done is what we check.
        store.ping().await.unwrap();
        assert!(!parked.is_finished());

        let new = job(NOON);
        let id = new.id;
        store.intake(new).await.unwrap();

        let claimed = tokio::time::timeout(LIMIT, parked).await.unwrap().unwrap();
        assert_eq!(ids(&claimed), [id]);
    }

    async fn many_claimers_share_without_doubles(world: World) {
        world.store.intake_many((0..400).map(|_| job(NOON)).collect()).await.unwrap();
        let store = Arc::new(world.store);
        let claimers: Vec<_> = (0..8)
            .map(|_| {
                let store = store.clone();
                tokio::spawn(async move {
                    let mut mine = Vec::new();
                    while mine.len() < 50 {
                        mine.extend(ids(&store.claim(50 - mine.len(), &at(NOON)).await.unwrap()));
                    }
                    mine
                })
            })
            .collect();

        let mut all = std::collections::BTreeSet::new();
        for claimer in claimers {
            all.extend(tokio::time::timeout(LIMIT, claimer).await.unwrap().unwrap());
        }

        assert_eq!(all.len(), 400);
    }

    async fn a_claim_that_was_given_up_takes_nothing_for_good(world: World) {
        for _ in 0..50 {
            // Polled once, so that it is on its way, then dropped.
            assert!(world.store.claim(3, &at(NOON)).now_or_never().is_none());
            world.put(job(NOON)).await;
        }

        let mut seen = std::collections::BTreeMap::new();
        while seen.len() < 50 {
            for job in world.claim(100, NOON).await {
                assert_eq!(job.deaths, 0, "giving up is no death");
                seen.insert(job.id, job.claim);
            }
        }
        assert_eq!(world.store.list_mine().await.unwrap().len(), 50);
    }

    async fn claims_after_the_first_bring_the_steps_on_record(world: World) {
        world.put(job(NOON)).await;
        let first = world.claim_one(NOON).await;
        let steps = vec![step("b", 1, StepStatus::Succeeded, NOON), step("a", 2, StepStatus::Failed, NOON), step("a", 1, StepStatus::Failed, NOON)];
        assert_eq!(world.record(&first, steps, Then::HandBack).await, Fenced::Done);

        let second = world.claim_one(NOON + HOUR).await;

        assert_eq!((second.claim, second.started_at_ms), (2, NOON), "the job's time runs from its first claim");
        let order: Vec<_> = second.steps.iter().map(|step| (step.step.as_str(), step.attempt)).collect();
        assert_eq!(order, [("a", 1), ("a", 2), ("b", 1)]);
        assert_eq!(second.steps[2], step("b", 1, StepStatus::Succeeded, NOON));
    }

    async fn jobs_of_a_dead_process_run_again_and_its_late_answer_changes_nothing(world: World) {
        world.put(job(NOON)).await;
        let lost = world.claim_one(NOON).await;
        let world = world.after_a_crash().await;

        wait_until(LIMIT, async || world.store.rescue(10).await.unwrap() == 1).await;

        let again = world.claim_one(NOON + SECOND).await;
        assert_eq!((again.id, again.claim, again.deaths), (lost.id, 2, 1));
        assert_eq!(world.end(&lost, NOON).await, Fenced::Stale);
        assert_eq!(world.state(lost.id).await, State::Running);
        assert_eq!(world.end(&again, NOON).await, Fenced::Done);
        assert_eq!(world.store.figures(NOON - HOUR, NOON).await.unwrap().unrecorded_7d, 1);
    }

    async fn what_still_runs_at_an_orderly_close_goes_back_without_a_death(world: World) {
        world.put(job(NOON)).await;
        world.put(job(NOON + 1)).await;
        let taken = world.claim_one(NOON).await;
        let clock = at(NOON);
        let mut untaken = Box::pin(world.store.claim(1, &clock));
        assert!(futures_util::poll!(&mut untaken).is_pending());
        levqor_testkit::wait_until(LIMIT, async || {
            world.number("select count(*) from live_jobs where state = 'running'").await == 2
        })
        .await;

        world.store.close().await;
        drop(untaken);
        let world = world.reopened().await;

        assert_eq!(world.store.rescue(10).await.unwrap(), 0);
        let again = world.claim(2, NOON).await;
        assert_eq!(again.iter().map(|job| job.deaths).collect::<Vec<_>>(), [0, 0]);
        assert_eq!((again[0].id, again[0].claim), (taken.id, 2));
    }

    async fn rescue_leaves_the_jobs_of_the_living_alone(world: World) {
        world.put(job(NOON)).await;
        let mine = world.claim_one(NOON).await;

        assert_eq!(world.store.rescue(10).await.unwrap(), 0);
        assert_eq!(world.end(&mine, NOON).await, Fenced::Done);
    }

    async fn rescue_is_bounded_by_its_limit(world: World) {
        world.store.intake_many((0..5).map(|_| job(NOON)).collect()).await.unwrap();
        assert_eq!(world.claim(5, NOON).await.len(), 5);
        let world = world.after_a_crash().await;

        assert_eq!(world.store.rescue(3).await.unwrap(), 3);
        assert_eq!(world.store.rescue(3).await.unwrap(), 2);
        assert_eq!(world.store.rescue(3).await.unwrap(), 0);
    }
}
