//! A person's answers to requests: written down before they hold.

use jiff::Timestamp;

use super::{
    answering::Answering,
    audit::Record,
    events,
    failure::Refusal,
    grant, ids,
    opening::after,
    proxy::allowing::{Widening, no_http},
    state::State,
};
use crate::{
    policy::Prefix,
    proto::{self, LogKind, Terms, moment},
    sys::clock,
};

impl State {
    /// Answers a request with yes.
    ///
    /// # Errors
    ///
    /// `NotFound`, or why no hole can be opened; then the request still waits.
    pub fn approve(
        &mut self,
        by: &Answering,
        id: &str,
        widening: &Widening,
        terms: &Terms,
    ) -> Result<proto::Holes, Refusal> {
        let asked = self
            .requests
            .get(id)
            .filter(|one| by.who.answers_for(one.owner));
        let asked = asked.ok_or_else(|| self.no_request(by, id))?;
        if asked.question.http.is_some() {
            if terms.read_only {
                return Err(no_read(id));
            }
            let asked = asked.clone();
            return self.approve_http(by, &asked, widening, terms);
        }
        if !widening.is_none() {
            return Err(no_http(id));
        }
        if terms.requests.is_some() {
            return Err(grant::no_requests());
        }
        let question = asked.question.clone();
        let owner = asked.owner;
        let (reason, asked_at) = (asked.shown.note.clone(), asked.shown.asked_at);
        let shown = events::as_shown(&asked.shown);
        let prefixes = vec![Prefix::host(question.destination)];
        let ports = vec![events::ports_of(&question)];
        let grant = self.grant(question.session, prefixes, ports, terms)?;
        let record = Record::of(ids::session(question.session), grant.owner)
            .with("request", id)
            .with("answer", "yes")
            .with("seconds", grant.time.as_secs_f64())
            .with("connections", grant.connections)
            .with("bytes", grant.bytes)
            .with("read_only", grant.read_only.then_some(true))
            .with("shown", shown);
        let record = by.told_in(record, &self.users.name(by.who.uid()));
        self.audit.reserve()?;
        self.audit.write(LogKind::Answered, record)?;
        let opened = self.open_all(by, grant, reason, Some(id))?;
        self.counters.answered("yes", asked_at);
        self.note_answer(by, (id, owner), "yes");
        self.requests.take(id);
        self.keep_requests();
        self.look_at_held();
        Ok(opened)
    }

    /// Answers a request with no.
    ///
    /// # Errors
    ///
    /// `NotFound`, or that the answer cannot be written down; then the request still waits.
    pub fn deny(
        &mut self,
        by: &Answering,
        id: &str,
        seconds: Option<f64>,
    ) -> Result<proto::Requests, Refusal> {
        let asked = self
            .requests
            .get(id)
            .filter(|one| by.who.answers_for(one.owner));
        let asked = asked.ok_or_else(|| self.no_request(by, id))?;
        let owner = asked.owner;
        let time = grant::term(seconds)?;
        let record = Record::of(&asked.shown.session, asked.owner)
            .with("request", id)
            .with("answer", "no")
            .with("seconds", time.as_secs_f64())
            .with("shown", events::as_shown(&asked.shown));
        let record = by.told_in(record, &self.users.name(by.who.uid()));
        self.audit.write(LogKind::Answered, record)?;
        self.audit.sync()?;
        self.note_answer(by, (id, owner), "no");
        let Some(asked) = self.requests.take(id) else {
            return Err(ids::no_request(id));
        };
        self.counters.answered("no", asked.shown.asked_at);
        let until = after(clock::now(), time);
        self.refuse_in_kernel(&asked.question, until);
        self.requests
            .mute(asked.question, asked.shown.clone(), until);
        self.keep_requests();
        self.settle_waiters();
        self.look_at_held();
        let requests = vec![asked.shown];
        Ok(proto::Requests { requests })
    }
}

impl State {
    /// Remembers an answer for whoever comes after it.
    pub(super) fn note_answer(&mut self, by: &Answering, (id, owner): (&str, u32), answer: &str) {
        let name = self.users.name(by.who.uid());
        let at = moment::text(Timestamp::now());
        let how = format!("{name} answered it with {answer} at {at}");
        self.requests.note_answer(id, owner, how);
    }

    /// There is no such request any more; if somebody was faster, who.
    fn no_request(&self, by: &Answering, id: &str) -> Refusal {
        match self
            .requests
            .answer_to(id, |owner| by.who.answers_for(owner))
        {
            Some(how) => Refusal::not_found(
                format!("{id} waits no more"),
                how,
                "guard holes shows what is open; guard close ID ends it",
            ),
            None => ids::no_request(id),
        }
    }
}

fn no_read(id: &str) -> Refusal {
    Refusal::invalid(
        format!("cannot answer {id} with reads only"),
        "it is about an HTTP request that changes something: reads pass there as it is",
        format!("guard approve {id}, or guard deny {id}"),
    )
}
