//! What the screen knows, and what becomes of it with each thing that happens. Pure: no terminal, no socket, no clock.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::ops::Range;
use std::time::Duration;

use guard_proto::{Failure, Flow, Hole, LogRecord, Request, Session};
use guard_trail::trials::Trials;
use jiff::Timestamp;

use self::choice::DraftYes;
use self::cursor::Cursor;
use self::faces::Faces;
use self::marks::{Many, Together};
use super::answer::{AnswerOutcome, Decision};

pub(crate) mod choice;
pub(crate) mod cursor;
pub(crate) mod decide;
pub(crate) mod faces;
pub(crate) mod marks;
mod news;
mod press;
#[cfg(test)]
mod tests;

/// Time of the monotonic clock since the screen came up.
pub(crate) type Moment = Duration;

/// Limit of the records of the audit log that are kept.
const RECORDS: usize = 500;
/// Limit of the requests that are over and kept, to show who answered them.
const GONE: usize = 200;
/// The bell rings at most so often: whoever asks a lot is not to make a din.
const BELL_EVERY: Moment = Moment::from_secs(2);

/// A message goes away after so long: an old answer is not to be taken for that to the next request.
const LASTS: Moment = Moment::from_secs(10);
/// What went wrong may say what to type.
const BAD_LASTS: Moment = Moment::from_mins(1);
/// Keys so soon after a suspension was asked for, or has ended, may be meant for a shell: `fg` is no yes.
const QUIET: Moment = Moment::from_secs(1);
/// The message for who asks for one in vain.
const NO_SUSPEND: &str = "cannot suspend here: no shell with job control has started this, and fg would not bring it back";

/// The state of the screen.
#[derive(Debug, Default)]
pub(crate) struct Model {
    /// Whether guardd can be asked.
    pub(crate) link: GuarddReach,
    /// The requests that wait: held ones first, then the oldest first.
    pub(crate) requests: Vec<Request>,
    /// The open holes.
    pub(crate) holes: Vec<Hole>,
    /// What runs under the guard.
    pub(crate) sessions: Vec<Session>,
    /// What sessions have reached, as far as somebody looks at it.
    pub(crate) reached: Vec<Flow>,
    /// The audit log, latest last.
    pub(crate) records: VecDeque<LogRecord>,
    /// What keys are for.
    pub(crate) pane: Pane,
    /// What lies over the lists.
    pub(crate) mode: Mode,
    /// Only lines with this in them are listed; empty: all.
    pub(crate) filter: String,
    /// The last thing to tell.
    pub(crate) notice: Option<Notice>,
    /// Whether a new request rings.
    pub(crate) bell: bool,
    /// Which request is meant.
    pub(crate) asked: Cursor,
    /// Which hole is meant.
    pub(crate) opened: Cursor,
    /// What the screen has shown of each request.
    pub(crate) faces: Faces,
    /// Lines scrolled: up from the end of the audit log, down from the head of the sessions.
    pub(crate) scrolled: usize,
    /// Requests that the next answer is for; none: it is for the one under the cursor.
    pub(crate) marked: HashSet<String>,
    /// Requests whose answers are on their way to guardd.
    pub(crate) answering: HashSet<String>,
    /// Several requests that were answered at once, and how many of these answers have come through.
    many: Option<Many>,
    /// Requests that were answered here: their ends are no news.
    mine: HashSet<String>,
    /// Who gave which answer, as the audit log tells.
    answered: HashMap<String, String>,
    /// The ids of those, oldest first.
    gone: VecDeque<String>,
    /// The sessions of `guard doctor`, which are not listed, nor what is refused in them.
    trials: Trials,
    /// Records from then on are news.
    news_from: Option<Timestamp>,
    /// guardd has said which requests wait.
    has_asked: bool,
    rang: Option<Moment>,
    /// Keys until then were typed for a shell.
    quiet: Option<Moment>,
    /// Nothing of the lists could be seen when the screen was drawn last.
    blind: bool,
    /// The request of which it showed all then that a person should beware of.
    read: Option<String>,
}

/// Whether guardd can be asked.
#[derive(Debug, Default)]
pub(crate) enum GuarddReach {
    /// It has not answered yet.
    #[default]
    Connecting,
    /// It has.
    Up,
    /// It cannot.
    Down(Failure),
}

/// A list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Pane {
    #[default]
    Requests,
    Holes,
    Sessions,
    /// It stands in place of the log.
    Reached,
    Log,
}

/// What lies over the lists.
#[derive(Debug, Default)]
pub(crate) enum Mode {
    /// Nothing.
    #[default]
    Lists,
    /// All about one thing, so many lines down.
    Details(Detail, usize),
    /// The keys, so many lines down.
    Help(usize),
    /// The filter is being typed.
    Filter,
    /// What a yes is to be for.
    Choose(DraftYes),
    /// To which of many requests a yes is to be.
    Together(Together),
}

/// One thing, as it was when it was looked at.
#[derive(Debug)]
pub(crate) enum Detail {
    Request(OpenedRequest),
    Hole(Box<Hole>),
}

/// A request that a person looks at, which stays on the screen when it is gone.
#[derive(Clone, Debug)]
pub(crate) struct OpenedRequest {
    /// The last version of it that guardd sent.
    pub(crate) request: Box<Request>,
    /// Since when it has been on the screen.
    pub(crate) seen: Option<Moment>,
    /// Whether all that a person should beware of has been on the screen.
    pub(crate) read: bool,
    /// Which of these lines have been.
    pub(crate) bewares: SeenBewares,
}

/// Which of the lines that say what to beware of have been on the screen, each by its place among these.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct SeenBewares {
    /// Of the screen: on another they are other lines.
    width: u16,
    seen: BTreeSet<usize>,
}

impl SeenBewares {
    pub(crate) const fn new(width: u16, seen: BTreeSet<usize>) -> Self {
        Self { width, seen }
    }

    /// Those of a screen of that width.
    pub(crate) fn at(&self, width: u16) -> impl Iterator<Item = usize> {
        let is_it = self.width == width;
        self.seen.iter().copied().filter(move |_| is_it)
    }
}

/// How something is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tone {
    Plain,
    Good,
    Bad,
    Warn,
    Dim,
    Strong,
}

/// Something to tell.
#[derive(Clone, Debug)]
pub(crate) struct Notice {
    pub(crate) tone: Tone,
    pub(crate) text: String,
    /// Since when it has been on the screen.
    shown: Option<Moment>,
}

/// What happens.
#[derive(Debug)]
pub(crate) enum Event {
    /// A key was pressed, then.
    Key(ratatui::crossterm::event::KeyEvent, Moment),
    /// The requests that wait: all of them.
    Requests(Vec<Request>),
    /// What there is, as it was asked for.
    Lists(Lists),
    /// The audit log begins again, and what it says from then on is news.
    AuditLog(Timestamp),
    /// A record of it.
    Record(Box<LogRecord>),
    /// guardd cannot be asked any more.
    Lost(Failure),
    /// What came of an answer.
    Outcome(String, AnswerOutcome),
    /// The screen is back after it was suspended.
    Resumed,
    /// It was to be suspended, and nobody could bring it back.
    NotSuspended,
}

/// What guardd lists.
#[derive(Debug, Default)]
pub(crate) struct Lists {
    pub(crate) requests: Vec<Request>,
    pub(crate) sessions: Vec<Session>,
    pub(crate) holes: Vec<Hole>,
    /// None where nobody looks at it.
    pub(crate) reached: Option<Vec<Flow>>,
}

/// What is to be done about it.
#[derive(Debug)]
pub(crate) enum Effect {
    /// Tell guardd.
    Answer(Decision),
    /// Ask it for its lists.
    Refresh,
    /// Ring.
    Bell,
    /// Redraw everything.
    Repaint,
    /// Give the terminal back until somebody goes on with this.
    Suspend,
    /// End.
    Quit,
}

impl Model {
    /// An empty screen.
    pub(crate) fn new(bell: bool) -> Self {
        Self {
            bell,
            ..Self::default()
        }
    }

    /// Takes in what has happened.
    pub(crate) fn update(&mut self, event: Event, now: Moment) -> Vec<Effect> {
        match event {
            Event::Key(key, at) => return self.press(key, at),
            Event::Requests(requests) => return self.ask(requests, now),
            Event::Lists(lists) => self.list(lists),
            Event::AuditLog(from) => {
                self.records.clear();
                // It may be another guardd's, which counts from the beginning.
                self.clear_marks();
                self.answered.clear();
                self.gone.clear();
                self.mine.clear();
                self.trials = Trials::default();
                self.news_from = Some(from);
            }
            Event::Record(record) => return self.learn(*record, now),
            Event::Lost(failure) => {
                self.link = GuarddReach::Down(failure);
                self.clear_marks();
            }
            Event::Outcome(id, outcome) => return self.settle(&id, outcome),
            Event::Resumed => self.quiet(now),
            Event::NotSuspended => {
                self.quiet(now);
                self.notice = Some(Notice::new(Tone::Warn, NO_SUSPEND));
            }
        }
        Vec::new()
    }

    /// The requests have become these.
    fn ask(&mut self, requests: Vec<Request>, now: Moment) -> Vec<Effect> {
        let was_down = !matches!(self.link, GuarddReach::Up);
        if matches!(self.link, GuarddReach::Down(_)) {
            // The message before may have been that it cannot be reached.
            self.notice = Some(Notice::new(Tone::Good, "guardd answers again"));
        }
        self.link = GuarddReach::Up;
        // What was there before anybody looked is no news.
        let is_new = self.has_asked && requests.iter().any(|one| !self.waits(&one.id));
        let had_asked = std::mem::replace(&mut self.has_asked, true);
        self.keep_read(&requests);
        // Somebody waits for what is held: the cursor goes there from what nobody waits for.
        let waited = self
            .asked
            .id()
            .and_then(|id| self.requests.iter().find(|one| one.id == id));
        let is_idle = waited.is_none_or(|one| !one.held);
        let is_news = |one: &&Request| one.held && !self.is_held(&one.id);
        let held = requests.iter().find(is_news).map(|one| one.id.clone());
        let held = held.filter(|_| is_idle && had_asked);
        self.requests = requests;
        self.follow();
        if let Some(id) = held {
            self.asked.go_to(&id);
        }
        let mut effects = Vec::new();
        if was_down {
            effects.push(Effect::Refresh);
        }
        if is_new {
            effects.extend(self.ring(now));
        }
        effects
    }

    fn is_held(&self, id: &str) -> bool {
        self.requests.iter().any(|one| one.id == id && one.held)
    }

    /// Rings, unless that is not wanted, or it has rung a moment ago.
    fn ring(&mut self, now: Moment) -> Option<Effect> {
        let is_quiet = self.rang.is_some_and(|rang| now < rang + BELL_EVERY);
        (self.bell && !is_quiet).then(|| {
            self.rang = Some(now);
            Effect::Bell
        })
    }

    /// Takes in lists. Which requests wait the stream says, and only that: a list may be older than it.
    fn list(&mut self, lists: Lists) {
        self.keep_read(&lists.requests);
        for newer in lists.requests {
            if let Some(known) = self.requests.iter_mut().find(|one| one.id == newer.id) {
                *known = newer;
            }
        }
        self.sessions = lists.sessions;
        self.leave_out_trials();
        self.holes = lists.holes;
        if let Some(reached) = lists.reached {
            self.reached = reached;
        }
        self.follow();
    }

    /// That all to beware of in a request was on the screen counts as long as it is the same.
    fn keep_read(&mut self, newer: &[Request]) {
        let is_read = |one: &&Request| self.read.as_ref() == Some(&one.id);
        let known = self.requests.iter().find(is_read);
        let now = newer.iter().find(is_read);
        if let (Some(known), Some(now)) = (known, now)
            && !bewares(known).eq(bewares(now))
        {
            self.read = None;
        }
    }

    /// Has the cursors follow what has changed.
    fn follow(&mut self) {
        let asked = self.shown_requests().map(|one| one.id.clone()).collect();
        self.asked.follow(asked);
        let opened = self.shown_holes().map(|one| one.id.clone()).collect();
        self.opened.follow(opened);
        self.keep_marks();
        let subject = match &mut self.mode {
            Mode::Details(Detail::Request(subject), _) => subject,
            Mode::Choose(choice) => &mut choice.subject,
            _ => return,
        };
        if let Some(known) = self
            .requests
            .iter()
            .find(|one| one.id == subject.request.id)
        {
            if !bewares(known).eq(bewares(&subject.request)) {
                subject.read = false;
                subject.bewares = SeenBewares::default();
            }
            *subject.request = known.clone();
        }
    }

    /// The requests that the filter lets through.
    pub(crate) fn shown_requests(&self) -> impl Iterator<Item = &Request> {
        let matches = |one: &&Request| self.lets_through(&super::rows::request_text(one));
        self.requests.iter().filter(matches)
    }

    /// The holes that it lets through.
    pub(crate) fn shown_holes(&self) -> impl Iterator<Item = &Hole> {
        let matches = |one: &&Hole| self.lets_through(&super::rows::hole_text(one));
        self.holes.iter().filter(matches)
    }

    /// Whether a line is to be listed.
    pub(crate) fn lets_through(&self, line: &str) -> bool {
        self.filter.is_empty() || line.to_lowercase().contains(&self.filter.to_lowercase())
    }

    /// Whether a request still waits.
    pub(crate) fn waits(&self, id: &str) -> bool {
        self.requests.iter().any(|one| one.id == id)
    }

    /// What became of a request that waits no more, as far as that is known.
    pub(crate) fn fate(&self, id: &str) -> String {
        self.answered.get(id).map_or_else(
            || format!("{id} does not wait any more"),
            |who| format!("{id} does not wait any more: {who}"),
        )
    }

    /// What has been shown for a while is news no more.
    fn age_notice(&mut self, now: Moment) {
        let Some(notice) = &mut self.notice else {
            return;
        };
        let lasts = match notice.tone {
            Tone::Bad => BAD_LASTS,
            _ => LASTS,
        };
        if now.saturating_sub(*notice.shown.get_or_insert(now)) >= lasts {
            self.notice = None;
        }
    }

    /// The screen shows these parts of the lists, and whatever lies over them.
    pub(crate) fn drawn(&mut self, shown: Option<VisibleRows>, now: Moment) {
        self.blind = shown.is_none();
        let Some(shown) = shown else { return };
        self.faces.drawn(&self.requests, now);
        self.age_notice(now);
        let scrolled = match &mut self.mode {
            Mode::Details(_, scrolled) | Mode::Help(scrolled) => scrolled,
            Mode::Together(together) => &mut together.scrolled,
            _ => &mut self.scrolled,
        };
        *scrolled = (*scrolled).min(shown.scroll);
        self.read = shown.read;
        let subject = match &mut self.mode {
            Mode::Details(Detail::Request(subject), _) => Some(subject),
            Mode::Choose(choice) => Some(&mut choice.subject),
            _ => None,
        };
        if let Some(subject) = subject {
            subject.seen.get_or_insert(now);
            subject.read |= self.read.as_ref() == Some(&subject.request.id);
            subject.bewares = shown.bewares;
        }
        if let Mode::Together(together) = &mut self.mode {
            let requests = self.requests.iter();
            together.drawn(requests.filter(|one| shown.together.contains(&one.id)), now);
        }
        if let Some(requests) = shown.requests {
            self.asked.drawn(requests, now);
        }
        if let Some(holes) = shown.holes {
            self.opened.drawn(holes, now);
        }
    }
}

/// Which parts of the lists the screen shows; none where it does not show that list at all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct VisibleRows {
    pub(crate) requests: Option<Range<usize>>,
    pub(crate) holes: Option<Range<usize>>,
    /// The ids that it shows of those that a yes is to be for together.
    pub(crate) together: Vec<String>,
    /// Limit of the lines by which the overlay, or else the pane in use, can be scrolled.
    pub(crate) scroll: usize,
    /// The id of the request that is meant, where it has shown all that a person should beware of.
    pub(crate) read: Option<String>,
    /// What of that it has shown of the request that lies over the lists.
    pub(crate) bewares: SeenBewares,
}

/// What a person should beware of in a request.
fn bewares(request: &Request) -> impl Iterator<Item = &String> {
    let http = request.http.iter().flat_map(|http| &http.warnings);
    request.warnings.iter().chain(http)
}

impl Notice {
    pub(super) fn new(tone: Tone, text: impl Into<String>) -> Self {
        let text = text.into();
        Self {
            tone,
            text,
            shown: None,
        }
    }
}
