//! Where browsers connect: loopback addresses, or a Unix socket.
//!
//! `guard-console.socket` holds the addresses also while no console runs: whoever else bound them would be brought cookies.

use std::{
    fs, io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    os::unix::fs::PermissionsExt as _,
    path::Path,
};

use anyhow::{Context as _, Result, bail};
use guard_sys::passed;
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
    let passed = passed::tcp_listeners();
    let passed = passed.context("cannot listen on what the service manager passed")?;
    match place {
        Listen::Localhost(port) if !passed.is_empty() => taken(passed, *port),
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

/// What the service manager holds, if that is what the settings say.
fn taken(passed: Vec<std::net::TcpListener>, port: u16) -> Result<Listeners> {
    let (mut four, mut six) = (None, None);
    for listener in passed {
        let at = listener.local_addr()?;
        let held = match at.ip() {
            IpAddr::V4(Ipv4Addr::LOCALHOST) => &mut four,
            IpAddr::V6(Ipv6Addr::LOCALHOST) => &mut six,
            _ => return Err(elsewhere(at, port)),
        };
        if at.port() != port || held.is_some() {
            return Err(elsewhere(at, port));
        }
        listener.set_nonblocking(true)?;
        *held = Some(TcpListener::from_std(listener)?);
    }
    match four {
        Some(four) => Ok(Listeners::Localhost(four, six)),
        None => bail!(
            "guard-console.socket does not hold 127.0.0.1:{port}: systemctl edit guard-console.socket"
        ),
    }
}

fn elsewhere(at: SocketAddr, port: u16) -> anyhow::Error {
    anyhow::anyhow!(
        "guard-console.socket holds {at}, and the settings say localhost:{port}: systemctl edit guard-console.socket, or listen in console.toml"
    )
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
    async fn what_the_service_manager_holds_is_taken_where_it_is_what_the_settings_say() {
        let bound = |at: &str| std::net::TcpListener::bind(at).unwrap();
        let four = bound("127.0.0.1:0");
        let port = four.local_addr().unwrap().port();
        let Listeners::Localhost(own, None) = taken(vec![four], port).unwrap() else {
            panic!("one address was passed")
        };
        std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
        own.accept().await.unwrap();
        let error = |listener, port| taken(vec![listener], port).unwrap_err().to_string();
        assert!(error(bound("127.0.0.1:0"), port).contains("the settings say"));
        let other = bound("127.0.0.2:0");
        let port = other.local_addr().unwrap().port();
        assert!(error(other, port).contains("holds 127.0.0.2"));
        assert!(taken(vec![], port).is_err());
    }

    #[tokio::test]
    async fn half_a_localhost_is_none() {
        let others = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = others.local_addr().unwrap().port();
        let error = listen(&Listen::Localhost(port)).await.unwrap_err();
        assert!(error.to_string().contains("127.0.0.1"), "{error}");
    }
}
