//! Where metrics are served: on this machine only.

use std::{fmt, net::SocketAddr, path::PathBuf, str::FromStr};

use serde::Deserialize;

/// `unix:/run/guard/metrics.sock`, or an address of loopback with a port.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum MetricsListen {
    /// A socket that root and the group `guard` may connect to.
    Unix(PathBuf),
    /// Every program on this machine may connect.
    Tcp(SocketAddr),
}

impl TryFrom<String> for MetricsListen {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl FromStr for MetricsListen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("unix:") {
            let path = PathBuf::from(path);
            let is_file = path.is_absolute() && path.file_name().is_some();
            return if is_file {
                Ok(Self::Unix(path))
            } else {
                Err(format!("{text:?} names no socket: write unix:/path/to/it"))
            };
        }
        let address: SocketAddr = text.parse().map_err(|_| {
            format!("{text:?} is neither unix:/path nor an address with a port, as 127.0.0.1:9478")
        })?;
        if address.ip().is_loopback() {
            Ok(Self::Tcp(address))
        } else {
            Err(format!(
                "{text:?} is not loopback, and metrics are served on this machine only: \
                 unix:/run/guard/metrics.sock, 127.0.0.1:9478 or [::1]:9478"
            ))
        }
    }
}

impl fmt::Display for MetricsListen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Tcp(address) => address.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_is_served() {
        for good in ["unix:/run/guard/metrics.sock", "127.0.0.1:9478", "[::1]:9"] {
            assert_eq!(good.parse::<MetricsListen>().unwrap().to_string(), good);
        }
        for bad in [
            "0.0.0.0:9478",
            "[::]:9478",
            "192.0.2.1:9478",
            "[::ffff:127.0.0.1]:9478",
            "localhost:9478",
            "127.0.0.1",
            "unix:metrics.sock",
            "unix:/",
            "/run/guard/metrics.sock",
            "",
        ] {
            assert!(bad.parse::<MetricsListen>().is_err(), "{bad}");
        }
    }
}
