//! What the ceiling costs: holds and charges on one hot budget, refusals, and the time that a governed call takes longer than
//! one that asks the provider itself. The provider is the mock, in this process.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use levqor_core::audit::Actor;
use levqor_core::budget::{Budget, BudgetId, Mode, Scope, ScopeKind, Window, Zone};
use levqor_core::clock::Clock;
use levqor_core::money::{Bound, CallId, Charge, MAX_AMOUNT, Nano, Permit, Terms, Usage};
use levqor_mock_ai::{MockAi, Settings};
use levqor_store::{NewCall, Reserved, Settlement, Store};

use super::load;
use super::machine::{DISK_P50, DISK_P99};
use super::plan::{MoneyAims, Plan};
use super::report::{Aim, Report};
use super::server::{Server, Target};
use crate::cli::exit::{Failure, chain};
use crate::cli::out::note;
use crate::cli::serve::SystemClock;

const PROVIDER: &str = "openai";
const MODEL: &str = "gpt-6-sol";
/// The one whose budget is spent.
const SPENT_MODEL: &str = "gpt-6.1-terra";
/// Callers at once: as many as make full batches.
const CALLERS: usize = 256;
const CALLS_PER_SECOND: f64 = 200.0;
const CONNECTIONS: usize = 32;
const PATH: &str = "/v1/chat/completions";
const BODY: &str = r#"{"model":"openai/gpt-6-sol","max_completion_tokens":50,"messages":[{"role":"user","content":"How are you today?"}]}"#;
const MOCK_BODY: &str = r#"{"model":"gpt-6-sol","max_completion_tokens":50,"messages":[{"role":"user","content":"How are you today?"}]}"#;

/// Measures all of it on one engine.
pub async fn all(report: &mut Report, plan: &Plan, target: &Target, dir: &Path) -> Result<(), Failure> {
    note!("measuring AI budgets on {} …", target.name());
    let aims = MoneyAims::of(target);
    let store = Arc::new(target.open_store(dir, "money.db").await?);
    let measured = books(report, plan, target, &aims, &store).await;
    if let Some(store) = Arc::into_inner(store) {
        store.close().await;
    }
    measured?;
    calls(report, plan, target, dir).await
}

/// The verbs of money in this process, without HTTP and provider.
async fn books(
    report: &mut Report,
    plan: &Plan,
    target: &Target,
    aims: &MoneyAims,
    store: &Arc<Store>,
) -> Result<(), Failure> {
    let now_ms = SystemClock.now_ms();
    // Every call counts in its job and in the one day of all, as it does from the first start.
    store.put_default_budgets(MAX_AMOUNT, MAX_AMOUNT, now_ms).await.map_err(broken)?;
    let model = Scope { kind: ScopeKind::Model, id: format!("{PROVIDER}/{SPENT_MODEL}") };
    let spent = Budget {
        id: BudgetId::parse("bench-spent").map_err(|error| Failure::failed(error.to_string()))?,
        scope: model,
        window: Window::Total,
        zone: Zone::utc(),
        limit: Nano::new(1),
        mode: Mode::Hard,
        thresholds_ppm: Vec::new(),
        max_open_holds: None,
        enabled: true,
    };
    store.put_budget(&spent, "api", &Actor::system(), now_ms).await.map_err(broken)?;
    let group = target.name();
    let time = plan.round();

    let holds = repeat(store, time, |store| async move {
        held(&store, MODEL).await?.map(Permit::spend).map(drop).ok_or_else(refused)
    });
    let holds = holds.await?;
    report.add(group, "AI budget: holds on one day's budget", holds, "/s", aims.holds);
    let pairs = repeat(store, time, |store| async move {
        let call = held(&store, MODEL).await?.map(Permit::spend).ok_or_else(refused)?;
        let usage = Usage { uncached_in: 100, out: 20, ..Usage::default() };
        let charge = Charge::Settle { cost: Nano::new(400_000), usage, alarm: None };
        store.settle_call(Settlement::new(call, charge, SystemClock.now_ms())).await.map_err(broken).map(drop)
    });
    let pairs = pairs.await?;
    report.add(group, "AI budget: holds and charges on one day's budget", pairs, "pairs/s", aims.pairs);
    let refusals = repeat(store, time, |store| async move {
        match held(&store, SPENT_MODEL).await? {
            None => Ok(()),
            Some(_) => Err(Failure::failed("a budget that is spent granted a hold")),
        }
    });
    let refusals = refusals.await?;
    report.add(group, "AI budget: refusals of a spent budget", refusals, "/s", Some(aims.refusals));
    report.add(group, "AI budget: refusals to holds", refusals / holds, "×", None);
    Ok(())
}

fn broken(error: levqor_store::Error) -> Failure {
    Failure::failed(chain(&error))
}

fn refused() -> Failure {
    Failure::failed("a budget without an end refused a hold")
}

/// A hold for a new call, or none where a budget says no.
async fn held(store: &Store, model: &str) -> Result<Option<Permit>, Failure> {
    let now_ms = SystemClock.now_ms();
    let call = NewCall {
        id: CallId::new(now_ms, rand::random()),
        place: None,
        ask: None,
        key: Some("bench".to_owned()),
        user: None,
        tags: BTreeMap::new(),
        provider: PROVIDER.to_owned(),
        model: model.to_owned(),
        price_id: "bench".to_owned(),
        terms: Terms::STANDARD,
        bound: Bound { input_tokens: 500, output_tokens: 50, amount: Nano::new(1_500_000) },
        at_ms: now_ms,
        lease_ms: 600_000,
    };
    match store.reserve(call).await.map_err(broken)? {
        Reserved::Granted(permit) => Ok(Some(permit)),
        Reserved::Refused(_) => Ok(None),
        Reserved::Known { .. } => Err(Failure::failed("a new call was known before")),
    }
}

/// How often a second the work is done by all callers together.
async fn repeat<F, W>(store: &Arc<Store>, time: Duration, work: F) -> Result<f64, Failure>
where
    F: Fn(Arc<Store>) -> W + Copy + Send + 'static,
    W: Future<Output = Result<(), Failure>> + Send + 'static,
{
    let done = Arc::new(AtomicU64::new(0));
    let started = Instant::now();
    let callers: Vec<_> = (0..CALLERS)
        .map(|_| {
            let (store, done) = (store.clone(), done.clone());
            tokio::spawn(async move {
                while started.elapsed() < time {
                    work(store.clone()).await?;
                    done.fetch_add(1, Ordering::Relaxed);
                }
                Ok::<(), Failure>(())
            })
        })
        .collect();
    for caller in callers {
        caller.await.map_err(|error| Failure::failed(error.to_string()))??;
    }
    Ok(done.load(Ordering::Relaxed) as f64 / started.elapsed().as_secs_f64())
}

/// Calls through the gateway at a fixed rate, next to the same calls to the provider itself.
async fn calls(report: &mut Report, plan: &Plan, target: &Target, dir: &Path) -> Result<(), Failure> {
    let cannot = |error: std::io::Error| Failure::failed(format!("no mock can listen: {error}"));
    let mock = MockAi::start(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), Settings::default())
        .await
        .map_err(cannot)?;
    let mock_address: SocketAddr = mock
        .url()
        .trim_start_matches("http://")
        .parse()
        .map_err(|_| Failure::failed(format!("the mock says it listens on {}", mock.url())))?;
    let settings = [
        ("OPENAI_API_KEY", "bench".to_owned()),
        ("OPENAI_BASE_URL", format!("{}/v1", mock.url())),
        ("AI_RATE", "1000000000".to_owned()),
        ("MAX_COST_PER_DAY", "1000000".to_owned()),
    ];
    let server = Server::start_with(target, dir, &settings).await?;
    let governed_call = load::post(PATH, BODY);
    let time = plan.latency_time();
    let run = async |address, body: Vec<u8>| {
        load::open(address, CONNECTIONS, CALLS_PER_SECOND, time, 200, move |_| body.clone()).await
    };
    // The first call puts budgets and price on record.
    load::closed(server.address, 1, load::Until::Count(20), 200, governed_call.clone()).await?;
    let direct = run(mock_address, load::post_as("bench", PATH, MOCK_BODY)).await?;
    let before = server.cpu();
    let governed = run(server.address, governed_call).await?;
    let after = server.cpu();
    server.stop().await?;

    let group = target.name();
    let ms = |run: &load::Run, quantile| run.latency_us.value_at_quantile(quantile) as f64 / 1e3;
    let disk = |name| report.value("machine", name).unwrap_or_default();
    let at_most = |fsync_ms: f64| 2.0 * fsync_ms + 2.0;
    let aim = Aim::new(at_most(disk(DISK_P99)), at_most(disk(DISK_P50)));
    for (what, quantile, aim) in [("p50", 0.5, None), ("p99", 0.99, Some(aim))] {
        let (direct, governed) = (ms(&direct, quantile), ms(&governed, quantile));
        report.add(group, format!("AI call at 200/s, to the provider itself, {what}"), direct, "ms", None);
        report.add(
            group,
            format!("AI call at 200/s, added by the budgets, {what}"),
            governed - direct,
            "ms",
            aim,
        );
    }
    if let (Some(before), Some(after)) = (before, after) {
        let micros = after.saturating_sub(before).as_secs_f64() * 1e6 / governed.answers as f64;
        report.add(group, "AI call at 200/s, processor", micros, "µs", Some(Aim::at(150.0)));
    }
    Ok(())
}
