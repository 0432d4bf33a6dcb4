//! Who answers, and from where: for the audit trail, as the kernel has it.

use guard_judge::http as judge;
use guard_sys::pidfd::Peer;
use serde::Serialize;
use serde_json::json;

use crate::{control::auth::Approver, process, record::audit::Record};

/// A person who decides something, and the process that said so.
///
/// What is null could not be told, such as all of a process that has ended meanwhile.
#[derive(Clone, Debug, Serialize)]
pub struct Answering {
    /// As whom.
    #[serde(skip)]
    pub who: Approver,
    /// The user, by number.
    uid: u32,
    /// By which right: `root` answers for all, `owner` for sessions of its own.
    right: &'static str,
    /// The process that called.
    pid: Option<u32>,
    /// The name of its executable's file.
    comm: Option<String>,
    /// Its executable.
    exe: Option<String>,
    /// Its command line, which tells `guard approve` from `guard watch` and others; without what lets somebody in, in a URL
    /// that a person has typed. The process chose it.
    command: Vec<String>,
    /// Its controlling terminal, without `/dev/`; null where it has none, as a service or a notifier.
    terminal: Option<String>,
}

impl Answering {
    /// The process behind a connection. Its pidfd shows that all this is of that process, and of none that had its number
    /// later.
    #[must_use]
    pub fn of(who: Approver, peer: &Peer) -> Self {
        let exe = peer.exe().ok();
        let comm = exe.as_deref().and_then(|exe| exe.file_name());
        Self {
            who,
            uid: who.uid(),
            right: if who.is_root() { "root" } else { "owner" },
            pid: peer.pid().ok(),
            comm: comm.map(|name| name.to_string_lossy().into_owned()),
            exe: exe.map(|exe| exe.to_string_lossy().into_owned()),
            command: peer
                .command()
                .map(|line| kept(&process::words(&line)))
                .unwrap_or_default(),
            terminal: peer.terminal().ok().flatten(),
        }
    }

    /// A record with who decided what it tells of; `name` is the user's.
    #[must_use]
    pub fn told_in(&self, record: Record, name: &str) -> Record {
        record.with("by", name).with("from", json!(self))
    }
}

/// A command line as it may be kept: a `--path` has the query of the request that it is for.
fn kept(words: &[String]) -> Vec<String> {
    words
        .iter()
        .map(|word| judge::without_secrets(word))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_that_a_person_types_is_not_kept() {
        let typed = [
            "guard",
            "approve",
            "r1",
            "--path",
            "/x?token=sesame*",
            "--path=/y?a=1&key=sesame",
        ];
        let kept = kept(&typed.map(str::to_owned));
        assert_eq!(kept[..4], typed[..4]);
        assert_eq!(kept[4..], ["/x?token=***", "--path=/y?a=1&key=***"]);
    }
}
