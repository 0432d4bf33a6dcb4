//! Many requests that are answered at once: marked first, and for a yes shown once more, all of them.

use std::collections::{HashMap, HashSet};

use guard_proto::{Call, Request};

use super::choice::YesFor;
use super::cursor::is_settled;
use super::decide::{NOT_NOW, NOT_TODAY, yes};
use super::{Effect, Mode, Model, Moment, Notice, Tone};

/// A yes to many requests that is being decided.
#[derive(Debug, Default)]
pub(crate) struct Together {
    /// To which, oldest first.
    pub(crate) ids: Vec<String>,
    /// Lines by which their list is scrolled down.
    pub(crate) scrolled: usize,
    /// Since when the screen has shown each in that list.
    seen: HashMap<String, Moment>,
}

/// The same answer to many requests, on its way to guardd.
#[derive(Debug)]
pub(super) struct Many {
    answer: &'static str,
    left: HashSet<String>,
    all: usize,
    done: usize,
    /// What went wrong last.
    failed: Option<String>,
}

impl Together {
    /// The screen shows these of the list now.
    pub(super) fn drawn<'a>(&mut self, shown: impl Iterator<Item = &'a Request>, now: Moment) {
        for request in shown {
            self.seen.entry(request.id.clone()).or_insert(now);
        }
    }

    /// A key was pressed too early: one that is held down must never get through.
    fn hurried(&mut self, at: Moment) {
        for since in self.seen.values_mut() {
            *since = at.max(*since);
        }
    }
}

/// Whether a line says all of a request: it is one connection.
fn can_be_listed(one: &Request) -> bool {
    one.http.is_none() && one.burst.is_none()
}

impl Model {
    /// Marks the request under the cursor, or takes the mark away, and goes on to the next.
    pub(super) fn mark(&mut self, at: Moment) {
        let Some(subject) = self.answerable(at) else {
            return;
        };
        let id = subject.request.id;
        if !self.marked.remove(&id) {
            self.marked.insert(id);
        }
        self.asked.step(1);
    }

    /// Marks all that is listed of the same session as the request under the cursor. Where all is marked, none is then.
    pub(super) fn mark_session(&mut self, at: Moment) {
        let Some(subject) = self.answerable(at) else {
            return;
        };
        let session = &subject.request.session;
        let ids = self
            .shown_requests()
            .filter(|one| one.session == *session && !self.answering.contains(&one.id))
            .map(|one| one.id.clone());
        let ids: Vec<_> = ids.collect();
        if ids.iter().all(|id| self.marked.contains(id)) {
            self.marked.retain(|id| !ids.contains(id));
        } else {
            self.marked.extend(ids);
        }
    }

    /// A key that answers all that are marked, or begins to.
    pub(super) fn answer_marked(&mut self, c: char, at: Moment) -> Vec<Effect> {
        match c {
            'n' => return self.deny_marked(NOT_NOW, at),
            'N' => return self.deny_marked(NOT_TODAY, at),
            'o' | 'c' | 's' | 'p' | 'w' | 'r' => {
                let text =
                    "that key is for one request, and some are marked: Esc takes the marks away";
                self.notice = Some(Notice::new(Tone::Warn, text));
            }
            // Which list they are in is what a person has to see first.
            _ if yes(c).is_some() => self.list_marked(),
            _ => {}
        }
        Vec::new()
    }

    /// Lists what a yes is to be for together: connections. Of an HTTP request, a statement and many addresses a list does not
    /// show all, so each of these is answered alone.
    fn list_marked(&mut self) {
        let ids = self.marked_ids();
        let is_listed = |id: &String| {
            let mut all = self.requests.iter();
            all.any(|one| one.id == *id && can_be_listed(one))
        };
        let (ids, alone): (Vec<_>, Vec<_>) = ids.into_iter().partition(is_listed);
        if !alone.is_empty() {
            let text = format!(
                "{} wants an answer alone: a list does not show all of it",
                alone.join(", ")
            );
            self.notice = Some(Notice::new(Tone::Warn, text));
        }
        if !ids.is_empty() {
            self.mode = Mode::Together(Together {
                ids,
                ..Together::default()
            });
        }
    }

    /// A no closes what is closed already: it needs no second look.
    fn deny_marked(&mut self, seconds: f64, at: Moment) -> Vec<Effect> {
        if !self.is_reachable() {
            return Vec::new();
        }
        let deny = |id: String| {
            let call = Call::Deny {
                id: id.clone(),
                seconds: Some(seconds),
                by: None,
            };
            (id, call)
        };
        let calls = self.marked_ids().into_iter().map(deny).collect();
        self.send_all("no", calls, at)
    }

    /// A yes to all that the list has shown for long enough.
    pub(super) fn approve_together(&mut self, seconds: f64, at: Moment) -> Vec<Effect> {
        let calls = match self.meant_together(at) {
            Ok(meant) => meant.into_iter().map(|id| {
                let call = YesFor::Asked.approve(&id, seconds, None);
                (id, call)
            }),
            Err(why) => {
                if let Mode::Together(together) = &mut self.mode {
                    together.hurried(at);
                }
                self.notice = Some(Notice::new(Tone::Warn, why));
                return Vec::new();
            }
        };
        let calls = calls.collect();
        if !self.is_reachable() {
            return Vec::new();
        }
        self.mode = Mode::Lists;
        self.send_all("yes", calls, at)
    }

    /// What a yes pressed now would be for; or why it is for nothing.
    fn meant_together(&self, at: Moment) -> Result<Vec<String>, String> {
        let Mode::Together(together) = &self.mode else {
            return Ok(Vec::new());
        };
        let waiting: Vec<_> = self.together(together).collect();
        let seen = |one: &&&Request| together.seen.contains_key(&one.id);
        let unseen = waiting.len() - waiting.iter().filter(seen).count();
        if unseen > 0 {
            let all = waiting.len();
            return Err(format!(
                "{unseen} of {all} have not been on the screen yet: Down, PageDown"
            ));
        }
        let settled = |one: &&Request| is_settled(together.seen.get(&one.id).copied(), at);
        if waiting.iter().all(settled) {
            Ok(waiting.into_iter().map(|one| one.id.clone()).collect())
        } else {
            Err("the list has just come up: press again if you mean it".into())
        }
    }

    /// The requests of that list which still wait.
    pub(crate) fn together<'a>(
        &'a self,
        together: &'a Together,
    ) -> impl Iterator<Item = &'a Request> {
        let waits = |one: &&Request| {
            let is_meant = together.ids.contains(&one.id) && !self.answering.contains(&one.id);
            is_meant && can_be_listed(one)
        };
        self.requests.iter().filter(waits)
    }

    /// What is marked, oldest first.
    fn marked_ids(&self) -> Vec<String> {
        let ids = self.requests.iter().map(|one| &one.id);
        let marked = |id: &&String| self.marked.contains(*id) && !self.answering.contains(*id);
        ids.filter(marked).cloned().collect()
    }

    fn send_all(
        &mut self,
        answer: &'static str,
        calls: Vec<(String, Call)>,
        at: Moment,
    ) -> Vec<Effect> {
        self.marked.clear();
        // The same key once more would be for the request under the cursor.
        self.asked.hurried(at);
        self.many = Some(Many {
            answer,
            left: calls.iter().map(|(id, _)| id.clone()).collect(),
            all: calls.len(),
            done: 0,
            failed: None,
        });
        let send = |(id, call)| self.send(id, call);
        calls.into_iter().flat_map(send).collect()
    }

    /// Several answers are reported as one sum, with what went wrong.
    pub(super) fn summed_up(&mut self, id: &str, is_done: bool, notice: Notice) -> Notice {
        let Some(many) = self.many.as_mut().filter(|many| many.left.contains(id)) else {
            return notice;
        };
        many.left.remove(id);
        if is_done {
            many.done += 1;
        } else {
            many.failed = Some(notice.text);
        }
        let sum = format!("{} to {} of {} requests", many.answer, many.done, many.all);
        match &many.failed {
            None => Notice::new(Tone::Good, sum),
            Some(why) => Notice::new(Tone::Bad, format!("{sum}; {why}")),
        }
    }

    /// What is marked is what waits, of the guardd that told of it.
    pub(super) fn clear_marks(&mut self) {
        self.marked.clear();
        if matches!(self.mode, Mode::Together(_)) {
            self.mode = Mode::Lists;
        }
    }

    /// Some requests may have gone.
    pub(super) fn keep_marks(&mut self) {
        let waits = |id: &String| self.requests.iter().any(|one| one.id == *id);
        self.marked.retain(waits);
        let is_empty = match &self.mode {
            Mode::Together(together) => self.together(together).next().is_none(),
            _ => false,
        };
        if is_empty {
            self.mode = Mode::Lists;
        }
    }
}
