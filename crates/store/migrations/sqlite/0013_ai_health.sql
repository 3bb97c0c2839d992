-- Models that cost more than their price list says: not called until a person lifts it.

create table ai_quarantines (
    provider text not null,
    model text not null,
    call_id text not null,
    reason text not null,
    since_ms integer not null,
    primary key (provider, model)
) without rowid;
