-- API keys, as their hashes; the same table as on SQLite. Rows stay for ever: the audit log speaks of their ids, and a server that
-- ever had a key never becomes open to everybody again.

create table api_keys (
    id text collate "C" not null primary key,
    family text collate "C" not null,
    name text not null,
    scopes text not null,
    hash text collate "C" not null,
    created_at_ms bigint not null,
    created_by text not null,
    expires_at_ms bigint,
    last_used_at_ms bigint,
    revoked_at_ms bigint,
    replaced_by text
);

create unique index api_keys_hash on api_keys (hash);
