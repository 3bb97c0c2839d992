//! What calls cost and used, by period and by what they belong to. Reads the sums of [`super::rollups`], never the calls.
//!
//! Invariant: no request reads more than [`ROWS_MOST`] sums or gets more than [`LINES_MOST`] lines; what would is told so.
//! Whole days (UTC) are read as days, the rest as quarters of an hour, so a report of a year is as cheap as one of a week.

use levqor_core::money::{Nano, Usage};
use serde_json::json;

use super::rollups::{DAY_MS, QUARTER_MS};
use crate::tx::{Row, Sql, Tx};
use crate::{Error, Result, Store};

/// Sums that one report reads at most.
pub const ROWS_MOST: i64 = 200_000;
/// Lines that one report has at most.
pub const LINES_MOST: i64 = 10_000;

/// What is told apart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CostBy {
    pub workflow: bool,
    pub provider: bool,
    /// With its provider.
    pub model: bool,
    pub key: bool,
    pub user: bool,
    /// The values of this tag.
    pub tag: Option<String>,
}

/// Only calls that belong to all of these.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CostFilter {
    pub workflow: Option<String>,
    pub provider: Option<String>,
    pub model: Option<String>,
    pub key: Option<String>,
    pub user: Option<String>,
    pub tag: Option<(String, String)>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CostQuestion {
    /// From and until, in milliseconds, whole quarters of an hour; they do not overlap.
    pub periods: Vec<(i64, i64)>,
    pub by: CostBy,
    pub only: CostFilter,
}

/// Sums over calls that are over.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CostSums {
    pub calls: i64,
    pub settled: i64,
    pub released: i64,
    pub assumed: i64,
    pub cost: Nano,
    /// The part of it that nobody knows for sure.
    pub assumed_cost: Nano,
    /// The part of it beyond what was held.
    pub overrun: Nano,
    /// Of calls whose provider told what was used.
    pub usage: Usage,
}

/// `None` where calls belong to nothing of the kind, and where it is not told apart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CostLine {
    /// Which of the periods.
    pub period: usize,
    pub workflow: Option<String>,
    pub provider: Option<String>,
    pub model: Option<String>,
    pub key: Option<String>,
    pub user: Option<String>,
    /// The value of the tag.
    pub tag: Option<String>,
    pub sums: CostSums,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CostReport {
    /// In the order of periods and names; periods without calls have none.
    Lines(Vec<CostLine>),
    /// More than [`ROWS_MOST`] sums would have to be read.
    TooWide,
    /// More than [`LINES_MOST`] lines would come out.
    TooLong,
}

impl CostSums {
    /// Saturates like the counters: a sum beyond the end of a number is none.
    pub fn add(&mut self, more: &CostSums) {
        self.calls += more.calls;
        self.settled += more.settled;
        self.released += more.released;
        self.assumed += more.assumed;
        let plus = |sum: &mut Nano, more: Nano| *sum = Nano::new(sum.get().saturating_add(more.get()));
        plus(&mut self.cost, more.cost);
        plus(&mut self.assumed_cost, more.assumed_cost);
        plus(&mut self.overrun, more.overrun);
        let (sum, more) = (&mut self.usage, &more.usage);
        for (sum, more) in [
            (&mut sum.uncached_in, more.uncached_in),
            (&mut sum.cached_in, more.cached_in),
            (&mut sum.write_short, more.write_short),
            (&mut sum.write_long, more.write_long),
            (&mut sum.write_any, more.write_any),
            (&mut sum.image_in, more.image_in),
            (&mut sum.audio_in, more.audio_in),
            (&mut sum.out, more.out),
            (&mut sum.reasoning, more.reasoning),
            (&mut sum.audio_out, more.audio_out),
            (&mut sum.searches, more.searches),
        ] {
            *sum = sum.saturating_add(more);
        }
    }
}

// One stretch after the other, each by the primary key, whatever the planner thinks of the sizes: the order of a cross join
// is kept by SQLite, and an offset keeps PostgreSQL from joining what it should look up.
macro_rules! from_sqlite {
    () => {
        "from json_each($1) s cross join cost_rollups r on r.width_ms = s.value ->> 'w' \
         and r.start_ms >= s.value ->> 'f' and r.start_ms < s.value ->> 'u'"
    };
}

macro_rules! from_postgres {
    () => {
        "from jsonb_to_recordset($1::text::jsonb) as s (p bigint, w bigint, f bigint, u bigint) cross join lateral \
         (select * from cost_rollups where width_ms = s.w and start_ms >= s.f and start_ms < s.u offset 0) r"
    };
}

// Differs because lists are taken apart differently.
const COUNT: Sql = Sql::Each {
    sqlite: concat!("select count(*) from (select 1 ", from_sqlite!(), " limit $2) found"),
    postgres: concat!("select count(*) from (select 1 ", from_postgres!(), " limit $2) found"),
};

macro_rules! report {
    ($period:literal, $from:ident, $tag:literal, $tag_only:literal) => {
        concat!(
            "select ",
            $period,
            ", case when $2 then g.workflow end, case when $3 then g.provider end, case when $4 then g.model end, \
             case when $5 then g.key_id end, case when $6 then g.user_id end, ",
            $tag,
            ", cast(sum(r.calls) as bigint), cast(sum(r.settled) as bigint), cast(sum(r.released) as bigint), \
             cast(sum(r.assumed) as bigint), cast(sum(r.cost_nano) as bigint), cast(sum(r.assumed_nano) as bigint), \
             cast(sum(r.overrun_nano) as bigint), cast(sum(r.uncached_in) as bigint), cast(sum(r.cached_in) as bigint), \
             cast(sum(r.write_short) as bigint), cast(sum(r.write_long) as bigint), cast(sum(r.write_any) as bigint), \
             cast(sum(r.image_in) as bigint), cast(sum(r.audio_in) as bigint), cast(sum(r.out_said) as bigint), \
             cast(sum(r.out_thought) as bigint), cast(sum(r.audio_out) as bigint), cast(sum(r.searches) as bigint) ",
            $from!(),
            " join cost_groups g on g.id = r.group_id \
             where (cast($8 as text) is null or g.workflow = $8) and (cast($9 as text) is null or g.provider = $9) \
             and (cast($10 as text) is null or g.model = $10) and (cast($11 as text) is null or g.key_id = $11) \
             and (cast($12 as text) is null or g.user_id = $12) and (cast($13 as text) is null or ",
            $tag_only,
            " = $14) group by 1, 2, 3, 4, 5, 6, 7 order by 1, 2, 3, 4, 5, 6, 7 limit $15"
        )
    };
}

// Differs because lists and objects are taken apart differently.
const REPORT: Sql = Sql::Each {
    sqlite: report!(
        "s.value ->> 'p'",
        from_sqlite,
        "case when $7 is not null then (select t.value from json_each(g.tags) t where t.key = $7) end",
        "(select t.value from json_each(g.tags) t where t.key = $13)"
    ),
    postgres: report!(
        "s.p",
        from_postgres,
        "case when cast($7 as text) is not null then g.tags::jsonb ->> cast($7 as text) end collate \"C\"",
        "(g.tags::jsonb ->> cast($13 as text))"
    ),
};

impl Store {
    /// Sums what calls cost and used that were held in these periods.
    pub async fn cost_report(&self, question: &CostQuestion) -> Result<CostReport> {
        let question = std::sync::Arc::new(question.clone());
        self.read(move |tx| {
            let question = question.clone();
            Box::pin(async move { report(tx, &question).await })
        })
        .await
    }
}

async fn report(tx: &mut Tx<'_>, question: &CostQuestion) -> Result<CostReport> {
    let segments = question.periods.iter().enumerate().flat_map(|(period, (from_ms, until_ms))| {
        segments(*from_ms, *until_ms).into_iter().map(move |(width_ms, from_ms, until_ms)| {
            json!({ "p": period, "w": width_ms, "f": from_ms, "u": until_ms })
        })
    });
    let segments = serde_json::Value::from_iter(segments).to_string();
    let rows = tx.query_opt(COUNT, &[(&segments).into(), (ROWS_MOST + 1).into()]).await?;
    if rows.map_or(Ok(0), |row| row.int(0))? > ROWS_MOST {
        return Ok(CostReport::TooWide);
    }
    let (by, only) = (&question.by, &question.only);
    let values = [
        (&segments).into(),
        by.workflow.into(),
        (by.provider || by.model).into(),
        by.model.into(),
        by.key.into(),
        by.user.into(),
        by.tag.as_ref().into(),
        only.workflow.as_ref().into(),
        only.provider.as_ref().into(),
        only.model.as_ref().into(),
        only.key.as_ref().into(),
        only.user.as_ref().into(),
        only.tag.as_ref().map(|(name, _)| name).into(),
        only.tag.as_ref().map(|(_, value)| value).into(),
        (LINES_MOST + 1).into(),
    ];
    let rows = tx.query(REPORT, &values).await?;
    if rows.len() as i64 > LINES_MOST {
        return Ok(CostReport::TooLong);
    }
    Ok(CostReport::Lines(rows.iter().map(line).collect::<Result<_>>()?))
}

/// As few stretches as cover it: width, from, until.
fn segments(from_ms: i64, until_ms: i64) -> Vec<(i64, i64, i64)> {
    let last_day_ms = until_ms - until_ms.rem_euclid(DAY_MS);
    let first_day_ms = from_ms + (DAY_MS - from_ms.rem_euclid(DAY_MS)) % DAY_MS;
    if first_day_ms >= last_day_ms {
        return vec![(QUARTER_MS, from_ms, until_ms)];
    }
    let all = [
        (QUARTER_MS, from_ms, first_day_ms),
        (DAY_MS, first_day_ms, last_day_ms),
        (QUARTER_MS, last_day_ms, until_ms),
    ];
    all.into_iter().filter(|(_, from_ms, until_ms)| from_ms < until_ms).collect()
}

fn line(row: &Row) -> Result<CostLine> {
    // What belongs to nothing is stored as an empty text; a tag may have one.
    let named = |column| Ok::<_, Error>(row.opt_text(column)?.filter(|text| !text.is_empty()));
    Ok(CostLine {
        period: usize::try_from(row.int(0)?).map_err(|_| Error::bug("a period before the first"))?,
        workflow: named(1)?,
        provider: named(2)?,
        model: named(3)?,
        key: named(4)?,
        user: named(5)?,
        tag: row.opt_text(6)?,
        sums: sums(row, 7)?,
    })
}

fn sums(row: &Row, first: usize) -> Result<CostSums> {
    let class = |at: usize| Ok::<_, Error>(u64::try_from(row.int(first + at)?).unwrap_or(0));
    Ok(CostSums {
        calls: row.int(first)?,
        settled: row.int(first + 1)?,
        released: row.int(first + 2)?,
        assumed: row.int(first + 3)?,
        cost: Nano::new(row.int(first + 4)?),
        assumed_cost: Nano::new(row.int(first + 5)?),
        overrun: Nano::new(row.int(first + 6)?),
        usage: Usage {
            uncached_in: class(7)?,
            cached_in: class(8)?,
            write_short: class(9)?,
            write_long: class(10)?,
            write_any: class(11)?,
            image_in: class(12)?,
            audio_in: class(13)?,
            out: class(14)?,
            reasoning: class(15)?,
            audio_out: class(16)?,
            searches: class(17)?,
            ..Usage::default()
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_days_are_read_as_days_and_the_rest_as_quarters_of_an_hour() {
        let (day, quarter, hour) = (DAY_MS, QUARTER_MS, 4 * QUARTER_MS);
        assert_eq!(segments(0, day), [(day, 0, day)]);
        assert_eq!(segments(0, 30 * day), [(day, 0, 30 * day)]);
        assert_eq!(segments(hour, day + hour), [(quarter, hour, day + hour)], "no whole day lies in it");
        assert_eq!(
            segments(day - hour, 3 * day + hour),
            [(quarter, day - hour, day), (day, day, 3 * day), (quarter, 3 * day, 3 * day + hour)]
        );
        assert_eq!(segments(day - hour, 2 * day), [(quarter, day - hour, day), (day, day, 2 * day)]);
        assert_eq!(segments(quarter, quarter), [(quarter, quarter, quarter)], "nothing is read of nothing");
    }
}
