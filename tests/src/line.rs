//! A line between clients of NATS and their server, which is cut behind so many records of TLS.

use std::io::{self, BufRead as _, BufReader, Read, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use anyhow::Result;

use crate::Side;

/// One that carries connections as long as this value lives.
#[derive(Debug)]
pub struct Line {
    at: SocketAddr,
    listener: TcpListener,
    carried: Arc<Mutex<Carried>>,
    accepting: Option<JoinHandle<Result<()>>>,
}

#[derive(Debug, Default)]
struct Carried {
    /// Records until all connections end; none: they go on.
    left: Option<usize>,
    /// Both ends of each connection.
    ends: Vec<TcpStream>,
}

impl Line {
    /// One at an address of its own on a side, to a server there.
    ///
    /// # Errors
    ///
    /// That it cannot listen.
    pub fn to(side: &Side, server: SocketAddr) -> Result<Self> {
        let listener = side.enter(|| Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?))?;
        let (at, carried) = (listener.local_addr()?, Arc::default());
        let (clients, shared) = (listener.try_clone()?, Arc::clone(&carried));
        let accepting = side.spawn(move || {
            for client in clients.incoming().map_while(io::Result::ok) {
                // Without a server its client sees the connection end.
                let _ = TcpStream::connect(server).and_then(|server| join(client, server, &shared));
            }
        });
        Ok(Self {
            at,
            listener,
            carried,
            accepting: Some(accepting),
        })
    }

    /// Where it is, as `fleet.toml` has it.
    #[must_use]
    pub fn url(&self) -> String {
        format!("tls://{}", self.at)
    }

    /// Has all its connections end behind so many more records, of whichever of them and in whichever direction.
    pub fn cut_behind(&self, records: usize) {
        held(&self.carried).left = Some(records);
    }

    /// Whether they have ended so.
    #[must_use]
    pub fn is_cut(&self) -> bool {
        held(&self.carried).left == Some(0)
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        // The listener hears nobody any more, and then nobody is carried.
        let _ = rustix::net::shutdown(&self.listener, rustix::net::Shutdown::Both);
        if let Some(accepting) = self.accepting.take() {
            let _ = accepting.join();
        }
        held(&self.carried).end();
    }
}

impl Carried {
    fn end(&mut self) {
        for end in self.ends.drain(..) {
            let _ = end.shutdown(Shutdown::Both);
        }
    }

    fn count(&mut self) {
        if let Some(left @ 1..) = &mut self.left {
            *left -= 1;
            if *left == 0 {
                self.end();
            }
        }
    }
}

fn held(carried: &Mutex<Carried>) -> MutexGuard<'_, Carried> {
    carried.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Carries what one says to the other, until either ends.
fn join(client: TcpStream, server: TcpStream, carried: &Arc<Mutex<Carried>>) -> io::Result<()> {
    let ends = [client.try_clone()?, server.try_clone()?];
    for end in &ends {
        end.set_nodelay(true)?;
    }
    held(carried).ends.extend(ends);
    for (from, to, greets) in [
        (client.try_clone()?, server.try_clone()?, false),
        (server, client, true),
    ] {
        let carried = Arc::clone(carried);
        thread::spawn(move || {
            // However it came to its end, the other end comes to it, too.
            let _ = carry(&from, &to, greets, &carried);
            let _ = from.shutdown(Shutdown::Both);
            let _ = to.shutdown(Shutdown::Both);
        });
    }
    Ok(())
}

/// A server of NATS says a line before TLS begins.
fn carry(
    from: &TcpStream,
    mut to: &TcpStream,
    greets: bool,
    carried: &Mutex<Carried>,
) -> io::Result<()> {
    let mut from = BufReader::new(from);
    if greets {
        let mut line = Vec::new();
        from.read_until(b'\n', &mut line)?;
        to.write_all(&line)?;
    }
    loop {
        // What it is, a version, and a length (RFC 8446, section 5.1).
        let mut record = vec![0; 5];
        from.read_exact(&mut record)?;
        let length = u64::from(u16::from_be_bytes([record[3], record[4]]));
        from.by_ref().take(length).read_to_end(&mut record)?;
        to.write_all(&record)?;
        held(carried).count();
    }
}
