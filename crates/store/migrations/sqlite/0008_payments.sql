-- Payment history: one row for each event that told of a payment, written once. An event that is delivered again meets its own
-- row. Only payments name a person; refunds and disputes find theirs through the payment intent. When a person is erased, the
-- name is taken out and the rest stays.

create table payments (
    event_id text not null primary key,
    event_type text not null,
    kind text not null,
    object_id text,
    session_id text,
    payment_intent text,
    charge text,
    customer text,
    user_id text,
    amount integer,
    currency text,
    status text,
    happened_at_ms integer not null,
    recorded_at_ms integer not null,
    constraint payments_kind_known
        check (kind in ('paid', 'pending', 'free', 'failed', 'refund', 'refund_total', 'dispute'))
) without rowid;

create index payments_user on payments (user_id, happened_at_ms) where user_id is not null;
create index payments_intent on payments (payment_intent) where payment_intent is not null;

-- The first version kept the last payment in meta. It becomes history, where it reads as what that version wrote; what stands in
-- meta under that name is not shown any more. `case` and not `and`: the order is fixed, so what is no JSON is not read as such.
insert into payments (event_id, event_type, kind, object_id, session_id, user_id, amount, happened_at_ms, recorded_at_ms)
select
    'first-version-' || lower(hex(randomblob(16))),
    'first_version.payment',
    'paid',
    json_extract(meta, '$.last_payment.session_id'),
    json_extract(meta, '$.last_payment.session_id'),
    id,
    case json_type(meta, '$.last_payment.amount')
        when 'integer' then
            case when typeof(json_extract(meta, '$.last_payment.amount')) = 'integer'
                then json_extract(meta, '$.last_payment.amount') end
    end,
    coalesce(min(max(cast(round(json_extract(meta, '$.last_payment.timestamp') * 1000) as integer), 0), 253402300799999), 0),
    updated_at_ms
from users
where case when json_valid(meta) then
    case when json_type(meta, '$.last_payment') = 'object' and typeof(id) = 'text' then
        coalesce(json_type(meta, '$.last_payment.session_id') = 'text', 0)
        and length(json_extract(meta, '$.last_payment.session_id')) between 1 and 255
        and instr(json_extract(meta, '$.last_payment.session_id'), char(0)) = 0
        and json_extract(meta, '$.last_payment.session_id') not glob '*[^A-Za-z0-9_]*'
        and coalesce(json_type(meta, '$.last_payment.timestamp') in ('integer', 'real'), 0)
    else 0 end
else 0 end;
