-- Which backups were made or tried, and by whom. The same table as on SQLite. The run of a day has the id `day:<midnight in ms>`, so
-- that one insert decides who makes it; runs that somebody asked for have a random one.

create table backup_runs (
    id text collate "C" not null primary key,
    name text not null,
    kind text not null,
    state text not null,
    node text not null,
    attempt bigint not null,
    started_at_ms bigint not null,
    finished_at_ms bigint,
    again_at_ms bigint,
    size_bytes bigint,
    uploaded boolean not null,
    error text,
    constraint backup_runs_kind check (kind in ('automatic', 'manual')),
    constraint backup_runs_state check (state in ('running', 'succeeded', 'failed')),
    constraint backup_runs_finished_iff_over check ((state = 'running') = (finished_at_ms is null))
);
