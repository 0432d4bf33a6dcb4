//! A person's yes to a question for a name: a hole for the name (`holes/names.rs`), through which nothing but questions
//! pass.

use guard_common::HoleId;
use guard_policy as policy;
use guard_proto::{
    self as proto, HoleTerms, moment,
    record::{Answered, HoleOpen},
};
use guard_sys::clock::Clocks;

use crate::{
    changes::Change,
    control::{answering::Answering, failure::CallError, ids},
    holes::{
        checked,
        ending::HoleEnd,
        hole::{Hole, HoleOrigin, Scope},
    },
    record::{Recorder, audit::LogEntry},
    requests::{
        Pending, RequestKey,
        approve_or_deny::{AnsweredIds, CalledRequest, own_first},
        bursts,
        bursts::BurstExtent,
        given::{AnsweredRequest, HoleCoverage, OpenedByYes, YesOrNo},
        shown,
    },
    state::State,
    times::after,
};

/// The holes of a yes, one for each pattern.
fn holes_for(
    asked: &Pending,
    opened_by: String,
    patterns: &[String],
    time: std::time::Duration,
) -> Vec<Hole> {
    let clocks = Clocks::read();
    let about = HoleOrigin {
        session: asked.key.session.0,
        owner: asked.owner,
        opened_by,
        reason: asked.shown.note.clone(),
        opened_at: clocks.present(),
        bytes: None,
    };
    let expires = after(clocks.now(), time);
    let holes = patterns.iter().map(|pattern| Hole {
        session: asked.key.session,
        expires,
        about: Some(about.clone()),
        scope: Scope::Questions(pattern.clone()),
    });
    holes.collect()
}

impl State {
    /// Answers a question with yes.
    ///
    /// # Errors
    ///
    /// Why no hole can be opened; then the request still waits.
    pub(crate) fn approve_question(
        &mut self,
        by: &Answering,
        CalledRequest { id: called, asked }: CalledRequest<'_>,
        extent: BurstExtent,
        terms: &HoleTerms,
    ) -> Result<proto::HolesReply, CallError> {
        let patterns = match (&asked.names, &asked.key.question) {
            (Some(names), _) => names.chosen(extent, &asked.shown.id, called)?,
            (None, Some(name)) if extent.is_none() => vec![name.to_string()],
            _ => return Err(bursts::no_burst(called)),
        };
        let (time, warnings) = self.question_term(asked, terms)?;
        let answered = ids_of(asked, called, &patterns);
        let names = asked.names.as_ref();
        let is_rest = names.is_some_and(|names| !patterns.contains(&names.pattern()));
        let new = is_rest.then(|| self.datapath.next_request()).transpose()?;
        let record = Answered {
            opens: patterns.clone().into(),
            seconds: time.as_secs_f64().into(),
            ..self.machine.answered_by(by)
        };
        let ids = AnsweredIds {
            called,
            all: &answered,
        };
        self.recorder.write_question_yes(asked, ids, record)?;
        let holes = holes_for(asked, self.machine.name_of(by), &patterns, time);
        let holes = self.open_names(by, holes, &answered[0])?;
        self.note_question_yes(by, asked, &answered[0], &patterns, &holes);
        self.count_yes(by, asked, &answered);
        let new = new.map(|number| format!("r{number}"));
        self.requests.take_names(called, &patterns, new);
        for pattern in &patterns {
            self.requests.settle_names(asked.key.session, pattern);
        }
        self.apply(Change::Answers);
        Ok(proto::HolesReply { holes, warnings })
    }

    /// Notes a yes to each of these, for `guard why`; `holes`: one for each.
    fn note_question_yes(
        &mut self,
        by: &Answering,
        asked: &Pending,
        id: &str,
        patterns: &[String],
        holes: &[proto::Hole],
    ) {
        for (pattern, hole) in patterns.iter().zip(holes) {
            let Ok(hole) = ids::parse_hole(&hole.id) else {
                continue;
            };
            let opened = OpenedByYes {
                hole,
                covers: HoleCoverage::Asked,
                ended: None,
            };
            let key = RequestKey::of_name(asked.key.session, pattern);
            let request = AnsweredRequest::of(asked, id, key, &asked.shown);
            let said = YesOrNo::Yes(vec![opened]);
            self.note_given(by, asked.key.session, said, Some(request));
        }
    }

    /// How long a yes to a question lasts, and what a person should know.
    fn question_term(
        &self,
        asked: &Pending,
        terms: &HoleTerms,
    ) -> Result<(std::time::Duration, Vec<String>), CallError> {
        let is_counted = [terms.connections, terms.requests]
            .iter()
            .any(Option::is_some);
        if is_counted || terms.bytes.is_some() || terms.read_only {
            return Err(only_time(&asked.shown.id));
        }
        let session = self.sessions.live(asked.key.session);
        let session = session.ok_or_else(|| ids::no_session(&asked.shown.session))?;
        let longest = self.policies.longest_hole(&session.chain);
        let time = checked::term(terms.seconds)?;
        let shortened = (time > longest).then(|| {
            format!(
                "the hole lasts {} instead of {}: the policy's max_hole",
                policy::format_duration(longest),
                policy::format_duration(time),
            )
        });
        Ok((time.min(longest), shortened.into_iter().collect()))
    }

    /// Opens holes for questions: in the audit log first. Where one cannot be written there, none stays open.
    fn open_names(
        &mut self,
        by: &Answering,
        holes: Vec<Hole>,
        request: &str,
    ) -> Result<Vec<proto::Hole>, CallError> {
        let mut opened = Vec::new();
        for hole in holes {
            let written = self.write_name(by, &hole, request);
            match written {
                Ok(id) => opened.push((id, hole)),
                Err(refusal) => {
                    for (id, hole) in opened {
                        self.hole_ended(id, &hole, HoleEnd::NotWritten, None);
                    }
                    return Err(refusal);
                }
            }
        }
        let clocks = Clocks::read();
        let mut shown = Vec::new();
        for (id, hole) in opened {
            shown.extend(hole.shown(id, &clocks));
            self.recorder.count("holes_opened");
            self.holes.add(id, hole);
            self.holes.keep(id);
        }
        Ok(shown)
    }

    fn write_name(
        &mut self,
        by: &Answering,
        hole: &Hole,
        request: &str,
    ) -> Result<HoleId, CallError> {
        let id = self.datapath.next_hole()?;
        let shown = hole.shown(id, &Clocks::read());
        let shown = shown.ok_or_else(|| ids::no_hole(&ids::hole(id)))?;
        let record = HoleOpen {
            hole: shown.id.into(),
            destination: shown.destination.into(),
            ports: shown.ports.into(),
            reason: shown.reason.into(),
            request: request.into(),
            expires_at: moment::text(shown.expires_at).into(),
            by: shown.opened_by.into(),
            from: by.from.clone().into(),
            ..HoleOpen::default()
        };
        let owner = hole.about.as_ref().map_or(0, |about| about.owner);
        self.recorder
            .write(LogEntry::of(shown.session, owner, record))?;
        match self.recorder.sync() {
            Ok(()) => Ok(id),
            Err(error) => {
                self.hole_ended(id, hole, HoleEnd::NotWritten, None);
                Err(error.into())
            }
        }
    }
}

impl Recorder {
    /// Writes a yes to the audit log, with room left for what it opens.
    fn write_question_yes(
        &mut self,
        asked: &Pending,
        ids: AnsweredIds<'_>,
        record: Answered,
    ) -> Result<(), CallError> {
        self.reserve()?;
        let record = Answered {
            request: ids.first().into(),
            called: ids.called_otherwise().into(),
            parts: asked.names.is_some().then(|| ids.parts().to_vec()).into(),
            answer: "yes".into(),
            shown: shown::as_shown(&asked.shown).into(),
            ..record
        };
        let entry = LogEntry::of(&asked.shown.session, asked.owner, record);
        Ok(self.write(entry)?)
    }
}

/// The ids that a yes for these answers: first the one of the record, then those of its parts.
fn ids_of(asked: &Pending, called: &str, patterns: &[String]) -> Vec<String> {
    let own = asked.shown.id.as_str();
    let Some(names) = &asked.names else {
        return vec![own.to_owned()];
    };
    own_first(own, called, names.ids_in(patterns))
}

/// The error for a budget of questions.
fn only_time(id: &str) -> CallError {
    CallError::invalid(
        format!("cannot answer {id} with anything but a time"),
        "it is about a name that is asked for, and questions are not counted",
        format!("guard approve {id} --for 15m"),
    )
}
