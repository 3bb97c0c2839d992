-- People, as the first version kept them; times in milliseconds like everywhere else. The same table as on PostgreSQL.
-- A file of the first version has a table of this name with its rows: they are taken over, whatever they hold. Its columns take
-- any type, its times are seconds with a fraction, its meta may be no JSON (the bare word NaN) or nothing at all.

create table if not exists users (
    id text primary key,
    email text unique not null,
    name text,
    locale text,
    currency text,
    meta text,
    created_at real,
    updated_at real
);

alter table users rename to first_version_users;

create table users (
    id text not null primary key,
    email text not null,
    name text,
    locale text,
    currency text,
    meta text not null,
    created_at_ms integer not null,
    updated_at_ms integer not null
) without rowid;

-- What is JSON stays as it is, to the digit. What JSON5 reads (NaN, Infinity) is written as JSON: NaN becomes null by itself,
-- Infinity the number 9e999, which is null below. Times are kept between 1970 and 9999. `or ignore` is for rows that
-- differ in nothing but the type of their key.
insert or ignore into users (id, email, name, locale, currency, meta, created_at_ms, updated_at_ms)
select
    coalesce(id, lower(hex(randomblob(16)))),
    email,
    name,
    locale,
    currency,
    case
        when typeof(meta) <> 'text' then '{}'
        when json_valid(meta) then iif(json_type(meta) = 'object', meta, '{}')
        when json_valid(meta, 2) and json_type(meta) = 'object' then
            replace(replace(replace(replace(replace(replace(json(meta),
                ':9e999', ':null'), ':-9e999', ':null'),
                '[9e999', '[null'), '[-9e999', '[null'),
                ',9e999', ',null'), ',-9e999', ',null')
        else '{}'
    end,
    coalesce(min(max(cast(round(created_at * 1000) as integer), 0), 253402300799999), 0),
    coalesce(min(max(cast(round(updated_at * 1000) as integer), 0), 253402300799999), 0)
from first_version_users;

drop table first_version_users;

create unique index idx_users_email on users (email);
