//! A conversation with the kernel about sockets: inet_diag, sock_diag(7).

use std::io;

use netlink_packet_core::{
    NetlinkDeserializable, NetlinkHeader, NetlinkMessage, NetlinkPayload, NetlinkSerializable,
};
use netlink_sys::protocols::NETLINK_SOCK_DIAG;
use netlink_sys::{Socket, SocketAddr};

/// The kernel never sends more of a dump in one piece.
const LONGEST: usize = 64 * 1024;

/// The conversation. It is about the network namespace of the thread that opened it.
pub(super) struct Diag {
    socket: Socket,
    buffer: Vec<u8>,
}

impl Diag {
    pub(super) fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_SOCK_DIAG)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        let buffer = Vec::with_capacity(LONGEST);
        Ok(Self { socket, buffer })
    }

    pub(super) fn send<T>(&self, flags: u16, message: T) -> io::Result<()>
    where
        T: NetlinkSerializable + Into<NetlinkPayload<T>>,
    {
        let mut header = NetlinkHeader::default();
        header.flags = flags;
        let mut message = NetlinkMessage::new(header, message.into());
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        self.socket.send(&bytes, 0).map(drop)
    }

    /// Receives up to the end of the answer: the end of a dump, an acknowledgement, or an error.
    pub(super) fn receive<T>(&mut self, mut each: impl FnMut(T)) -> io::Result<()>
    where
        T: NetlinkDeserializable,
    {
        loop {
            self.buffer.clear();
            self.socket.recv(&mut self.buffer, 0)?;
            let mut rest = self.buffer.as_slice();
            while !rest.is_empty() {
                let message = NetlinkMessage::<T>::deserialize(rest).map_err(garbled)?;
                let length = (message.header.length as usize).next_multiple_of(4);
                rest = rest.get(length..).unwrap_or_default();
                match message.payload {
                    NetlinkPayload::InnerMessage(message) => each(message),
                    NetlinkPayload::Done(done) if done.code == 0 => return Ok(()),
                    NetlinkPayload::Done(done) => return Err(from_kernel(done.code)),
                    NetlinkPayload::Error(error) => {
                        return error
                            .code
                            .map_or(Ok(()), |code| Err(from_kernel(code.get())));
                    }
                    _ => {}
                }
            }
        }
    }
}

fn from_kernel(code: i32) -> io::Error {
    io::Error::from_raw_os_error(code.abs())
}

fn garbled(why: impl std::fmt::Display) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("inet_diag: {why}"))
}
