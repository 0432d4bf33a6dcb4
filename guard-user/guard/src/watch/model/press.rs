//! What keys do. A yes has keys of its own, none of which does anything else, and Enter never is one.

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use super::choice::YesFor;
use super::cursor::SETTLES;
use super::decide::yes;
use super::{Detail, Effect, Mode, Model, Moment, Notice, Pane, QUIET, Tone};

/// Lines that a key for pages goes.
const PAGE: isize = 10;

/// What closes a hole was pressed where none is chosen.
const NO_HOLE: &str = "x closes a hole: Tab goes to their list";

impl Model {
    /// A key was pressed.
    pub(super) fn press(&mut self, key: KeyEvent, at: Moment) -> Vec<Effect> {
        if key.kind == KeyEventKind::Release {
            return Vec::new();
        }
        if key.modifiers.contains(KeyModifiers::CONTROL) {
            return self.control(key.code, at);
        }
        if key.code != KeyCode::Char('q') && self.is_quiet(at) {
            return Vec::new();
        }
        // Esc and a letter in quick succession may be two keys, or one (Alt) that sends both: neither is an answer.
        if !(key.modifiers - KeyModifiers::SHIFT).is_empty() {
            return Vec::new();
        }
        if self.blind {
            return match key.code {
                KeyCode::Char('q') => vec![Effect::Quit],
                _ => Vec::new(),
            };
        }
        match &mut self.mode {
            Mode::Lists => self.press_in_lists(key.code, at),
            Mode::Details(..) => self.press_in_details(key.code, at),
            Mode::Help(_) => self.press_in_help(key.code),
            Mode::Filter => self.press_in_filter(key.code),
            Mode::Choose(_) => self.press_in_choice(key.code, at),
            Mode::Together(_) => self.press_in_together(key.code, at),
        }
    }

    fn control(&mut self, code: KeyCode, at: Moment) -> Vec<Effect> {
        match code {
            KeyCode::Char('c') => vec![Effect::Quit],
            KeyCode::Char('z') => {
                self.quiet(at);
                vec![Effect::Suspend]
            }
            KeyCode::Char('l') => vec![Effect::Repaint, Effect::Refresh],
            _ => Vec::new(),
        }
    }

    /// Takes no keys for a while: what is typed may be meant for a shell.
    pub(super) fn quiet(&mut self, from: Moment) {
        self.quiet = self.quiet.max(Some(from + QUIET));
    }

    /// Whether a key pressed then may be meant for a shell. Whoever goes on typing means the same shell.
    fn is_quiet(&mut self, at: Moment) -> bool {
        let is_quiet = self.quiet.is_some_and(|until| at < until);
        if is_quiet {
            self.quiet = self.quiet.max(Some(at + SETTLES));
        }
        is_quiet
    }

    fn press_in_lists(&mut self, code: KeyCode, at: Moment) -> Vec<Effect> {
        match code {
            KeyCode::Char('q') => return vec![Effect::Quit],
            KeyCode::Char('?') => self.mode = Mode::Help(0),
            KeyCode::Char('/') => self.mode = Mode::Filter,
            KeyCode::Esc if !self.marked.is_empty() => self.marked.clear(),
            KeyCode::Esc => {
                self.filter.clear();
                self.follow();
            }
            KeyCode::Char('b') => self.switch_bell(),
            KeyCode::Tab => return self.turn_to(self.pane.next()),
            KeyCode::BackTab => return self.turn_to(self.pane.before()),
            KeyCode::Enter => self.look_closer(),
            _ if scroll(code).is_some() => self.step(scroll(code).unwrap_or_default()),
            KeyCode::Char('x') if self.pane == Pane::Holes => return self.close_hole(at),
            KeyCode::Char('x') => self.notice = Some(Notice::new(Tone::Warn, NO_HOLE)),
            KeyCode::Char(c) if self.pane == Pane::Requests => {
                return self.press_at_requests(c, at);
            }
            _ => {}
        }
        Vec::new()
    }

    fn press_at_requests(&mut self, c: char, at: Moment) -> Vec<Effect> {
        match c {
            ' ' => self.mark(at),
            'a' => self.mark_session(at),
            _ if self.marked.is_empty() => return self.answer_key(c, at),
            _ => return self.answer_marked(c, at),
        }
        Vec::new()
    }

    fn press_in_together(&mut self, code: KeyCode, at: Moment) -> Vec<Effect> {
        let seconds = match code {
            KeyCode::Char(c) => yes(c),
            _ => None,
        };
        if let Some(seconds) = seconds {
            return self.approve_together(seconds, at);
        }
        match (code, &mut self.mode) {
            (KeyCode::Esc, _) => self.mode = Mode::Lists,
            (_, Mode::Together(together)) => {
                let by = scroll(code).unwrap_or_default();
                together.scrolled = together.scrolled.saturating_add_signed(by);
            }
            _ => {}
        }
        Vec::new()
    }

    fn press_in_details(&mut self, code: KeyCode, at: Moment) -> Vec<Effect> {
        let Mode::Details(detail, scrolled) = &mut self.mode else {
            return Vec::new();
        };
        if let Some(by) = scroll(code) {
            *scrolled = scrolled.saturating_add_signed(by);
            return Vec::new();
        }
        match (code, detail) {
            (KeyCode::Esc | KeyCode::Enter | KeyCode::Char('q'), _) => self.mode = Mode::Lists,
            (KeyCode::Char(c), Detail::Request(_)) => return self.answer_key(c, at),
            (KeyCode::Char('x'), Detail::Hole(_)) => return self.close_hole(at),
            _ => {}
        }
        Vec::new()
    }

    fn press_in_help(&mut self, code: KeyCode) -> Vec<Effect> {
        match (scroll(code), &mut self.mode) {
            (Some(by), Mode::Help(scrolled)) => *scrolled = scrolled.saturating_add_signed(by),
            _ => self.mode = Mode::Lists,
        }
        Vec::new()
    }

    fn press_in_filter(&mut self, code: KeyCode) -> Vec<Effect> {
        match code {
            KeyCode::Enter => self.mode = Mode::Lists,
            KeyCode::Esc => {
                self.filter.clear();
                self.mode = Mode::Lists;
            }
            KeyCode::Backspace => drop(self.filter.pop()),
            KeyCode::Char(c) => self.filter.push(c),
            _ => {}
        }
        self.follow();
        Vec::new()
    }

    fn press_in_choice(&mut self, code: KeyCode, at: Moment) -> Vec<Effect> {
        let Mode::Choose(choice) = &mut self.mode else {
            return Vec::new();
        };
        match code {
            KeyCode::Esc => self.mode = Mode::Lists,
            KeyCode::Backspace => choice.what.erase(),
            KeyCode::Enter => {
                if let YesFor::Path { typing, .. } = &mut choice.what {
                    *typing = false;
                }
            }
            KeyCode::Char(c) if !choice.what.typed(c) => {
                if let Some(seconds) = yes(c).filter(|_| choice.what.is_whole()) {
                    let what = choice.what.clone();
                    return self.say_yes(&what, seconds, at);
                }
            }
            _ => {}
        }
        Vec::new()
    }

    fn look_closer(&mut self) {
        let detail = match self.pane {
            Pane::Requests => self.subject().map(Detail::Request),
            Pane::Holes => self.meant_hole().cloned().map(Box::new).map(Detail::Hole),
            Pane::Sessions | Pane::Reached | Pane::Log => None,
        };
        if let Some(detail) = detail {
            self.mode = Mode::Details(detail, 0);
        }
    }

    fn step(&mut self, by: isize) {
        match self.pane {
            Pane::Requests => self.asked.step(by),
            Pane::Holes => self.opened.step(by),
            Pane::Sessions | Pane::Reached => {
                self.scrolled = self.scrolled.saturating_add_signed(by);
            }
            // Its end is what is new.
            Pane::Log => self.scrolled = self.scrolled.saturating_add_signed(by.saturating_neg()),
        }
    }

    fn turn_to(&mut self, pane: Pane) -> Vec<Effect> {
        self.pane = pane;
        self.scrolled = 0;
        match pane {
            // It is looked at only here.
            Pane::Reached => vec![Effect::Refresh],
            _ => Vec::new(),
        }
    }

    fn switch_bell(&mut self) {
        self.bell = !self.bell;
        let text = if self.bell {
            "a new request rings"
        } else {
            "a new request does not ring"
        };
        self.notice = Some(Notice::new(Tone::Plain, text));
    }
}

impl Pane {
    const fn next(self) -> Self {
        match self {
            Self::Requests => Self::Holes,
            Self::Holes => Self::Sessions,
            Self::Sessions => Self::Log,
            Self::Log => Self::Reached,
            Self::Reached => Self::Requests,
        }
    }

    const fn before(self) -> Self {
        match self {
            Self::Requests => Self::Reached,
            Self::Holes => Self::Requests,
            Self::Sessions => Self::Holes,
            Self::Log => Self::Sessions,
            Self::Reached => Self::Log,
        }
    }
}

/// The lines that a key goes down.
const fn scroll(code: KeyCode) -> Option<isize> {
    match code {
        KeyCode::Down | KeyCode::Char('j') => Some(1),
        KeyCode::Up | KeyCode::Char('k') => Some(-1),
        KeyCode::PageDown => Some(PAGE),
        KeyCode::PageUp => Some(-PAGE),
        KeyCode::Home => Some(isize::MIN),
        KeyCode::End => Some(isize::MAX),
        _ => None,
    }
}
