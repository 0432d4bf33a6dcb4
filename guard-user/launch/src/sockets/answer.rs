//! The supervisor's answer to one call.

use std::{
    io,
    os::fd::{AsRawFd as _, OwnedFd},
    path::Path,
};

use guard_sys::{
    notify::{NotifyListener, NotifyResponse, WaitingCall},
    pidfd::open_thread,
};
use rustix::{
    io::Errno,
    net::{AddressFamily, SocketAddrUnix, sockopt::socket_domain},
    process::{PidfdGetfdFlags, pidfd_getfd},
};

use super::{
    RefusalSender,
    judge::{SocketJudge, Word},
    lookup::{self, UnixAddress},
};

/// How a call is answered.
pub(super) enum AnswerPlan {
    /// At once, by this response.
    Answer(NotifyResponse),
    /// Its socket is connected, which may take as long as the listener likes.
    Connect(ConnectTarget),
}

/// The destination.
pub(super) enum ConnectTarget {
    /// This very file, whatever its name means by now.
    File(OwnedFd),
    /// An abstract name.
    Name(Vec<u8>),
    /// The address that guardd reads: this process may not read the caller's memory.
    Unread,
}

/// Decides how a call is answered.
pub(super) fn plan(call: &WaitingCall, judge: &SocketJudge, told: &RefusalSender) -> AnswerPlan {
    let [_, address, length, ..] = call.arguments;
    // An `int` each: the kernel ignores the rest.
    let length = u64::from(length as u32);
    match lookup::address(call.thread, address, length) {
        UnixAddress::Other => AnswerPlan::Answer(NotifyResponse::Goes),
        UnixAddress::Unread => AnswerPlan::Connect(ConnectTarget::Unread),
        UnixAddress::Abstract(name) if judge.allows_name(call.thread, &name) => {
            AnswerPlan::Connect(ConnectTarget::Name(name))
        }
        // Landlock judges it if it can; else the kernel refuses.
        UnixAddress::Abstract(_) => AnswerPlan::Answer(NotifyResponse::Goes),
        UnixAddress::Path(path) if judge.goes_by_itself(&path) => {
            AnswerPlan::Answer(NotifyResponse::Goes)
        }
        UnixAddress::Path(path) => to_path(call, judge, &path, told),
    }
}

fn to_path(
    call: &WaitingCall,
    judge: &SocketJudge,
    path: &Path,
    told: &RefusalSender,
) -> AnswerPlan {
    let file = match lookup::file(call.thread, path) {
        Ok(file) => file,
        Err(why) => return AnswerPlan::Answer(outcome(Err(why))),
    };
    match judge.judge(call.thread, &file) {
        Word::Connect => AnswerPlan::Connect(ConnectTarget::File(file)),
        Word::Nobody => AnswerPlan::Answer(NotifyResponse::Done(Errno::CONNREFUSED.raw_os_error())),
        Word::Refuse(listener) => {
            let pid = lookup::process(call.thread).unwrap_or_default();
            let socket = path.display().to_string();
            told.tell(socket, pid, listener);
            AnswerPlan::Answer(NotifyResponse::Done(Errno::PERM.raw_os_error()))
        }
    }
}

/// Connects a call's socket, and waits until that is done.
pub(super) fn connect_to(
    call: &WaitingCall,
    listener: &NotifyListener,
    target: &ConnectTarget,
) -> NotifyResponse {
    let to = match target {
        ConnectTarget::File(file) => file_address(file),
        ConnectTarget::Name(name) => {
            SocketAddrUnix::new_abstract_name(name).map_err(io::Error::from)
        }
        // `unread` answers that.
        ConnectTarget::Unread => Err(Errno::PERM.into()),
    };
    outcome(to.and_then(|to| connect(call, listener, &to)))
}

/// The address of that very file, whatever its name means by now.
pub(super) fn file_address(file: &OwnedFd) -> io::Result<SocketAddrUnix> {
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    Ok(SocketAddrUnix::new(path)?)
}

pub(super) fn outcome(connected: io::Result<()>) -> NotifyResponse {
    match connected {
        Ok(()) => NotifyResponse::Done(0),
        Err(why) => NotifyResponse::Done(why.raw_os_error().unwrap_or(Errno::PERM.raw_os_error())),
    }
}

fn connect(call: &WaitingCall, listener: &NotifyListener, to: &SocketAddrUnix) -> io::Result<()> {
    let [fd, ..] = call.arguments;
    // A thread may have descriptors of its own.
    let pidfd = open_thread(call.thread.cast_unsigned(), lookup::process(call.thread)?)?;
    // What was read by its number is the thread's own if its call still waits.
    if !listener.still_waits(call.id) {
        return Err(Errno::SRCH.into());
    }
    let socket = pidfd_getfd(pidfd, fd as i32, PidfdGetfdFlags::empty())?;
    match socket_domain(&socket)? {
        AddressFamily::UNIX => Ok(rustix::net::connect(&socket, to)?),
        _ => Err(Errno::AFNOSUPPORT.into()),
    }
}
