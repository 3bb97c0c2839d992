-- Nothing: one process owns the file, and counts in its memory. The table of this name is PostgreSQL's, for many nodes.
select 1;
