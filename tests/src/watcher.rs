//! Somebody who follows the requests that wait, so that connections wait for him.

use std::io::{BufReader, Read as _, Write as _};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::thread;

use anyhow::{Context as _, Result, bail};

use crate::{Daemon, PATIENCE, patience};

const FOLLOW: &[u8] =
    b"{\"method\":\"org.guardd.Control.Pending\",\"parameters\":{},\"more\":true}\0";

/// Root, who does what `guard pending --follow` does, until this is dropped.
#[derive(Debug)]
pub struct Watcher(UnixStream);

impl Watcher {
    /// One whom guardd knows of when this returns: it has answered him. `guard` would not say when that is.
    ///
    /// # Errors
    ///
    /// That guardd does not answer.
    pub fn start(daemon: &Daemon) -> Result<Self> {
        let socket = daemon.socket();
        let mut stream = UnixStream::connect(&socket)
            .with_context(|| format!("cannot connect to {}", socket.display()))?;
        stream.write_all(FOLLOW)?;
        stream.set_read_timeout(Some(patience(PATIENCE)))?;
        let mut answers = BufReader::new(stream.try_clone()?);
        let mut first = Vec::new();
        std::io::BufRead::read_until(&mut answers, 0, &mut first)
            .context("guardd does not answer")?;
        let first = String::from_utf8_lossy(&first);
        if first.contains("\"error\"") || !first.ends_with('\0') {
            bail!("guardd lets nobody follow: {first:?}");
        }
        stream.set_read_timeout(None)?;
        // It ends with the connection.
        thread::spawn(move || answers.read_to_end(&mut Vec::new()));
        Ok(Self(stream))
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        // guardd may be gone already.
        let _ = self.0.shutdown(Shutdown::Both);
    }
}
