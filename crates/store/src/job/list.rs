//! Lists jobs, newest first, page by page. A page examines a bounded number of rows, so that no filter makes a request
//! walk through history: one that finds little returns with a cursor instead.
//!
//! States have indexes: live jobs, and the few that did not succeed. Workflow and tags have none.

use levqor_core::id::JobId;
use levqor_core::state::State;

use crate::tx::{Row, Tx, Value};
use crate::{JobFilter, JobLine, JobPage, Result, decode};

/// Rows examined for one page at most, give or take a chunk.
const EXAMINED_MOST: usize = 2_000;
/// Rows read at a time where a filter drops some of them.
const CHUNK: usize = 500;
/// Sorts after every id: no UUID of version 7 looks like this.
const AFTER_ALL: &str = "ffffffffffffffffffffffffffffffff";

macro_rules! line_columns {
    () => {
        "j.id, j.workflow, j.priority, j.tags, j.created_at_ms, coalesce(l.state, f.state), \
         coalesce(l.version, f.version), coalesce(l.started_at_ms, f.started_at_ms), l.due_at_ms, f.finished_at_ms"
    };
}
pub(super) use line_columns;

pub(super) const LINE_COLUMNS_COUNT: usize = 10;

const ALL: &str = concat!(
    "select ",
    line_columns!(),
    " from jobs j left join live_jobs l on l.id = j.id left join finished_jobs f on f.id = j.id \
     where j.id < $1 and j.id >= $2 order by j.id desc limit $3"
);

const LIVE: &str = concat!(
    "select ",
    line_columns!(),
    " from live_jobs l join jobs j on j.id = l.id left join finished_jobs f on f.id = l.id \
     where l.id < $1 and l.id >= $2 order by l.id desc limit $3"
);

const NOT_SUCCEEDED: &str = concat!(
    "select ",
    line_columns!(),
    " from finished_jobs f join jobs j on j.id = f.id left join live_jobs l on l.id = f.id \
     where f.id < $1 and f.id >= $2 and f.state = $4 and f.state <> 'succeeded' order by f.id desc limit $3"
);

/// Where the rows of a page come from.
enum Source {
    All,
    Live,
    /// One index range per state.
    NotSucceeded(Vec<State>),
}

pub(crate) async fn jobs(tx: &mut Tx<'_>, filter: &JobFilter) -> Result<JobPage> {
    let states: Vec<State> = State::ALL.into_iter().filter(|state| shows(filter, *state)).collect();
    if states.is_empty() {
        return Ok(JobPage { jobs: Vec::new(), next: None });
    }
    let source = source(&states);
    let floor = filter.created_from_ms.map_or(String::new(), |at_ms| JobId::floor(at_ms).to_string());
    let until = filter.created_until_ms.map(JobId::floor);
    let mut cursor = match (filter.before, until) {
        (Some(before), Some(until)) => before.min(until).to_string(),
        (Some(one), None) | (None, Some(one)) => one.to_string(),
        (None, None) => AFTER_ALL.to_owned(),
    };
    // One more than asked for tells whether there is a next page.
    let drops = filter.workflow.is_some() || !filter.tags.is_empty() || states.len() < State::ALL.len();
    let chunk = if drops { CHUNK.max(filter.limit + 1) } else { filter.limit + 1 };
    let (mut jobs, mut examined) = (Vec::new(), 0);
    loop {
        let (lines, exhausted) = fetch(tx, &source, &cursor, &floor, chunk).await?;
        let fetched = lines.len();
        for (position, line) in lines.into_iter().enumerate() {
            let id = line.id;
            cursor = id.to_string();
            if states.contains(&line.state) && matches(filter, &line) {
                jobs.push(line);
            }
            if jobs.len() == filter.limit {
                let more = !exhausted || position + 1 < fetched;
                return Ok(JobPage { jobs, next: more.then_some(id) });
            }
        }
        examined += fetched;
        if exhausted {
            return Ok(JobPage { jobs, next: None });
        }
        if examined >= EXAMINED_MOST {
            return Ok(JobPage { jobs, next: Some(decode::job_id(&cursor)?) });
        }
    }
}

/// `queued` asks for what the API calls so: undefined jobs too.
fn shows(filter: &JobFilter, state: State) -> bool {
    filter.status.is_none_or(|status| state.status() == status)
        && filter.state.is_none_or(|wanted| state == wanted || state.public() == wanted.as_str())
}

fn source(states: &[State]) -> Source {
    if states.iter().all(|state| !state.is_final()) {
        Source::Live
    } else if states.iter().all(|state| state.is_final() && *state != State::Succeeded) {
        Source::NotSucceeded(states.to_vec())
    } else {
        Source::All
    }
}

fn matches(filter: &JobFilter, line: &JobLine) -> bool {
    filter.workflow.as_ref().is_none_or(|workflow| line.workflow == *workflow)
        && filter.tags.iter().all(|(name, value)| line.tags.get(name) == Some(value))
}

/// The next lines below `cursor`, newest first, and whether there are none after them.
async fn fetch(
    tx: &mut Tx<'_>,
    source: &Source,
    cursor: &str,
    floor: &str,
    chunk: usize,
) -> Result<(Vec<JobLine>, bool)> {
    let bounds: [Value<'_>; 3] = [cursor.into(), floor.into(), (chunk as i64).into()];
    let text = match source {
        Source::All => ALL,
        Source::Live => LIVE,
        Source::NotSucceeded(states) => return merge(tx, states, bounds, chunk).await,
    };
    let rows = tx.query(text, &bounds).await?;
    let exhausted = rows.len() < chunk;
    Ok((rows.iter().map(line).collect::<Result<_>>()?, exhausted))
}

/// Below the last row of a state whose chunk came back full, others of that state may hide: the merged rows end there.
async fn merge(
    tx: &mut Tx<'_>,
    states: &[State],
    bounds: [Value<'_>; 3],
    chunk: usize,
) -> Result<(Vec<JobLine>, bool)> {
    let (mut lines, mut horizon) = (Vec::new(), None);
    let [cursor, floor, limit] = bounds;
    for state in states {
        let rows = tx.query(NOT_SUCCEEDED, &[cursor, floor, limit, state.as_str().into()]).await?;
        let of_state: Vec<JobLine> = rows.iter().map(line).collect::<Result<_>>()?;
        if rows.len() == chunk {
            horizon = horizon.max(of_state.last().map(|line| line.id));
        }
        lines.extend(of_state);
    }
    lines.sort_unstable_by_key(|line| std::cmp::Reverse(line.id));
    if let Some(horizon) = horizon {
        lines.retain(|line| line.id >= horizon);
    }
    Ok((lines, horizon.is_none()))
}

/// Reads the columns of `line_columns!`.
pub(super) fn line(row: &Row) -> Result<JobLine> {
    Ok(JobLine {
        id: decode::job_id(&row.text(0)?)?,
        workflow: row.text(1)?,
        priority: decode::priority(&row.text(2)?)?,
        tags: decode::tags(&row.text(3)?)?,
        created_at_ms: row.int(4)?,
        state: decode::state(&row.text(5)?)?,
        version: row.opt_int(6)?,
        started_at_ms: row.opt_int(7)?,
        due_at_ms: row.opt_int(8)?,
        finished_at_ms: row.opt_int(9)?,
    })
}
