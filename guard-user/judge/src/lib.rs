//! What judges requests and statements, pure: whether bytes have one reading as HTTP/1 ([`sieve`]), whether an HTTP request is a
//! read ([`http`]), and, with the feature `sql`, whether what PostgreSQL is told is ([`sql`]).

pub mod http;
pub mod sieve;
#[cfg(feature = "sql")]
pub mod sql;
