//! guardd: state, holes, requests, the control socket, authorisation, audit.

pub mod audit;
pub mod auth;
pub mod failure;
pub mod frames;
pub mod requests;
pub mod varlink;
