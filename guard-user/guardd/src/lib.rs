//! guardd: state, holes, requests, the control socket, authorisation, audit.

pub mod args;
pub mod changes;
pub mod config;
pub mod control;
pub mod doctor;
pub mod grants;
pub mod holds;
pub mod machine;
pub mod policies;
pub mod process;
pub mod proxy;
pub mod record;
pub mod relays;
pub mod requests;
pub mod service;
pub mod sessions;
pub mod shared;
pub mod start;
pub mod state;
pub mod times;
pub mod unix;
pub mod watch;
