-- Who did what, as a chain of hashes; the same tables as on PostgreSQL. `strict`: a changed type would be no content that a hash
-- can be computed of.

create table audit_entries (
    seq integer not null primary key,
    at_ms integer not null,
    actor text not null,
    action text not null,
    object text not null,
    detail text not null,
    prev_hash text not null,
    hash text not null
) strict;

create index audit_entries_actor on audit_entries (actor, seq);
create index audit_entries_action on audit_entries (action, seq);
create index audit_entries_object on audit_entries (object, seq);

-- One row: the end of the chain.
create table audit_head (
    one integer not null primary key check (one = 1),
    seq integer not null,
    hash text not null
) strict;

insert into audit_head (one, seq, hash) values (1, 0, '0000000000000000000000000000000000000000000000000000000000000000');
