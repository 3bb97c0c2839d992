-- Models that cost more than their price list says: not called until a person lifts it. The same table as on SQLite.

create table ai_quarantines (
    provider text collate "C" not null,
    model text collate "C" not null,
    call_id text collate "C" not null,
    reason text not null,
    since_ms bigint not null,
    primary key (provider, model)
);

-- PostgreSQL only: what all nodes asked of each AI provider in the last minute. Not logged: after a crash of the server it is
-- empty, which costs nobody more than that minute, and no commit waits for the disk.
create unlogged table ai_minutes (
    provider text collate "C" not null primary key,
    slots text not null
);
