//! What the nodes are told: providers, prices, budgets; and what stands in their tables.

use std::time::Duration;

use levqor_core::audit::Actor;
use levqor_core::budget::{Budget, BudgetId, Mode, Scope, ScopeKind, Window, Zone};
use levqor_core::money::Nano;
use levqor_store::{BookKind, Location, Store};
use levqor_testkit::wait_until;

use super::spend::{KEYS, WORKFLOWS};
use crate::client::KEY;
use crate::server::{Site, now_ms};

/// How long an open call may stand beyond its lease: a look every 5 s, and a slow machine.
const MARGIN_MS: i64 = 20_000;

/// Own prices, for models that only the mock has: the same figures as on its bill.
const PRICES: &str = "provider,model,status,input_usd_per_mtok,output_usd_per_mtok,max_output_tokens\n\
    anthropic,mock-large,priced,3,15,4096\n\
    gemini,mock-small,priced,0.15,0.6,4096\n\
    own,mock-small,priced,0.15,0.6,4096\n";

/// What may be spent, in nanodollars.
#[derive(Clone, Copy)]
pub struct Limits {
    pub job_nano: i64,
    pub day_nano: i64,
    /// For each key, as long as it lives.
    pub key_nano: i64,
    /// For each user and day.
    pub user_nano: i64,
    /// For one of the models, for ever.
    pub terra_nano: i64,
}

impl Limits {
    /// The day is wide: much of what is lost in chaos is charged in full without being certain, and a day of which more
    /// than a tenth is uncertain pauses. The keys are what runs out.
    pub const CHAOS: Limits = Limits {
        job_nano: 4_000_000,
        day_nano: 4_000_000_000,
        key_nano: 90_000_000,
        user_nano: 40_000_000,
        terra_nano: 60_000_000,
    };

    /// All but a job's own, so many times.
    pub fn times(self, times: u64) -> Limits {
        let times = i64::try_from(times).expect("a number of calls");
        Limits {
            job_nano: self.job_nano,
            day_nano: self.day_nano * times,
            key_nano: self.key_nano * times,
            user_nano: self.user_nano * times,
            terra_nano: self.terra_nano * times,
        }
    }

    /// The day is what runs out.
    pub const USABLE: Limits = Limits {
        job_nano: 20_000_000,
        day_nano: 50_000_000,
        key_nano: 10_000_000_000,
        user_nano: 10_000_000_000,
        terra_nano: 10_000_000_000,
    };
}

pub struct House {
    pub site: Site,
    pub limits: Limits,
    pub location: Location,
}

impl House {
    pub fn sqlite(limits: Limits, provider: &str) -> House {
        let site = Site::sqlite(None);
        let file = site.dir.join("data").join("levqor.db");
        std::fs::create_dir_all(site.dir.join("data")).unwrap();
        House::new(site, Location::Sqlite(file), limits, provider)
    }

    pub fn postgres(url: String, limits: Limits, provider: &str) -> House {
        House::new(Site::postgres(url.clone()), Location::Postgres(url), limits, provider)
    }

    fn new(site: Site, location: Location, limits: Limits, provider: &str) -> House {
        for (name, text) in WORKFLOWS {
            let file = site.dir.join("workflows").join(format!("{name}.yaml"));
            std::fs::write(file, format!("name: {name}{text}")).unwrap();
        }
        let dollars = |nano: i64| Nano::new(nano).to_string();
        let keys = [&[KEY], &KEYS[..]].concat().join(",");
        let site = site
            .set("API_KEYS", &keys)
            .set("OPENAI_API_KEY", "any")
            .set("OPENAI_BASE_URL", &format!("{provider}/v1"))
            .set("ANTHROPIC_API_KEY", "any")
            .set("ANTHROPIC_BASE_URL", provider)
            .set("GEMINI_API_KEY", "any")
            .set("GEMINI_BASE_URL", provider)
            .set("AI_PROVIDERS", &format!("own={provider}/v1"))
            .set("AI_KEY_OWN", "any")
            // A stalled answer is given up after a second, whatever it is.
            .set("AI_FIRST_BYTE", "1s")
            .set("AI_TIMEOUT", "3s")
            .set("AI_RATE", "100000000")
            .set("MAX_COST_PER_JOB", &dollars(limits.job_nano))
            .set("MAX_COST_PER_DAY", &dollars(limits.day_nano));
        House { site, limits, location }
    }

    /// How many nodes share the database.
    pub fn nodes(&self) -> usize {
        if matches!(self.location, Location::Postgres(_)) { 3 } else { 1 }
    }

    /// Puts prices and budgets, before any node is there.
    pub async fn furnish(&self) {
        let store = Store::open(&self.location, "furnisher").await.unwrap();
        let (by, now_ms) = (Actor::system(), now_ms());
        let book = store.import_prices(BookKind::Own, "test", PRICES, &by, now_ms).await.unwrap();
        store.activate_prices(&book.id, &by, now_ms).await.unwrap();
        let budget = |id: &str, scope: Scope, window: Window, limit_nano: i64| Budget {
            id: BudgetId::parse(id).unwrap(),
            scope,
            window,
            zone: Zone::utc(),
            limit: Nano::new(limit_nano),
            mode: Mode::Hard,
            thresholds_ppm: vec![500_000, 900_000],
            max_open_holds: None,
            enabled: true,
        };
        let terra = Scope { kind: ScopeKind::Model, id: "openai/gpt-6.1-terra".to_owned() };
        for budget in [
            budget("keys", Scope::each(ScopeKind::Key), Window::Total, self.limits.key_nano),
            budget("users", Scope::each(ScopeKind::User), Window::Day, self.limits.user_nano),
            budget("terra", terra, Window::Total, self.limits.terra_nano),
        ] {
            store.put_budget(&budget, "api", &by, now_ms).await.unwrap();
        }
        store.close().await;
    }

    /// The one number that a query gives.
    pub async fn number(&self, sql: &str) -> i64 {
        let sql = format!("select cast(({sql}) as bigint)");
        match &self.location {
            Location::Sqlite(file) => {
                let open = rusqlite::Connection::open(file).unwrap();
                open.busy_timeout(Duration::from_secs(10)).unwrap();
                open.query_row(&sql, [], |row| row.get(0)).unwrap()
            }
            Location::Postgres(url) => {
                let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls).await.unwrap();
                tokio::spawn(connection);
                client.query_one(&sql, &[]).await.unwrap().get(0)
            }
        }
    }

    /// The provider's id and the charge of each call that was charged by what its answer said.
    pub async fn settled(&self) -> Vec<(String, i64)> {
        let sql = "select provider_request_id, settled_nano from ai_calls \
            where state = 'settled' and provider_request_id is not null";
        match &self.location {
            Location::Sqlite(file) => {
                let open = rusqlite::Connection::open(file).unwrap();
                let mut query = open.prepare(sql).unwrap();
                let rows = query.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
                rows.map(Result::unwrap).collect()
            }
            Location::Postgres(url) => {
                let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls).await.unwrap();
                tokio::spawn(connection);
                let rows = client.query(sql, &[]).await.unwrap();
                rows.iter().map(|row| (row.get(0), row.get(1))).collect()
            }
        }
    }

    /// What the ledger says was spent.
    pub async fn spent(&self) -> i64 {
        let kinds = "'settle', 'assume', 'adjust', 'overrun'";
        self.number(&format!("select coalesce(sum(amount_nano), 0) from cost_ledger where kind in ({kinds})"))
            .await
    }

    /// Waits until no job is live.
    pub async fn all_ended(&self, limit: Duration) {
        wait_until(limit, async || self.number("select count(*) from live_jobs").await == 0).await;
    }

    /// No call may stand open longer than its lease and the margin.
    pub async fn none_is_late(&self) {
        let late = format!(
            "select count(*) from ai_calls where lease_until_ms is not null and lease_until_ms < {}",
            now_ms() - MARGIN_MS
        );
        assert_eq!(self.number(&late).await, 0, "calls are open beyond their lease");
    }

    /// Waits until no call is open.
    pub async fn all_charged(&self, limit: Duration) {
        wait_until(limit, async || {
            self.none_is_late().await;
            self.number("select count(*) from ai_calls where lease_until_ms is not null").await == 0
        })
        .await;
    }
}
