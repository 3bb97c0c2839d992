-- Every try to send a mail, and who was to get it. Ids sort by time, like those of jobs. The same tables as on PostgreSQL.

create table email_tries (
    id text not null primary key,
    job_id text not null,
    step text not null,
    attempt integer not null,
    at_ms integer not null,
    finished_at_ms integer,
    sender text not null,
    subject text not null,
    provider text not null,
    outcome text not null,
    message_id text,
    code text,
    error text,
    constraint email_tries_outcome check (outcome in ('sending', 'sent', 'failed', 'lost')),
    constraint email_tries_finished_iff_over check ((finished_at_ms is null) = (outcome in ('sending', 'lost')))
) without rowid;

create index email_tries_job on email_tries (job_id, id);
create index email_tries_outcome on email_tries (outcome, id);

-- An address is empty once its person was erased.
create table email_recipients (
    try_id text not null,
    place integer not null,
    kind text not null,
    address text not null,
    primary key (try_id, place),
    constraint email_recipients_kind check (kind in ('to', 'cc', 'bcc'))
) without rowid;

create index email_recipients_address on email_recipients (address, try_id);
