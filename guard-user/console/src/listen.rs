//! Where browsers connect: loopback addresses, or a Unix socket.

use std::{fs, io, net::Ipv4Addr, net::Ipv6Addr, os::unix::fs::PermissionsExt as _, path::Path};

use anyhow::{Context as _, Result};
use tokio::net::{TcpListener, UnixListener};

use crate::settings::Listen;

/// The sockets.
#[derive(Debug)]
pub(crate) enum Listeners {
    /// Of both families. A machine without IPv6 has one.
    Localhost(TcpListener, Option<TcpListener>),
    /// For a proxy.
    Unix(UnixListener),
}

/// Listens. `localhost` is two addresses, and browsers take either: with one of them taken by somebody else, some of its pages
/// would come from there.
///
/// # Errors
///
/// That it cannot.
pub(crate) async fn listen(place: &Listen) -> Result<Listeners> {
    match place {
        Listen::Localhost(port) => {
            let four = TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).await;
            let four = four.with_context(|| format!("cannot listen at 127.0.0.1:{port}"))?;
            let six = match TcpListener::bind((Ipv6Addr::LOCALHOST, *port)).await {
                Err(error)
                    if error.kind() == io::ErrorKind::AddrNotAvailable
                        || is_unsupported(&error) =>
                {
                    None
                }
                bound => Some(bound.with_context(|| format!("cannot listen at [::1]:{port}"))?),
            };
            Ok(Listeners::Localhost(four, six))
        }
        Listen::Unix(path) => {
            let bound =
                bind(path).with_context(|| format!("cannot listen at {}", path.display()))?;
            Ok(Listeners::Unix(bound))
        }
    }
}

fn is_unsupported(error: &io::Error) -> bool {
    error.raw_os_error() == Some(rustix::io::Errno::AFNOSUPPORT.raw_os_error())
}

/// Its group may connect: that of the proxy in front.
fn bind(path: &Path) -> io::Result<UnixListener> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o660))?;
    Ok(listener)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_socket_is_for_its_group_also_where_a_killed_console_left_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("console.sock");
        for _ in 0..2 {
            let listening = listen(&Listen::Unix(path.clone())).await.unwrap();
            assert!(matches!(listening, Listeners::Unix(_)));
            let mode = fs::metadata(&path).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o660);
            std::os::unix::net::UnixStream::connect(&path).unwrap();
        }
    }

    #[tokio::test]
    async fn half_a_localhost_is_none() {
        let others = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = others.local_addr().unwrap().port();
        let error = listen(&Listen::Localhost(port)).await.unwrap_err();
        assert!(error.to_string().contains("127.0.0.1"), "{error}");
    }
}
