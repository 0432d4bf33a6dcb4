//! By which names sessions know addresses whose policies speak of none: as the kernel half reads in the machine's name servers' answers
//! (`ANSWERED`). People are shown them. A yes never opens such a name.

use std::{cell::RefCell, collections::HashMap, net::IpAddr};

use guard_common::{Address, Answered, AnsweredKey, BootTime, SessionId};
use guard_datapath::{Datapath, DatapathError};
use guard_policy::DomainName;
use guard_proto::destination::NameTold;
use guard_sys::clock::Clocks;

use super::address_names::{LearnedAddress, NameAsker};

/// So many are remembered at most, of those that requests were about; the kernel has them all.
const MAX_RECALLED: usize = 4096;

/// A name that was answered, and who asked.
#[derive(Clone, Debug)]
struct AnsweredName {
    name: String,
    told: LearnedAddress,
}

impl AnsweredName {
    /// None where no name server of this machine, of these, has answered it.
    fn of(answered: &Answered, servers: &[IpAddr]) -> Option<Self> {
        if !servers.contains(&answered.server.to_ip()) {
            return None;
        }
        Some(Self {
            name: text(answered)?,
            told: LearnedAddress {
                // A program may keep the address for as long as it likes.
                until: BootTime(u64::MAX),
                since: answered.since,
                at: answered.at,
                by: None,
                asker: asker(answered),
                rank: 0,
            },
        })
    }
}

/// Such names.
#[derive(Debug, Default)]
pub(super) struct AnsweredNames {
    /// Those of addresses that were asked about.
    recalled: RefCell<HashMap<AnsweredKey, AnsweredName>>,
}

impl AnsweredNames {
    /// Reads one from the kernel; `servers`: those whose word counts.
    pub(super) fn recall(
        &self,
        kernel: &Datapath,
        key: AnsweredKey,
        servers: impl FnOnce() -> Vec<IpAddr>,
    ) -> Result<(), DatapathError> {
        let found = kernel.answered(&key)?;
        let found = found.and_then(|found| AnsweredName::of(&found, &servers()));
        let mut recalled = self.recalled.borrow_mut();
        match found {
            Some(name) => {
                if recalled.len() >= MAX_RECALLED && !recalled.contains_key(&key) {
                    recalled.clear();
                }
                recalled.insert(key, name);
            }
            None => {
                recalled.remove(&key);
            }
        }
        Ok(())
    }

    /// Forgets one: policies speak of names now.
    pub(super) fn forget(&self, key: AnsweredKey) {
        self.recalled.borrow_mut().remove(&key);
    }

    /// The name that was answered last, if this process is likely to have gone by it.
    pub(super) fn told(
        &self,
        session: SessionId,
        address: Address,
        who: &NameAsker,
        now: BootTime,
    ) -> Option<NameTold> {
        let recalled = self.recalled.borrow();
        let found = recalled.get(&AnsweredKey { session, address })?;
        found.told.is_likely_by(who, now).then(|| NameTold {
            name: found.name.clone(),
            cname: None,
            pid: found.told.asker.pid,
            // It is that process, or one of its program: what a thread calls itself is its own word.
            comm: who.comm.clone(),
            at: Clocks::read().calendar(found.told.at),
            also: Vec::new(),
        })
    }

    /// By which name a program's thread has connected to an address then: it had asked for it before, and the session for no other since.
    pub(super) fn name_then(
        &self,
        kernel: &Datapath,
        key: AnsweredKey,
        program: &str,
        then: BootTime,
        servers: &[IpAddr],
    ) -> Option<String> {
        let found = AnsweredName::of(&kernel.answered(&key).ok()??, servers)?;
        let is_its = found.told.since <= then && found.told.asker.is(program);
        is_its.then_some(found.name)
    }
}

/// The name as text; none where people would not write it so.
fn text(answered: &Answered) -> Option<String> {
    let labels: Result<Vec<_>, _> = answered.labels()?.map(str::from_utf8).collect();
    let labels = labels.ok()?;
    if labels.iter().any(|label| label.contains('.')) {
        return None;
    }
    let name: DomainName = labels.join(".").to_ascii_lowercase().parse().ok()?;
    Some(name.as_str().to_owned())
}

fn asker(answered: &Answered) -> NameAsker {
    let comm = answered.comm.split(|byte| *byte == 0).next();
    let comm = comm.and_then(|comm| str::from_utf8(comm).ok());
    NameAsker::of(Some(answered.tgid), comm.filter(|comm| !comm.is_empty()))
}

#[cfg(test)]
mod tests {
    use guard_common::MAX_SENT_NAME;

    use super::*;

    fn answered(sent: &[u8]) -> Answered {
        let mut name = [0; MAX_SENT_NAME + 1];
        name[..sent.len()].copy_from_slice(sent);
        Answered {
            head: 0,
            since: BootTime(1),
            at: BootTime(1),
            server: Address::default(),
            comm: *b"curl\0\0\0\0\0\0\0\0\0\0\0\0",
            tgid: 7,
            length: sent.len() as u32,
            name,
            tail: 0,
        }
    }

    #[test]
    fn a_name_is_told_as_people_write_it() {
        let of = |sent: &[u8]| text(&answered(sent));
        assert_eq!(of(b"\x03NAS\x03lan\0").as_deref(), Some("nas.lan"));
        assert_eq!(of(b"\x04_ldp\x03lan\0").as_deref(), Some("_ldp.lan"));
        // A dot in a label, an escape of a terminal's, no name at all.
        for sent in [
            &b"\x05a.lan\0"[..],
            b"\x03\x1b[m\x03lan\0",
            b"\0",
            b"\x03n\xc3s\0",
        ] {
            assert_eq!(of(sent), None, "{sent:?}");
        }
    }

    #[test]
    fn who_asked_is_told() {
        assert_eq!(
            asker(&answered(b"\0")),
            NameAsker::of(Some(7), Some("curl"))
        );
    }
}
