//! Whether the programs at the security hooks are run, each, and refuse: tried on guardd itself, since the kernel lets them be
//! attached even if it does not run them.

use std::{
    io::{self, IoSlice, IoSliceMut},
    mem::MaybeUninit,
    os::{
        fd::{AsFd as _, OwnedFd},
        unix::net::UnixDatagram,
    },
    path::Path,
};

use aya::maps::{Array, MapData};
use guard_common::LsmHook;
use rustix::{
    io::Errno,
    net::{
        AddressFamily, RecvAncillaryBuffer, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
        SendFlags, SocketAddrUnix, SocketFlags, SocketType, bind, recvmsg, sendmsg, socket_with,
        sockopt::socket_cookie,
    },
    process::test_kill_process,
    rand::GetRandomFlags,
};

use super::super::{DatapathError, Result, maps::open, top::refused};

/// The words for the trial.
const TRIAL: &str = "a call to try it";

/// Hooks whose programs record that they were run. The one for connections refuses a connection instead.
const NOTING: [LsmHook; 3] = [LsmHook::UnixSend, LsmHook::Receive, LsmHook::Kill];

/// Has each program run once, and returns one that was not. For a moment, connections to one socket of guardd's are refused to
/// everybody.
///
/// # Errors
///
/// If it could not be tried.
pub(super) fn never_asked(live: &Path) -> Result<Option<LsmHook>> {
    let mut probe: Array<MapData, u64> = open(live, "LSM_PROBE")?;
    let mut state: Array<MapData, u64> = open(live, "LSM_STATE")?;
    for hook in NOTING {
        let set = state.set(hook as u32, 0, 0);
        set.map_err(DatapathError::ebpf("write the map LSM_STATE"))?;
    }
    let (listener, address) = listen().map_err(refused(TRIAL))?;
    let cookie = socket_cookie(&listener).map_err(|why| refused(TRIAL)(why.into()))?;
    let mut refuse = |cookie| {
        let set = probe.set(0, cookie, 0);
        set.map_err(DatapathError::ebpf("write the map LSM_PROBE"))
    };
    refuse(0)?;
    connect(&address).map_err(|why| refused(TRIAL)(why.into()))?;
    refuse(cookie)?;
    let connected = connect(&address);
    let called = call_the_others();
    refuse(0)?;
    match connected {
        Ok(()) => return Ok(Some(LsmHook::UnixConnect)),
        Err(Errno::PERM) => {}
        Err(why) => return Err(refused(TRIAL)(why.into())),
    }
    called.map_err(refused(TRIAL))?;
    for hook in NOTING {
        let noted = state.get(&(hook as u32), 0);
        if noted.map_err(DatapathError::ebpf("read the map LSM_STATE"))? == 0 {
            return Ok(Some(hook));
        }
    }
    Ok(None)
}

/// Sends a datagram, receives a socket in it, and checks whether it may signal itself.
fn call_the_others() -> io::Result<()> {
    let (one, other) = UnixDatagram::pair()?;
    let handed = [one.as_fd()];
    let mut room = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut room);
    control.push(SendAncillaryMessage::ScmRights(&handed));
    sendmsg(
        &one,
        &[IoSlice::new(b"1")],
        &mut control,
        SendFlags::empty(),
    )?;
    let mut room = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut room);
    let mut byte = [0];
    let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
    recvmsg(
        &other,
        &mut [IoSliceMut::new(&mut byte)],
        &mut control,
        flags,
    )?;
    test_kill_process(rustix::process::getpid())?;
    Ok(())
}

/// At a name that no other process can know and take: names that the kernel chooses can be used up.
fn listen() -> io::Result<(OwnedFd, SocketAddrUnix)> {
    let mut name = [0; 16];
    rustix::rand::getrandom(&mut name, GetRandomFlags::empty())?;
    let address = SocketAddrUnix::new_abstract_name(&name)?;
    let listener = socket()?;
    bind(&listener, &address)?;
    rustix::net::listen(&listener, 4)?;
    Ok((listener, address))
}

/// Connects without waiting.
fn connect(to: &SocketAddrUnix) -> std::result::Result<(), Errno> {
    rustix::net::connect(&socket()?, to)
}

fn socket() -> std::result::Result<OwnedFd, Errno> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_calls_of_the_trial_work_where_nothing_is_attached() {
        let (_listener, address) = listen().unwrap();
        connect(&address).unwrap();
        call_the_others().unwrap();
    }
}
