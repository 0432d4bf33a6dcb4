//! What a courier may ask for: a user of its own that carries questions away and signed answers back, and shows what there is
//! of those for whom somebody answers. It says no, too, and closes holes, which makes things stricter; it never says yes.

use guard_proto::{self as proto, Call, record::DecisionOrigin};
use guard_signed::{Kind, Signed, approvers::SigningApprover as Person};
use guard_sys::{accounts::Account, pidfd::Peer};

use crate::{
    control::{
        answering::Answering,
        auth::{Approver, Courier},
        failure::CallError,
    },
    signed_answers::SignedAnswers,
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

impl State {
    /// Whether somebody is enrolled who answers for that user: of others, and of root, a courier sees nothing. `by` is whom alone
    /// to look at.
    fn is_in_scope(&mut self, owner: u32, by: Option<&str>) -> bool {
        if owner == 0 {
            return false;
        }
        let name = self.machine.user(owner);
        let mut people = self.signed_answers.people(by);
        people.any(|one| one.answers_for.contains(&name))
    }

    /// The live sessions that a courier may show.
    pub(crate) fn sessions_carried(&mut self) -> proto::SessionsReply {
        let owners = self.signed_answers.courier_approvers().into_iter();
        let sessions = owners.flat_map(|who| self.sessions_of(who).sessions);
        proto::SessionsReply {
            sessions: sessions.collect(),
            carried: true,
        }
    }

    /// The open holes that a courier may show.
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub(crate) fn holes_carried(&self) -> Result<proto::HolesReply, CallError> {
        self.holes_by(None)
    }

    fn holes_by(&self, by: Option<&str>) -> Result<proto::HolesReply, CallError> {
        let mut listed = proto::HolesReply::default();
        let (kernel, sessions) = (&self.datapath, &self.sessions);
        for who in self.signed_answers.courier_approvers_by(by) {
            let own = (self.holes).listed_to(kernel, sessions, &self.policies, who)?;
            listed.holes.extend(own.holes);
        }
        Ok(listed)
    }

    /// What was reached that a courier may show; `latest`: so many at most.
    ///
    /// # Errors
    ///
    /// As for [`crate::flows::Flows::list_of_all`].
    pub(crate) fn flows_carried(
        &mut self,
        session: Option<&str>,
        by: Option<&str>,
        latest: Option<u32>,
    ) -> Result<proto::flows::FlowsReply, CallError> {
        let who = self.signed_answers.courier_approvers_by(by);
        let latest = latest.map(|most| usize::try_from(most).unwrap_or(usize::MAX));
        self.with_flows(|flows, kernel, known| {
            flows.list_of_all(kernel, known, &who, session, latest)
        })
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
            let by = self.said_by(carrier, owner);
            let done = self.close(&by, &meant, false)?;
            closed.holes.extend(done.holes);
            closed.warnings.extend(done.warnings);
        }
        closed.warnings.dedup();
        Ok(closed)
    }

    /// A courier's own word, for the audit log.
    fn said_by(&mut self, carrier: &Carrier<'_>, owner: Approver) -> Answering {
        let (uid, peer) = (carrier.who.uid(), carrier.peer);
        let courier = self.machine.user(uid);
        let name = match &carrier.by {
            Some(by) => format!("{by} through {courier}, unsigned"),
            None => format!("{courier}, unsigned"),
        };
        Answering {
            from: self::courier(uid, peer),
            name: Some(name),
            ..Answering::of(owner, peer)
        }
    }

    /// The owners of requests that a courier may see.
    fn owners_in_scope(&mut self, by: Option<&str>) -> Vec<u32> {
        let owners: Vec<_> = self
            .requests
            .pending()
            .iter()
            .map(|one| one.owner)
            .collect();
        owners
            .into_iter()
            .filter(|owner| self.is_in_scope(*owner, by))
            .collect()
    }

    /// The requests that a courier may carry, without the codes.
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub(crate) fn pending_to(&mut self, who: Courier) -> Result<proto::RequestsReply, CallError> {
        let owners = self.owners_in_scope(None);
        let may = |owner| owners.contains(&owner);
        let (kernel, sessions, policies) = (&self.datapath, &self.sessions, &self.policies);
        let who = Approver::on_behalf_of(who.uid());
        let listed = (self.requests).listed_to(kernel, sessions, policies, who, may)?;
        Ok(proto::RequestsReply {
            carried: true,
            ..listed
        })
    }

    /// The question about a request that a courier may carry.
    ///
    /// # Errors
    ///
    /// As for [`State::question`].
    pub(crate) fn question_to(&mut self, id: &str) -> Result<proto::approvers::Asked, CallError> {
        let owners = self.owners_in_scope(None);
        self.question(id, |owner| owners.contains(&owner))
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
        let owners = self.owners_in_scope(carrier.by.as_deref());
        let asked = self.requests.get(id);
        let owner = asked
            .map(|one| one.owner)
            .filter(|owner| owners.contains(owner));
        let owner = owner.ok_or_else(|| crate::control::ids::no_request(id))?;
        let by = self.said_by(carrier, Approver::on_behalf_of(owner));
        self.deny(&by, id, seconds)
    }
}

impl SignedAnswers {
    /// Those who are enrolled, or the one of that name alone.
    fn people<'a>(&'a self, by: Option<&'a str>) -> impl Iterator<Item = &'a Person> {
        let people = self.people.known().all.iter();
        people.filter(move |one| by.is_none_or(|name| one.name == name))
    }

    /// The users for whom somebody is enrolled, without root: its right would be one to all.
    #[must_use]
    pub(crate) fn courier_owners(&self) -> Vec<u32> {
        self.owners_of(None)
    }

    fn owners_of(&self, by: Option<&str>) -> Vec<u32> {
        let people = self.people(by);
        let names = people.flat_map(|one| &one.answers_for);
        let uids = names.filter_map(|name| Account::uid_of(name).ok().flatten());
        let mut uids: Vec<_> = uids.filter(|uid| *uid != 0).collect();
        uids.sort_unstable();
        uids.dedup();
        uids
    }

    /// The same, as those who may see what is theirs.
    #[must_use]
    pub(crate) fn courier_approvers(&self) -> Vec<Approver> {
        self.courier_approvers_by(None)
    }

    fn courier_approvers_by(&self, by: Option<&str>) -> Vec<Approver> {
        let owners = self.owners_of(by).into_iter();
        owners.map(Approver::on_behalf_of).collect()
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
