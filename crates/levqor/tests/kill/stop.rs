//! A graceful stop under load: exit code 0 in time, nothing lost, and no job counts it as a death.

use std::time::{Duration, Instant};

use levqor_testkit::wait_until;

use crate::audit::Audit;
use crate::chance::Chance;
use crate::client::Nodes;
use crate::load::Load;
use crate::recorder::Recorder;
use crate::server::Site;

const GRACE: Duration = Duration::from_secs(2);
/// Beyond the grace: handing back, the last checkpoint, a slow machine.
const AFTER_GRACE: Duration = Duration::from_secs(10);
const STOPS: usize = 3;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigterm_under_load_ends_in_time_and_counts_as_no_death() {
    let (mut chance, seed) = Chance::of_run("stop");
    let recorder = Recorder::start(chance.fork()).await;
    let site = Site::sqlite(None).set("SHUTDOWN_GRACE", "2s");
    let nodes = Nodes::new(1);
    let load = Load::new(nodes.clone(), recorder.base.clone());
    let clients = load.start(8, &mut chance);

    for stop in 0..STOPS {
        let server = site.start("node").await;
        nodes.set(0, Some(server.base.clone()));
        load.allow(150);
        // One whose call is out for longer than the grace: it is given up and handed back.
        let token = format!("slow-{stop}");
        load.submit_slow(&server.base, &token, Duration::from_secs(600), Duration::ZERO).await;
        wait_until(Duration::from_secs(20), async || recorder.calls_of(&token, "hold") == 1).await;
        tokio::time::sleep(Duration::from_millis(chance.between(50, 500))).await;

        let began = Instant::now();
        let log = site.dir.join("node.log");
        let status = server.terminate(GRACE + AFTER_GRACE).await;
        nodes.set(0, None);
        let log = || std::fs::read_to_string(&log).unwrap_or_default();
        assert_eq!(status.code(), Some(0), "seed {seed}: SIGTERM ended with {status}:\n{}", log());
        println!("stop: exit after {:?}, with {GRACE:?} of grace", began.elapsed());
    }

    let server = site.start("node").await;
    nodes.set(0, Some(server.base.clone()));
    clients.stop().await;
    let ended = Audit::new("stop", seed, &server.base, &load, &recorder)
        .settle_and_check(Duration::from_secs(60))
        .await;
    let died: i64 = ended.iter().map(|job| job.deaths).sum();
    assert_eq!(died, 0, "seed {seed}: a graceful stop was counted as a death");
}
