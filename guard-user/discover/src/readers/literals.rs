//! Settings that are programs: Django's, knex', Laravel's, Phoenix'. Nothing of the language is known but how it writes texts and
//! comments, and what stands in brackets: a name, and a text behind it, is a setting, and what is put together says nothing here.

use super::servers::{ServerBlock, below, block};
use super::{Sink, lines};

/// Brackets in each other.
const DEPTH: usize = 64;
/// Brackets that have something in them.
const BLOCKS: usize = 4_096;
const TOO_MANY: &str = "more brackets than are read, and what is behind them";
/// Words before what is all of a file.
const NO_NAMES: [&str; 2] = ["module.exports", "return"];
/// Arguments that may say something.
const ARGUMENTS: usize = 4;

/// How a language writes what is no setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Language {
    Elixir,
    /// That of Play's and Akka's settings.
    Hocon,
    JavaScript,
    Php,
    Python,
}

impl Language {
    const fn has_hashes(self) -> bool {
        !matches!(self, Self::JavaScript)
    }

    const fn has_slashes(self) -> bool {
        matches!(self, Self::Hocon | Self::JavaScript | Self::Php)
    }

    /// What opens a text, and closes it, that may go over lines: the longest first.
    const fn long(self) -> &'static [&'static str] {
        match self {
            Self::Elixir | Self::Python => &["\"\"\"", "'''"],
            Self::Hocon => &["\"\"\""],
            Self::JavaScript => &["`"],
            Self::Php => &[],
        }
    }
}

/// What came last in what is being read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Last {
    Nothing,
    Word,
    Text,
    /// Behind it stands a value: `:`, `=`, `=>`, and `||` before what is meant else.
    Leads,
    Other,
}

/// A bracket that is open.
struct Frame {
    block: usize,
    opener: char,
    key: Option<(usize, String)>,
    has_separator: bool,
    value: Option<String>,
    last: Last,
    /// The texts that stand there alone, as arguments do.
    texts: Vec<String>,
}

impl Frame {
    fn of(block: usize, opener: char) -> Self {
        Self {
            block,
            opener,
            key: None,
            has_separator: false,
            value: None,
            last: Last::Nothing,
            texts: Vec::new(),
        }
    }

    fn name(&self) -> &str {
        self.key.as_ref().map_or("", |(_, key)| key)
    }
}

/// The settings of a program.
pub(super) fn settings(sink: &mut Sink, text: &str, language: Language) {
    let mut reading = Reading {
        language,
        blocks: vec![(ServerBlock::default(), 0)],
        open: vec![Frame::of(0, '\n')],
        within: None,
        why: None,
    };
    for (number, line) in lines(sink, text) {
        reading.line(number, line);
        if let Some(why) = reading.why {
            sink.pass_over(Some(number), why);
            break;
        }
    }
    if reading.within.is_some() {
        sink.pass_over(None, "a text or a comment without an end");
    }
    while reading.open.len() > 1 {
        reading.close();
    }
    reading.ends();
    for block in reading.with_drivers() {
        self::block(sink, &block);
    }
}

struct Reading {
    language: Language,
    /// Each with the one that it is in.
    blocks: Vec<(ServerBlock, usize)>,
    open: Vec<Frame>,
    /// What ends the text or the comment that goes over lines, and what of the text there is.
    within: Option<(&'static str, Option<String>)>,
    why: Option<&'static str>,
}

impl Reading {
    fn line(&mut self, number: usize, line: &str) {
        let mut rest = line;
        self.begins(line);
        while !rest.is_empty() && self.why.is_none() {
            rest = match self.within.take() {
                Some((end, text)) => self.goes_on(number, rest, end, text),
                None => self.next(number, line, rest),
            };
        }
        // What stands behind a colon at the end of a line of Python's is no value of it.
        let has_more = self.language != Language::Python || self.open.len() > 1;
        if let Some((_, Some(text))) = &mut self.within {
            text.push('\n');
        } else if self.within.is_none() && !(has_more && self.frame().last == Last::Leads) {
            self.ends();
        }
    }

    /// A text or a comment from a line before.
    fn goes_on<'t>(
        &mut self,
        number: usize,
        rest: &'t str,
        end: &'static str,
        text: Option<String>,
    ) -> &'t str {
        let found = rest.find(end);
        let (inner, behind) = found.map_or((rest, ""), |at| (&rest[..at], &rest[at + end.len()..]));
        let text = text.map(|text| text + inner);
        match (found, text) {
            (None, text) => self.within = Some((end, text)),
            (Some(_), Some(text)) => self.text(number, text),
            (Some(_), None) => {}
        }
        behind
    }

    /// What comes next, and what is behind it.
    fn next<'t>(&mut self, number: usize, line: &'t str, rest: &'t str) -> &'t str {
        let first = rest.chars().next().unwrap_or(' ');
        let behind = &rest[first.len_utf8()..];
        if first.is_whitespace() {
            return behind;
        }
        if let Some(behind) = self.comment(line, rest) {
            return behind;
        }
        let long = self.language.long().iter();
        if let Some(quote) = long.copied().find(|quote| rest.starts_with(quote)) {
            self.within = Some((quote, Some(String::new())));
            return &rest[quote.len()..];
        }
        if first == '"' || first == '\'' {
            let (text, behind) = quoted(behind, first);
            self.text(number, text);
            return behind;
        }
        if is_word(first) {
            return self.word_of(number, rest);
        }
        self.mark(first, rest)
    }

    /// What is behind the beginning of a comment, or behind all of one, where one comes next.
    fn comment<'t>(&mut self, line: &str, rest: &'t str) -> Option<&'t str> {
        if rest.starts_with('#') && self.language.has_hashes() {
            return Some("");
        }
        if !self.language.has_slashes() {
            return None;
        }
        // Not the slashes of an address that stands without quotes.
        let is_free = !line[..line.len() - rest.len()].ends_with(':');
        if rest.starts_with("//") && is_free {
            return Some("");
        }
        let inner = rest.strip_prefix("/*")?;
        self.within = Some(("*/", None));
        Some(inner)
    }

    /// A mark of punctuation, and what is behind it.
    fn mark<'t>(&mut self, first: char, rest: &'t str) -> &'t str {
        let behind = &rest[first.len_utf8()..];
        let pair = rest.get(..2).unwrap_or_default();
        match (first, pair) {
            (_, "||" | "??" | "?:") => self.frame().last = Last::Leads,
            (_, "==" | "!=" | "<=" | ">=" | "::" | "=~" | "->") => self.other(),
            (_, "=>") | (':' | '=', _) => {
                self.separator();
                return behind.strip_prefix('>').unwrap_or(behind);
            }
            (',' | ';', _) => {
                self.ends();
                return behind;
            }
            ('(' | '[' | '{', _) => {
                self.opens(first);
                return behind;
            }
            (')' | ']' | '}', _) => {
                self.close();
                return behind;
            }
            _ => {
                self.other();
                return behind;
            }
        }
        &rest[pair.len()..]
    }

    fn word_of<'t>(&mut self, number: usize, rest: &'t str) -> &'t str {
        let end = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
        let (word, behind) = rest.split_at(end);
        let is_prefix = self.language == Language::Python
            && word.len() <= 2
            && behind.starts_with(['"', '\''])
            && word.bytes().all(|byte| b"rRbBuUfF".contains(&byte));
        if is_prefix {
            return behind;
        }
        let frame = self.frame();
        match (frame.has_separator, word) {
            (_, "or") => frame.last = Last::Leads,
            (true, word) if frame.last == Last::Leads && is_number(word) => {
                frame.value = Some(word.to_owned());
                frame.last = Last::Text;
            }
            (true, _) => self.other(),
            (false, word) => {
                frame.key = Some((number, word.trim_start_matches('$').to_owned()));
                frame.last = Last::Word;
            }
        }
        behind
    }

    fn text(&mut self, number: usize, text: String) {
        let frame = self.frame();
        let is_value = frame.has_separator && frame.last == Last::Leads;
        if is_value {
            frame.value = Some(text);
            frame.last = Last::Text;
            return;
        }
        if frame.has_separator {
            self.other();
        } else {
            frame.key = Some((number, text.clone()));
            frame.last = Last::Text;
            if frame.texts.len() < ARGUMENTS {
                frame.texts.push(text.clone());
            }
        }
        // An address counts wherever it stands; as an argument, as what is made of it.
        let frame = self.frame();
        let is_argument = frame.opener == '(' && !frame.has_separator;
        if text.contains("://") && !is_argument {
            let key = if frame.has_separator {
                frame.name().to_owned()
            } else {
                String::new()
            };
            let block = frame.block;
            self.blocks[block].0.push(number, &key, Some(&text));
        }
    }

    fn separator(&mut self) {
        let frame = self.frame();
        if frame.key.is_some() {
            frame.has_separator = true;
            frame.value = None;
            frame.last = Last::Leads;
        } else {
            frame.last = Last::Other;
        }
    }

    /// What makes of a text something else.
    fn other(&mut self) {
        let frame = self.frame();
        frame.value = None;
        frame.last = Last::Other;
    }

    fn opens(&mut self, opener: char) {
        if self.open.len() > DEPTH {
            self.why = Some("too deep");
            return;
        }
        if self.blocks.len() > BLOCKS {
            self.why = Some(TOO_MANY);
            return;
        }
        let around = self.frame();
        let (block, is_named) = (around.block, around.has_separator || opener != '(');
        let name = if is_named && !NO_NAMES.contains(&around.name()) && is_name(around.name()) {
            around.name().to_owned()
        } else {
            String::new()
        };
        let path = if name.is_empty() {
            self.blocks[block].0.path.clone()
        } else {
            below(&self.blocks[block].0.path, &name)
        };
        self.open.push(Frame::of(self.blocks.len(), opener));
        self.blocks.push((ServerBlock::of(&path), block));
    }

    fn close(&mut self) {
        self.ends();
        if self.open.len() == 1 {
            return;
        }
        let Some(closed) = self.open.pop() else {
            return;
        };
        let is_last = closed.block + 1 == self.blocks.len();
        if is_last && self.blocks[closed.block].0.pairs.is_empty() {
            self.blocks.pop();
        }
        let is_call = closed.opener == '(';
        let address = closed.texts.iter().find(|text| text.contains("://"));
        // `env('DB_HOST', 'db')`, and `define('DB_HOST', 'db')`.
        let told = match &closed.texts[..] {
            [name, value, ..] if is_name(name) => Some((name, value)),
            _ => None,
        };
        let frame = self.frame();
        let block = frame.block;
        let line = frame.key.as_ref().map(|(line, _)| *line);
        match (is_call, frame.has_separator, line) {
            (true, true, _) => {
                frame.value = address.or(told.map(|(_, value)| value)).cloned();
            }
            (true, false, Some(line)) => {
                let key = frame.name().to_owned();
                let told = told.map(|(name, value)| (name.as_str(), value));
                let found = address.map(|address| (key.as_str(), address)).or(told);
                if let Some((key, value)) = found {
                    self.blocks[block].0.push(line, key, Some(value));
                }
            }
            // `DATABASES['default']`
            (false, false, Some(_)) if closed.opener == '[' => {
                if let ([name], Some((_, key))) = (&closed.texts[..], &mut frame.key)
                    && is_name(name)
                {
                    *key = below(key, name);
                }
            }
            _ => {}
        }
        self.frame().last = Last::Text;
    }

    /// A setting is at its end.
    fn ends(&mut self) {
        let frame = self.frame();
        let key = frame.key.take();
        let value = frame.value.take();
        let is_setting = std::mem::take(&mut frame.has_separator);
        frame.last = Last::Nothing;
        let block = frame.block;
        if let (true, Some((line, key))) = (is_setting, key) {
            self.blocks[block].0.push(line, &key, value.as_deref());
        }
    }

    /// Mix' settings stand together by the line that begins them, and Python's by their class.
    fn begins(&mut self, line: &str) {
        if self.within.is_some() || self.open.len() > 1 {
            return;
        }
        let name = match self.language {
            Language::Elixir => {
                let rest = line.trim_start().strip_prefix("config ");
                rest.map(|rest| rest.split(',').nth(1).unwrap_or_default().trim())
            }
            Language::Python => {
                let rest = line.strip_prefix("class ");
                let is_outside = line.starts_with(|c: char| !c.is_whitespace() && c != '#');
                rest.map(|rest| rest.split(|c: char| !is_word(c)).next().unwrap_or_default())
                    .or(is_outside.then_some(""))
            }
            _ => None,
        };
        let Some(name) = name.map(|name| if is_name(name) { name } else { "" }) else {
            return;
        };
        self.ends();
        if name.is_empty() && self.language == Language::Python {
            self.frame().block = 0;
        } else if self.blocks.len() > BLOCKS {
            self.why = Some(TOO_MANY);
        } else {
            self.frame().block = self.blocks.len();
            self.blocks.push((ServerBlock::of(name), 0));
        }
    }

    fn frame(&mut self) -> &mut Frame {
        if self.open.is_empty() {
            self.open.push(Frame::of(0, '\n'));
        }
        let last = self.open.len() - 1;
        &mut self.open[last]
    }

    /// The blocks, each with what it speaks by what it is in.
    fn with_drivers(self) -> Vec<ServerBlock> {
        let drivers: Vec<_> = self
            .blocks
            .iter()
            .map(|(block, around)| (block.driver(), *around))
            .collect();
        let told = |around: usize| {
            let mut at = around;
            for _ in 0..3 {
                let (driver, next) = &drivers[at];
                if !driver.is_empty() || at == *next {
                    return driver.clone();
                }
                at = *next;
            }
            String::new()
        };
        let all = self.blocks.into_iter().enumerate();
        all.map(|(at, (mut block, around))| {
            if at != around {
                block.driver = told(around);
            }
            block
        })
        .collect()
    }
}

const fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '$' | '@' | '.' | '\\' | '-')
}

fn is_number(word: &str) -> bool {
    word.bytes().all(|byte| byte.is_ascii_digit())
}

fn is_name(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    (1..=64).contains(&text.len()) && text.bytes().all(plain)
}

/// A text to its quote, else to the end of its line, and what is behind it.
fn quoted(rest: &str, quote: char) -> (String, &str) {
    let mut text = String::new();
    let mut chars = rest.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' => text.extend(chars.next().map(|(_, c)| c)),
            c if c == quote => return (text, &rest[at + c.len_utf8()..]),
            c => text.push(c),
        }
    }
    (text, "")
}
