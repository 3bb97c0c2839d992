-- What AI calls may cost and did cost; the same tables as on SQLite. Amounts are whole nano-dollars.
-- A call holds its dearest price in every budget that binds it before it is sent, and settles into the same rows.

create table budgets (
    id text collate "C" not null primary key,
    scope_kind text not null,
    scope_id text collate "C" not null,
    scope_rank bigint not null,
    time_window text not null,
    zone text not null,
    limit_nano bigint not null,
    mode text not null,
    thresholds_ppm text not null,
    max_open_holds bigint,
    enabled boolean not null,
    deleted boolean not null,
    origin text not null,
    version bigint not null,
    created_at_ms bigint not null,
    updated_at_ms bigint not null,
    constraint budgets_limit_not_negative check (limit_nano >= 0),
    constraint budgets_mode check (mode in ('hard', 'soft', 'observe'))
);

-- One row: another token means that some budget is another one.
create table budget_head (
    one bigint not null primary key check (one = 1),
    token text not null
);

insert into budget_head (one, token) values (1, '');

-- The counters. A new period is a new row: nothing is ever reset. `subject` is whom a budget for each counts here.
create table budget_periods (
    budget_id text collate "C" not null,
    period_key text collate "C" not null,
    subject text collate "C" not null,
    scope_rank bigint not null,
    limit_nano bigint not null,
    spent_nano bigint not null,
    held_nano bigint not null,
    assumed_nano bigint not null,
    overrun_nano bigint not null,
    calls bigint not null,
    open_holds bigint not null,
    ends_at_ms bigint,
    updated_at_ms bigint not null,
    primary key (budget_id, period_key, subject),
    constraint budget_periods_not_negative check (limit_nano >= 0 and spent_nano >= 0 and held_nano >= 0
        and assumed_nano >= 0 and overrun_nano >= 0 and calls >= 0 and open_holds >= 0)
);

-- One row for each physical request.
create table ai_calls (
    id text collate "C" not null primary key,
    place text collate "C" not null,
    job_id text collate "C",
    root_job_id text collate "C",
    workflow text,
    step text,
    logical_call bigint,
    attempt bigint,
    key_id text,
    user_id text,
    tags text not null,
    provider text not null,
    model text not null,
    price_id text not null,
    terms text not null,
    tier text not null,
    state text not null,
    node text not null,
    lease_until_ms bigint,
    est_input bigint not null,
    est_output bigint not null,
    reserved_nano bigint not null,
    settled_nano bigint,
    corrections bigint not null,
    uncached_in bigint,
    cached_in bigint,
    write_short bigint,
    write_long bigint,
    write_any bigint,
    image_in bigint,
    audio_in bigint,
    out_said bigint,
    out_thought bigint,
    audio_out bigint,
    searches bigint,
    usage_raw text,
    provider_cost_nano bigint,
    provider_request_id text,
    http_status bigint,
    finish_reason text,
    failure text,
    alarm text,
    reserved_at_ms bigint not null,
    sent_at_ms bigint,
    settled_at_ms bigint,
    constraint ai_calls_state check (state in ('reserved', 'sent', 'settled', 'released', 'assumed')),
    constraint ai_calls_lease_iff_open check ((state in ('reserved', 'sent')) = (lease_until_ms is not null)),
    constraint ai_calls_charged_iff_over check ((state in ('reserved', 'sent')) = (settled_nano is null)),
    constraint ai_calls_amounts_not_negative check (reserved_nano >= 0 and coalesce(settled_nano, 0) >= 0)
);

-- One attempt of one logical call of one step is one row: whoever asks twice is told.
create unique index ai_calls_place on ai_calls (place);
create index ai_calls_open on ai_calls (lease_until_ms, id) where lease_until_ms is not null;
create index ai_calls_root_job on ai_calls (root_job_id, id) where root_job_id is not null;

-- Which counters carry a call. Rows are kept: they say where later corrections go.
create table ai_call_holds (
    call_id text collate "C" not null,
    budget_id text collate "C" not null,
    period_key text collate "C" not null,
    subject text collate "C" not null,
    amount_nano bigint not null,
    closed_at_ms bigint,
    primary key (call_id, budget_id, period_key, subject)
);

create index ai_call_holds_open on ai_call_holds (budget_id, call_id) where closed_at_ms is null;

-- Every movement of money, once.
create table cost_ledger (
    seq bigint not null generated always as identity primary key,
    call_id text collate "C" not null,
    kind text not null,
    correction bigint not null,
    amount_nano bigint not null,
    actor text not null,
    reason text,
    at_ms bigint not null,
    constraint cost_ledger_kind check (kind in ('reserve', 'settle', 'release', 'assume', 'adjust', 'overrun', 'cache_hit'))
);

create unique index cost_ledger_once on cost_ledger (call_id, kind, correction);

create function cost_ledger_is_append_only() returns trigger language plpgsql as $$
begin
    raise exception 'the ledger is append only';
end
$$;

create trigger cost_ledger_never_changed before update or delete or truncate on cost_ledger
    for each statement execute function cost_ledger_is_append_only();

-- Thresholds that were passed, each once a period.
create table alert_outbox (
    budget_id text collate "C" not null,
    period_key text collate "C" not null,
    subject text collate "C" not null,
    threshold_ppm bigint not null,
    spent_nano bigint not null,
    limit_nano bigint not null,
    at_ms bigint not null,
    closed_at_ms bigint,
    primary key (budget_id, period_key, subject, threshold_ppm)
);

create index alert_outbox_open on alert_outbox (at_ms) where closed_at_ms is null;

-- Price lists as they came in; at most one of a kind is active.
create table price_books (
    id text collate "C" not null primary key,
    kind text not null,
    source text not null,
    sha256 text not null,
    status text not null,
    content text not null,
    imported_at_ms bigint not null,
    activated_at_ms bigint,
    constraint price_books_kind check (kind in ('list', 'own')),
    constraint price_books_status check (status in ('draft', 'active', 'retired'))
);

create unique index price_books_one_active on price_books (kind) where status = 'active';

-- Prices by their content: a call's row names one, and it never changes.
create table model_prices (
    id text collate "C" not null primary key,
    provider text not null,
    model text not null,
    price text not null
);

-- The counters change with every call: room for the new version of a row on its page, and early cleaning.
alter table budget_periods set (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_limit = 2000);
alter table ai_calls set (fillfactor = 80);
alter table ai_call_holds set (fillfactor = 80);
