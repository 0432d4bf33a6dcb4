//! How a request's key is shown.

use guard_common::Protocol;
use guard_policy::PortSpec;
use guard_proto::Endpoint;

use super::RequestKey;

impl RequestKey {
    /// The destination as people see it.
    #[must_use]
    pub fn endpoint(&self, host: Option<String>) -> Endpoint {
        let has_ports = matches!(self.protocol, Protocol::TCP | Protocol::UDP);
        Endpoint {
            address: self.destination.to_ip().to_string(),
            port: has_ports.then_some(self.port),
            protocol: protocol_name(self.protocol),
            host,
        }
    }

    /// The ports of a hole that answers it.
    #[must_use]
    pub fn ports(&self) -> PortSpec {
        match self.protocol {
            Protocol::TCP | Protocol::UDP => PortSpec::one(self.protocol, self.port),
            other => PortSpec::all(other),
        }
    }
}

/// `tcp`, `udp`, `icmp`, or the number.
#[must_use]
pub fn protocol_name(protocol: Protocol) -> String {
    match protocol {
        Protocol::TCP => "tcp".to_owned(),
        Protocol::UDP => "udp".to_owned(),
        Protocol::ICMP => "icmp".to_owned(),
        Protocol(number) => number.to_string(),
    }
}
