//! The approver of an answer and the calling process, by the kernel: for the audit log.

use std::rc::Rc;

use guard_proto::record::{DecisionOrigin, Field, Signature};
use guard_sys::pidfd::Peer;

use crate::{control::auth::Approver, process};

/// An approver who decides something, and the calling process.
#[derive(Clone, Debug)]
pub(crate) struct Answering {
    /// The approver.
    pub(crate) who: Approver,
    /// The process that called.
    pub(crate) from: DecisionOrigin,
    /// The name to say, if it is not that of a user: of who signed, or whose word it is.
    pub(crate) name: Option<String>,
    /// What was signed, if anything was.
    pub(crate) signed: Option<Rc<SignedBy>>,
}

#[cfg(test)]
impl Answering {
    /// A user who decides for themselves, of whose process nothing is known.
    pub(crate) fn by(uid: u32, right: &str, name: &str) -> Self {
        let from = DecisionOrigin {
            uid,
            right: right.to_owned(),
            pid: None,
            comm: None,
            exe: None,
            command: Vec::new(),
            terminal: None,
        };
        Self {
            who: Approver::on_behalf_of(uid),
            from,
            name: Some(name.to_owned()),
            signed: None,
        }
    }
}

/// A signed answer, for the audit log.
#[derive(Clone, Debug)]
pub(crate) struct SignedBy {
    /// The signature.
    pub(crate) signature: Signature,
    /// The others who said so before.
    pub(crate) with: Vec<String>,
}

impl Answering {
    /// The process at the other end of a connection. Its pidfd shows that all this is of that process, and not of a later one
    /// with its number.
    #[must_use]
    pub(crate) fn of(who: Approver, peer: &Peer) -> Self {
        let exe = peer.exe().ok();
        let comm = exe.as_deref().and_then(|exe| exe.file_name());
        let from = DecisionOrigin {
            uid: who.uid(),
            right: if who.is_root() { "root" } else { "owner" }.to_owned(),
            pid: peer.pid().ok(),
            comm: comm.map(|name| name.to_string_lossy().into_owned()),
            exe: exe.map(|exe| exe.to_string_lossy().into_owned()),
            command: peer
                .command()
                .map(|line| process::words(&line))
                .unwrap_or_default(),
            terminal: peer.terminal().ok().flatten(),
        };
        Self {
            who,
            from,
            name: None,
            signed: None,
        }
    }

    /// The signature, for a record; absent where there is none.
    #[must_use]
    pub(crate) fn signature(&self) -> Field<Signature> {
        let signed = self.signed.as_ref();
        signed.map_or(Field::Absent, |one| one.signature.clone().into())
    }

    /// The others who said so, for a record; absent where there are none.
    #[must_use]
    pub(crate) fn with(&self) -> Field<Vec<String>> {
        let others = self.signed.as_ref().map(|one| &one.with);
        let others = others.filter(|others| !others.is_empty());
        others.map_or(Field::Absent, |others| others.clone().into())
    }
}
