-- People, as the first version kept them; times in milliseconds like everywhere else. The same table as on SQLite. No rule on the
-- columns beyond these: rows of the first version may hold anything, and core checks what comes in.

create table users (
    id text collate "C" not null primary key,
    email text collate "C" not null,
    name text,
    locale text,
    currency text,
    meta text not null,
    created_at_ms bigint not null,
    updated_at_ms bigint not null
);

create unique index idx_users_email on users (email);
