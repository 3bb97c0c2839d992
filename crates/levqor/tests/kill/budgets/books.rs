//! What must be true in the end: the provider's bill is below every limit, and the books agree row by row to the nanodollar.

use std::collections::{BTreeMap, HashMap};

use super::house::House;
use super::provider::{Bill, Entry};
use super::spend::{PAYERS, label_of_job, payer};
use crate::findings::Findings;

const CHARGES: &str = "('settle', 'assume', 'adjust', 'overrun')";

pub async fn check(run: &str, house: &House, bill: &Bill) {
    let mut findings = Findings::default();
    check_books(house, &mut findings).await;
    check_limits(house, &mut findings).await;
    check_bill(house, bill, &mut findings).await;
    let mut told = Vec::new();
    for state in ["settled", "assumed", "released"] {
        let count = house.number(&format!("select count(*) from ai_calls where state = '{state}'")).await;
        told.push(format!("{count} {state}"));
    }
    let late = house.number("select count(*) from cost_ledger where kind = 'adjust'").await;
    told.push(format!("{late} of the assumed made exact later"));
    println!(
        "{run}: the provider served {} calls for {} nanodollars; the ledger has {} ({})",
        bill.calls,
        bill.total_nano,
        house.spent().await,
        told.join(", ")
    );
    assert!(findings.is_empty(), "{run}:\n{findings}");
}

/// The same for books whose provider was asked by others too: they agree, and are below each limit.
pub async fn check_alone(run: &str, house: &House) {
    let mut findings = Findings::default();
    check_books(house, &mut findings).await;
    check_limits(house, &mut findings).await;
    assert!(findings.is_empty(), "{run}:\n{findings}");
}

/// What holds at any moment, while calls are open too: the books agree, and no limit is passed.
pub async fn check_now(run: &str, house: &House, bill: &Bill) {
    let mut findings = Findings::default();
    check_sums(house, &mut findings).await;
    check_limits(house, &mut findings).await;
    house.none_is_late().await;
    for who in PAYERS {
        let amount = sum(bill, |entry| payer(&entry.asked) == who);
        let limit = if who == "jobs" { house.limits.day_nano } else { house.limits.key_nano };
        if amount > limit {
            findings.add("the bill is over the key's limit", format!("{who}: {amount} of {limit}"));
        }
    }
    assert!(findings.is_empty(), "{run}:\n{findings}");
}

/// Three sums that must agree: what counters say, what the ledger says, what the calls say.
async fn check_sums(house: &House, findings: &mut Findings) {
    let of_row = "h.budget_id = p.budget_id and h.period_key = p.period_key and h.subject = p.subject";
    let calls = |sum: &str| {
        format!(
            "select coalesce(sum({sum}), 0) from ai_call_holds h join ai_calls c on c.id = h.call_id where {of_row}"
        )
    };
    let ledger = format!(
        "select coalesce(sum(l.amount_nano), 0) from ai_call_holds h join cost_ledger l on l.call_id = h.call_id \
         where {of_row} and l.kind in {CHARGES}"
    );
    let open = format!(
        "select coalesce(sum(h.amount_nano), 0) from ai_call_holds h where {of_row} and h.closed_at_ms is null"
    );
    let assumed = calls("case when c.state = 'assumed' then c.settled_nano else 0 end");
    for (what, wrong) in [
        ("counters and ledger disagree", format!("p.spent_nano <> ({ledger})")),
        (
            "counters and calls disagree",
            format!("p.spent_nano <> ({})", calls("coalesce(c.settled_nano, 0)")),
        ),
        ("counters and open holds disagree", format!("p.held_nano <> ({open})")),
        ("a period counts other calls than it carries", format!("p.calls <> ({})", calls("1"))),
        ("what is uncertain is counted wrong", format!("p.assumed_nano <> ({assumed})")),
    ] {
        count(house, findings, what, &format!("budget_periods p where {wrong}")).await;
    }
    let charged = format!(
        "(select coalesce(sum(l.amount_nano), 0) from cost_ledger l where l.call_id = c.id and l.kind in {CHARGES})"
    );
    for (what, wrong) in [
        ("calls and ledger disagree", format!("ai_calls c where coalesce(c.settled_nano, 0) <> {charged}")),
        (
            "a call has not one reservation",
            "ai_calls c where c.reserved_nano <> (select sum(l.amount_nano) from cost_ledger l \
             where l.call_id = c.id and l.kind = 'reserve')"
                .to_owned(),
        ),
        (
            "the ledger knows a call that is not there",
            "cost_ledger l where not exists (select 1 from ai_calls c where c.id = l.call_id)".to_owned(),
        ),
        (
            "a call was charged beyond its hold",
            "ai_calls c where c.settled_nano > c.reserved_nano".to_owned(),
        ),
        (
            "a charge raised an alarm that is none",
            "ai_calls c where c.alarm is not null and c.alarm <> 'no_usage'".to_owned(),
        ),
    ] {
        count(house, findings, what, &wrong).await;
    }
}

/// When all is over nothing is held any more.
async fn check_books(house: &House, findings: &mut Findings) {
    check_sums(house, findings).await;
    let held = "budget_periods p where p.held_nano <> 0 or p.open_holds <> 0";
    count(house, findings, "a period holds money when all is over", held).await;
    let open = "ai_call_holds h where h.closed_at_ms is null";
    count(house, findings, "a hold is open when all is over", open).await;
}

async fn check_limits(house: &House, findings: &mut Findings) {
    let over = "budget_periods p join budgets b on b.id = p.budget_id where p.spent_nano + p.held_nano > b.limit_nano or p.overrun_nano > 0";
    count(house, findings, "a budget is over its limit", over).await;
    let alerts = "(select 1 from alert_outbox group by budget_id, period_key, subject, threshold_ppm having count(*) > 1) a";
    count(house, findings, "a threshold was told twice", alerts).await;
}

async fn count(house: &House, findings: &mut Findings, what: &str, from: &str) {
    let rows = house.number(&format!("select count(*) from {from}")).await;
    if rows > 0 {
        findings.add(what, format!("{rows} rows of {from}"));
    }
}

/// The provider's own bill against each limit, and against the calls whose answers brought an id.
async fn check_bill(house: &House, bill: &Bill, findings: &mut Findings) {
    let limits = house.limits;
    let mut at_most = |what: &str, whose: &str, amount: i64, limit: i64| {
        if amount == 0 {
            findings.add("nothing was served", whose);
        }
        if amount > limit {
            findings.add(what, format!("{whose}: {amount} of {limit} nanodollars"));
        }
    };
    at_most("the bill is over the day's limit", "all", bill.total_nano, limits.day_nano);
    let terra = sum(bill, |entry| entry.model == "gpt-6.1-terra");
    at_most("the bill is over the model's limit", "gpt-6.1-terra", terra, limits.terra_nano);
    for who in PAYERS {
        let amount = sum(bill, |entry| payer(&entry.asked) == who);
        at_most("the bill is over the key's limit", who, amount, limits.key_nano);
    }
    let mut of_jobs: BTreeMap<&str, i64> = BTreeMap::new();
    for entry in &bill.entries {
        *of_jobs.entry(label_of_job(&entry.asked)).or_default() += entry.amount_nano;
    }
    for (job, amount) in of_jobs {
        at_most("the bill is over the job's limit", job, amount, limits.job_nano);
    }
    let charged = house.spent().await;
    if bill.total_nano > charged {
        findings.add(
            "the provider charges more than the ledger says",
            format!("{} > {charged}", bill.total_nano),
        );
    }
    let billed: HashMap<&str, i64> =
        bill.entries.iter().map(|entry| (entry.id.as_str(), entry.amount_nano)).collect();
    let settled = house.settled().await;
    if settled.is_empty() {
        findings.add("nothing was settled, so nothing was shown", "");
    }
    for (id, amount) in settled {
        if billed.get(id.as_str()) != Some(&amount) {
            findings.add(
                "a call is not charged what the bill says",
                format!("{id}: {amount}, billed {:?}", billed.get(id.as_str())),
            );
        }
    }
}

fn sum(bill: &Bill, of: impl Fn(&Entry) -> bool) -> i64 {
    bill.entries.iter().filter(|entry| of(entry)).map(|entry| entry.amount_nano).sum()
}
