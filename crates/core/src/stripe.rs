//! What Stripe sends: whether it was Stripe ([`signature`]), and what it says ([`event`]).

pub mod event;
pub mod signature;
