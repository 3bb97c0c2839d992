-- What AI calls may cost and did cost; the same tables as on PostgreSQL. Amounts are whole nano-dollars.
-- A call holds its dearest price in every budget that binds it before it is sent, and settles into the same rows.

create table budgets (
    id text not null primary key,
    scope_kind text not null,
    scope_id text not null,
    scope_rank integer not null,
    time_window text not null,
    zone text not null,
    limit_nano integer not null,
    mode text not null,
    thresholds_ppm text not null,
    max_open_holds integer,
    enabled boolean not null,
    deleted boolean not null,
    origin text not null,
    version integer not null,
    created_at_ms integer not null,
    updated_at_ms integer not null,
    constraint budgets_limit_not_negative check (limit_nano >= 0),
    constraint budgets_mode check (mode in ('hard', 'soft', 'observe'))
) without rowid;

-- One row: another token means that some budget is another one.
create table budget_head (
    one integer not null primary key check (one = 1),
    token text not null
);

insert into budget_head (one, token) values (1, '');

-- The counters. A new period is a new row: nothing is ever reset. `subject` is whom a budget for each counts here.
create table budget_periods (
    budget_id text not null,
    period_key text not null,
    subject text not null,
    scope_rank integer not null,
    limit_nano integer not null,
    spent_nano integer not null,
    held_nano integer not null,
    assumed_nano integer not null,
    overrun_nano integer not null,
    calls integer not null,
    open_holds integer not null,
    ends_at_ms integer,
    updated_at_ms integer not null,
    primary key (budget_id, period_key, subject),
    constraint budget_periods_not_negative check (limit_nano >= 0 and spent_nano >= 0 and held_nano >= 0
        and assumed_nano >= 0 and overrun_nano >= 0 and calls >= 0 and open_holds >= 0)
) without rowid;

-- One row for each physical request.
create table ai_calls (
    id text not null primary key,
    place text not null,
    job_id text,
    root_job_id text,
    workflow text,
    step text,
    logical_call integer,
    attempt integer,
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
    lease_until_ms integer,
    est_input integer not null,
    est_output integer not null,
    reserved_nano integer not null,
    settled_nano integer,
    corrections integer not null,
    uncached_in integer,
    cached_in integer,
    write_short integer,
    write_long integer,
    write_any integer,
    image_in integer,
    audio_in integer,
    out_said integer,
    out_thought integer,
    audio_out integer,
    searches integer,
    usage_raw text,
    provider_cost_nano integer,
    provider_request_id text,
    http_status integer,
    finish_reason text,
    failure text,
    alarm text,
    reserved_at_ms integer not null,
    sent_at_ms integer,
    settled_at_ms integer,
    constraint ai_calls_state check (state in ('reserved', 'sent', 'settled', 'released', 'assumed')),
    constraint ai_calls_lease_iff_open check ((state in ('reserved', 'sent')) = (lease_until_ms is not null)),
    constraint ai_calls_charged_iff_over check ((state in ('reserved', 'sent')) = (settled_nano is null)),
    constraint ai_calls_amounts_not_negative check (reserved_nano >= 0 and coalesce(settled_nano, 0) >= 0)
) without rowid;

-- One attempt of one logical call of one step is one row: whoever asks twice is told.
create unique index ai_calls_place on ai_calls (place);
create index ai_calls_open on ai_calls (lease_until_ms, id) where lease_until_ms is not null;
create index ai_calls_root_job on ai_calls (root_job_id, id) where root_job_id is not null;

-- Which counters carry a call. Rows are kept: they say where later corrections go.
create table ai_call_holds (
    call_id text not null,
    budget_id text not null,
    period_key text not null,
    subject text not null,
    amount_nano integer not null,
    closed_at_ms integer,
    primary key (call_id, budget_id, period_key, subject)
) without rowid;

create index ai_call_holds_open on ai_call_holds (budget_id, call_id) where closed_at_ms is null;

-- Every movement of money, once.
create table cost_ledger (
    seq integer not null primary key autoincrement,
    call_id text not null,
    kind text not null,
    correction integer not null,
    amount_nano integer not null,
    actor text not null,
    reason text,
    at_ms integer not null,
    constraint cost_ledger_kind check (kind in ('reserve', 'settle', 'release', 'assume', 'adjust', 'overrun', 'cache_hit'))
);

create unique index cost_ledger_once on cost_ledger (call_id, kind, correction);

create trigger cost_ledger_never_updated before update on cost_ledger
begin
    select raise(abort, 'the ledger is append only');
end;

create trigger cost_ledger_never_deleted before delete on cost_ledger
begin
    select raise(abort, 'the ledger is append only');
end;

-- Thresholds that were passed, each once a period.
create table alert_outbox (
    budget_id text not null,
    period_key text not null,
    subject text not null,
    threshold_ppm integer not null,
    spent_nano integer not null,
    limit_nano integer not null,
    at_ms integer not null,
    closed_at_ms integer,
    primary key (budget_id, period_key, subject, threshold_ppm)
) without rowid;

create index alert_outbox_open on alert_outbox (at_ms) where closed_at_ms is null;

-- Price lists as they came in; at most one of a kind is active.
create table price_books (
    id text not null primary key,
    kind text not null,
    source text not null,
    sha256 text not null,
    status text not null,
    content text not null,
    imported_at_ms integer not null,
    activated_at_ms integer,
    constraint price_books_kind check (kind in ('list', 'own')),
    constraint price_books_status check (status in ('draft', 'active', 'retired'))
) without rowid;

create unique index price_books_one_active on price_books (kind) where status = 'active';

-- Prices by their content: a call's row names one, and it never changes.
create table model_prices (
    id text not null primary key,
    provider text not null,
    model text not null,
    price text not null
) without rowid;
