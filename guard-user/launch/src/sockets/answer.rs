//! What becomes of one call.

use std::{
    io,
    os::fd::{AsRawFd as _, OwnedFd},
    path::Path,
};

use guard_sys::{
    notify::{Answer, Listener, Waiting},
    pidfd::open_thread,
};
use rustix::{
    io::Errno,
    net::{AddressFamily, SocketAddrUnix, sockopt::socket_domain},
    process::{PidfdGetfdFlags, pidfd_getfd},
};

use super::{
    Told,
    judge::{Judge, Word},
    lookup::{self, Address},
};

/// What becomes of a call.
pub(super) enum Plan {
    /// This, at once.
    Answer(Answer),
    /// Its socket is connected, which may take as long as the other side likes.
    Connect(Target),
}

/// Where to.
pub(super) enum Target {
    /// To that very file, whatever its name means by now.
    File(OwnedFd),
    /// To an abstract name.
    Name(Vec<u8>),
    /// Where guardd says: this process may not look at the caller.
    Unread,
}

/// Decides what becomes of a call.
pub(super) fn plan(call: &Waiting, judge: &Judge, told: &Told) -> Plan {
    let [_, address, length, ..] = call.arguments;
    // An `int` each: the kernel ignores the rest.
    let length = u64::from(length as u32);
    match lookup::address(call.thread, address, length) {
        Address::Other => Plan::Answer(Answer::Goes),
        Address::Unread => Plan::Connect(Target::Unread),
        Address::Abstract(name) if judge.allows_name(call.thread, &name) => {
            Plan::Connect(Target::Name(name))
        }
        // Landlock's to judge, where it does; else the kernel refuses.
        Address::Abstract(_) => Plan::Answer(Answer::Goes),
        Address::Path(path) if judge.goes_by_itself(&path) => Plan::Answer(Answer::Goes),
        Address::Path(path) => to_path(call, judge, &path, told),
    }
}

fn to_path(call: &Waiting, judge: &Judge, path: &Path, told: &Told) -> Plan {
    let file = match lookup::file(call.thread, path) {
        Ok(file) => file,
        Err(why) => return Plan::Answer(outcome(Err(why))),
    };
    match judge.judge(call.thread, &file) {
        Word::Connect => Plan::Connect(Target::File(file)),
        Word::Nobody => Plan::Answer(Answer::Done(Errno::CONNREFUSED.raw_os_error())),
        Word::Refuse(listener) => {
            let pid = lookup::process(call.thread).unwrap_or_default();
            let socket = path.display().to_string();
            told.tell(socket, pid, listener);
            Plan::Answer(Answer::Done(Errno::PERM.raw_os_error()))
        }
    }
}

/// Connects a call's socket, and waits until that is done.
pub(super) fn connect_to(call: &Waiting, listener: &Listener, target: &Target) -> Answer {
    let to = match target {
        Target::File(file) => file_address(file),
        Target::Name(name) => SocketAddrUnix::new_abstract_name(name).map_err(io::Error::from),
        // That is `unread`'s to answer.
        Target::Unread => Err(Errno::PERM.into()),
    };
    outcome(to.and_then(|to| connect(call, listener, &to)))
}

/// The address of that very file, whatever its name means by now.
pub(super) fn file_address(file: &OwnedFd) -> io::Result<SocketAddrUnix> {
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    Ok(SocketAddrUnix::new(path)?)
}

pub(super) fn outcome(connected: io::Result<()>) -> Answer {
    match connected {
        Ok(()) => Answer::Done(0),
        Err(why) => Answer::Done(why.raw_os_error().unwrap_or(Errno::PERM.raw_os_error())),
    }
}

fn connect(call: &Waiting, listener: &Listener, to: &SocketAddrUnix) -> io::Result<()> {
    let [fd, ..] = call.arguments;
    // A thread may have descriptors of its own.
    let pidfd = open_thread(call.thread.cast_unsigned(), lookup::process(call.thread)?)?;
    // All that was read of it by its number was its own if it waits now.
    if !listener.still_waits(call.id) {
        return Err(Errno::SRCH.into());
    }
    let socket = pidfd_getfd(pidfd, fd as i32, PidfdGetfdFlags::empty())?;
    match socket_domain(&socket)? {
        AddressFamily::UNIX => Ok(rustix::net::connect(&socket, to)?),
        _ => Err(Errno::AFNOSUPPORT.into()),
    }
}
