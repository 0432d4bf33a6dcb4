//! What a courier may ask for: a user of its own that carries questions away and signed answers back, and shows what there is
//! of those for whom somebody answers. It says no, too, and closes holes, which makes things stricter; it never says yes.

use guard_proto::{self as proto, Call, record::Origin};
use guard_signed::{Kind, Signed};
use guard_sys::{accounts::Account, pidfd::Peer};

use crate::{
    control::{
        answering::Answering,
        auth::{Approver, Courier},
        failure::CallError,
    },
    state::State,
};

impl State {
    /// Whether somebody is enrolled who answers for that user: of others a courier sees nothing.
    fn is_in_scope(&mut self, owner: u32) -> bool {
        let name = self.machine.user(owner);
        let mut people = self.answers.people.known().all.iter();
        people.any(|one| one.answers_for.contains(&name))
    }

    /// The users for whom somebody is enrolled, without root: its right would be one to all.
    #[must_use]
    pub fn owners_carried(&self) -> Vec<u32> {
        let people = self.answers.people.known().all.iter();
        let names = people.flat_map(|one| &one.answers_for);
        let uids = names.filter_map(|name| Account::uid_of(name).ok().flatten());
        let mut uids: Vec<_> = uids.filter(|uid| *uid != 0).collect();
        uids.sort_unstable();
        uids.dedup();
        uids
    }

    /// The same, as those who may see what is theirs.
    #[must_use]
    pub fn carried_for(&self) -> Vec<Approver> {
        let owners = self.owners_carried().into_iter();
        owners.map(Approver::by_signature).collect()
    }

    /// The live sessions that a courier may show.
    pub fn sessions_carried(&mut self) -> proto::Sessions {
        let owners = self.carried_for().into_iter();
        let sessions = owners.flat_map(|who| self.sessions_of(who).sessions);
        proto::Sessions {
            sessions: sessions.collect(),
        }
    }

    /// The open holes that a courier may show.
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub fn holes_carried(&self) -> Result<proto::Holes, CallError> {
        let mut listed = proto::Holes::default();
        for who in self.carried_for() {
            listed.holes.extend(self.holes_of(who)?.holes);
        }
        Ok(listed)
    }

    /// What was reached that a courier may show.
    ///
    /// # Errors
    ///
    /// As for [`State::flows_of`].
    pub fn flows_carried(&mut self, session: Option<&str>) -> Result<proto::Flows, CallError> {
        let mut listed = proto::Flows::default();
        let (mut is_known, mut unknown) = (false, None);
        for who in self.carried_for() {
            match self.flows_of(who, session) {
                Ok(own) => {
                    is_known = true;
                    listed.flows.extend(own.flows);
                    listed.warnings.extend(own.warnings);
                }
                Err(error) => unknown = Some(error),
            }
        }
        listed.warnings.dedup();
        match unknown.filter(|_| !is_known) {
            Some(error) => Err(error),
            None => Ok(listed),
        }
    }

    /// Closes holes for a courier.
    ///
    /// # Errors
    ///
    /// As for [`State::close`].
    pub fn close_by(
        &mut self,
        courier: Courier,
        peer: &Peer,
        ids: &[String],
        all: bool,
    ) -> Result<proto::Holes, CallError> {
        let open = self.holes_carried()?.holes;
        let is_open = |id: &&String| open.iter().any(|hole| hole.id == **id);
        if let Some(unknown) = ids.iter().find(|id| !is_open(id)) {
            return Err(crate::control::ids::no_hole(unknown));
        }
        let mut closed = proto::Holes::default();
        for owner in self.carried_for() {
            let own = self.holes_of(owner)?.holes.into_iter().map(|hole| hole.id);
            let meant: Vec<_> = own.filter(|id| all || ids.contains(id)).collect();
            let by = self.said_by(courier, owner, peer);
            let done = self.close(&by, &meant, false)?;
            closed.holes.extend(done.holes);
            closed.warnings.extend(done.warnings);
        }
        closed.warnings.dedup();
        Ok(closed)
    }

    /// A courier's own word, for the audit log.
    fn said_by(&mut self, courier: Courier, owner: Approver, peer: &Peer) -> Answering {
        Answering {
            from: self::courier(courier.uid(), peer),
            name: Some(format!("{}, unsigned", self.machine.user(courier.uid()))),
            ..Answering::of(owner, peer)
        }
    }

    /// The owners of requests that a courier may see.
    fn owners_in_scope(&mut self) -> Vec<u32> {
        let owners: Vec<_> = self
            .requests
            .pending()
            .iter()
            .map(|one| one.owner)
            .collect();
        owners
            .into_iter()
            .filter(|owner| self.is_in_scope(*owner))
            .collect()
    }

    /// The requests that a courier may carry, without the codes.
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub fn pending_to(&mut self, who: Courier) -> Result<proto::Requests, CallError> {
        let owners = self.owners_in_scope();
        self.pending_of(Approver::by_signature(who.uid()), |owner| {
            owners.contains(&owner)
        })
    }

    /// The question about a request that a courier may carry.
    ///
    /// # Errors
    ///
    /// As for [`State::question`].
    pub fn question_to(&mut self, id: &str) -> Result<proto::Asked, CallError> {
        let owners = self.owners_in_scope();
        self.question(id, |owner| owners.contains(&owner))
    }

    /// A courier's no.
    ///
    /// # Errors
    ///
    /// As for [`State::deny`].
    pub fn deny_by(
        &mut self,
        who: Courier,
        peer: &Peer,
        id: &str,
        seconds: Option<f64>,
    ) -> Result<proto::Requests, CallError> {
        let owners = self.owners_in_scope();
        let asked = self.requests.get(id);
        let owner = asked
            .map(|one| one.owner)
            .filter(|owner| owners.contains(owner));
        let owner = owner.ok_or_else(|| crate::control::ids::no_request(id))?;
        let by = self.said_by(who, Approver::by_signature(owner), peer);
        self.deny(&by, id, seconds)
    }
}

/// The calling process of a courier, for the audit log.
#[must_use]
pub fn courier(uid: u32, peer: &Peer) -> Origin {
    let answering = Answering::of(Approver::by_signature(uid), peer);
    Origin {
        uid,
        right: "courier".to_owned(),
        ..answering.from
    }
}

/// The signed answer that a call hands in.
///
/// # Errors
///
/// That it is none.
pub fn handed_in(call: Call) -> Result<Signed, CallError> {
    let Call::AnswerSigned {
        answer,
        key,
        kind,
        signature,
        authenticator_data,
        client_data,
    } = call
    else {
        return Err(no_kind("none"));
    };
    let kind = match kind.as_str() {
        "ssh" => Kind::Ssh,
        "passkey" => Kind::Passkey,
        other => return Err(no_kind(other)),
    };
    Ok(Signed {
        answer,
        key,
        kind,
        signature,
        authenticator_data,
        client_data,
    })
}

fn no_kind(kind: &str) -> CallError {
    let kind: String = kind.chars().take(40).collect();
    CallError::invalid(
        "the signed answer is not taken",
        format!("there is no kind of key {kind:?}"),
        "ssh or passkey",
    )
}
