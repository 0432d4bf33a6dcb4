//! The half that reads what clients send: a process of its own through which connections to `read-only` destinations go.
//!
//! The kernel turns such a connection to this process's listener on the loopback of the same network, and tells where
//! it wanted to go ([`origin`]). What the client sends must have one reading only, and is judged request by request
//! ([`judge`]). Reads go on to the destination, each client's connection over one of its own; of everything else guardd
//! is asked, and with guardd a person ([`link`]). The process is nobody, and can do nothing but connect.

mod answers;
mod body;
mod client;
mod connecting;
mod connection;
mod digest;
mod greeted;
mod headers;
mod lanes;
mod lent;
mod link;
mod mended;
mod networks;
mod origin;
mod passing;
mod postgres;
mod preview;
mod process;
mod room;
mod stream;
mod tls;
mod upgrade;
mod upstream;

use guard_judge::{http as judge, sieve};
use guard_proto::wire;

pub use process::{Guardd, main};

#[cfg(test)]
mod tests;
