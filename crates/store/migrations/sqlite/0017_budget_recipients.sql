-- Who is told that a threshold of a budget was passed, as JSON. Null: whoever the settings name.
alter table budgets add column recipients text;
