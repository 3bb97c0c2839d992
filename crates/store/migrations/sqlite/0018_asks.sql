-- Questions to models that came with a key of their caller's: what was answered, for whoever asks again. The same table as on
-- PostgreSQL.
create table ai_asks (
    -- Hash of the caller and its key.
    key text not null primary key,
    -- Hash of what was asked.
    fingerprint text not null,
    -- Whom it was for.
    user_id text,
    -- Null until it is answered.
    answer text,
    created_at_ms integer not null,
    expires_at_ms integer not null
) without rowid;

create index ai_asks_expiry on ai_asks (expires_at_ms);
