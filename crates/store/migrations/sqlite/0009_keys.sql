-- API keys, as their hashes; the same table as on PostgreSQL. Rows stay for ever: the audit log speaks of their ids, and a server that
-- ever had a key never becomes open to everybody again.

create table api_keys (
    id text not null primary key,
    family text not null,
    name text not null,
    scopes text not null,
    hash text not null,
    created_at_ms integer not null,
    created_by text not null,
    expires_at_ms integer,
    last_used_at_ms integer,
    revoked_at_ms integer,
    replaced_by text
) strict;

create unique index api_keys_hash on api_keys (hash);
