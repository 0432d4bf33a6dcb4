//! Where a proxy that a service manager has started comes to guardd: a socket that appears when one is needed.

use std::{
    fs, io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::fs::PermissionsExt,
    },
    path::{Path, PathBuf},
};

use anyhow::{Result, bail};
use guard_sys::packets::{Packets, listen};

use super::process;
use crate::{control::auth::CallerPlace, shared::Shared};

/// The socket, for as long as a proxy is needed.
#[derive(Debug)]
pub struct ProxySocket {
    listener: tokio::io::unix::AsyncFd<OwnedFd>,
    path: PathBuf,
}

impl ProxySocket {
    /// Listens at `path`, in the place of whatever an earlier guardd has left there.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn open(path: &Path) -> io::Result<Self> {
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = listen(path)?;
        // Whoever comes is known by the kernel's word. guardd may not give the file to the proxy's user (CAP_CHOWN).
        fs::set_permissions(path, fs::Permissions::from_mode(0o666))?;
        let path = path.to_owned();
        Ok(Self { listener, path })
    }

    /// The next proxy. Everybody else is sent away.
    ///
    /// # Errors
    ///
    /// The system's.
    pub async fn next(&self, shared: &Shared) -> Result<Packets> {
        loop {
            let mut ready = self.listener.readable().await?;
            let accepted = ready.try_io(|listener| accept(listener.as_fd()));
            match accepted {
                Ok(Ok(socket)) => match admit(shared, &socket) {
                    Ok(()) => return Ok(Packets::of(socket)?),
                    Err(error) => tracing::warn!("who is no proxy came to its socket: {error:#}"),
                },
                Ok(Err(error)) => bail!("cannot accept a connection: {error}"),
                Err(_would_block) => {}
            }
        }
    }
}

impl Drop for ProxySocket {
    fn drop(&mut self) {
        // What is left is replaced by the next one.
        let _ = fs::remove_file(&self.path);
    }
}

fn accept(listener: std::os::fd::BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let flags = rustix::net::SocketFlags::CLOEXEC;
    Ok(rustix::net::accept_with(listener, flags)?)
}

/// A proxy is of the proxy's user, and no process under the guard.
fn admit(shared: &Shared, socket: &OwnedFd) -> Result<()> {
    let peer = shared.with(|state| state.machine.peer(socket))?;
    let user = shared.with(|state| state.config.proxy.user.clone());
    let account = process::account(user.as_deref())?;
    if peer.uid() != account.uid {
        bail!("it is of uid {}, and not {}", peer.uid(), account.name);
    }
    match shared.with(|state| state.caller(&peer)) {
        Ok(caller) if caller.place == CallerPlace::Outside => Ok(()),
        Ok(_) => bail!("it is inside a guarded cgroup"),
        Err(refusal) => bail!("{refusal}"),
    }
}
