//! How whoever connects the command's sockets gets hold of its calls: the command's process hands over the listener that it has
//! made of them before it becomes the command.

use std::{
    io,
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
    sync::{Arc, Mutex},
    thread,
};

use rustix::{
    io::Errno,
    net::{AddressFamily, SocketFlags, SocketType, socketpair},
};

use crate::{
    session::sockets::{Ask, Kept, RefusedSocket, Sockets, serve},
    sys::{
        notify::{Listener, listen_to_connect},
        packets,
    },
};

/// The parent's end.
pub(super) struct Handed {
    socket: OwnedFd,
    sockets: Sockets,
}

/// The child's.
pub(super) struct ToHand(OwnedFd);

/// Both ends, where sockets are to be connected.
pub(super) fn channel(sockets: Option<&Sockets>) -> io::Result<(Option<Handed>, Option<ToHand>)> {
    let Some(sockets) = sockets.cloned() else {
        return Ok((None, None));
    };
    let flags = SocketFlags::CLOEXEC;
    let (socket, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
    Ok((Some(Handed { socket, sockets }), Some(ToHand(theirs))))
}

impl ToHand {
    /// Has this process' calls wait from now on, and hands them over. Where somebody answers them already, as in a session
    /// inside another, that one goes on.
    pub(super) fn hand_over(self) -> io::Result<()> {
        let listener = match listen_to_connect() {
            Err(why) if Errno::from_io_error(&why) == Some(Errno::BUSY) => return Ok(()),
            listener => listener?,
        };
        let sent: [BorrowedFd<'_>; 1] = [listener.fd().as_fd()];
        packets::send(self.0.as_fd(), b"calls", &sent)
    }
}

/// Calls are being answered, if there are any to answer.
pub(super) struct Serving(Arc<Mutex<Option<Kept>>>);

impl Handed {
    fn answer(self, kept: &Mutex<Option<Kept>>, mut told: impl FnMut(&RefusedSocket), ask: Ask) {
        let Ok(Some(packet)) = packets::receive(self.socket.as_fd()) else {
            return;
        };
        let Some(listener) = packet.descriptors.into_iter().next() else {
            return;
        };
        let copy = listener.try_clone();
        // Where it fails nobody has the listener any more, and calls fail.
        let Ok(refused) = serve(Listener::of(listener), &self.sockets, ask) else {
            return;
        };
        if let (Ok(listener), Ok(mut kept)) = (copy, kept.lock()) {
            *kept = Some(Kept {
                listener,
                sockets: self.sockets.clone(),
            });
        }
        refused.iter().for_each(|one| told(&one));
    }
}

impl Serving {
    /// Answers calls as soon as they are handed over, on threads of its own. Where none can be made, nobody answers, and calls
    /// fail.
    pub(super) fn begin(
        handed: Option<Handed>,
        told: impl FnMut(&RefusedSocket) + Send + 'static,
        ask: Ask,
    ) -> Self {
        let kept = Arc::new(Mutex::new(None));
        let serving = Self(Arc::clone(&kept));
        if let Some(handed) = handed {
            let thread = thread::Builder::new().name("guard-sockets".to_owned());
            let _ = thread.spawn(move || handed.answer(&kept, told, ask));
        }
        serving
    }

    /// The command has ended: what is left of its session is somebody else's to answer.
    pub(super) fn finish(self) {
        let kept = self.0.lock().ok().and_then(|mut kept| kept.take());
        if let Some(kept) = kept {
            kept.keep();
        }
    }
}
