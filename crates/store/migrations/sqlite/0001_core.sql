-- The durable core. The same tables as on PostgreSQL, name by name; columns differ only in their type names.
-- A job is one row of `jobs`, written once, and exactly one row of either `live_jobs` (thin, changes often) or
-- `finished_jobs` (written once). WITHOUT ROWID: ids are UUIDs of version 7, so every table grows at its end.

create table jobs (
    id text not null primary key,
    workflow text not null,
    priority text not null,
    caller text not null,
    created_at_ms integer not null,
    run_at_ms integer,
    callback_url text,
    tags text not null,
    payload text not null
) without rowid;

create table live_jobs (
    id text not null primary key,
    workflow text not null,
    version integer,
    state text not null,
    sort_at_ms integer not null,
    due_at_ms integer,
    claim integer not null,
    node text,
    started_at_ms integer,
    deaths integer not null,
    constraint live_jobs_state_is_live check (state in ('queued', 'undefined', 'scheduled', 'running', 'waiting')),
    constraint live_jobs_node_iff_running check ((state = 'running') = (node is not null)),
    constraint live_jobs_due_iff_resting check ((state in ('scheduled', 'waiting')) = (due_at_ms is not null))
) without rowid;

-- The claim reads this and nothing else; a job that may not run is not in it.
create index live_jobs_queued on live_jobs (sort_at_ms, id) where state = 'queued';
create index live_jobs_due on live_jobs (due_at_ms, id) where due_at_ms is not null;
create index live_jobs_running on live_jobs (node) where state = 'running';
create index live_jobs_undefined on live_jobs (workflow, id) where state = 'undefined';

create table finished_jobs (
    id text not null primary key,
    state text not null,
    version integer,
    claim integer not null,
    deaths integer not null,
    started_at_ms integer,
    finished_at_ms integer not null,
    error text,
    result text,
    constraint finished_jobs_state_is_final check (state in ('succeeded', 'failed', 'cancelled', 'expired')),
    constraint finished_jobs_error_iff_failed check ((state = 'succeeded') = (error is null))
) without rowid;

-- Successes are the rule and are found by id; the others are few, and lists ask for them.
create index finished_jobs_not_succeeded on finished_jobs (state, id) where state <> 'succeeded';

create table steps (
    job_id text not null,
    step text not null,
    attempt integer not null,
    status text not null,
    started_at_ms integer not null,
    finished_at_ms integer,
    until_ms integer,
    error text,
    output text,
    primary key (job_id, step, attempt),
    constraint steps_status check (status in ('started', 'waiting', 'succeeded', 'skipped', 'failed', 'retried'))
) without rowid;

create table callbacks (
    id text not null primary key,
    job_id text not null,
    url text not null,
    host text not null,
    state text not null,
    created_at_ms integer not null,
    due_at_ms integer,
    attempt integer not null,
    round integer not null,
    body text not null,
    constraint callbacks_state check (state in ('due', 'delivered', 'gone', 'exhausted')),
    constraint callbacks_due_iff_pending check ((state = 'due') = (due_at_ms is not null))
) without rowid;

-- By receiver first: a claim goes from receiver to receiver, so a backlog of a dead one costs the others nothing.
create index callbacks_due on callbacks (host, due_at_ms, id) where due_at_ms is not null;
create index callbacks_job on callbacks (job_id, created_at_ms);

create table callback_tries (
    callback_id text not null,
    attempt integer not null,
    at_ms integer not null,
    duration_ms integer not null,
    status integer,
    error text,
    primary key (callback_id, attempt)
) without rowid;

create table idempotency_keys (
    caller text not null,
    key text not null,
    body_hash text not null,
    job_id text not null,
    created_at_ms integer not null,
    primary key (caller, key)
) without rowid;

create index idempotency_keys_age on idempotency_keys (created_at_ms);

create table workflows (
    name text not null primary key,
    version integer not null,
    deleted boolean not null,
    updated_at_ms integer not null
) without rowid;

create table workflow_versions (
    name text not null,
    version integer not null,
    origin text not null,
    created_at_ms integer not null,
    source text not null,
    primary key (name, version)
) without rowid;

create table settings (
    name text not null primary key,
    value text not null
) without rowid;

-- Counted by the committing verbs, so that no request counts history. `shard` spreads the hot row on PostgreSQL.
create table rollups (
    hour_ms integer not null,
    kind text not null,
    shard integer not null,
    n integer not null,
    primary key (hour_ms, kind, shard)
) without rowid;

create table up_minutes (
    minute_ms integer not null primary key
);
