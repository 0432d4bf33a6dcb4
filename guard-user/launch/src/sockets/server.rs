//! The process that answers. It is one of its own and no thread of `guard run`: that ends with its command, which may leave
//! processes running, and a call waits for ever if whoever received it ends before answering.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::Arc,
    thread,
};

use guard_sys::{
    notify::Listener,
    packets,
    process::{Fork, close_all_but, exit_at_once, fork},
};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::{Mode, OFlags, open},
    net::{AddressFamily, SocketFlags, SocketType, socketpair},
    process::{Pid, PidfdFlags, pidfd_open, setsid},
    stdio::{dup2_stderr, dup2_stdin, dup2_stdout},
};

use super::{Ask, Listening, RefusedSocket, Sockets, answer_all};
use crate::populated::may_be_populated;

/// It ends at once where nobody is left who could call. Whoever waits for that gives up after so long.
const PATIENCE: Timespec = Timespec {
    tv_sec: 2,
    tv_nsec: 0,
};

/// It, as `guard run` sees it.
pub(crate) struct Server {
    process: Pid,
    /// What it refuses arrives here.
    refused: OwnedFd,
    cgroup: PathBuf,
}

/// Whom it tells what it refuses.
#[derive(Clone)]
pub(super) struct Told(Arc<OwnedFd>);

impl Server {
    /// Starts it. This process has one thread, and its signals are not held back. `calls` is where the command's process hands its
    /// calls over, or ends without.
    ///
    /// # Errors
    ///
    /// The system's.
    pub(crate) fn start(sockets: &Sockets, ask: Ask, calls: OwnedFd) -> io::Result<Self> {
        let (kind, flags) = (SocketType::SEQPACKET, SocketFlags::CLOEXEC);
        let (refused, told) = socketpair(AddressFamily::UNIX, kind, flags, None)?;
        match fork()? {
            Fork::Child => {
                let work = || serve(&calls, told, sockets, ask);
                let done = catch_unwind(AssertUnwindSafe(work));
                exit_at_once(u8::from(!matches!(done, Ok(Ok(())))))
            }
            Fork::Parent(process) => Ok(Self {
                process,
                refused,
                cgroup: sockets.cgroup.clone(),
            }),
        }
    }

    /// Passes on what it refuses, on a thread.
    pub(crate) fn tell(
        &self,
        mut told: impl FnMut(&RefusedSocket) + Send + 'static,
    ) -> io::Result<()> {
        let refused = self.refused.try_clone()?;
        let thread = thread::Builder::new().name("guard-sockets".to_owned());
        thread.spawn(move || {
            while let Ok(Some(packet)) = packets::receive(refused.as_fd()) {
                if let Ok(one) = serde_json::from_slice(&packet.bytes) {
                    told(&one);
                }
            }
        })?;
        Ok(())
    }

    /// The command has ended: waits for the end of this one, too, where nobody is left in the session. Else it goes on.
    pub(crate) fn finish(self) {
        if may_be_populated(&self.cgroup) {
            return;
        }
        if let Ok(pidfd) = pidfd_open(self.process, PidfdFlags::empty()) {
            let _ = poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&PATIENCE));
        }
    }
}

impl Told {
    /// Whoever floods is told of less.
    pub(super) fn tell(&self, socket: String, pid: u32, listener: Listening) {
        let refused = RefusedSocket {
            socket,
            pid,
            listener,
        };
        if let Ok(one) = serde_json::to_vec(&refused) {
            let _ = packets::try_send(self.0.as_fd(), &one);
        }
    }
}

/// All that this process does.
fn serve(calls: &OwnedFd, told: OwnedFd, sockets: &Sockets, ask: Ask) -> io::Result<()> {
    // What a terminal or a shell tells the job of `guard run` is not for this one.
    setsid()?;
    leave_all_but(&[calls.as_fd(), told.as_fd()])?;
    let packet = packets::receive(calls.as_fd())?.unwrap_or_default();
    let Some(listener) = packet.descriptors.into_iter().next() else {
        return Ok(());
    };
    // Where it fails nobody has the listener any more, and calls fail.
    answer_all(Listener::of(listener), sockets, ask, Told(Arc::new(told)))
}

/// Leaves to `guard run` what it has open: pipes end where it ends, and guardd sees who it is by a connection of its.
fn leave_all_but(kept: &[BorrowedFd<'_>]) -> io::Result<()> {
    close_all_but(kept)?;
    let nothing = open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
    dup2_stdin(&nothing)?;
    dup2_stdout(&nothing)?;
    dup2_stderr(&nothing)?;
    // It is one of the three.
    std::mem::forget(nothing);
    // Whose directory it is may want to take it away.
    std::env::set_current_dir(Path::new("/"))
}
