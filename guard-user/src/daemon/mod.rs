//! guardd: state, holes, requests, the control socket, authorisation, audit.

pub mod audit;
pub mod auth;
pub mod config;
pub mod failure;
pub mod frames;
pub mod host;
pub mod ids;
pub mod library;
pub mod names;
pub mod policies;
pub mod requests;
pub mod shelf;
pub mod trail;
pub mod users;
pub mod varlink;
pub mod watch;
