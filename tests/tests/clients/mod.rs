//! Read-only destinations with the clients and servers that people use. Each is first used without the guard, to the same
//! effect; what reads works with it as well, what changes something does not arrive until a person says yes, and then does,
//! byte for byte. And what waits before it connects: [`held`].

mod agent;
mod browser;
mod console;
mod ech;
mod etcd;
mod files;
mod git;
mod held;
mod http2;
mod incidents;
mod names;
mod odd;
mod other_hosts;
mod postgres;
mod prometheus;
mod registry;
mod scene;
mod server;
mod smuggling;
mod sockets;
mod streams;
mod tls;
mod validated;
