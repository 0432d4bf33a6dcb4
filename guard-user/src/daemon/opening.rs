//! Opening and closing holes.

use std::time::Duration;

use guard_common::{BootTime, HoleId, PolicyId, Protocol, SessionId};
use jiff::Timestamp;

use super::{
    advice,
    audit::Record,
    auth::Approver,
    events,
    failure::Refusal,
    holes::{self, About, Known},
    ids,
    requests::Question,
    state::State,
};
use crate::{
    datapath::{LiveHole, NewHole},
    policy::{self, Destination, Opening, PortSpec, Prefix},
    proto::{self, LogKind, Terms},
    sys::clock::{self, Clocks},
};

/// How long a hole lives where nobody says.
const DEFAULT_TERM: Duration = Duration::from_secs(15 * 60);
/// One call opens so many holes at most.
const MAX_AT_ONCE: usize = 16;

/// What is to be opened, and what a person should know about it.
#[derive(Debug)]
struct Grant {
    session: SessionId,
    owner: u32,
    prefixes: Vec<Prefix>,
    /// Empty: all.
    ports: Vec<PortSpec>,
    time: Duration,
    connections: Option<u32>,
    warnings: Vec<String>,
}

impl State {
    /// Answers a request with yes.
    ///
    /// # Errors
    ///
    /// `NotFound`, or why no hole can be opened; then the request still waits.
    pub fn approve(
        &mut self,
        who: Approver,
        id: &str,
        terms: &Terms,
    ) -> Result<proto::Holes, Refusal> {
        let asked = self
            .requests
            .get(id)
            .filter(|one| who.answers_for(one.owner));
        let asked = asked.ok_or_else(|| ids::no_request(id))?;
        let question = asked.question;
        let reason = asked.shown.note.clone();
        let prefixes = vec![Prefix::host(question.destination)];
        let ports = vec![events::ports_of(&question)];
        let grant = self.grant(question.session, prefixes, ports, terms)?;
        let record = Record::of(ids::session(question.session), grant.owner)
            .with("request", id)
            .with("answer", "yes")
            .with("by", self.users.name(who.uid()))
            .with("seconds", grant.time.as_secs_f64())
            .with("connections", grant.connections);
        self.audit.write(LogKind::Answered, record)?;
        let opened = self.open_all(who, grant, reason, Some(id))?;
        self.requests.take(id);
        Ok(opened)
    }

    /// Answers a request with no.
    ///
    /// # Errors
    ///
    /// `NotFound`, or that the answer cannot be written down; then the request still waits.
    pub fn deny(
        &mut self,
        who: Approver,
        id: &str,
        seconds: Option<f64>,
    ) -> Result<proto::Requests, Refusal> {
        let asked = self
            .requests
            .get(id)
            .filter(|one| who.answers_for(one.owner));
        let asked = asked.ok_or_else(|| ids::no_request(id))?;
        let time = term(seconds)?;
        let record = Record::of(&asked.shown.session, asked.owner)
            .with("request", id)
            .with("answer", "no")
            .with("by", self.users.name(who.uid()))
            .with("seconds", time.as_secs_f64());
        self.audit.write(LogKind::Answered, record)?;
        self.audit.sync()?;
        let Some(asked) = self.requests.take(id) else {
            return Err(ids::no_request(id));
        };
        self.requests
            .mute(asked.question, after(clock::now(), time));
        let requests = vec![asked.shown];
        Ok(proto::Requests { requests })
    }

    /// Opens holes that nobody asked for.
    ///
    /// # Errors
    ///
    /// Why none can be opened there.
    pub fn open(
        &mut self,
        who: Approver,
        session: SessionId,
        to: &Destination,
        ports: &[PortSpec],
        terms: &Terms,
        reason: Option<String>,
    ) -> Result<proto::Holes, Refusal> {
        let prefixes = to.target.prefixes(&self.environment());
        if prefixes.is_empty() {
            return Err(nowhere(&to.to_string()));
        }
        let ports = to.ports(ports);
        let grant = self.grant(session, prefixes, ports, terms)?;
        self.open_all(who, grant, reason, None)
    }

    /// Checks what is to be opened against the session's policies.
    fn grant(
        &self,
        session: SessionId,
        prefixes: Vec<Prefix>,
        ports: Vec<PortSpec>,
        terms: &Terms,
    ) -> Result<Grant, Refusal> {
        if terms.read_only {
            let fix = "leave out --read-only to open it for reads and writes";
            return Err(advice::not_yet("open a hole for reads only", fix).into());
        }
        if prefixes.len() * ports.len().max(1) > MAX_AT_ONCE {
            return Err(too_many(prefixes.len() * ports.len().max(1)));
        }
        let live = self.sessions.live(session);
        let live = live.ok_or_else(|| ids::no_session(&ids::session(session)))?;
        let mut grant = Grant {
            session,
            owner: live.about.uid,
            prefixes,
            ports,
            time: term(terms.seconds)?,
            connections: terms.connections,
            warnings: Vec::new(),
        };
        if terms.connections == Some(0) {
            return Err(Refusal::invalid(
                "cannot open a hole for no connections",
                "it would let nothing through",
                "--connections 1 or more",
            ));
        }
        self.shorten(&live.chain, &mut grant)?;
        Ok(grant)
    }

    /// Holds a grant against every policy of a chain: refuses what one denies, leaves alone what
    /// all allow, and shortens it to what the least patient rule says.
    fn shorten(&self, chain: &[PolicyId], grant: &mut Grant) -> Result<(), Refusal> {
        let mut longest: Option<Duration> = None;
        for slot in chain {
            let Some(policy) = self.policies.get(*slot) else {
                return Err(unknown_policy());
            };
            let over = |prefix: &Prefix| policy.over(prefix, &grant.ports);
            let covered = grant
                .prefixes
                .iter()
                .map(over)
                .reduce(policy::Coverage::and);
            let Some(covered) = covered else { continue };
            match covered.opening() {
                Opening::Denied { rule } => return Err(denied(rule, &policy.policy)),
                Opening::AlreadyAllowed => {}
                Opening::Possible { longest: most } => {
                    longest = Some(longest.map_or(most, |so_far| so_far.min(most)));
                }
            }
            let denies = covered.met.iter().find(|met| is_denial(met));
            if let Some(met) = denies {
                grant.warnings.push(stays_denied(met.rule));
            }
        }
        let Some(longest) = longest else {
            return Err(Refusal::invalid(
                "there is nothing to open",
                "it is already allowed",
                "guard explain DEST --session S shows what allows it",
            ));
        };
        if grant.time > longest {
            let (asked, most) = (grant.time, longest);
            grant.warnings.push(format!(
                "the hole lasts {} instead of {}: the policy's max_hole",
                policy::format_duration(most),
                policy::format_duration(asked),
            ));
            grant.time = most;
        }
        Ok(())
    }

    /// Opens the holes of a grant: the kernel first, then the trail, then the answer. Where one
    /// cannot be opened or written down, none stays open.
    fn open_all(
        &mut self,
        who: Approver,
        grant: Grant,
        reason: Option<String>,
        request: Option<&str>,
    ) -> Result<proto::Holes, Refusal> {
        let about = About {
            session: grant.session.0,
            owner: grant.owner,
            opened_by: self.users.name(who.uid()),
            reason,
            opened_at: Timestamp::now(),
        };
        let mut opened = Vec::new();
        if let Err(refusal) = self.try_open(&grant, &about, request, &mut opened) {
            for id in opened {
                self.close_now(grant.session, id);
            }
            return Err(refusal);
        }
        let (session, warnings) = (grant.session, grant.warnings);
        let is_covered = |question: &Question, holes: &[LiveHole]| {
            let (to, protocol) = (&question.destination, question.protocol);
            question.session == session
                && holes
                    .iter()
                    .any(|hole| hole.entry.covers(to, protocol, question.port))
        };
        let live: Vec<LiveHole> = self.datapath.holes()?;
        let live: Vec<LiveHole> = live
            .into_iter()
            .filter(|hole| opened.contains(&hole.entry.id))
            .collect();
        self.requests
            .take_all(|asked| is_covered(&asked.question, &live));
        self.requests.unmute(|question| is_covered(question, &live));
        let clocks = Clocks::read();
        let holes = live
            .iter()
            .map(|hole| holes::shown(hole, Some(&about), &clocks));
        Ok(proto::Holes {
            holes: holes.collect(),
            warnings,
        })
    }

    fn try_open(
        &mut self,
        grant: &Grant,
        about: &About,
        request: Option<&str>,
        opened: &mut Vec<HoleId>,
    ) -> Result<(), Refusal> {
        let expires = after(clock::now(), grant.time);
        for prefix in &grant.prefixes {
            for spec in every_port_or(&grant.ports) {
                let new = new_hole(prefix, &spec, expires, grant.connections);
                let id = self.datapath.open_hole(grant.session, new)?;
                opened.push(id);
                self.shelves.holes.keep(&ids::hole(id), about);
                let known = Known {
                    session: grant.session,
                    expires,
                    about: Some(about.clone()),
                };
                self.holes.add(id, known);
                let record = Record::of(ids::session(grant.session), grant.owner)
                    .with("hole", ids::hole(id))
                    .with("destination", prefix.to_short())
                    .with("ports", ports_shown(&spec))
                    .with("by", about.opened_by.clone())
                    .with("reason", about.reason.clone())
                    .with("request", request)
                    .with("expires_at", Clocks::read().calendar(expires).to_string())
                    .with("connections", grant.connections);
                self.audit.write(LogKind::HoleOpen, record)?;
            }
        }
        Ok(self.audit.sync()?)
    }

    /// Closes a hole that was opened but not written down.
    fn close_now(&mut self, session: SessionId, id: HoleId) {
        if let Err(error) = self.datapath.close_hole(session, id) {
            tracing::error!(%error, hole = id.0, "cannot be closed; the kernel ends it in its time");
            return;
        }
        if let Some(known) = self.holes.remove(id) {
            self.hole_ended(id, &known, "not written down", None);
        }
    }

    /// The open holes of the sessions that the caller answers for, as the kernel has them.
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub fn open_holes(&self, who: Approver) -> Result<Vec<LiveHole>, Refusal> {
        let owner = |hole: &LiveHole| {
            let session = self.sessions.get(hole.session);
            session.map_or(0, |session| session.about.uid)
        };
        let mut holes = self.datapath.holes()?;
        holes.retain(|hole| who.answers_for(owner(hole)));
        holes.sort_by_key(|hole| hole.entry.id);
        Ok(holes)
    }

    /// Holes as people see them.
    #[must_use]
    pub fn shown_holes(&self, holes: &[LiveHole]) -> Vec<proto::Hole> {
        let clocks = Clocks::read();
        let shown = |hole: &LiveHole| {
            let about = self.holes.about(hole.entry.id);
            holes::shown(hole, about, &clocks)
        };
        holes.iter().map(shown).collect()
    }

    /// Closes holes: all of the caller's, or those of the given ids.
    ///
    /// # Errors
    ///
    /// `NotFound` where one of the ids is no open hole of the caller's; then none is closed.
    pub fn close(
        &mut self,
        who: Approver,
        ids: &[String],
        all: bool,
    ) -> Result<proto::Holes, Refusal> {
        let mut holes = self.open_holes(who)?;
        if !all {
            let wanted = ids.iter().map(|id| {
                let hole = ids::parse_hole(id)?;
                let found = holes.iter().find(|one| one.entry.id == hole);
                found.copied().ok_or_else(|| ids::no_hole(id))
            });
            holes = wanted.collect::<Result<_, _>>()?;
        }
        let shown = self.shown_holes(&holes);
        let by = self.users.name(who.uid());
        for hole in &holes {
            self.close_one(hole, &by)?;
        }
        // What a person has closed is closed, whether or not that could be written down.
        let warnings = match self.audit.sync() {
            Ok(()) => Vec::new(),
            Err(error) => vec![format!("closed, but: {error}")],
        };
        Ok(proto::Holes {
            holes: shown,
            warnings,
        })
    }

    fn close_one(&mut self, hole: &LiveHole, by: &str) -> Result<(), Refusal> {
        let id = hole.entry.id;
        self.datapath.close_hole(hole.session, id)?;
        let known = self.holes.remove(id).unwrap_or(Known {
            session: hole.session,
            expires: hole.entry.expires,
            about: None,
        });
        self.hole_ended(id, &known, "closed", Some(by.to_owned()));
        Ok(())
    }

    /// The session that is meant where none is named: the caller's only one.
    ///
    /// # Errors
    ///
    /// `Invalid` where there are several, `NotFound` where there is none.
    pub fn only_session(&self, who: Approver) -> Result<SessionId, Refusal> {
        let mine = self.sessions.all_live();
        let mut mine = mine.filter(|session| who.answers_for(session.about.uid));
        let first = mine.next().map(|session| session.cgroup.id);
        match (first, mine.next()) {
            (Some(only), None) => Ok(only),
            (Some(_), Some(_)) => Err(Refusal::invalid(
                "cannot tell for which session",
                "you have several",
                "add --session S; `guard sessions` lists them",
            )),
            (None, _) => Err(Refusal::not_found(
                "there is no session",
                "nothing of yours runs under the guard",
                "guard run -- CMD",
            )),
        }
    }
}

/// The given ports, or one specification that stands for all.
fn every_port_or(ports: &[PortSpec]) -> Vec<PortSpec> {
    match ports {
        [] => vec![PortSpec::all(Protocol::ANY)],
        ports => ports.to_vec(),
    }
}

fn ports_shown(spec: &PortSpec) -> Option<String> {
    (spec.protocol != Protocol::ANY).then(|| spec.to_string())
}

fn new_hole(
    prefix: &Prefix,
    spec: &PortSpec,
    expires: BootTime,
    connections: Option<u32>,
) -> NewHole {
    NewHole {
        prefix: prefix.address(),
        prefix_len: prefix.length(),
        protocol: spec.protocol,
        low: spec.low,
        high: spec.high,
        expires,
        connections,
    }
}

/// A duration that a client gave in seconds.
fn term(seconds: Option<f64>) -> Result<Duration, Refusal> {
    let Some(seconds) = seconds else {
        return Ok(DEFAULT_TERM);
    };
    let time = Duration::try_from_secs_f64(seconds).ok();
    let time = time.filter(|time| !time.is_zero() && *time <= policy::LONGEST);
    time.ok_or_else(|| {
        Refusal::invalid(
            format!("{seconds} seconds is no time that this can hold for"),
            format!(
                "it must be more than 0 and at most {}",
                policy::format_duration(policy::LONGEST)
            ),
            "--for 15m",
        )
    })
}

fn after(now: BootTime, time: Duration) -> BootTime {
    let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
    BootTime(now.0.saturating_add(nanos))
}

fn is_denial(met: &policy::Met<'_>) -> bool {
    met.verdict == guard_common::Verdict::Deny
}

fn stays_denied(rule: Option<&policy::Rule>) -> String {
    match rule {
        Some(rule) => format!(
            "the rule {:?} denies part of it, and that stays denied",
            rule.name
        ),
        None => "the policy's default denies part of it, and that stays denied".to_owned(),
    }
}

fn denied(rule: Option<&policy::Rule>, policy: &policy::Policy) -> Refusal {
    let by = match rule {
        Some(rule) => format!("the rule {:?} of the policy {:?}", rule.name, policy.name),
        None => format!("the default of the policy {:?}", policy.name),
    };
    let line = rule.map_or(policy.default_line, |rule| Some(rule.line));
    Refusal::refused(
        "no hole can be opened there",
        format!("{by} denies it, and a hole changes only what is to be confirmed"),
        match line {
            Some(line) => format!("change the policy: {}:{line}", policy.file),
            None => format!("change the policy: {}", policy.file),
        },
    )
}

fn unknown_policy() -> Refusal {
    Refusal::failed(
        "no hole can be opened there",
        "the session's policy is not known to this guardd, so the kernel denies everything",
        "guard stop the session, and start it again",
    )
}

pub(super) fn nowhere(to: &str) -> Refusal {
    Refusal::invalid(
        format!("cannot open {to}"),
        "no address is known for it",
        "give an address, or check that the name resolves",
    )
}

fn too_many(holes: usize) -> Refusal {
    Refusal::invalid(
        "cannot open that at once",
        format!("it would take {holes} holes, and {MAX_AT_ONCE} is the most"),
        "name fewer ports, or one prefix",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_checked() {
        assert_eq!(term(None).unwrap(), DEFAULT_TERM);
        assert_eq!(term(Some(0.5)).unwrap(), Duration::from_millis(500));
        for wrong in [0.0, -1.0, f64::NAN, f64::INFINITY, 1e300] {
            assert!(term(Some(wrong)).is_err(), "{wrong}");
        }
    }
}
