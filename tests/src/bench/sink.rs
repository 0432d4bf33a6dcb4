//! `guard-lab sink`: the other side of a measurement, which does as little as it can.

use std::io::{self, Read as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result};
use socket2::{Domain, Socket, Type};

use super::{answering, pin, raise_descriptors};

/// How long to wait for a client's next byte.
const TIMEOUT: Duration = Duration::from_millis(200);

/// Takes connections at a port, and reads them to their ends one after the other. Holds the same UDP port, where what
/// comes fills a small buffer and is then dropped. Speaks HTTP at the next port.
/// Prints `ready`; ends with its input.
///
/// # Errors
///
/// That a port is taken.
pub fn sink(port: u16) -> Result<()> {
    raise_descriptors();
    let at: SocketAddr = (Ipv4Addr::UNSPECIFIED, port).into();
    let listener = listen(at)?;
    let http = listen((Ipv4Addr::UNSPECIFIED, port + 1).into())?;
    let datagrams = Socket::from(UdpSocket::bind(at)?);
    datagrams.set_recv_buffer_size(4096)?;
    // The clients that are measured stay on the first one.
    let cpus = thread::available_parallelism()?.get();
    thread::spawn(move || pin(cpus - 1).map(|_| swallow(&listener)));
    thread::spawn(move || pin(cpus - 1).and_then(|_| answering::answer(&http)));
    println!("ready");
    io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}

fn listen(at: SocketAddr) -> Result<TcpListener> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    // What is accepted inherits it: a client whose last packet a guard has dropped holds up the others no longer.
    socket.set_read_timeout(Some(TIMEOUT))?;
    let bound = socket.bind(&at.into());
    bound.with_context(|| format!("cannot listen at {at}"))?;
    socket.listen(4096)?;
    Ok(socket.into())
}

fn swallow(listener: &TcpListener) {
    let mut buffer = vec![0; 1 << 20];
    for mut stream in listener.incoming().flatten() {
        // A client that resets its connection has ended it, too.
        while stream.read(&mut buffer).is_ok_and(|length| length > 0) {}
    }
}
