-- What providers say a day (UTC) cost, beside what our books say. The same tables as on SQLite.

create table provider_statements (
    provider text collate "C" not null,
    day_ms bigint not null,
    stated_nano bigint not null,
    booked_nano bigint not null,
    drift_ppm bigint not null,
    fetched_at_ms bigint not null,
    primary key (provider, day_ms)
);

create index provider_statements_day on provider_statements (day_ms, provider);

-- The daily comparison: one node makes it.
create table statement_runs (
    day_ms bigint not null primary key,
    attempt bigint not null,
    started_at_ms bigint not null,
    -- Not before this time again; null once it is done.
    again_at_ms bigint
);
