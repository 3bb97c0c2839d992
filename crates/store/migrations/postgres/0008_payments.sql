-- Payment history: one row for each event that told of a payment, written once. An event that is delivered again meets its own
-- row. Only payments name a person; refunds and disputes find theirs through the payment intent. When a person is erased, the
-- name is taken out and the rest stays.

create table payments (
    event_id text collate "C" not null primary key,
    event_type text not null,
    kind text not null,
    object_id text,
    session_id text,
    payment_intent text collate "C",
    charge text,
    customer text,
    user_id text collate "C",
    amount bigint,
    currency text,
    status text,
    happened_at_ms bigint not null,
    recorded_at_ms bigint not null,
    constraint payments_kind_known
        check (kind in ('paid', 'pending', 'free', 'failed', 'refund', 'refund_total', 'dispute'))
);

create index payments_user on payments (user_id, happened_at_ms) where user_id is not null;
create index payments_intent on payments (payment_intent) where payment_intent is not null;
