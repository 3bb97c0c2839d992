-- Stored connections: credentials at vendors, sealed. The same table as on PostgreSQL. Names are never changed: what is sealed
-- belongs to its name and connector.

create table connections (
    name text not null primary key,
    connector text not null,
    sealed text not null,
    fingerprint text not null,
    created_at_ms integer not null,
    updated_at_ms integer not null,
    used_at_ms integer
) without rowid;
