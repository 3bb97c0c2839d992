-- What people's AI calls cost, told to the payment service: whole micro-dollars, each once. The same tables as on SQLite.

-- Of `cost_nano` so many micro-dollars are in events, told, or in doubt. What is left of a micro-dollar waits for more.
alter table user_costs add column metered_micro bigint not null default 0;
alter table user_costs add column told_micro bigint not null default 0;
alter table user_costs add column doubted_micro bigint not null default 0;

-- Its id is what the payment service knows it by.
create table meter_events (
    id text collate "C" not null primary key,
    user_id text collate "C",
    customer text,
    value_micro bigint not null,
    state text not null,
    tries bigint not null,
    error text,
    created_at_ms bigint not null,
    -- Since when it may have arrived without our knowing.
    doubt_since_ms bigint,
    -- Nobody else tries before.
    again_at_ms bigint not null,
    told_at_ms bigint,
    constraint meter_events_state check (state in ('pending', 'told', 'doubted', 'dropped'))
);

create index meter_events_pending on meter_events (again_at_ms, id) where state = 'pending';
create index meter_events_user on meter_events (user_id, created_at_ms) where user_id is not null;
