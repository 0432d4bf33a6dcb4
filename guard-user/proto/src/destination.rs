//! Where something wanted to go, by which name, and which program listens there.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::moment;

/// Where something wanted to go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// IPv4 if IPv4-mapped, or a Unix socket's path.
    pub address: String,
    /// Null if the protocol has none.
    pub port: Option<u16>,
    /// `tcp`, `udp`, `icmp`, a number, `unix`, `handed` (a socket handed in), `signal`, or `dns` (a question).
    pub protocol: String,
    /// The name that the session asked for and was told that address of, or the one in the policy that stands for it.
    pub host: Option<String>,
}

impl Endpoint {
    /// Its protocol and port, as a question says them.
    #[must_use]
    pub fn service(&self) -> String {
        match self.port {
            Some(port) => format!("{}/{port}", self.protocol),
            None => self.protocol.clone(),
        }
    }

    /// The same with its address, and its name if it has one.
    #[must_use]
    pub fn place(&self) -> String {
        let name = self.host.as_deref().map(|host| format!(" ({host})"));
        let (service, address) = (self.service(), &self.address);
        format!("{service} at {address}{}", name.unwrap_or_default())
    }
}

/// A name that a session asked for, and was told an address of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NameTold {
    /// The name that was asked for.
    pub name: String,
    /// The name that has the address, where CNAME led to another.
    pub cname: Option<String>,
    /// The process that asked; null: unknown.
    pub pid: Option<u32>,
    /// Its executable's name.
    pub comm: Option<String>,
    /// When it was last told.
    #[serde(serialize_with = "moment::write")]
    pub at: Timestamp,
    /// Other names that the session asked for and was told that address of; 8 at most.
    pub also: Vec<String>,
}

/// Another program that listens at a loopback address.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listener {
    /// Its process; null: it could not be identified.
    pub pid: Option<u32>,
    /// Its executable's name; null: unknown.
    pub program: Option<String>,
    /// Its command line.
    pub command: Vec<String>,
    /// Whether the program is known to lead on to another place.
    pub forwards: bool,
}
