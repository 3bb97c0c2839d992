//! PostgreSQL alone: several nodes on one database, and a database that goes away. (A SQLite file has one process.)

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use levqor_core::id::JobId;
use levqor_core::job::{ClaimedJob, Fenced, Intake, NewJob, Record, StepStatus, Then};
use levqor_core::state::State;
use levqor_store::{Error, Hint, Location, Store};
use levqor_testkit::wait_until;

use crate::world::*;

async fn nodes(count: usize) -> (String, Vec<Arc<Store>>) {
    let url = levqor_testkit::postgres_url().await;
    let mut nodes = Vec::new();
    for n in 0..count {
        let store = Store::open(&Location::Postgres(url.clone()), &format!("node-{n}")).await.unwrap();
        nodes.push(Arc::new(store));
    }
    (url, nodes)
}

fn the_end(job: &ClaimedJob) -> Record {
    Record { id: job.id, claim: job.claim, pin: None, steps: Vec::new(), then: succeeded(NOON) }
}

async fn in_time<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(LIMIT, work).await.expect("it takes too long")
}

/// All connections of the stores are cut by the server.
async fn cut_connections(url: &str) {
    let sql = "select pg_terminate_backend(pid) from pg_stat_activity \
        where datname = current_database() and pid <> pg_backend_pid()";
    run_postgres(url, sql).await;
}

async fn put(store: &Store, job: NewJob) -> JobId {
    let id = job.id;
    assert_eq!(store.intake(job).await.unwrap(), Intake::Created);
    id
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_that_start_at_once_on_an_empty_database_all_come_up() {
    let location = Location::Postgres(levqor_testkit::postgres_url().await);

    let (a, b, c) =
        tokio::join!(Store::open(&location, "a"), Store::open(&location, "b"), Store::open(&location, "c"));

    for store in [a.unwrap(), b.unwrap(), c.unwrap()] {
        store.ping().await.unwrap();
        put(&store, job(NOON)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_that_claim_at_the_same_time_never_share_a_job() {
    let (_, nodes) = nodes(4).await;
    for chunk in 0..4 {
        nodes[0].intake_many((0..250).map(|n| job(NOON + chunk * 250 + n)).collect()).await.unwrap();
    }
    let claiming = nodes.iter().flat_map(|node| [node.clone(), node.clone()]).map(|node| {
        tokio::spawn(async move {
            let mut mine = Vec::new();
            // Whoever finds nothing more waits; a node that ran dry is told so by the others' end.
            while let Ok(claimed) = tokio::time::timeout(LIMIT / 10, node.claim(7, &at(NOON))).await {
                for job in claimed.unwrap() {
                    assert_eq!(job.claim, 1);
                    assert_eq!(node.record(the_end(&job)).await.unwrap(), Fenced::Done);
                    mine.push(job.id);
                }
            }
            mine
        })
    });

    let mut all = Vec::new();
    for claimer in claiming.collect::<Vec<_>>() {
        all.extend(claimer.await.unwrap());
    }

    assert_eq!(all.len(), 1000);
    assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), 1000);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_key_makes_one_job_whichever_nodes_are_asked_at_once() {
    let (url, nodes) = nodes(4).await;
    let asking = (0..20).flat_map(|turn| (0..10).map(move |key| (turn, key))).map(|(turn, key)| {
        let node = nodes[(turn + key) % 4].clone();
        let body = if turn % 5 == 4 { "other" } else { "same" };
        let asked = with_key(&format!("key-{key}"), body, job(NOON));
        tokio::spawn(async move { (key, body, asked.id, node.intake(asked).await.unwrap()) })
    });

    let mut answers = BTreeMap::<usize, Vec<_>>::new();
    for asked in asking.collect::<Vec<_>>() {
        let (key, body, id, verdict) = asked.await.unwrap();
        answers.entry(key).or_default().push((body, id, verdict));
    }

    for (key, answers) in answers {
        let created: Vec<_> = answers.iter().filter(|(.., verdict)| *verdict == Intake::Created).collect();
        assert_eq!(created.len(), 1, "key {key}");
        let (winner_body, winner, _) = created[0];
        for (body, id, verdict) in answers.iter().filter(|(.., verdict)| *verdict != Intake::Created) {
            let expected = if body == winner_body { Intake::Replayed(*winner) } else { Intake::Conflict };
            assert_eq!(*verdict, expected, "key {key}, job {id}");
        }
    }
    assert_eq!(run_postgres(&url, "select count(*) from jobs").await[0].get::<_, i64>(0), 10);
    assert_eq!(run_postgres(&url, "select count(*) from live_jobs").await[0].get::<_, i64>(0), 10);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_bad_item_fails_alone_in_its_batch() {
    let (_, nodes) = nodes(1).await;
    let asking = (0..60).map(|n| {
        let node = nodes[0].clone();
        // PostgreSQL stores no NUL; nothing that came in over HTTP has one in it.
        let payload = if n == 30 { "{\"a\":\"\0\"}" } else { "{}" };
        let asked = NewJob { payload: payload.to_owned(), ..job(NOON) };
        tokio::spawn(async move { node.intake(asked).await })
    });

    let mut verdicts = Vec::new();
    for asked in asking.collect::<Vec<_>>() {
        verdicts.push(asked.await.unwrap());
    }

    assert!(matches!(verdicts.remove(30), Err(Error::Bug(_))));
    assert!(verdicts.iter().all(|verdict| matches!(verdict, Ok(Intake::Created))), "{verdicts:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_parked_claim_hears_of_a_job_that_came_in_elsewhere() {
    let (_, nodes) = nodes(2).await;
    let parked = tokio::spawn({
        let node = nodes[1].clone();
        async move { node.claim(1, &at(NOON)).await.unwrap() }
    });

    let id = put(&nodes[0], job(NOON)).await;

    let claimed = tokio::time::timeout(LIMIT, parked).await.unwrap().unwrap();
    assert_eq!(ids(&claimed), [id]);
    assert_eq!(nodes[1].list_mine().await.unwrap(), [(id, 1)]);
    assert_eq!(nodes[0].list_mine().await.unwrap(), []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_end_on_one_node_is_heard_on_the_other_also_after_its_connection_was_cut() {
    let (url, nodes) = nodes(2).await;
    let mut hints = nodes[1].hints();

    for round in 0..2 {
        // Nodes learn of each other a moment after their start; a hint before that is lost, as hints may be.
        let mut ended = BTreeSet::new();
        in_time(async {
            loop {
                if nodes[0].intake(job(NOON)).await.is_err() {
                    continue;
                }
                for job in nodes[0].claim(1, &at(NOON)).await.unwrap_or_default() {
                    ended.insert(job.id);
                    nodes[0].record(the_end(&job)).await.ok();
                }
                while let Ok(hint) = hints.try_recv() {
                    if matches!(hint, Hint::Ended(ids) if ids.iter().any(|id| ended.contains(id))) {
                        return;
                    }
                }
            }
        })
        .await;
        if round == 0 {
            cut_connections(&url).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_while_connections_are_cut_is_there_and_runs_once() {
    let (url, nodes) = nodes(2).await;
    let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let working = nodes.iter().map(|node| {
        let (node, stop) = (node.clone(), stop.clone());
        tokio::spawn(async move {
            let (mut acknowledged, mut done, mut failures) = (Vec::new(), Vec::new(), 0);
            let mut turn = 0;
            while !stop.load(std::sync::atomic::Ordering::Relaxed) || turn < 200 {
                turn += 1;
                let asked = job(NOON);
                let id = asked.id;
                match node.intake(asked).await {
                    Ok(verdict) => acknowledged.push((id, verdict)),
                    Err(Error::Unavailable(_)) => failures += 1,
                    Err(error) => panic!("{error:?}"),
                }
                let Ok(claimed) = tokio::time::timeout(LIMIT / 400, node.claim(4, &at(NOON))).await else {
                    continue;
                };
                match claimed {
                    Ok(jobs) => done.extend(finish_all(&node, jobs).await),
                    Err(Error::Unavailable(_)) => failures += 1,
                    Err(error) => panic!("{error:?}"),
                }
            }
            (acknowledged, done, failures)
        })
    });
    let working: Vec<_> = working.collect();
    for _ in 0..10 {
        cut_connections(&url).await;
        // Between two cuts, work goes on.
        wait_until(LIMIT, async || nodes[0].intake(with_key("beat", "x", job(NOON))).await.is_ok()).await;
    }
    stop.store(true, std::sync::atomic::Ordering::Relaxed);

    let (mut acknowledged, mut done, mut failures) = (Vec::new(), Vec::new(), 0);
    for worker in working {
        let (more, finished, failed) = worker.await.unwrap();
        acknowledged.extend(more);
        done.extend(finished);
        failures += failed;
    }
    assert!(failures > 0, "nothing was cut in the middle of anything: the test proves nothing");
    assert!(acknowledged.iter().all(|(_, verdict)| *verdict == Intake::Created));

    // What is left is claimable: nothing is stuck as running for nobody.
    in_time(async {
        loop {
            let counts = nodes[0].live_counts().await.unwrap();
            match counts.queued + counts.running {
                0 => return,
                _ if counts.queued > 0 => {
                    let jobs = nodes[0].claim(500, &at(NOON)).await.unwrap();
                    done.extend(finish_all(&nodes[0], jobs).await);
                }
                _ => {}
            }
        }
    })
    .await;
    for (id, _) in acknowledged {
        assert_eq!(nodes[1].find_status(id).await.unwrap().unwrap().state, State::Succeeded);
    }
    let twice = done.len() - done.iter().collect::<BTreeSet<_>>().len();
    assert_eq!(twice, 0, "an end was accepted twice");
}

/// Ends jobs, again and again until the database answers; returns those that were accepted as the first end.
async fn finish_all(node: &Store, jobs: Vec<ClaimedJob>) -> Vec<JobId> {
    let mut done = Vec::new();
    for job in jobs {
        in_time(async {
            loop {
                match node.record(the_end(&job)).await {
                    Ok(Fenced::Done) => return done.push(job.id),
                    // Ended by the try before, whose answer got lost.
                    Ok(Fenced::Stale) => return,
                    Err(Error::Unavailable(_)) => {}
                    Err(error) => panic!("{error:?}"),
                }
            }
        })
        .await;
    }
    done
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claim_survives_a_cut_while_it_is_parked() {
    let (url, nodes) = nodes(1).await;
    let parked = tokio::spawn({
        let node = nodes[0].clone();
        async move {
            loop {
                if let Ok(jobs) = node.claim(1, &at(NOON)).await {
                    return jobs;
                }
            }
        }
    });
    nodes[0].ping().await.unwrap();
    cut_connections(&url).await;

    let new = job(NOON);
    let id = new.id;
    wait_until(LIMIT, async || matches!(nodes[0].intake(new.clone()).await, Ok(Intake::Created))).await;

    assert_eq!(ids(&tokio::time::timeout(LIMIT, parked).await.unwrap().unwrap()), [id]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_beats_keeps_its_jobs_and_a_silent_one_loses_them_once() {
    let (url, nodes) = nodes(3).await;
    for node in &nodes[..2] {
        put(node, job(NOON)).await;
        assert_eq!(node.claim(1, &at(NOON)).await.unwrap().len(), 1);
    }
    run_postgres(&url, "update nodes set beat_at_ms = 0 where id in ('node-0', 'node-1')").await;
    nodes[0].beat(NOON).await.unwrap();

    let (one, other) = tokio::join!(nodes[0].rescue(10), nodes[2].rescue(10));

    assert_eq!(one.unwrap() + other.unwrap(), 1, "of two that look at once, one takes it");
    assert_eq!(nodes[0].list_mine().await.unwrap().len(), 1);
    assert_eq!(nodes[1].list_mine().await.unwrap(), []);
    assert_eq!(
        nodes[1].rescue(10).await.unwrap(),
        0,
        "a silent node does not rescue from itself or the living"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_of_one_job_in_one_batch_are_taken_one_after_the_other() {
    let (_, nodes) = nodes(1).await;
    put(&nodes[0], job(NOON)).await;
    let claimed = nodes[0].claim(1, &at(NOON)).await.unwrap().remove(0);
    let recording = (1..=40).map(|attempt| {
        let node = nodes[0].clone();
        let steps = vec![step("a", attempt, StepStatus::Failed, NOON)];
        let record = Record { id: claimed.id, claim: 1, pin: None, steps, then: Then::Stay };
        tokio::spawn(async move { node.record(record).await.unwrap() })
    });

    for recorded in recording.collect::<Vec<_>>() {
        assert_eq!(recorded.await.unwrap(), Fenced::Done);
    }

    assert_eq!(nodes[0].find_job(claimed.id).await.unwrap().unwrap().steps.len(), 40);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_closed_store_is_unavailable_and_a_server_that_is_not_there_too() {
    let (_, nodes) = nodes(1).await;
    nodes[0].close().await;
    assert!(matches!(nodes[0].intake(job(NOON)).await, Err(Error::Unavailable(_))));
    assert!(matches!(nodes[0].claim(1, &at(NOON)).await, Err(Error::Unavailable(_))));
    assert!(matches!(nodes[0].ping().await, Err(Error::Unavailable(_))));

    // Port 1 of the own machine: nobody listens there.
    let nowhere = Location::Postgres("postgres://me:hunter2@127.0.0.1:1/levqor".to_owned());
    let error = Store::open(&nowhere, "a").await.err().unwrap();
    assert!(matches!(error, Error::Unavailable(_)));
    assert!(!format!("{error:?}").contains("hunter2"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_does_not_exist_is_refused_by_name() {
    let url = levqor_testkit::postgres_url().await;
    let (server, _) = url.rsplit_once('/').unwrap();

    let refused =
        Store::open(&Location::Postgres(format!("{server}/no_such_database")), "a").await.err().unwrap();

    assert!(matches!(&refused, Error::Refused { what } if what.contains("no_such_database")), "{refused}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_schema_can_be_chosen_by_the_url() {
    let url = levqor_testkit::postgres_url().await;
    run_postgres(&url, "create schema apart").await;
    let apart = Location::Postgres(format!("{url}?sslmode=prefer&options=-csearch_path%3Dapart"));

    let store = Store::open(&apart, "a").await.unwrap();
    put(&store, job(NOON)).await;

    assert_eq!(run_postgres(&url, "select count(*) from apart.jobs").await[0].get::<_, i64>(0), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_database_of_another_program_is_refused_in_one_line() {
    for (script, named) in [
        ("create table jobs (id bigint)", "the table jobs"),
        ("create table users (id text primary key)", "the table users"),
        ("create table migrations (id bigint, batch bigint)", "the table migrations"),
        ("create view settings as select 1 as one", "the view settings"),
        ("create table songs (title text)", "the table songs"),
        ("create sequence numbers", "the sequence numbers"),
    ] {
        let url = levqor_testkit::postgres_url().await;
        run_postgres(&url, script).await;

        let refused = Store::open(&Location::Postgres(url), "a").await.err().unwrap();

        let Error::Refused { what } = &refused else { panic!("{refused:?}") };
        assert!(what.starts_with("the PostgreSQL database cannot be used: "), "{what}");
        assert!(what.contains(named) && what.contains("another program") && !what.contains('\n'), "{what}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_extension_brought_is_no_other_program_and_other_schemas_are_their_own() {
    let url = levqor_testkit::postgres_url().await;
    // Comes with the server: one view, in the schema that we use.
    let extended =
        run_postgres(&url, "select 1 from pg_available_extensions where name = 'pg_stat_statements'").await;
    if !extended.is_empty() {
        run_postgres(&url, "create extension pg_stat_statements").await;
    }
    run_postgres(&url, "create schema theirs").await;
    run_postgres(&url, "create table theirs.jobs (id bigint)").await;

    let store = Store::open(&Location::Postgres(url), "a").await.unwrap();

    put(&store, job(NOON)).await;
}
