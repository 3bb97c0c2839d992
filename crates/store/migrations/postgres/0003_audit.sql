-- Who did what, as a chain of hashes; the same tables as on SQLite.

create table audit_entries (
    seq bigint not null primary key,
    at_ms bigint not null,
    actor text collate "C" not null,
    action text collate "C" not null,
    object text collate "C" not null,
    detail text not null,
    prev_hash text not null,
    hash text not null
);

create index audit_entries_actor on audit_entries (actor, seq);
create index audit_entries_action on audit_entries (action, seq);
create index audit_entries_object on audit_entries (object, seq);

-- One row: the end of the chain. Whoever writes an entry holds it until the commit, so all nodes write one chain.
create table audit_head (
    one bigint not null primary key check (one = 1),
    seq bigint not null,
    hash text not null
);

insert into audit_head (one, seq, hash) values (1, 0, '0000000000000000000000000000000000000000000000000000000000000000');
