-- The durable core. The same tables as on SQLite, name by name; columns differ only in their type names.
-- A job is one row of `jobs`, written once, and exactly one row of either `live_jobs` (thin, changes often) or
-- `finished_jobs` (written once). Keys compare by their bytes: as on SQLite, and a third cheaper than in a human language.

create table jobs (
    id text collate "C" not null primary key,
    workflow text collate "C" not null,
    priority text not null,
    caller text collate "C" not null,
    created_at_ms bigint not null,
    run_at_ms bigint,
    callback_url text,
    tags text not null,
    payload text not null
);

create table live_jobs (
    id text collate "C" not null primary key,
    workflow text collate "C" not null,
    version bigint,
    state text not null,
    sort_at_ms bigint not null,
    due_at_ms bigint,
    claim bigint not null,
    node text,
    started_at_ms bigint,
    deaths bigint not null,
    constraint live_jobs_state_is_live check (state in ('queued', 'undefined', 'scheduled', 'running', 'waiting')),
    constraint live_jobs_node_iff_running check ((state = 'running') = (node is not null)),
    constraint live_jobs_due_iff_resting check ((state in ('scheduled', 'waiting')) = (due_at_ms is not null))
);

-- The claim reads this and nothing else; a job that may not run is not in it.
create index live_jobs_queued on live_jobs (sort_at_ms, id) where state = 'queued';
create index live_jobs_due on live_jobs (due_at_ms, id) where due_at_ms is not null;
create index live_jobs_running on live_jobs (node) where state = 'running';
create index live_jobs_undefined on live_jobs (workflow, id) where state = 'undefined';

create table finished_jobs (
    id text collate "C" not null primary key,
    state text not null,
    version bigint,
    claim bigint not null,
    deaths bigint not null,
    started_at_ms bigint,
    finished_at_ms bigint not null,
    error text,
    result text,
    constraint finished_jobs_state_is_final check (state in ('succeeded', 'failed', 'cancelled', 'expired')),
    constraint finished_jobs_error_iff_failed check ((state = 'succeeded') = (error is null))
);

-- Successes are the rule and are found by id; the others are few, and lists ask for them.
create index finished_jobs_not_succeeded on finished_jobs (state, id) where state <> 'succeeded';

create table steps (
    job_id text collate "C" not null,
    step text collate "C" not null,
    attempt bigint not null,
    status text not null,
    started_at_ms bigint not null,
    finished_at_ms bigint,
    until_ms bigint,
    error text,
    output text,
    primary key (job_id, step, attempt),
    constraint steps_status check (status in ('started', 'waiting', 'succeeded', 'skipped', 'failed', 'retried'))
);

create table callbacks (
    id text collate "C" not null primary key,
    job_id text collate "C" not null,
    url text not null,
    host text collate "C" not null,
    state text not null,
    created_at_ms bigint not null,
    due_at_ms bigint,
    attempt bigint not null,
    round bigint not null,
    body text not null,
    constraint callbacks_state check (state in ('due', 'delivered', 'gone', 'exhausted')),
    constraint callbacks_due_iff_pending check ((state = 'due') = (due_at_ms is not null))
);

-- By receiver first: a claim goes from receiver to receiver, so a backlog of a dead one costs the others nothing.
create index callbacks_due on callbacks (host, due_at_ms, id) where due_at_ms is not null;
create index callbacks_job on callbacks (job_id, created_at_ms);

create table callback_tries (
    callback_id text collate "C" not null,
    attempt bigint not null,
    at_ms bigint not null,
    duration_ms bigint not null,
    status bigint,
    error text,
    primary key (callback_id, attempt)
);

create table idempotency_keys (
    caller text collate "C" not null,
    key text collate "C" not null,
    body_hash text not null,
    job_id text collate "C" not null,
    created_at_ms bigint not null,
    primary key (caller, key)
);

create index idempotency_keys_age on idempotency_keys (created_at_ms);

create table workflows (
    name text collate "C" not null primary key,
    version bigint not null,
    deleted boolean not null,
    updated_at_ms bigint not null
);

create table workflow_versions (
    name text collate "C" not null,
    version bigint not null,
    origin text not null,
    created_at_ms bigint not null,
    source text not null,
    primary key (name, version)
);

create table settings (
    name text collate "C" not null primary key,
    value text not null
);

-- Counted by the committing verbs, so that no request counts history. `shard` spreads the hot row on PostgreSQL.
create table rollups (
    hour_ms bigint not null,
    kind text not null,
    shard bigint not null,
    n bigint not null,
    primary key (hour_ms, kind, shard)
);

create table up_minutes (
    minute_ms bigint not null primary key
);

-- PostgreSQL only: liveness of nodes, by the database's clock. One row a node, not one a job.
create table nodes (
    id text collate "C" not null primary key,
    beat_at_ms bigint not null
);

-- Rows of live_jobs change often and are deleted soon: leave room for in-page updates and vacuum early.
alter table live_jobs set (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_limit = 2000);
