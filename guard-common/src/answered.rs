//! Names of addresses as name servers answered them to sessions whose policies speak of none.
//!
//! People are shown them. Nothing is decided by them: whoever owns a name chooses its addresses, and a program which names it asks for.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::{Address, BootTime, NamedKey, PolicyId, SessionId};

/// Bytes of a name as it is sent, its last label of no bytes included (RFC 1035 3.1).
pub const MAX_SENT_NAME: usize = 255;

/// The key of `ANSWERED`.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct AnsweredKey {
    /// The session that asked.
    pub session: SessionId,
    /// The address that was answered.
    pub address: Address,
}

impl AnsweredKey {
    /// A number that another key is not likely to have.
    #[inline(always)]
    #[must_use]
    pub const fn mark(&self) -> u64 {
        NamedKey::new(self.session, PolicyId(0), self.address).mark()
    }
}

/// Words of 8 bytes that a name has at most, of which the last is filled up with zeros.
pub const NAME_WORDS: usize = (MAX_SENT_NAME + 1) / 8;

/// The last name that a session asked for and was answered an address of.
///
/// A reader may see the memory of an entry become another's. So it begins and ends with a mark of its key ([`AnsweredKey::mark`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Answered {
    /// The mark of its key.
    pub head: u64,
    /// Since when it was the last name.
    pub since: BootTime,
    /// When it was last answered.
    pub at: BootTime,
    /// Who answered, from port 53.
    pub server: Address,
    /// What the thread called itself that asked.
    pub comm: [u8; 16],
    /// Its process, in the first PID namespace.
    pub tgid: u32,
    /// How many bytes of `name` are the name.
    pub length: u32,
    /// The name as it was asked for: labels, each behind its length (RFC 1035 3.1); then zeros.
    pub name: [u8; MAX_SENT_NAME + 1],
    /// The same mark.
    pub tail: u64,
}

impl Answered {
    /// Whether it is that key's, whole.
    #[must_use]
    pub const fn is_of(&self, key: &AnsweredKey) -> bool {
        let mark = key.mark();
        self.head == mark && self.tail == mark
    }

    /// The name's labels; none where it is not whole.
    #[must_use]
    pub fn labels(&self) -> Option<impl Iterator<Item = &[u8]>> {
        let sent = self.name.get(..self.length as usize)?;
        let (mut at, mut ends) = (0, false);
        while let Some(length) = sent.get(at).filter(|_| !ends) {
            at += 1 + usize::from(*length);
            ends = *length == 0;
        }
        let is_whole = ends && at == sent.len();
        let mut rest = sent;
        is_whole.then_some(core::iter::from_fn(move || {
            let (length, behind) = rest.split_first().filter(|(length, _)| **length != 0)?;
            let (label, behind) = behind.split_at_checked(usize::from(*length))?;
            rest = behind;
            Some(label)
        }))
    }
}

#[cfg(test)]
mod tests {
    use zerocopy::FromZeros as _;

    use super::*;

    fn answered(sent: &[u8]) -> Answered {
        let mut name = [0; MAX_SENT_NAME + 1];
        name[..sent.len()].copy_from_slice(sent);
        Answered {
            length: sent.len() as u32,
            name,
            ..Answered::new_zeroed()
        }
    }

    #[test]
    fn a_name_is_its_labels() {
        let of = answered(b"\x03nas\x03lan\0");
        assert!(of.labels().unwrap().eq([&b"nas"[..], b"lan"]));
        assert_eq!(answered(b"\0").labels().unwrap().count(), 0);
    }

    #[test]
    fn what_is_not_whole_is_none() {
        for sent in [&b""[..], b"\x03na", b"\x03nas", b"\x03nas\0\0", b"\0a"] {
            assert!(answered(sent).labels().is_none(), "{sent:?}");
        }
        let mut long = answered(b"\0");
        long.length = 257;
        assert!(long.labels().is_none());
    }
}
