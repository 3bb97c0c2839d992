-- Which mail told of a payment: it goes to the address that was given at the checkout, which need not be the person's own. The
-- same on PostgreSQL.

alter table payments add column mail_job_id text;

-- Mails to people who were erased before their mail had ended: forgotten as soon as it has. An empty address stands for all
-- recipients.
create table mail_erasures (
    job_id text not null,
    address text not null,
    primary key (job_id, address)
) without rowid;
