//! The control socket: who connects, what they may do, and what each call does.

pub mod advice;
pub mod answering;
pub mod auth;
pub mod explain;
mod explain_session;
pub mod failure;
pub mod frames;
pub mod fresh;
pub mod ids;
pub mod inside;
mod inside_http;
pub mod listening;
mod nested;
pub mod polkit;
pub mod server;
pub mod status;
pub mod status_line;
pub mod streams;
pub mod users;
pub mod verbs;
pub mod written;
