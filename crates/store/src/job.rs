//! Jobs, cold: how they are found, listed, ended from outside and started again. Intake, claim and record are hot and
//! native to each engine; what both share of them stands here.

pub(crate) mod end;
pub(crate) mod find;
pub(crate) mod intake;
pub(crate) mod list;
pub(crate) mod prune;
pub(crate) mod retry;
