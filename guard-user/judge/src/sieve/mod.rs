//! The sieve: every byte of an HTTP/1 stream goes through it before a lenient parser sees it.
//!
//! Where parsers disagree on how long a message is, one of them sees a request that the other took for a body. So
//! what passes has exactly one reading, that of the grammar (RFC 9112, RFC 9110), and often a narrower one. What has
//! two, or none, is refused ([`Malformed`]), and nothing of that head goes on.
//!
//! [`Sieve`] is pure: it is shown bytes and says how many of them may go on. [`SievedIo`] does that to a connection.

mod body;
mod chunk;
mod connection;
mod field;
mod framing;
mod io;
mod limits;
mod malformed;
mod octet;
mod request;
mod response;
mod section;
mod speaks;
mod stream;
mod target;
#[cfg(test)]
mod tests;
pub mod trailer;
mod watch;

pub use framing::LONGEST;
pub use io::{Protocol, SievedIo};
pub use limits::Limits;
pub use malformed::{Looks, Malformed};
pub use response::{SentRequest, SentRequests};
pub use stream::{Phase, Sieve};
pub use watch::Watch;
