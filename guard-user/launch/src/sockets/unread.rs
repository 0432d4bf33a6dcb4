//! Calls of processes that the supervisor may not read, such as ssh-add and gpg, which make themselves not dumpable to keep
//! secrets. guardd, as root, reads the address of such a call. The caller's own socket cannot be taken either, so it gets
//! another, connected one in its place.

use std::{io, os::fd::OwnedFd, path::PathBuf, sync::Arc};

use guard_proto::sockets::SocketAddress;
use guard_sys::notify::{NotifyListener, NotifyResponse, WaitingCall};
use rustix::{
    fs::{CWD, Mode, OFlags, openat},
    io::Errno,
    net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with},
};

use super::{
    Ask, Listening, RefusalSender, SessionSockets,
    answer::{file_address, outcome},
    judge::{SocketJudge, Word},
    lookup,
};

/// What is needed to answer them.
pub(super) struct Unread {
    ask: Ask,
    guardd: PathBuf,
    judge: Arc<SocketJudge>,
    told: RefusalSender,
}

impl Unread {
    pub(super) fn new(
        sockets: &SessionSockets,
        ask: Ask,
        judge: Arc<SocketJudge>,
        told: RefusalSender,
    ) -> Self {
        Self {
            ask,
            guardd: sockets.guardd.clone(),
            judge,
            told,
        }
    }

    /// Answers one call. One that is not for a Unix socket, or cannot be read, goes to the kernel, which refuses Unix sockets.
    pub(super) fn answer(&self, call: &WaitingCall, listener: &NotifyListener) -> NotifyResponse {
        let thread = call.thread.cast_unsigned();
        // The call may come from a session inside.
        let Some(session) = self.judge.session_of(call.thread) else {
            return NotifyResponse::Goes;
        };
        match (self.ask.address)(&self.guardd, &session, thread) {
            Some(SocketAddress {
                socket: Some(socket),
                same_root,
            }) => self.lead(call, listener, socket, same_root),
            Some(SocketAddress { socket: None, .. }) => NotifyResponse::Goes,
            None => {
                // It is about a Unix socket or not: the kernel knows. One that waits no more was not refused.
                if listener.still_waits(call.id) {
                    self.tell(call, String::new(), Listening::Unknown);
                }
                NotifyResponse::Goes
            }
        }
    }

    fn lead(
        &self,
        call: &WaitingCall,
        listener: &NotifyListener,
        socket: String,
        same_root: bool,
    ) -> NotifyResponse {
        if let Some(name) = socket.strip_prefix('@') {
            return if self.judge.allows_name(call.thread, name.as_bytes()) {
                outcome(
                    SocketAddrUnix::new_abstract_name(name.as_bytes())
                        .map_err(io::Error::from)
                        .and_then(|to| replace(call, listener, &to)),
                )
            } else {
                NotifyResponse::Goes
            };
        }
        if self.judge.goes_by_itself(socket.as_ref()) {
            return NotifyResponse::Goes;
        }
        // Its name is not to be read, or means another file here.
        if socket.is_empty() || !same_root {
            return self.refuse(call, socket, Listening::Unknown);
        }
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        let file: OwnedFd = match openat(CWD, &socket, flags, Mode::empty()) {
            Ok(file) => file,
            Err(why) => return NotifyResponse::Done(why.raw_os_error()),
        };
        match self.judge.judge(call.thread, &file) {
            Word::Connect => {
                outcome(file_address(&file).and_then(|to| replace(call, listener, &to)))
            }
            Word::Nobody => NotifyResponse::Done(Errno::CONNREFUSED.raw_os_error()),
            Word::Refuse(who) => self.refuse(call, socket, who),
        }
    }

    fn refuse(&self, call: &WaitingCall, socket: String, who: Listening) -> NotifyResponse {
        self.tell(call, socket, who);
        NotifyResponse::Done(Errno::PERM.raw_os_error())
    }

    fn tell(&self, call: &WaitingCall, socket: String, who: Listening) {
        let pid = lookup::process(call.thread).unwrap_or_default();
        self.told.tell(socket, pid, who);
    }
}

/// Replaces the caller's socket by a connected one. Not for datagram sockets: they could send elsewhere later, and the kernel
/// would judge them by where they were made.
fn replace(call: &WaitingCall, listener: &NotifyListener, to: &SocketAddrUnix) -> io::Result<()> {
    let [number, ..] = call.arguments;
    let new = |kind| socket_with(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None);
    let stream = new(SocketType::STREAM)?;
    let connected = match connect(&stream, to) {
        Ok(()) => stream,
        Err(Errno::PROTOTYPE) => {
            let packets = new(SocketType::SEQPACKET)?;
            connect(&packets, to)?;
            packets
        }
        Err(why) => return Err(why.into()),
    };
    listener.replace(call.id, number as u32, connected)
}
