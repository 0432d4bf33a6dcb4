//! A person's yes to an HTTP request: a hole for that one, or for more like it. Only guardd knows of it.

use guard_common::{BootTime, HoleId};
use jiff::Timestamp;
use serde_json::json;

use super::permits::{Covers, Permit};
use crate::{
    daemon::{
        audit::Record,
        auth::Approver,
        events,
        failure::Refusal,
        grant::Grant,
        holes::About,
        ids,
        opening::after,
        requests::{Pending, Question},
        state::State,
    },
    policy::Prefix,
    proto::{self, HttpRequest, LogKind, Terms, moment},
    sys::clock::{self, Clocks},
};

/// How much more than the request that was asked about a person lets through.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Widening {
    /// All with its method and a path like this.
    pub path: Option<String>,
    /// All that change something there.
    pub writes: bool,
}

impl Widening {
    /// Whether it is no more.
    #[must_use]
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }

    fn covers(&self, request: &HttpRequest, alone: Option<u64>) -> Result<Covers, Refusal> {
        let covers = match (&self.path, self.writes) {
            (Some(_), true) => return Err(both()),
            (Some(pattern), false) => Covers::Path {
                method: request.method.clone(),
                pattern: pattern.clone(),
            },
            (None, true) => Covers::Writes,
            (None, false) => match (alone, &request.digest) {
                (Some(number), _) => Covers::Waiting(request.clone(), number),
                (None, Some(_)) => Covers::Digest(request.clone()),
                (None, None) => return Err(unknown_again()),
            },
        };
        match covers.covers(request, alone) {
            true => Ok(covers),
            false => Err(not_like_that(self.path.as_deref().unwrap_or("*"), request)),
        }
    }
}

impl State {
    /// Answers an HTTP request with yes.
    ///
    /// # Errors
    ///
    /// Why it cannot be let through; then it still waits.
    pub fn approve_http(
        &mut self,
        who: Approver,
        asked: &Pending,
        widening: &Widening,
        terms: &Terms,
    ) -> Result<proto::Holes, Refusal> {
        let question = asked.question.clone();
        let Some(http) = question.http.as_deref() else {
            return Err(no_http(&asked.shown.id));
        };
        let covers = widening.covers(&http.request, self.waiting_alone(&question))?;
        let prefixes = vec![Prefix::host(question.destination)];
        let ports = vec![events::ports_of(&question)];
        let grant = self.grant(question.session, prefixes, ports, terms)?;
        let left = match (&covers, widening.is_none()) {
            (Covers::Waiting(..), _) => Some(1),
            (_, true) => Some(terms.connections.unwrap_or(1)),
            (_, false) => terms.connections,
        };
        let permit = Permit {
            session: question.session,
            to: question.destination,
            port: question.port,
            covers,
            left: left.map(u64::from),
            expires: after(clock::now(), grant.time),
            about: About {
                session: question.session.0,
                owner: grant.owner,
                opened_by: self.users.name(who.uid()),
                reason: asked.shown.note.clone(),
                opened_at: Timestamp::now(),
            },
        };
        let id = self.write_permit(&asked.shown.id, &grant, &permit)?;
        let shown = self.put_permit(id, permit, &asked.shown);
        Ok(proto::Holes {
            holes: vec![shown],
            warnings: grant.warnings,
        })
    }

    /// Which of those that look like it a question is for, if its client waits still.
    fn waiting_alone(&self, question: &Question) -> Option<u64> {
        let waits = self.proxy.waiters.is_asking(question);
        question.http.as_deref()?.alone.filter(|_| waits)
    }

    /// Writes down the answer, and the hole that comes of it.
    fn write_permit(
        &mut self,
        request: &str,
        grant: &Grant,
        permit: &Permit,
    ) -> Result<HoleId, Refusal> {
        let by = permit.about.opened_by.clone();
        let session = ids::session(permit.session);
        let answered = Record::of(&session, grant.owner)
            .with("request", request)
            .with("answer", "yes")
            .with("by", by.clone())
            .with("seconds", grant.time.as_secs_f64())
            .with("connections", permit.left);
        self.audit.reserve()?;
        self.audit.write(LogKind::Answered, answered)?;
        let id = self.datapath.next_hole()?;
        let clocks = Clocks::read();
        let shown = permit.shown(id, &clocks);
        let opened = Record::of(&session, grant.owner)
            .with("hole", shown.id)
            .with("destination", shown.destination)
            .with("ports", shown.ports)
            .with("by", by)
            .with("reason", shown.reason)
            .with("request", request)
            .with("expires_at", moment::text(clocks.calendar(permit.expires)))
            .with("connections", permit.left)
            .with("http", json!(shown.http));
        let written = self.audit.write(LogKind::HoleOpen, opened);
        if let Err(error) = written.and_then(|()| self.audit.sync()) {
            self.permit_ended(id, permit, "not written down", None);
            return Err(error.into());
        }
        Ok(id)
    }

    /// Puts a permit in place, and lets those through who wait for it. As it is then.
    fn put_permit(&mut self, id: HoleId, permit: Permit, asked: &proto::Request) -> proto::Hole {
        let mut shown = permit.shown(id, &Clocks::read());
        self.counters.hole_opened();
        self.counters.answered("yes", asked.asked_at);
        let is_for = permit.clone();
        self.proxy.permits.add(id, permit);
        self.requests.take(&asked.id);
        self.let_those_through(&asked.id);
        // Whoever is refused although a request more could have passed is to be listed.
        if is_for.left.is_none() {
            self.requests.take_all(|one| is_for.is_for(&one.question));
        }
        self.requests.unmute(|question| is_for.is_for(question));
        self.keep_requests();
        self.proxy.renew();
        let left = self.proxy.permits.get(id).map_or(Some(0), |now| now.left);
        if let Some(http) = &mut shown.http {
            http.requests_left = left;
        }
        shown
    }

    /// Lets through those who wait; whoever waited for a yes that was used up by another is asked about anew.
    fn let_those_through(&mut self, request: &str) {
        let now = clock::now();
        let mut answered = vec![request.to_owned()];
        for (number, waiter) in self.proxy.waiters.all() {
            if self.spend_permit(&waiter.question, now) {
                self.let_through(number, &waiter);
                answered.push(waiter.request);
            }
        }
        for request in answered {
            self.ask_again(&request);
        }
    }

    /// Uses a permit for a request, if there is one.
    pub(super) fn spend_permit(&mut self, question: &Question, now: BootTime) -> bool {
        let Some(id) = self.proxy.permits.find(question, now) else {
            return false;
        };
        if self.proxy.permits.spend(id)
            && let Some(permit) = self.proxy.permits.remove(id)
        {
            self.permit_ended(id, &permit, "used up", None);
        }
        true
    }

    /// Writes down that a permit has ended.
    pub fn permit_ended(&mut self, id: HoleId, permit: &Permit, why: &str, by: Option<String>) {
        self.counters.hole_closed(why, 0);
        let record = Record::of(ids::session(permit.session), permit.about.owner)
            .with("hole", ids::hole(id))
            .with("why", why)
            .with("by", by);
        self.audit.note(LogKind::HoleClose, record);
        self.proxy.renew();
    }

    /// Ends the permits whose time is up.
    pub fn end_permits(&mut self, now: BootTime) {
        for (id, permit) in self.proxy.permits.take_expired(now) {
            self.permit_ended(id, &permit, "expired", None);
        }
    }

    /// Ends what was let through for a session that has ended.
    pub fn end_permits_of(&mut self, session: guard_common::SessionId) {
        for (id, permit) in self.proxy.permits.take_session(session) {
            self.permit_ended(id, &permit, "the session has ended", None);
        }
        self.proxy.pace.forget(session);
        self.proxy.renew();
    }

    /// The permits of those sessions that the caller answers for, as people see them.
    #[must_use]
    pub fn shown_permits(&self, who: Approver) -> Vec<(HoleId, proto::Hole)> {
        let clocks = Clocks::read();
        let permits = self.proxy.permits.iter();
        let mine = permits.filter(|(_, permit)| who.answers_for(permit.about.owner));
        mine.map(|(id, permit)| (id, permit.shown(id, &clocks)))
            .collect()
    }
}

fn both() -> Refusal {
    Refusal::invalid(
        "cannot tell what to let through",
        "--path and --writes say two things",
        "give one of them",
    )
}

fn unknown_again() -> Refusal {
    Refusal::invalid(
        "this very request cannot be known again",
        "its client has gone, and its body was not read to its end",
        "approve more than it with --path or --writes, or approve it while it waits: guard pending --follow",
    )
}

fn not_like_that(pattern: &str, request: &HttpRequest) -> Refusal {
    Refusal::invalid(
        format!("{pattern:?} is not for this request"),
        format!(
            "its path is {:?}; a * stands for any text, and no pattern is for a path that a server may read in two ways",
            request.path
        ),
        "--path with a pattern that is for it",
    )
}

/// `--path` and `--writes` mean nothing there.
#[must_use]
pub fn no_http(id: &str) -> Refusal {
    Refusal::invalid(
        format!("{id} is about a connection"),
        "--path and --writes are for HTTP requests",
        format!("guard approve {id}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(digest: Option<&str>) -> HttpRequest {
        HttpRequest {
            method: "PUT".to_owned(),
            path: "/api/jobs/7?now=1".to_owned(),
            digest: digest.map(str::to_owned),
            ..HttpRequest::default()
        }
    }

    fn path(pattern: &str) -> Widening {
        Widening {
            path: Some(pattern.to_owned()),
            writes: false,
        }
    }

    #[test]
    fn a_plain_yes_is_for_one_request_that_can_be_known_again() {
        let plain = Widening::default();
        let one = plain.covers(&put(Some("d1")), None).unwrap();
        assert_eq!(one, Covers::Digest(put(Some("d1"))));
        let waits = plain.covers(&put(None), Some(3)).unwrap();
        assert_eq!(waits, Covers::Waiting(put(None), 3));
        let refusal = plain.covers(&put(None), None).unwrap_err();
        assert!(refusal.failure.fix.contains("--path"), "{refusal}");
    }

    #[test]
    fn more_than_that_has_to_be_said_and_to_fit() {
        assert!(path("/api/jobs/*").covers(&put(None), None).is_ok());
        assert!(path("/api/people/*").covers(&put(None), None).is_err());
        let writes = Widening {
            path: None,
            writes: true,
        };
        assert_eq!(writes.covers(&put(None), None).unwrap(), Covers::Writes);
        let two = Widening {
            writes: true,
            ..path("*")
        };
        assert!(two.covers(&put(None), None).is_err());
    }
}
