//! The control socket: who connects, what they may do, and what each call does.

pub(crate) mod advice;
pub(crate) mod answering;
pub(crate) mod auth;
mod counters;
pub(crate) mod explain;
mod explain_session;
pub(crate) mod failure;
pub(crate) mod frames;
pub(crate) mod fresh;
pub(crate) mod ids;
pub(crate) mod inside;
pub(crate) mod listening;
mod nested;
pub(crate) mod polkit;
pub(crate) mod server;
pub(crate) mod status;
pub(crate) mod status_line;
pub(crate) mod streams;
pub(crate) mod users;
pub(crate) mod verbs;
pub(crate) mod written;
