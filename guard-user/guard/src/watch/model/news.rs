//! What guardd tells of: records of the audit log, and what came of answers.

use guard_proto::{
    Hole, LogRecord,
    record::{Answered, Http, Record},
};

use super::{Effect, GONE, Model, Moment, Notice, RECORDS, Tone};
use crate::render::escape::escaped;
use crate::render::log::appeared;
use crate::watch::{answer::AnswerOutcome, answer::told};

/// Characters of what is shown of a place.
const NOTICE: usize = 400;

impl Model {
    /// A record of the audit log.
    pub(super) fn learn(&mut self, record: LogRecord, now: Moment) -> Vec<Effect> {
        if self.trials.has(&record) {
            self.leave_out_trials();
            return Vec::new();
        }
        let is_news = self.news_from.is_some_and(|from| record.at >= from);
        let mut effects = Vec::new();
        match record.record() {
            Record::Answered(one) => self.answered(&one, is_news),
            Record::Appeared(_) if is_news => {
                if let Some((head, below)) = appeared(&record) {
                    let text = escaped(format_args!("{head}: {below}"), NOTICE);
                    self.notice = Some(Notice::new(Tone::Warn, text));
                }
                effects.extend(self.ring(now));
            }
            Record::Http(one) if is_news && self.is_broad_use(&one) => {
                let method = one.method.get().map_or("", String::as_str);
                let path = one.path.get().map_or("", String::as_str);
                let hole = one.hole.get().map_or("", String::as_str);
                let text = format!("{hole} let it pass: {method} {path}");
                self.notice = Some(Notice::new(Tone::Warn, escaped(text, NOTICE)));
            }
            _ => {}
        }
        if self.scrolled > 0 && self.pane == super::Pane::Log {
            // What somebody reads stays where it is.
            self.scrolled += 1;
        }
        self.records.push_back(record);
        if self.records.len() > RECORDS {
            self.records.pop_front();
        }
        // Something has changed, or is about to.
        if is_news {
            effects.push(Effect::Refresh);
        }
        effects
    }

    /// Returns true if a hole for all writes has let something pass.
    fn is_broad_use(&self, one: &Http) -> bool {
        let is_by = |hole: &Hole| one.hole.get() == Some(&hole.id);
        let is_broad = |hole: &Hole| hole.http.as_ref().is_some_and(|http| http.method.is_none());
        let mut holes = self.holes.iter();
        one.outcome.get().is_some_and(|outcome| outcome == "passed")
            && holes.any(|hole| is_by(hole) && is_broad(hole))
    }

    pub(super) fn leave_out_trials(&mut self) {
        let trials = &self.trials;
        self.sessions.retain(|one| !trials.is_one(&one.id));
    }

    /// Somebody answered.
    fn answered(&mut self, one: &Answered, is_news: bool) {
        let (Some(id), Some(answer)) = (one.request.get(), one.answer.get()) else {
            return;
        };
        let by = one.by.get().map_or("somebody", String::as_str);
        let who = format!("{by} said {answer}");
        if is_news && !self.mine.contains(id) {
            let tone = if answer == "yes" {
                Tone::Good
            } else {
                Tone::Warn
            };
            self.notice = Some(Notice::new(tone, format!("{id}: {who}")));
        }
        if self.answered.insert(id.to_owned(), who).is_none() {
            self.gone.push_back(id.to_owned());
        }
        while self.gone.len() > GONE {
            if let Some(oldest) = self.gone.pop_front() {
                self.answered.remove(&oldest);
                self.mine.remove(&oldest);
            }
        }
    }

    /// What came of an answer that was given here.
    pub(super) fn settle(&mut self, id: &str, outcome: AnswerOutcome) -> Vec<Effect> {
        self.answering.remove(id);
        let notice = match &outcome {
            AnswerOutcome::Gone(_) if self.answered.contains_key(id) => {
                Notice::new(Tone::Warn, self.fate(id))
            }
            outcome => told(id, outcome),
        };
        let is_done = matches!(outcome, AnswerOutcome::Opened(_) | AnswerOutcome::Denied(_));
        let notice = self.summed_up(id, is_done, notice);
        match outcome {
            // Somebody was faster: who it was is news when the audit log tells.
            AnswerOutcome::Gone(_) | AnswerOutcome::Refused(_) => drop(self.mine.remove(id)),
            AnswerOutcome::Opened(holes) => {
                self.holes.extend(holes.holes);
                self.close_mode(id);
            }
            AnswerOutcome::Denied(_) => self.close_mode(id),
            AnswerOutcome::Closed(closed) => {
                let gone = |id: &str| closed.holes.iter().any(|hole| hole.id == id);
                self.holes.retain(|hole| !gone(&hole.id));
            }
        }
        self.follow();
        self.notice = Some(notice);
        vec![Effect::Refresh]
    }
}
