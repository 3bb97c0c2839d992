-- Questions to models that came with a key of their caller's: what was answered, for whoever asks again.
create table ai_asks (
    -- Hash of the caller and its key.
    key text collate "C" not null primary key,
    -- Hash of what was asked.
    fingerprint text not null,
    -- Whom it was for.
    user_id text,
    -- Null until it is answered.
    answer text,
    created_at_ms bigint not null,
    expires_at_ms bigint not null
);

create index ai_asks_expiry on ai_asks (expires_at_ms);
