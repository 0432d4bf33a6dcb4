//! The supervisor's process. It is no thread of `guard run`: that ends with its command, which may leave processes running, and
//! a call waits for ever if its receiver ends before it answers.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::Arc,
    thread,
};

use guard_sys::{
    notify::NotifyListener,
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

use super::{Ask, Listening, RefusedSocket, SessionSockets, answer_all, lookup};
use crate::populated::may_be_populated;

/// How long `guard run` waits for it to end: it ends at once if no process is left that could make a call.
const TIMEOUT: Timespec = Timespec {
    tv_sec: 2,
    tv_nsec: 0,
};

/// The supervisor, as `guard run` sees it.
pub(crate) struct Server {
    process: Pid,
    /// Its refusals arrive here.
    refused: OwnedFd,
    cgroup: PathBuf,
}

/// Where it reports its refusals.
#[derive(Clone)]
pub(super) struct RefusalSender(Arc<OwnedFd>);

impl Server {
    /// Starts it. This process has one thread, and its signals are not blocked. `calls` is where the command's process hands
    /// over the descriptor of its calls, or ends without.
    ///
    /// # Errors
    ///
    /// The system's.
    pub(crate) fn start(sockets: &SessionSockets, ask: Ask, calls: OwnedFd) -> io::Result<Self> {
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

    /// Passes on its refusals, on a thread.
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

    /// The command has ended: waits for the end of the supervisor too, if no process is left in the session. Else it goes on.
    pub(crate) fn finish(self) {
        if may_be_populated(&self.cgroup) {
            return;
        }
        if let Ok(pidfd) = pidfd_open(self.process, PidfdFlags::empty()) {
            let _ = poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&TIMEOUT));
        }
    }
}

impl RefusalSender {
    /// Reports a refusal. Of a flood only some are.
    pub(super) fn tell(&self, socket: String, pid: u32, listener: Listening) {
        let refused = RefusedSocket {
            socket,
            pid,
            comm: lookup::name(pid),
            listener,
        };
        if let Ok(one) = serde_json::to_vec(&refused) {
            let _ = packets::try_send(self.0.as_fd(), &one);
        }
    }
}

/// The work of this process.
fn serve(calls: &OwnedFd, told: OwnedFd, sockets: &SessionSockets, ask: Ask) -> io::Result<()> {
    // Signals of a terminal or a shell to the job of `guard run` are not for this process.
    setsid()?;
    leave_all_but(&[calls.as_fd(), told.as_fd()])?;
    let packet = packets::receive(calls.as_fd())?.unwrap_or_default();
    let Some(listener) = packet.descriptors.into_iter().next() else {
        return Ok(());
    };
    // If it fails, nothing holds the listener any more, and calls fail.
    answer_all(
        NotifyListener::of(listener),
        sockets,
        ask,
        RefusalSender(Arc::new(told)),
    )
}

/// Closes other descriptors, which are `guard run`'s: its pipes must end with it, and guardd identifies it by a connection.
fn leave_all_but(kept: &[BorrowedFd<'_>]) -> io::Result<()> {
    close_all_but(kept)?;
    let nothing = open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
    dup2_stdin(&nothing)?;
    dup2_stdout(&nothing)?;
    dup2_stderr(&nothing)?;
    // It is one of the three standard streams.
    std::mem::forget(nothing);
    // The directory may have to be unmounted or removed.
    std::env::set_current_dir(Path::new("/"))
}
