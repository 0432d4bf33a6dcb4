//! Names that sessions were not told of lately.

use std::net::IpAddr;

use guard_common::{BootTime, SessionId, Verdict};
use guard_proto::{Endpoint, Stopped, names::FAILED, record::Denied};
use guard_sys::clock::{self, Clocks};

use super::{Resolver, held_questions::NameQuestion};
use crate::{
    control::{
        advice, ids,
        inside::{StopExplainer, refused},
    },
    record::{Recorder, audit::LogEntry, shares::AdmittedRecord},
    requests::RequestKey,
    sessions::{
        Sessions,
        stops::{Stop, Stops},
    },
};

/// How many of a session's names are shown.
const MAX_TOLD: usize = 8;

/// The names that each session was not told of.
pub(super) type RefusedNames = Stops<64, String, NameRefusal>;

/// How a session was not told of a name, the last time.
#[derive(Clone, Debug)]
pub(super) struct NameRefusal {
    kind: String,
    server: IpAddr,
    why: String,
    /// It was asked for.
    failed: bool,
}

impl NameRefusal {
    pub(super) fn new(asked: &NameQuestion, why: &str, failed: bool) -> Self {
        Self {
            kind: asked.kind.clone(),
            server: asked.server,
            why: why.to_owned(),
            failed,
        }
    }
}

/// Names of a session that were refused, or not answered, and of which a count alone tells: more came in a second than the resolver
/// tells one by one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct MoreNames {
    /// All of them.
    all: u64,
    /// Those refused that no record counts yet.
    refused: u64,
    /// Those not answered that no record counts yet.
    failed: u64,
}

impl MoreNames {
    fn add(&mut self, refused: u64, failed: u64) {
        self.all = self.all.saturating_add(refused.saturating_add(failed));
        self.refused = self.refused.saturating_add(refused);
        self.failed = self.failed.saturating_add(failed);
    }

    const fn is_due(&self) -> bool {
        self.refused > 0 || self.failed > 0
    }

    /// What the next record counts: of each kind so many.
    const fn take(&mut self) -> [(&'static str, u64); 2] {
        let due = [
            (Verdict::Deny.as_str(), self.refused),
            (FAILED, self.failed),
        ];
        (self.refused, self.failed) = (0, 0);
        due
    }
}

impl Resolver {
    /// How many names of a session a count alone tells of.
    pub(crate) fn names_summed_up(&self, session: SessionId) -> u64 {
        self.more.get(&session).map_or(0, |more| more.all)
    }

    /// The same of all live sessions.
    pub(crate) fn all_names_summed_up(&self) -> u64 {
        let all = self.more.values().map(|more| more.all);
        all.fold(0, u64::saturating_add)
    }

    /// Notes what a record of the audit log says of a name.
    pub(crate) fn recall_refused(
        &mut self,
        session: SessionId,
        at: BootTime,
        to: &Endpoint,
        why: Option<&str>,
        failed: bool,
    ) {
        let (Some(name), Ok(server)) = (&to.host, to.address.parse()) else {
            return;
        };
        // As it is written: "nobody answered in time (AAAA)".
        let why = why.unwrap_or_default();
        let (why, kind) = why.rsplit_once(" (").unwrap_or((why, ""));
        let refusal = NameRefusal {
            kind: kind.trim_end_matches(')').to_owned(),
            server,
            why: why.to_owned(),
            failed,
        };
        self.refused.note(session, name.clone(), refusal, at);
    }
}

impl Resolver {
    /// So many more names of a session were refused, or not answered, than the resolver has told one by one.
    pub(super) fn note_more_names(
        &mut self,
        sessions: &Sessions,
        recorder: &mut Recorder,
        session: SessionId,
        refused: u64,
        failed: u64,
    ) {
        if sessions.live(session).is_some() {
            let denied = self.denied.entry(session).or_default();
            *denied = denied.saturating_add(refused);
            let more = self.more.entry(session).or_default();
            more.add(refused, failed);
            self.tell_more_names(sessions, recorder);
            return;
        }
        // It has ended meanwhile. Nothing is kept of one that nobody knows: the resolver parses what is hostile, and may say any number.
        if sessions.get(session).is_none() {
            return;
        }
        if let Some(admitted) = sessions.admit(recorder, session, clock::now()) {
            let mut more = MoreNames::default();
            more.add(refused, failed);
            write_more_names(sessions, recorder, session, more.take(), Some(admitted));
        }
    }

    /// Writes to the audit log how many more names were refused, or not answered, of sessions whose share of it has room; of others
    /// later.
    pub(crate) fn tell_more_names(&mut self, sessions: &Sessions, recorder: &mut Recorder) {
        let now = clock::now();
        let more = self.more.iter();
        let due = more.filter(|(_, more)| more.is_due());
        let due: Vec<_> = due.map(|(id, _)| *id).collect();
        for id in due {
            if recorder.has_room(sessions.account_of(id), now) {
                let admitted = sessions.admit(recorder, id, now);
                self.tell_more_names_of(sessions, recorder, id, admitted);
            }
        }
    }

    /// The same of a session that ends, whatever room there is.
    pub(crate) fn tell_last_names(
        &mut self,
        sessions: &Sessions,
        recorder: &mut Recorder,
        id: SessionId,
    ) {
        self.tell_more_names_of(sessions, recorder, id, None);
    }

    fn tell_more_names_of(
        &mut self,
        sessions: &Sessions,
        recorder: &mut Recorder,
        id: SessionId,
        admitted: Option<AdmittedRecord>,
    ) {
        if let Some(more) = self.more.get_mut(&id) {
            write_more_names(sessions, recorder, id, more.take(), admitted);
        }
    }

    /// The names that a session was not told of lately, in words for it.
    pub(crate) fn stopped_names(
        &self,
        known: &StopExplainer<'_>,
        id: SessionId,
        clocks: &Clocks,
    ) -> Vec<Stopped> {
        let names = self.refused.of(id).take(MAX_TOLD);
        names
            .map(|one| known.stopped_name(id, one, clocks))
            .collect()
    }
}

fn write_more_names(
    sessions: &Sessions,
    recorder: &mut Recorder,
    id: SessionId,
    due: [(&'static str, u64); 2],
    mut admitted: Option<AdmittedRecord>,
) {
    let Some(owner) = sessions.get(id).map(|session| session.about.uid) else {
        return;
    };
    for (verdict, names) in due.into_iter().filter(|(_, names)| *names > 0) {
        let record = Denied {
            verdict: verdict.into(),
            names: names.into(),
            why: format!("and {names} more names than are told one by one").into(),
            ..Denied::default()
        };
        let entry = LogEntry::of(ids::session(id), owner, record);
        recorder.note(match admitted.take() {
            Some(admitted) => entry.admitted(admitted),
            None => entry,
        });
    }
}

impl StopExplainer<'_> {
    /// A name that a session was not told of.
    fn stopped_name(
        &self,
        id: SessionId,
        one: &Stop<String, NameRefusal>,
        clocks: &Clocks,
    ) -> Stopped {
        let now = clock::now();
        let (name, refusal) = (&one.what, &one.details);
        let key = RequestKey::of_name(id, name);
        let asked = NameQuestion {
            session: id,
            tgid: guard_proto::names::Tgid(0),
            name: name.clone(),
            kind: refusal.kind.clone(),
            server: refusal.server,
        };
        let request = self.requests.find(&key).map(|asked| asked.shown.id.clone());
        let session = self.sessions.live(id);
        let may_ask = session.is_some_and(|live| self.policies.asks_any(&live.chain, name));
        let is_refused = self.requests.is_refused_to(self.sessions, &key);
        let advice = match &request {
            _ if refusal.failed => advice::name_failed(name, &refusal.why),
            _ if self.holes.lets_ask(id, name, now) => advice::name_opened(name),
            Some(request) => advice::name_asked(name, request),
            None if is_refused => advice::name_answered_no(name),
            None => advice::name_refused(name, &refusal.why),
        };
        let verdict = match may_ask {
            _ if refusal.failed => FAILED,
            true => Verdict::Confirm.as_str(),
            false => Verdict::Deny.as_str(),
        };
        let answer = self.requests.last_answer(self.sessions, &key);
        let at = clocks.calendar(one.last);
        Stopped {
            count: one.count,
            request,
            refused: answer.and_then(|answer| refused(answer, clocks)),
            ..Stopped::new(at, asked.endpoint(), verdict, advice)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        holes::known::Holes,
        record::{recorder, shelf::Shelf},
        requests::Requests,
        sessions::none_but,
    };

    #[test]
    fn more_names_are_recorded_of_sessions_that_are_known() {
        let (mut recorder, _dir) = recorder();
        let sessions = none_but(&[(1, None)]);
        let mut resolver = Resolver::default();
        let mut note = |session: u32| {
            resolver.note_more_names(&sessions, &mut recorder, SessionId(session), 3, 1);
            let log = std::fs::read_to_string(recorder.audit().path());
            let is_known = resolver.names_summed_up(SessionId(session)) > 0;
            (log.unwrap_or_default().lines().count(), is_known)
        };
        assert_eq!(note(9), (0, false), "nobody knows it");
        assert_eq!(note(1), (2, true), "one of each kind");
        assert_eq!(resolver.forget_refused(SessionId(1)), 3);
    }

    #[test]
    fn a_name_that_was_not_told_is_explained_by_what_holds_now() {
        let text = "version = 1\ndefault = \"deny\"\n";
        let policies = crate::policies::of_texts(&[text.to_owned()]);
        let sessions = none_but(&[(1, None)]);
        let requests = Requests::without_files(10);
        let holes = Holes::new(Shelf::nowhere(), Shelf::nowhere());
        let known = StopExplainer {
            sessions: &sessions,
            policies: &policies,
            requests: &requests,
            holes: &holes,
        };
        let mut resolver = Resolver::default();
        for (name, failed) in [("db.example.com", false), ("up.example.com", true)] {
            let refusal = NameRefusal {
                kind: "A".to_owned(),
                server: IpAddr::from([192, 0, 2, 53]),
                why: "nobody answered in time".to_owned(),
                failed,
            };
            let (session, at) = (SessionId(1), BootTime(1));
            resolver.refused.note(session, name.to_owned(), refusal, at);
        }
        let told = resolver.stopped_names(&known, SessionId(1), &Clocks::read());
        let mut told: Vec<_> = told.iter().map(|one| one.verdict.as_str()).collect();
        told.sort_unstable();
        assert_eq!(told, [Verdict::Deny.as_str(), FAILED]);
    }

    #[test]
    fn more_names_are_counted_in_one_record_and_all_of_them_in_all() {
        let mut more = MoreNames::default();
        assert!(!more.is_due());
        more.add(1200, 0);
        more.add(4, 7);
        assert!(more.is_due());
        assert_eq!(more.take(), [("deny", 1204), ("failed", 7)]);
        assert!(!more.is_due());
        more.add(u64::MAX, 1);
        assert_eq!((more.all, more.refused), (u64::MAX, u64::MAX));
    }
}
