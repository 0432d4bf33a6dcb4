//! What a person decides: about which request or hole, and whether that is the one that was seen.

use guard_proto::{Call, Request};

use super::choice::{DraftYes, Typed, YesFor};
use super::cursor::is_settled;
use super::{
    Detail, Effect, GuarddReach, Mode, Model, Moment, Notice, OpenedRequest, SeenBewares, Tone,
    bewares,
};
use crate::watch::answer::Decision;

/// A no that is for now: what is tried again after that is asked again.
pub(super) const NOT_NOW: f64 = 60.0;
/// A no that also stops the asking.
pub(super) const NOT_TODAY: f64 = 8.0 * 3600.0;

/// Whether a request is about another program on the loopback that could be identified.
pub(crate) fn is_known_program(request: &Request) -> bool {
    let listener = request.listener.as_ref();
    listener.is_some_and(|listener| listener.pid.is_some())
}

impl Model {
    /// A key that answers the request that is meant, or begins to.
    pub(super) fn answer_key(&mut self, c: char, at: Moment) -> Vec<Effect> {
        if let Some(seconds) = yes(c) {
            return self.say_yes(&YesFor::Asked, seconds, at);
        }
        match c {
            'o' => self.take_offer(at),
            'n' => self.say_no(NOT_NOW, at),
            'N' => self.say_no(NOT_TODAY, at),
            'c' | 's' | 'p' | 'w' | 'r' | 'i' | 'l' => {
                self.choose(c, at);
                Vec::new()
            }
            _ => Vec::new(),
        }
    }

    pub(super) fn say_yes(&mut self, what: &YesFor, seconds: f64, at: Moment) -> Vec<Effect> {
        let Some(subject) = self.approvable(at) else {
            return Vec::new();
        };
        let Ok(tried) = self.seen_of_burst(&subject.request, at) else {
            return self.too_early(&subject.request.id, at);
        };
        let call = what.approve(&subject.request.id, seconds, tried);
        self.send(subject.request.id, call)
    }

    /// A yes as it is offered first, which is what the screen has shown.
    fn take_offer(&mut self, at: Moment) -> Vec<Effect> {
        let Some(id) = self.subject().map(|subject| subject.request.id.clone()) else {
            return Vec::new();
        };
        match self.faces.settled(&id, at).map(|face| face.offer) {
            Some(Some(offer)) => {
                let count = offer.connections.map(|count| count.to_string());
                let what = count.map_or(YesFor::Asked, |count| {
                    YesFor::Connections(Typed::suggested(&count))
                });
                self.say_yes(&what, offer.seconds, at)
            }
            Some(None) => Vec::new(),
            None => self.too_early(&id, at),
        }
    }

    /// How many addresses of a burst a person has seen; an error where it has only just become one.
    fn seen_of_burst(&self, request: &Request, at: Moment) -> Result<Option<u32>, ()> {
        if request.burst.is_none() {
            return Ok(None);
        }
        let face = self.faces.settled(&request.id, at);
        face.and_then(|face| face.tried).map(Some).ok_or(())
    }

    fn too_early(&mut self, id: &str, at: Moment) -> Vec<Effect> {
        self.hurried(at);
        let text = format!("{id} has just changed: press again if you mean it");
        self.notice = Some(Notice::new(Tone::Warn, text));
        Vec::new()
    }

    fn say_no(&mut self, seconds: f64, at: Moment) -> Vec<Effect> {
        let Some(subject) = self.answerable(at) else {
            return Vec::new();
        };
        let id = subject.request.id.clone();
        let seconds = Some(seconds);
        self.send(
            id.clone(),
            Call::Deny {
                id,
                seconds,
                by: None,
            },
        )
    }

    pub(super) fn send(&mut self, id: String, call: Call) -> Vec<Effect> {
        self.answering.insert(id.clone());
        self.mine.insert(id.clone());
        vec![Effect::Answer(Decision { id, call })]
    }

    /// Begins a yes to more, or less, than was asked.
    fn choose(&mut self, c: char, at: Moment) {
        let Some(subject) = self.approvable(at) else {
            return;
        };
        if subject.request.question.is_some() && "csri".contains(c) {
            return self.tell_why(
                &subject,
                "a question for a name, and a yes to one has a time alone",
            );
        }
        let what = match (c, &subject.request.http) {
            ('c', _) => YesFor::Connections(Typed::suggested("1")),
            ('s', _) => YesFor::Bytes(Typed::suggested("1MiB")),
            ('p', Some(http)) if !http.is_statement() => YesFor::Path {
                pattern: http.as_pattern(),
                typing: true,
            },
            ('p', None) if subject.request.burst.is_some() => YesFor::Prefix,
            ('w', Some(_)) => YesFor::Writes,
            ('r', None) => YesFor::Reads,
            ('l', None) if is_known_program(&subject.request) => YesFor::Always,
            ('l', None) => {
                return self.tell_why(&subject, "about no known program on the loopback");
            }
            ('i', None) if subject.request.opens_name => YesFor::Address,
            ('i', None) => return self.tell_why(&subject, "about an address alone as it is"),
            (_, None) => return self.tell_why(&subject, "no HTTP request"),
            (_, Some(http)) if http.is_statement() => {
                return self.tell_why(&subject, "a statement");
            }
            (_, Some(_)) => return self.tell_why(&subject, "an HTTP request"),
        };
        self.mode = Mode::Choose(DraftYes { subject, what });
    }

    fn tell_why(&mut self, subject: &OpenedRequest, is: &str) {
        let text = format!("{} is {is}: that key is not for it", subject.request.id);
        self.notice = Some(Notice::new(Tone::Warn, text));
    }

    /// The same for a yes: nobody gives one before the screen has shown all that they should beware of.
    fn approvable(&mut self, at: Moment) -> Option<OpenedRequest> {
        let subject = self.answerable(at)?;
        if subject.read || bewares(&subject.request).next().is_none() {
            return Some(subject);
        }
        let id = &subject.request.id;
        let look = match self.mode {
            Mode::Lists => "press Enter, and look",
            Mode::Choose(_) => "press Esc, then Enter, and look",
            _ => "scroll to the rest",
        };
        let text = format!("not all to beware of in {id} is in view: {look} before a yes");
        self.notice = Some(Notice::new(Tone::Warn, text));
        None
    }

    /// The request that an answer pressed now is for, if it is meant, and can be answered. Else it is told why not.
    pub(super) fn answerable(&mut self, at: Moment) -> Option<OpenedRequest> {
        let subject = self.subject()?;
        let id = &subject.request.id;
        if !self.is_reachable() {
            return None;
        }
        let why = if self.answering.contains(id) {
            format!("{id} is being answered")
        } else if !self.waits(id) {
            self.fate(id)
        } else if !is_settled(subject.seen, at) {
            self.hurried(at);
            format!("{id} has just come here: press again if you mean it")
        } else {
            return Some(subject);
        };
        self.notice = Some(Notice::new(Tone::Warn, why));
        None
    }

    /// Whether guardd can be told of an answer. Else it is told why not.
    pub(super) fn is_reachable(&mut self) -> bool {
        let why = match &self.link {
            GuarddReach::Connecting => "guardd has not answered yet".to_owned(),
            GuarddReach::Down(failure) => failure.to_string(),
            GuarddReach::Up => return true,
        };
        self.notice = Some(Notice::new(Tone::Warn, why));
        false
    }

    /// The request that is meant: the one that is looked at, else the one under the cursor.
    pub(crate) fn subject(&self) -> Option<OpenedRequest> {
        match &self.mode {
            Mode::Details(Detail::Request(subject), _) => Some(subject.clone()),
            Mode::Choose(choice) => Some(choice.subject.clone()),
            Mode::Lists => {
                let id = self.asked.id()?;
                let request = self.requests.iter().find(|one| one.id == id)?;
                let request = Box::new(request.clone());
                let seen = self.asked.seen();
                let read = self.read.as_deref() == Some(id);
                Some(OpenedRequest {
                    request,
                    seen,
                    read,
                    bewares: SeenBewares::default(),
                })
            }
            _ => None,
        }
    }

    fn hurried(&mut self, at: Moment) {
        self.asked.hurried(at);
        let subject = match &mut self.mode {
            Mode::Details(Detail::Request(subject), _) => subject,
            Mode::Choose(choice) => &mut choice.subject,
            _ => return,
        };
        subject.seen = subject.seen.map(|seen| seen.max(at));
    }

    /// The hole that is meant.
    pub(crate) fn meant_hole(&self) -> Option<&guard_proto::Hole> {
        let id = self.opened.id()?;
        self.holes.iter().find(|one| one.id == id)
    }

    pub(super) fn close_hole(&mut self, at: Moment) -> Vec<Effect> {
        let looked_at = match &self.mode {
            Mode::Details(Detail::Hole(hole), _) => Some(hole.id.clone()),
            _ => None,
        };
        let id = match looked_at {
            Some(id) => id,
            None => match self.opened.id().map(str::to_owned) {
                Some(id) if is_settled(self.opened.seen(), at) => id,
                Some(_) => {
                    self.opened.hurried(at);
                    return Vec::new();
                }
                None => return Vec::new(),
            },
        };
        self.mode = Mode::Lists;
        let ids = vec![id.clone()];
        let call = Call::Close {
            ids,
            all: false,
            by: None,
        };
        vec![Effect::Answer(Decision { id, call })]
    }

    /// What was looked at is done with.
    pub(super) fn close_mode(&mut self, id: &str) {
        let is_about = match &self.mode {
            Mode::Details(Detail::Request(subject), _) => subject.request.id == id,
            Mode::Choose(choice) => choice.subject.request.id == id,
            _ => false,
        };
        if is_about {
            self.mode = Mode::Lists;
        }
    }
}

/// The seconds that a key for yes stands for.
pub(crate) const fn yes(c: char) -> Option<f64> {
    match c {
        'f' => Some(5.0 * 60.0),
        'y' => Some(15.0 * 60.0),
        'h' => Some(60.0 * 60.0),
        _ => None,
    }
}
