//! What AI calls cost, through the real server: reports, spreadsheets, bills, people.

use levqor_core::id::JobId;
use levqor_core::job::Tags;
use levqor_core::money::{Bound, CallId, Charge, Lookup, Nano, PriceBook, Terms, Usage, bill};
use levqor_store::{CallPlace, Location, NewCall, Reserved, Settlement, Store};
use serde_json::{Value, json};

use crate::server::TestServer;

/// 2026-11-22T12:00:00Z.
const NOON: i64 = 1_795_348_800_000;
const DAY: i64 = 86_400_000;
const RANGE: &str = "from=2026-11-20&until=2026-11-25";

struct Spent<'a> {
    workflow: &'a str,
    user: Option<&'a str>,
    tags: &'a [(&'a str, &'a str)],
    at_ms: i64,
    job: JobId,
    attempt: i64,
}

impl Default for Spent<'_> {
    fn default() -> Self {
        Spent { workflow: "triage", user: None, tags: &[], at_ms: NOON, job: job(1), attempt: 1 }
    }
}

/// With limits that these figures fit into.
async fn start(vars: &[(&str, &str)]) -> TestServer {
    let mut all = vec![("MAX_COST_PER_JOB", "1000"), ("MAX_COST_PER_DAY", "1000")];
    all.extend(vars);
    TestServer::start(&all).await
}

fn job(n: u8) -> JobId {
    JobId::new(NOON, [n; 10])
}

fn usage() -> Usage {
    Usage { uncached_in: 1_239_328 - 1_188_096, cached_in: 1_188_096, out: 12_909, ..Usage::default() }
}

/// Holds money, and is charged for that usage; returns the id and the cost.
async fn spend(store: &Store, spent: Spent<'_>) -> (CallId, Nano) {
    let Lookup::Priced(price) = PriceBook::embedded().find("openai", "gpt-6-sol") else { panic!() };
    store.keep_price(&price).await.unwrap();
    let call = NewCall {
        id: CallId::new(spent.at_ms, rand::random()),
        place: Some(CallPlace {
            job: spent.job,
            root_job: spent.job,
            workflow: spent.workflow.to_owned(),
            step: "ask".to_owned(),
            logical_call: 1,
            attempt: spent.attempt,
        }),
        ask: None,
        key: Some("key-1".to_owned()),
        user: spent.user.map(str::to_owned),
        tags: spent
            .tags
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect::<Tags>(),
        provider: "openai".to_owned(),
        model: "gpt-6-sol".to_owned(),
        price_id: price.id(),
        terms: Terms::STANDARD,
        bound: Bound { input_tokens: 2_000_000, output_tokens: 20_000, amount: Nano::new(2_000_000_000) },
        at_ms: spent.at_ms,
        lease_ms: 600_000,
    };
    let id = match store.reserve(call).await.unwrap() {
        Reserved::Granted(permit) => permit.spend(),
        other => panic!("{other:?}"),
    };
    let cost = bill(&price, &usage(), &Terms::STANDARD).unwrap().total;
    let charge = Charge::Settle { cost, usage: usage(), alarm: None };
    let raw = Some(r#"{"prompt_tokens":1239328,"cost":0.10}"#.to_owned());
    let settlement = Settlement { usage_raw: raw, ..Settlement::new(id, charge, spent.at_ms + 5) };
    store.settle_call(settlement).await.unwrap();
    (id, cost)
}

#[tokio::test]
async fn a_report_tells_costs_apart_and_adds_them_up() {
    let server = start(&[("API_KEYS", "k")]).await;
    let store = server.engine.store();
    let (_, cost) = spend(store, Spent { tags: &[("team", "red")], ..Spent::default() }).await;
    spend(store, Spent { workflow: "sum", job: job(2), at_ms: NOON + DAY, ..Spent::default() }).await;
    let key = server.key("k");
    let get = async |query: &str| key.get(&format!("/api/v1/costs?{RANGE}&{query}")).await.json();
    let twice = Nano::new(2 * cost.get());

    let days = get("").await;
    assert_eq!(days["by"], json!(["day"]));
    let expected = json!({"assumed": 0, "assumed_usd": "0.00", "calls": 1, "cost_micro_usd": cost.micro_ceil(),
        "cost_usd": cost.to_string(), "overrun_usd": "0.00", "period_end": 1_795_392_000.0,
        "period_start": 1_795_305_600.0, "released": 0, "settled": 1});
    assert_eq!(days["lines"][0], expected);
    assert_eq!(
        (days["lines"].as_array().unwrap().len(), &days["total"]["cost_usd"]),
        (2, &json!(twice.to_string()))
    );
    let models = get("by=model,tag:team").await;
    assert_eq!(models["lines"][0]["model"], "openai/gpt-6-sol");
    let mut tags: Vec<_> = models["lines"].as_array().unwrap().iter().map(|line| &line["tag"]).collect();
    tags.sort_by_key(|tag| tag.to_string());
    assert_eq!(tags, [&json!("red"), &Value::Null]);
    for query in [
        "by=workflow",
        "by=key",
        "by=user,provider",
        "by=hour",
        "by=week,model&zone=Asia/Kathmandu",
        "by=month",
    ] {
        assert_eq!(get(query).await["total"]["cost_usd"], twice.to_string(), "{query}");
    }
    for (query, calls) in [
        ("workflow=sum", 1),
        ("model=openai/gpt-6-sol", 2),
        ("model=openai/x", 0),
        ("tag=team:red", 1),
        ("key=key-1", 2),
    ] {
        assert_eq!(get(query).await["total"]["calls"], calls, "{query}");
    }
    let used = key.get(&format!("/api/v1/usage?{RANGE}&by=provider")).await.json();
    assert_eq!(
        (&used["lines"][0]["cached_read"], &used["total"]["total_input"]),
        (&json!(2 * 1_188_096), &json!(2 * 1_239_328))
    );
}

#[tokio::test]
async fn what_cannot_be_reported_is_refused_by_name() {
    let server = start(&[]).await;
    for (query, told) in [
        ("by=colour", "parameter `by`: \"colour\" is nothing to group by"),
        ("by=tag:a,tag:b", "one tag at a time"),
        ("zone=Mars/Olympus", "parameter `zone`: \"Mars/Olympus\" is no time zone"),
        ("from=yesterday", "parameter `from` is `yesterday`"),
        ("from=2026-02-30", "parameter `from` is `2026-02-30`"),
        ("from=2026-11-22T00:00:01Z", "`from` must be a whole quarter of an hour"),
        ("from=2026-11-22&until=2026-11-22", "`until` must be after `from`"),
        ("from=1971-01-01", "more than 3660 days"),
        ("from=2020-01-01&by=hour", "more than 1000 periods"),
        ("from=-999999999999999999", "parameter `from` is"),
        ("model=gpt-6-sol", "expected provider/model"),
        ("model=/x", "expected provider/model"),
        ("model=openai/x&provider=anthropic", "a model of the `provider` that is given"),
        ("tag=red", "expected name:value"),
        ("user=", "parameter `user` is ``"),
        ("workflow=%00", "parameter `workflow`"),
        ("format=xlsx", "expected json or csv"),
        ("limit=5", "unknown parameter `limit`"),
        ("by=day&by=week", "given more than once"),
    ] {
        for path in ["costs", "usage"] {
            let reply = server.anon().get(&format!("/api/v1/{path}?{query}")).await;
            assert_eq!((reply.status, reply.error().as_str()), (400, "invalid_query"), "{query}");
            let message = reply.json()["message"].as_str().unwrap().to_owned();
            assert!(message.contains(told), "{query}: {message}");
        }
    }
}

#[tokio::test]
async fn a_spreadsheet_gets_columns_and_no_formula() {
    let server = start(&[]).await;
    let evil = [("team", "=cmd|' /C calc'!A0"), ("note", "a,\"b\"\n")];
    let (_, cost) =
        spend(server.engine.store(), Spent { user: Some("@SUM(A1)"), tags: &evil, ..Spent::default() }).await;
    let path = format!("/api/v1/costs?{RANGE}&by=model,user,workflow,tag:team&format=csv");

    let reply = server.anon().get(&path).await;

    assert_eq!(reply.header("content-type"), Some("text/csv; charset=utf-8; header=present"));
    assert_eq!(reply.header("content-disposition"), Some("attachment; filename=\"levqor-costs.csv\""));
    let text = reply.text();
    let lines: Vec<&str> = text.split("\r\n").collect();
    assert!(
        lines[0].starts_with("ChargePeriodStart,ChargePeriodEnd,")
            && lines[0].contains(",BilledCost,BillingCurrency,")
    );
    let tokens = 1_239_328 + 12_909;
    let expected = format!(
        "2026-11-20T00:00:00.000Z,2026-11-25T00:00:00.000Z,Usage,AI and Machine Learning,openai/gpt-6-sol,openai,openai/gpt-6-sol,\
         \"{{\"\"team\"\":\"\"=cmd|' /C calc'!A0\"\"}}\",triage,,'@SUM(A1),{cost},USD,{tokens},Tokens,1,0.00,0.00"
    );
    assert_eq!(lines[1..], [expected.as_str(), ""]);
    let usage = server.anon().get(&path.replace("costs", "usage")).await.text();
    let ends: Vec<&str> = usage.lines().skip(1).map(|line| line.split("A1),").nth(1).unwrap()).collect();
    assert_eq!(ends, ["51232,Tokens,input,1", "1188096,Tokens,cached_read,1", "12909,Tokens,output,1"]);
}

#[tokio::test]
async fn a_bill_explains_each_call_to_the_nano_dollar() {
    let server = start(&[]).await;
    let store = server.engine.store();
    let (first, cost) = spend(store, Spent::default()).await;
    spend(store, Spent { attempt: 2, at_ms: NOON + 1_000, ..Spent::default() }).await;
    let path = format!("/api/v1/jobs/{}/costs", job(1));

    let page = server.anon().get(&format!("{path}?limit=1")).await.json();

    let call = &page["calls"][0];
    assert_eq!(
        (&call["call_id"], &call["state"], &call["model"]),
        (&json!(first.to_string()), &json!("settled"), &json!("openai/gpt-6-sol"))
    );
    assert_eq!((&call["hold"]["usd"], &call["hold"]["output_tokens"]), (&json!("2.00"), &json!(20_000)));
    assert_eq!(
        (&call["cost_usd"], &call["priced"]["usd"]),
        (&json!(cost.to_string()), &json!(cost.to_string()))
    );
    assert_eq!(
        (&call["priced"]["is_charged"], &call["priced"]["multiplier"]),
        (&json!(true), &json!("1.00"))
    );
    let lines = call["priced"]["lines"].as_array().unwrap();
    let sum: i128 =
        lines.iter().map(|line| i128::from(Nano::parse(line["usd"].as_str().unwrap()).unwrap().get())).sum();
    assert_eq!(sum, i128::from(cost.get()), "lines add up to the amount");
    assert_eq!((&lines[1]["class"], &lines[1]["quantity"]), (&json!("cached_read"), &json!(1_188_096)));
    let kinds: Vec<_> =
        call["ledger"].as_array().unwrap().iter().map(|row| row["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["reserve", "settle"]);
    assert_eq!(call["usage_raw"], json!({"prompt_tokens": 1_239_328, "cost": 0.10}));
    assert_eq!((&page["costs"]["own"]["calls"], &page["costs"]["tree"]["calls"]), (&json!(2), &json!(2)));
    let next = page["next"].as_str().unwrap();
    let rest = server.anon().get(&format!("{path}?limit=1&cursor={next}")).await.json();
    assert_eq!((&rest["calls"][0]["attempt"], &rest["next"]), (&json!(2), &Value::Null));
    for (query, status) in [("limit=0", 400), ("limit=501", 400), ("cursor=x", 400), ("zzz=1", 400)] {
        assert_eq!(server.anon().get(&format!("{path}?{query}")).await.status, status, "{query}");
    }
    assert_eq!(server.anon().get(&format!("/api/v1/jobs/{}/costs", job(9))).await.error(), "not_found");
}

#[tokio::test]
async fn a_bill_is_read_page_by_page_while_it_grows() {
    let server = start(&[]).await;
    let store = server.engine.store();
    let mut made = Vec::new();
    let call = async |attempt: i64| {
        let at_ms = NOON + attempt * 1_000;
        spend(store, Spent { attempt, at_ms, ..Spent::default() }).await
    };
    let mut total = Nano::ZERO;
    for attempt in 1..=7 {
        let (id, cost) = call(attempt).await;
        made.push(id.to_string());
        total = total.checked_add(cost).unwrap();
    }
    // Another job's calls are on no page.
    spend(store, Spent { job: job(2), ..Spent::default() }).await;
    let walk = async |limit: usize, late: Option<i64>| {
        let (mut seen, mut pages, mut cursor) = (Vec::new(), Vec::new(), String::new());
        loop {
            let path = format!("/api/v1/jobs/{}/costs?limit={limit}{cursor}", job(1));
            let page = server.anon().get(&path).await.json();
            let calls = page["calls"].as_array().unwrap();
            assert!(calls.len() <= limit, "{page}");
            seen.extend(calls.iter().map(|call| call["call_id"].as_str().unwrap().to_owned()));
            pages.push(page["costs"].clone());
            let Some(next) = page["next"].as_str() else { return (seen, pages) };
            assert_eq!(calls.len(), limit, "only the last page may be short");
            cursor = format!("&cursor={next}");
            if let Some(attempt) = late.filter(|_| pages.len() == 1) {
                call(attempt).await;
            }
        }
    };

    for limit in [1, 2, 3, 7, 8, 500] {
        let (seen, pages) = walk(limit, None).await;
        assert_eq!(seen, made, "oldest first, each once, {limit} a page");
        assert!(
            pages.iter().all(|costs| costs["own"]["cost_usd"] == total.to_string()),
            "sums are of all pages"
        );
    }
    let (seen, pages) = walk(3, Some(8)).await;
    assert_eq!((&seen[..7], seen.len()), (&made[..], 8), "what comes meanwhile comes last");
    assert_eq!((&pages[0]["own"]["calls"], &pages[2]["own"]["calls"]), (&json!(7), &json!(8)));
}

/// Sums of one day for so many workflows, put past the store: they cost a micro-dollar each.
async fn put_sums(server: &TestServer, workflows: i64) {
    let day = NOON / DAY * DAY;
    let each = format!(
        "with recursive n(i) as (select 1 union all select i + 1 from n where i < {workflows}) select"
    );
    let sql = format!(
        "insert into cost_groups (id, workflow, provider, model, key_id, user_id, tags) \
           {each} 'g' || cast(i as text), 'w' || cast(i as text), 'openai', 'gpt-6-sol', '', '', '{{}}' from n; \
         insert into cost_rollups (width_ms, start_ms, group_id, calls, settled, released, assumed, cost_nano, assumed_nano, \
           overrun_nano, uncached_in, cached_in, write_short, write_long, write_any, image_in, audio_in, out_said, out_thought, \
           audio_out, searches) \
           {each} {DAY}, {day}, 'g' || cast(i as text), 1, 1, 0, 0, 1000, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0 from n"
    );
    match &server.location {
        Location::Sqlite(file) => rusqlite::Connection::open(file).unwrap().execute_batch(&sql).unwrap(),
        Location::Postgres(url) => {
            let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls).await.unwrap();
            tokio::spawn(connection);
            client.batch_execute(&sql).await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_report_that_would_be_too_long_is_refused_and_says_what_to_do() {
    let server = start(&[]).await;
    put_sums(&server, 10_001).await;
    let get = async |query: &str| server.anon().get(&format!("/api/v1/{query}&{RANGE}")).await;

    for query in ["costs?by=workflow", "costs?by=workflow,day&format=csv", "usage?by=workflow"] {
        let refused = get(query).await;
        assert_eq!((refused.status, refused.error().as_str()), (400, "invalid_query"), "{query}");
        let message = refused.json()["message"].as_str().unwrap().to_owned();
        assert!(message.contains("more than 10000 lines: group by less"), "{message}");
    }
    let less = get("costs?by=day").await.json();
    assert_eq!(
        (less["lines"].as_array().unwrap().len(), &less["total"]["cost_usd"]),
        (1, &json!("0.010001")),
        "all of it, in fewer lines"
    );
    let one = get("costs?by=workflow&workflow=w10001").await.json();
    assert_eq!((&one["lines"][0]["workflow"], &one["total"]["calls"]), (&json!("w10001"), &json!(1)));
}

#[tokio::test]
async fn a_job_shows_what_it_cost_so_far_and_null_before() {
    let server = start(&[]).await;
    let id = server.submit(&server.anon()).await;
    let path = format!("/api/v1/jobs/{id}");
    assert_eq!(server.anon().get(&path).await.json()["costs"], Value::Null);
    assert_eq!(server.anon().get(&format!("{path}/costs")).await.json()["calls"], json!([]));

    let (_, cost) =
        spend(server.engine.store(), Spent { job: id.parse().unwrap(), ..Spent::default() }).await;

    let costs = server.anon().get(&path).await.json()["costs"].clone();
    assert_eq!(
        (&costs["own"]["cost_usd"], &costs["steps"][0]["step"], &costs["root_job_id"]),
        (&json!(cost.to_string()), &json!("ask"), &json!(id))
    );
}

#[tokio::test]
async fn a_person_sees_their_calls_and_takes_nothing_but_their_name() {
    let server = start(&[]).await;
    let anon = server.anon();
    let made = anon.post("/api/v1/users/upsert", r#"{"email":"ada@example.org"}"#).await.json();
    let user = made["user"]["id"].as_str().unwrap();
    let (call, cost) = spend(server.engine.store(), Spent { user: Some(user), ..Spent::default() }).await;
    let export = anon.get(&format!("/api/v1/users/{user}/export")).await.json()["ai_usage"].clone();
    assert_eq!((&export["calls"], &export["cost_usd"]), (&json!(1), &json!(cost.to_string())));
    assert_eq!(
        (&export["newest"][0]["call_id"], &export["newest"][0]["usage"]["output"]),
        (&json!(call.to_string()), &json!(12_909))
    );

    assert_eq!(anon.send("DELETE", &format!("/api/v1/users/{user}"), &[], "").await.status, 200);

    let report = anon.get(&format!("/api/v1/costs?{RANGE}&by=user")).await.json();
    assert_eq!(
        (&report["lines"][0]["user"], &report["lines"][0]["cost_usd"]),
        (&Value::Null, &json!(cost.to_string()))
    );
}

#[tokio::test]
async fn a_simulation_reckons_exactly_and_spends_nothing() {
    let server = start(&[]).await;
    let store = server.engine.store();
    let (_, cost) = spend(store, Spent::default()).await;
    spend(store, Spent { attempt: 2, workflow: "sum", at_ms: NOON + DAY, ..Spent::default() }).await;
    let ask = async |body: Value| {
        let body = json!({"from": "2026-11-20", "until": "2026-11-25"})
            .as_object()
            .unwrap()
            .iter()
            .chain(body.as_object().unwrap())
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect::<serde_json::Map<_, _>>();
        let reply = server.anon().post("/api/v1/costs/simulate", &Value::Object(body).to_string()).await;
        assert_eq!(reply.status, 200, "{}", reply.text());
        reply.json()
    };
    let twice = Nano::new(2 * cost.get()).to_string();

    let same = ask(json!({})).await;
    assert_eq!((&same["total"]["past_usd"], &same["total"]["simulated_usd"]), (&json!(twice), &json!(twice)));
    assert_eq!((&same["total"]["difference_usd"], &same["repriced"]), (&json!("0.00"), &json!(0)));
    let list = "provider,model,status,input_usd_per_mtok,cached_input_usd_per_mtok,output_usd_per_mtok,max_output_tokens\n\
        openai,gpt-6-sol,priced,1.25,0.125,10,128000\n";
    let cheaper = ask(json!({"prices": list, "workflow": "triage"})).await;
    assert_eq!(cheaper["total"]["calls"], 1);
    assert_eq!(
        cheaper["models"]["openai/gpt-6-sol"]["simulated_usd"], "0.341642",
        "the golden figure of this usage"
    );
    let other = ask(json!({"models": {"openai/gpt-6-sol": "nobody/knows"}})).await;
    assert_eq!(
        (&other["unpriced"]["nobody/knows"], &other["total"]["simulated_usd"]),
        (&json!(2), &json!(twice))
    );
    let limited = ask(json!({"per_day": "1.99"})).await;
    assert_eq!(
        (&limited["refused"]["calls"], &limited["total"]["simulated_usd"]),
        (&json!(2), &json!("0.00"))
    );
    assert!(limited["cannot_know"].as_array().unwrap().len() >= 2);
    let of_job = json!({"job": job(1).to_string(), "per_job": "2.00"});
    let reply = server.anon().post("/api/v1/costs/simulate", &of_job.to_string()).await.json();
    assert_eq!(
        (&reply["total"]["calls"], &reply["refused"]["calls"]),
        (&json!(2), &json!(1)),
        "the first one left less than 2.00"
    );

    let after = server.anon().get(&format!("/api/v1/costs?{RANGE}")).await.json();
    assert_eq!((&after["total"]["cost_usd"], &after["total"]["calls"]), (&json!(twice), &json!(2)));
}

#[tokio::test]
async fn a_simulation_of_nonsense_is_refused_by_name() {
    let server = start(&[]).await;
    for (body, told) in [
        ("{", "EOF while parsing"),
        ("[]", "invalid length 0"),
        (r#"{"colour":1}"#, "unknown field `colour`"),
        (r#"{"from":"2026-11-20","from":"2026-11-21"}"#, "duplicate field `from`"),
        (r#"{"from":5}"#, "invalid type: integer"),
        (r#"{"from":"soon"}"#, "from: `soon` is no day"),
        (r#"{"from":"2026-11-20","until":"2026-11-20"}"#, "until: must be after `from`"),
        (r#"{"job":"x"}"#, "job: must be 32 hex digits"),
        (r#"{"job":"00000000000000000000000000000000","workflow":"x"}"#, "nothing else may choose calls"),
        (r#"{"model":"gpt"}"#, "model: `gpt` is no provider/model"),
        (r#"{"models":{"a/b":"c"}}"#, "models: `c` is no provider/model"),
        (r#"{"per_job":"1e3"}"#, "per_job: `1e3` is no amount"),
        (r#"{"per_day":"-1"}"#, "per_day: `-1` is no amount"),
        (r#"{"prices":"hello"}"#, "prices: "),
    ] {
        let reply = server.anon().post("/api/v1/costs/simulate", body).await;
        assert_eq!((reply.status, reply.error().as_str()), (400, "invalid_request"), "{body}");
        let message = reply.json()["message"].as_str().unwrap().to_owned();
        assert!(message.contains(told), "{body}: {message}");
    }
    let reply = server.anon().post("/api/v1/costs/simulate", "{}").await;
    assert_eq!((reply.status, &reply.json()["total"]["calls"]), (200, &json!(0)));
}
