//! What a courier may ask for: a user of its own that carries questions away and signed answers back. It says no, too, which
//! makes things stricter; it never says yes.

use guard_proto::{self as proto, Call, record::Origin};
use guard_signed::{Kind, Signed};
use guard_sys::pidfd::Peer;

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
        let by = Answering {
            from: courier(who.uid(), peer),
            name: Some(format!("{}, unsigned", self.machine.user(who.uid()))),
            ..Answering::of(Approver::by_signature(owner), peer)
        };
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
