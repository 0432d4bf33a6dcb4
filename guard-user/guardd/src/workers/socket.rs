//! The socket at which a worker that a service manager has started connects to guardd; it exists while one is needed.

use std::{
    fs, io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::fs::PermissionsExt,
    },
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Result, bail};
use guard_sys::packets::{Packets, listen};

use super::{Worker, process};
use crate::{control::auth::CallerPlace, shared::Shared};

/// In this time one connection that is turned away is written into the log.
const SAME: Duration = Duration::from_secs(1);

/// The socket, while a worker is needed.
#[derive(Debug)]
pub(crate) struct WorkerSocket {
    listener: tokio::io::unix::AsyncFd<OwnedFd>,
    path: PathBuf,
}

impl WorkerSocket {
    /// Listens at `path`, where it replaces an earlier guardd's socket.
    ///
    /// # Errors
    ///
    /// The system's.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = listen(path)?;
        // The kernel identifies the peer. guardd may not give the file to the worker's user (CAP_CHOWN).
        fs::set_permissions(path, fs::Permissions::from_mode(0o666))?;
        let path = path.to_owned();
        Ok(Self { listener, path })
    }

    /// The next worker. Other peers are closed.
    ///
    /// # Errors
    ///
    /// The system's.
    pub(crate) async fn next<W: Worker>(&self, shared: &Shared) -> Result<Packets> {
        let mut said = SaidAt::default();
        loop {
            let mut ready = self.listener.readable().await?;
            let accepted = ready.try_io(|listener| accept(listener.as_fd()));
            match accepted {
                Ok(Ok(socket)) => match admit::<W>(shared, &socket) {
                    Ok(()) => return Ok(Packets::of(socket)?),
                    Err(error) if said.is_due(Instant::now()) => {
                        tracing::warn!("who is no {} came to its socket: {error:#}", W::NAME);
                    }
                    Err(_) => {}
                },
                Ok(Err(error)) => bail!("cannot accept a connection: {error}"),
                Err(_would_block) => {}
            }
        }
    }
}

/// When the log last got a line about a client that was turned away. The client decides how often that is.
#[derive(Debug, Default)]
struct SaidAt(Option<Instant>);

impl SaidAt {
    /// Whether it is to be written now: once in [`SAME`].
    fn is_due(&mut self, now: Instant) -> bool {
        let is_due = self.0.is_none_or(|last| now.duration_since(last) >= SAME);
        if is_due {
            self.0 = Some(now);
        }
        is_due
    }
}

impl Drop for WorkerSocket {
    fn drop(&mut self) {
        // A leftover is replaced by the next one.
        let _ = fs::remove_file(&self.path);
    }
}

fn accept(listener: std::os::fd::BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let flags = rustix::net::SocketFlags::CLOEXEC;
    Ok(rustix::net::accept_with(listener, flags)?)
}

/// Checks that a peer has the worker's user, and is not under the guard.
fn admit<W: Worker>(shared: &Shared, socket: &OwnedFd) -> Result<()> {
    let peer = shared.with(|state| state.machine.peer(socket))?;
    let user = shared.with(|state| W::user(state));
    let account = process::account(user.as_deref(), W::NAME)?;
    if peer.uid() != account.uid {
        bail!("it is of uid {}, and not {}", peer.uid(), account.name);
    }
    match shared.with(|state| state.caller(&peer)) {
        Ok(caller) if caller.place == CallerPlace::Outside => Ok(()),
        Ok(_) => bail!("it is inside a guarded cgroup"),
        Err(refusal) => bail!("{refusal}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn however_many_are_turned_away_it_is_said_once_a_second() {
        let begin = Instant::now();
        let mut said = SaidAt::default();
        let lines = (0..2500).filter(|ms| said.is_due(begin + Duration::from_millis(*ms)));
        assert_eq!(lines.collect::<Vec<_>>(), [0, 1000, 2000]);
    }
}
