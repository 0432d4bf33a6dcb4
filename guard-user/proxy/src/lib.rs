//! The proxy: parses what clients send to `read-only` destinations, in a process without rights.
//!
//! The kernel half redirects such a connection to this process's listener on the loopback of the same network namespace, and
//! notes the original destination. In the order of a connection's life: [`networks`] accepts it, [`origin`] looks up its
//! destination, [`connection`] finds out what the client speaks and has the sieve reject what is ambiguous, [`client`] serves
//! its HTTP requests, [`passing`] has each one judged ([`judge`]) and asks guardd about writes ([`link`]), and [`upstream`] is
//! the connection to the destination, one for each client connection. [`postgres`] does the same for statements.

mod answers;
mod body;
mod client;
mod connecting;
mod connection;
mod digest;
mod greeted;
mod headers;
mod lanes;
mod link;
mod mended;
mod name_cache;
mod networks;
mod origin;
mod passing;
mod postgres;
mod preview;
mod process;
mod room;
mod shared_io;
mod shown;
mod stream;
mod terms_cache;
mod tls;
mod upgrade;
mod upstream;

use guard_judge::{http as judge, sieve};
use guard_proto::wire;

pub use process::main;

#[cfg(test)]
mod tests;
