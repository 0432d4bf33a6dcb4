//! The messages between relay and monitor.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::{Errno, retry_on_intr};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socketpair,
};

use crate::CommandStatus;

/// A message; the side that may send it is named first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Message {
    /// From the relay: send this signal to the command.
    Signal(i32),
    /// From the relay: continue the command, in the foreground of its terminal or in the background.
    Resume {
        /// Whether the command gets what is typed.
        foreground: bool,
    },
    /// From the monitor: this signal has stopped the command.
    Stopped(i32),
    /// From the monitor: the command has ended.
    Ended(CommandStatus),
}

impl Message {
    /// Two bytes: signals are 1 to 64.
    fn bytes(self) -> [u8; 2] {
        match self {
            Self::Signal(signal) => [0, signal as u8],
            Self::Resume { foreground } => [1, foreground.into()],
            Self::Stopped(signal) => [2, signal as u8],
            Self::Ended(CommandStatus::Exited(status)) => [3, status],
            Self::Ended(CommandStatus::Killed(signal)) => [4, signal as u8],
        }
    }

    fn from_bytes(bytes: [u8; 2]) -> io::Result<Self> {
        let [kind, value] = bytes;
        Ok(match kind {
            0 => Self::Signal(value.into()),
            1 => Self::Resume {
                foreground: value != 0,
            },
            2 => Self::Stopped(value.into()),
            3 => Self::Ended(CommandStatus::Exited(value)),
            4 => Self::Ended(CommandStatus::Killed(value.into())),
            _ => return Err(io::ErrorKind::InvalidData.into()),
        })
    }
}

/// One end.
#[derive(Debug)]
pub(super) struct Channel(OwnedFd);

impl Channel {
    /// Both ends.
    ///
    /// # Errors
    ///
    /// The system's.
    pub(super) fn pair() -> io::Result<(Self, Self)> {
        let flags = SocketFlags::CLOEXEC;
        let (one, other) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
        Ok((Self(one), Self(other)))
    }

    /// Sends a message. If the other side has ended, that is noticed elsewhere.
    pub(super) fn say(&self, message: Message) {
        let _ = retry_on_intr(|| send(&self.0, &message.bytes(), SendFlags::NOSIGNAL));
    }

    /// Waits for a message from the other side; `None` if it has ended.
    ///
    /// # Errors
    ///
    /// The system's.
    pub(super) fn hear(&self) -> io::Result<Option<Message>> {
        let mut bytes = [0; 2];
        let heard = retry_on_intr(|| recv(&self.0, &mut bytes[..], RecvFlags::empty()));
        match heard {
            Ok((_, 2)) => Message::from_bytes(bytes).map(Some),
            Ok(_) | Err(Errno::CONNRESET) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_is_heard_and_an_end_is_too() {
        let (one, other) = Channel::pair().unwrap();
        let all = [
            Message::Signal(15),
            Message::Resume { foreground: true },
            Message::Resume { foreground: false },
            Message::Stopped(64),
            Message::Ended(CommandStatus::Exited(255)),
            Message::Ended(CommandStatus::Killed(9)),
        ];
        for message in all {
            one.say(message);
            assert_eq!(other.hear().unwrap(), Some(message));
        }
        drop(one);
        assert_eq!(other.hear().unwrap(), None);
        other.say(Message::Signal(1));
    }
}
