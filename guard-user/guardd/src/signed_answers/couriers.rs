//! What a courier may ask for: a user of its own that carries questions away and signed answers back, and shows what there is
//! of those for whom somebody answers. It says no, too, and closes holes, which makes things stricter; it never says yes.

use guard_proto::{self as proto, Call, record::DecisionOrigin};
use guard_signed::{Kind, Signed};
use guard_sys::pidfd::Peer;

use crate::{
    control::{
        answering::Answering,
        auth::{Approver, Courier},
        failure::CallError,
    },
    machine::Machine,
    state::State,
};

/// A courier's call that changes something.
#[derive(Debug)]
pub(crate) struct Carrier<'p> {
    /// The courier.
    pub(crate) who: Courier,
    /// Its process.
    pub(crate) peer: &'p Peer,
    /// The approver who is logged in there, by the courier's word: it makes what the call may do less, and never more.
    pub(crate) by: Option<String>,
}

impl Carrier<'_> {
    /// Its own word about what is that user's, for the audit log.
    fn answering(&self, machine: &mut Machine, owner: Approver) -> Answering {
        let (uid, peer) = (self.who.uid(), self.peer);
        let courier = machine.user(uid);
        let name = match &self.by {
            Some(by) => format!("{by} through {courier}, unsigned"),
            None => format!("{courier}, unsigned"),
        };
        Answering {
            from: self::courier(uid, peer),
            name: Some(name),
            ..Answering::of(owner, peer)
        }
    }
}

impl State {
    /// The live sessions that a courier may show.
    pub(crate) fn sessions_carried(&mut self) -> proto::SessionsReply {
        let owners = self.signed_answers.courier_approvers().into_iter();
        let sessions = owners.flat_map(|who| self.sessions_of(who).sessions);
        proto::SessionsReply {
            sessions: sessions.collect(),
            carried: true,
        }
    }

    /// The open holes that a courier may show; `by`: for that approver alone.
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub(crate) fn holes_by(&self, by: Option<&str>) -> Result<proto::HolesReply, CallError> {
        let mut listed = proto::HolesReply::default();
        let (kernel, sessions) = (&self.datapath, &self.sessions);
        for who in self.signed_answers.courier_approvers_by(by) {
            let own = (self.holes).listed_to(kernel, sessions, &self.policies, who)?;
            listed.holes.extend(own.holes);
        }
        Ok(listed)
    }

    /// Closes holes for a courier.
    ///
    /// # Errors
    ///
    /// As for [`State::close`].
    pub(crate) fn close_by(
        &mut self,
        carrier: &Carrier<'_>,
        ids: &[String],
        all: bool,
    ) -> Result<proto::HolesReply, CallError> {
        let open = self.holes_by(carrier.by.as_deref())?.holes;
        let is_open = |id: &&String| open.iter().any(|hole| hole.id == **id);
        if let Some(unknown) = ids.iter().find(|id| !is_open(id)) {
            return Err(crate::control::ids::no_hole(unknown));
        }
        let mut closed = proto::HolesReply::default();
        for owner in self
            .signed_answers
            .courier_approvers_by(carrier.by.as_deref())
        {
            let (kernel, sessions) = (&self.datapath, &self.sessions);
            let own = (self.holes).listed_to(kernel, sessions, &self.policies, owner)?;
            let own = own.holes.into_iter().map(|hole| hole.id);
            let meant: Vec<_> = own.filter(|id| all || ids.contains(id)).collect();
            let by = carrier.answering(&mut self.machine, owner);
            let done = self.close(&by, &meant, false)?;
            closed.holes.extend(done.holes);
            closed.warnings.extend(done.warnings);
        }
        closed.warnings.dedup();
        Ok(closed)
    }

    /// The requests that a courier may carry, without the codes.
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub(crate) fn pending_to(&mut self, who: Courier) -> Result<proto::RequestsReply, CallError> {
        let owners = self.courier_scope().owners(None);
        let may = |owner| owners.contains(&owner);
        let (kernel, sessions, policies) = (&self.datapath, &self.sessions, &self.policies);
        let who = Approver::on_behalf_of(who.uid());
        let listed = (self.requests).listed_to(kernel, sessions, policies, who, may)?;
        Ok(proto::RequestsReply {
            carried: true,
            ..listed
        })
    }

    /// A courier's no.
    ///
    /// # Errors
    ///
    /// As for [`State::deny`].
    pub(crate) fn deny_by(
        &mut self,
        carrier: &Carrier<'_>,
        id: &str,
        seconds: Option<f64>,
    ) -> Result<proto::requests::Denied, CallError> {
        let owners = self.courier_scope().owners(carrier.by.as_deref());
        let asked = self.requests.get(id);
        let owner = asked
            .map(|one| one.owner)
            .filter(|owner| owners.contains(owner));
        let owner = owner.ok_or_else(|| crate::control::ids::no_request(id))?;
        let by = carrier.answering(&mut self.machine, Approver::on_behalf_of(owner));
        self.deny(&by, id, seconds)
    }
}

/// The calling process of a courier, for the audit log.
#[must_use]
pub(crate) fn courier(uid: u32, peer: &Peer) -> DecisionOrigin {
    let answering = Answering::of(Approver::on_behalf_of(uid), peer);
    DecisionOrigin {
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
pub(crate) fn handed_in(call: Call) -> Result<Signed, CallError> {
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
