-- PostgreSQL only: writes of the last minute that all nodes count together, one row a client and one for all. Not logged: after a
-- crash of the server it is empty, which is no harm. Rows of quiet clients are deleted when nodes say that they live.
create unlogged table rate_windows (
    scope text collate "C" not null primary key,
    hits text not null,
    until_ms bigint not null
);
