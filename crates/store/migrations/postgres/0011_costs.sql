-- What AI calls cost and used, summed by the commit that charges them: by the quarter of an hour of their hold and by its
-- day (UTC), for each combination of what a call belongs to. So a report of a month reads sums and not calls. The same
-- tables as on SQLite.

-- Its id is a hash of the rest. Nothing is '', no tags are '{}'.
create table cost_groups (
    id text collate "C" not null primary key,
    workflow text collate "C" not null,
    provider text collate "C" not null,
    model text collate "C" not null,
    key_id text collate "C" not null,
    user_id text collate "C" not null,
    tags text collate "C" not null
);

create index cost_groups_user on cost_groups (user_id) where user_id <> '';

-- No check says that sums are not negative: a correction is inserted as a difference, and a check would see that first.
create table cost_rollups (
    width_ms bigint not null,
    start_ms bigint not null,
    group_id text collate "C" not null,
    calls bigint not null,
    settled bigint not null,
    released bigint not null,
    assumed bigint not null,
    cost_nano bigint not null,
    assumed_nano bigint not null,
    overrun_nano bigint not null,
    uncached_in bigint not null,
    cached_in bigint not null,
    write_short bigint not null,
    write_long bigint not null,
    write_any bigint not null,
    image_in bigint not null,
    audio_in bigint not null,
    out_said bigint not null,
    out_thought bigint not null,
    audio_out bigint not null,
    searches bigint not null,
    primary key (width_ms, start_ms, group_id)
);

-- What each person cost in all.
create table user_costs (
    user_id text collate "C" not null primary key,
    calls bigint not null,
    cost_nano bigint not null,
    updated_at_ms bigint not null
);

create index ai_calls_user on ai_calls (user_id, id) where user_id is not null;

-- What the provider said of how it was served, as far as it changes the price: some of the words region, fast, corrected.
alter table ai_calls add column served text;
