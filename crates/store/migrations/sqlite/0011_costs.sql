-- What AI calls cost and used, summed by the commit that charges them: by the quarter of an hour of their hold and by its
-- day (UTC), for each combination of what a call belongs to. So a report of a month reads sums and not calls. The same
-- tables as on PostgreSQL.

-- Its id is a hash of the rest. Nothing is '', no tags are '{}'.
create table cost_groups (
    id text not null primary key,
    workflow text not null,
    provider text not null,
    model text not null,
    key_id text not null,
    user_id text not null,
    tags text not null
) without rowid;

create index cost_groups_user on cost_groups (user_id) where user_id <> '';

-- No check says that sums are not negative: a correction is inserted as a difference, and a check would see that first.
create table cost_rollups (
    width_ms integer not null,
    start_ms integer not null,
    group_id text not null,
    calls integer not null,
    settled integer not null,
    released integer not null,
    assumed integer not null,
    cost_nano integer not null,
    assumed_nano integer not null,
    overrun_nano integer not null,
    uncached_in integer not null,
    cached_in integer not null,
    write_short integer not null,
    write_long integer not null,
    write_any integer not null,
    image_in integer not null,
    audio_in integer not null,
    out_said integer not null,
    out_thought integer not null,
    audio_out integer not null,
    searches integer not null,
    primary key (width_ms, start_ms, group_id)
) without rowid;

-- What each person cost in all.
create table user_costs (
    user_id text not null primary key,
    calls integer not null,
    cost_nano integer not null,
    updated_at_ms integer not null
) without rowid;

create index ai_calls_user on ai_calls (user_id, id) where user_id is not null;

-- What the provider said of how it was served, as far as it changes the price: some of the words region, fast, corrected.
alter table ai_calls add column served text;
