//! The listener at the socket, as the kernel names it.

use std::path::Path;

use guard_proto::Failure;
use guard_sys::user_namespace::{MachineRoot, machine_root};
use rustix::process::{Uid, getuid};

use crate::error::CliError;

/// Whom to believe: root of the machine always, as guardd is.
#[derive(Clone, Copy, Debug)]
pub(super) enum TrustedPeer {
    /// And nobody else. A program of the caller's own user could say that a command is guarded which is not.
    Root,
    /// In a user namespace where root has no uid, whoever has none there.
    Overflow,
    /// The same, and the caller's own user.
    Inside,
}

impl TrustedPeer {
    pub(super) fn check(self, socket: &Path, peer: Uid) -> Result<(), CliError> {
        let seen = Seen {
            root: machine_root(),
            own: getuid(),
            overflow: overflow_uid(),
        };
        if self.believes(peer, seen) {
            Ok(())
        } else {
            Err(refusal(socket, peer, seen))
        }
    }

    fn believes(self, peer: Uid, seen: Seen) -> bool {
        let is_root = match seen.root {
            MachineRoot::Zero => peer.is_root(),
            // It is nobody that this user could have made root here.
            MachineRoot::PerhapsZero => peer.is_root() && !seen.own.is_root(),
            MachineRoot::Overflow => {
                !matches!(self, Self::Root) && Some(peer.as_raw()) == seen.overflow
            }
            MachineRoot::Unknown => false,
        };
        is_root || (matches!(self, Self::Inside) && peer == seen.own)
    }
}

/// How the caller sees users.
#[derive(Clone, Copy, Debug)]
struct Seen {
    root: MachineRoot,
    own: Uid,
    /// Whom the kernel shows for those who have no uid in a namespace.
    overflow: Option<u32>,
}

fn refusal(socket: &Path, peer: Uid, seen: Seen) -> CliError {
    let uid = peer.as_raw();
    let start = "start guardd as root, and name its socket:\nguard --socket PATH …";
    let (why, fix) = match seen.root {
        MachineRoot::Zero if peer == seen.own => (
            format!(
                "it is uid {uid}, which is you and not root: what it calls guarded need not be"
            ),
            start,
        ),
        MachineRoot::Zero => (format!("it is uid {uid}, not root"), start),
        MachineRoot::Unknown => (
            format!("it is uid {uid}, and who that is stands in /proc, which cannot be read"),
            "mount it:\nsudo mount -t proc proc /proc",
        ),
        _ => (
            format!("it is uid {uid} in this user namespace, which need not be the machine's root"),
            "call guard outside of the user namespace",
        ),
    };
    CliError::Local(Failure {
        what: format!("will not talk to whoever listens at {}", socket.display()),
        why,
        fix: fix.into(),
    })
}

fn overflow_uid() -> Option<u32> {
    std::fs::read_to_string("/proc/sys/kernel/overflowuid")
        .ok()?
        .trim()
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const USER: Uid = Uid::from_raw_unchecked(1000);
    const OVERFLOW: Uid = Uid::from_raw_unchecked(65534);

    fn seen(root: MachineRoot, own: Uid) -> Seen {
        Seen {
            root,
            own,
            overflow: Some(65534),
        }
    }

    #[test]
    fn root_of_the_machine_is_believed_alone() {
        let user = seen(MachineRoot::Zero, USER);
        for trust in [
            TrustedPeer::Root,
            TrustedPeer::Overflow,
            TrustedPeer::Inside,
        ] {
            assert!(trust.believes(Uid::ROOT, user));
            assert!(!trust.believes(OVERFLOW, user));
            assert!(!trust.believes(Uid::from_raw(1001), user));
        }
        assert!(!TrustedPeer::Root.believes(USER, user));
        assert!(!TrustedPeer::Overflow.believes(USER, user));
        // What is said inside gives nothing away.
        assert!(TrustedPeer::Inside.believes(USER, user));
        assert!(TrustedPeer::Root.believes(Uid::ROOT, seen(MachineRoot::Zero, Uid::ROOT)));
    }

    /// In `unshare -r` the user is uid 0, and root is nobody.
    #[test]
    fn uid_0_of_a_user_namespace_is_not_root() {
        let inside = seen(MachineRoot::Overflow, Uid::ROOT);
        assert!(!TrustedPeer::Root.believes(Uid::ROOT, inside));
        assert!(!TrustedPeer::Overflow.believes(Uid::ROOT, inside));
        assert!(TrustedPeer::Overflow.believes(OVERFLOW, inside));
        assert!(!TrustedPeer::Root.believes(OVERFLOW, inside));
        // In it once more, 0 is 0 of the next one; for another user who has a 0 beside its own, it is not the own user.
        let deeper = seen(MachineRoot::PerhapsZero, Uid::ROOT);
        assert!(!TrustedPeer::Root.believes(Uid::ROOT, deeper));
        assert!(TrustedPeer::Root.believes(Uid::ROOT, seen(MachineRoot::PerhapsZero, USER)));
        for own in [Uid::ROOT, USER] {
            let unknown = seen(MachineRoot::Unknown, own);
            assert!(!TrustedPeer::Overflow.believes(Uid::ROOT, unknown));
        }
    }

    #[test]
    fn a_refusal_says_who_listens() {
        let why = |peer, seen| {
            let error = refusal(Path::new("/tmp/guardd.sock"), peer, seen);
            error.failure().unwrap().why.clone()
        };
        let user = seen(MachineRoot::Zero, USER);
        insta::assert_snapshot!(why(USER, user), @"it is uid 1000, which is you and not root: what it calls guarded need not be");
        insta::assert_snapshot!(why(OVERFLOW, user), @"it is uid 65534, not root");
        let inside = seen(MachineRoot::Overflow, Uid::ROOT);
        insta::assert_snapshot!(why(Uid::ROOT, inside), @"it is uid 0 in this user namespace, which need not be the machine's root");
    }
}
