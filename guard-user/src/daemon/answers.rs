//! A person's answers to requests: written down before they hold.

use guard_common::{Address, BootTime};
use jiff::Timestamp;

use super::{
    answering::Answering,
    audit::Record,
    bursts::{self, Burst, Extent},
    events,
    failure::Refusal,
    grant, ids,
    opening::after,
    proxy::allowing::{Widening, no_http},
    requests::{Pending, Question},
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
        (widening, extent): (&Widening, Extent),
        terms: &Terms,
    ) -> Result<proto::Holes, Refusal> {
        let asked = self
            .requests
            .get(id)
            .filter(|one| by.who.answers_for(one.owner));
        let asked = asked.ok_or_else(|| self.no_request(by, id))?.clone();
        if asked.question.http.is_some() {
            if !extent.is_none() {
                return Err(bursts::no_burst(id));
            }
            if terms.read_only {
                return Err(no_read(id));
            }
            return self.approve_http(by, &asked, widening, terms);
        }
        if !widening.is_none() {
            return Err(no_http(id));
        }
        if terms.requests.is_some() {
            return Err(grant::no_requests());
        }
        self.approve_connections(by, (id, &asked), extent, terms)
    }

    /// The same of a request about connections.
    fn approve_connections(
        &mut self,
        by: &Answering,
        (called, asked): (&str, &Pending),
        extent: Extent,
        terms: &Terms,
    ) -> Result<proto::Holes, Refusal> {
        let (question, id) = (&asked.question, &asked.shown.id);
        let prefixes = match &asked.burst {
            Some(burst) => extent.of(burst, called, by.who.uid())?,
            None if extent.prefix => return Err(bursts::no_burst(called)),
            None => vec![Prefix::host(question.destination)],
        };
        let opens = asked.burst.as_ref().map(|_| shown_prefixes(&prefixes));
        let left = left_out(asked, &prefixes);
        let ports = vec![events::ports_of(question)];
        let grant = self.grant(question.session, prefixes, ports, terms)?;
        let record = Record::of(ids::session(question.session), grant.owner)
            .with("request", id.clone())
            .with("called", (called != id).then_some(called))
            .with("parts", parts(asked))
            .with("answer", "yes")
            .with("opens", opens)
            .with("seconds", grant.time.as_secs_f64())
            .with("connections", grant.connections)
            .with("bytes", grant.bytes)
            .with("read_only", grant.read_only.then_some(true))
            .with("shown", events::as_shown(&asked.shown));
        let record = by.told_in(record, &self.users.name(by.who.uid()));
        self.audit.reserve()?;
        self.audit.write(LogKind::Answered, record)?;
        let reason = asked.shown.note.clone();
        let mut opened = self.open_all(by, grant, reason, Some(id))?;
        opened.warnings.extend(left);
        self.counters.answered("yes", asked.shown.asked_at);
        self.note_answers(by, asked, "yes");
        self.note_choice(by.who, &asked.shown, terms);
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
        let asked = asked.ok_or_else(|| self.no_request(by, id))?.clone();
        let time = grant::term(seconds)?;
        let request = &asked.shown.id;
        let refuses = asked.burst.as_ref().map(|burst| burst.prefix());
        let record = Record::of(&asked.shown.session, asked.owner)
            .with("request", request.clone())
            .with("called", (id != request).then_some(id))
            .with("parts", parts(&asked))
            .with("answer", "no")
            .with("refuses", refuses.map(|prefix| shown_prefixes(&[prefix])))
            .with("seconds", time.as_secs_f64())
            .with("shown", events::as_shown(&asked.shown));
        let record = by.told_in(record, &self.users.name(by.who.uid()));
        self.audit.write(LogKind::Answered, record)?;
        self.audit.sync()?;
        self.note_answers(by, &asked, "no");
        if self.requests.take(id).is_none() {
            return Err(ids::no_request(id));
        }
        self.counters.answered("no", asked.shown.asked_at);
        let until = after(clock::now(), time);
        self.refuse_in_kernel(&asked.question, until);
        for to in asked.burst.iter().flat_map(Burst::addresses) {
            self.refuse_in_kernel(&asked.question.at(to), until);
        }
        self.mute(asked.question, asked.burst, asked.shown.clone(), until);
        self.keep_requests();
        self.settle_waiters();
        self.look_at_held();
        let requests = vec![asked.shown];
        Ok(proto::Requests { requests })
    }
}

impl State {
    /// Does not ask again until then about what a request was about.
    pub(super) fn mute(
        &mut self,
        question: Question,
        burst: Option<Burst>,
        shown: proto::Request,
        until: BootTime,
    ) {
        match burst {
            Some(burst) => self.requests.mute_all(question, burst, shown, until),
            None => self.requests.mute(question, shown, until),
        }
    }

    /// Remembers an answer under each id that the request had.
    fn note_answers(&mut self, by: &Answering, asked: &Pending, answer: &str) {
        let id = &asked.shown.id;
        for part in asked
            .burst
            .iter()
            .flat_map(Burst::ids)
            .filter(|part| part != id)
        {
            let answer = format!("{answer} as a part of {id}");
            self.note_answer(by, (part, asked.owner), &answer);
        }
        self.note_answer(by, (id, asked.owner), answer);
    }

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

/// The ids that a burst has had beside its own.
fn parts(asked: &Pending) -> Option<Vec<&str>> {
    let ids = asked.burst.as_ref()?.ids();
    Some(ids.filter(|id| *id != asked.shown.id).collect())
}

fn shown_prefixes(prefixes: &[Prefix]) -> Vec<String> {
    prefixes.iter().map(ToString::to_string).collect()
}

/// That a yes was not for all that was tried: whoever gave it had not been shown the rest.
fn left_out(asked: &Pending, opened: &[Prefix]) -> Option<String> {
    let burst = asked.burst.as_ref()?;
    let is_open = |to: &Address| opened.iter().any(|prefix| prefix.covers(to));
    let count = burst.addresses().filter(|to| !is_open(to)).count();
    let prefix = burst.prefix();
    (count > 0).then(|| {
        format!(
            "{count} more of the addresses of {prefix} that were tried stay closed, for you were not shown them before: \
             they are asked about anew when they are tried"
        )
    })
}

fn no_read(id: &str) -> Refusal {
    Refusal::invalid(
        format!("cannot answer {id} with reads only"),
        "it is about an HTTP request that changes something: reads pass there as it is",
        format!("guard approve {id}, or guard deny {id}"),
    )
}
