//! The same by HTTPS: clients that trust the company without the guard, and with it whom the session trusts.

mod front;
mod grpc;
mod http;
mod java;
mod pins;
mod trust;
mod upstream;
