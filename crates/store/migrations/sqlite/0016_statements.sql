-- What providers say a day (UTC) cost, beside what our books say. The same tables as on PostgreSQL.

create table provider_statements (
    provider text not null,
    day_ms integer not null,
    stated_nano integer not null,
    booked_nano integer not null,
    drift_ppm integer not null,
    fetched_at_ms integer not null,
    primary key (provider, day_ms)
) without rowid;

create index provider_statements_day on provider_statements (day_ms, provider);

-- The daily comparison: one node makes it.
create table statement_runs (
    day_ms integer not null primary key,
    attempt integer not null,
    started_at_ms integer not null,
    -- Not before this time again; null once it is done.
    again_at_ms integer
) without rowid;
