-- Answers of models that may be given again, under the hash of what was asked.
create table ai_answers (
    key text not null primary key,
    call_id text not null,
    said text not null,
    created_at_ms integer not null,
    expires_at_ms integer not null
) without rowid;

create index ai_answers_expiry on ai_answers (expires_at_ms);
