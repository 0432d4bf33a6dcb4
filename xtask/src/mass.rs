//! `cargo xtask mass` and `cargo xtask prose`: what each room weighs, how its comments read, and the limits of both.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use regex::Regex;

use crate::shell::{read, root, say};

/// File of the limits, in the root of the workspace.
const LIMITS: &str = "mass.toml";

/// A comment, or a token: a string, a character, a word, a number or a sign.
const TOKEN: &str = r##"(?xs)//[^\n]*|/\*.*?\*/|(?P<token>[bc]?"(?:\\.|[^"\\])*"|[bc]?r(?:"[^"]*"|\#".*?"\#|\#\#".*?"\#\#|\#\#\#".*?"\#\#\#)
    |b?'(?:\\.[^']*|[^'\\])'|'?[A-Za-z_][A-Za-z0-9_]*|[0-9][0-9A-Za-z_.]*|\S)"##;
/// Pronouns that stand for a noun elsewhere.
const PRONOUN: &str = r"(?i)\b(it|its|that|those|these|this|they|them|their|theirs|what|whatever|whoever|who|whom|whose|one|ones|such|so|others?|another|each other|the same|nobody|nothing|somebody|anybody|thereby|thereof|else)\b";
/// Words that a doc comment should not begin with.
const OPENER: &str =
    r"(?i)^(what|whether|how|where|as|who|whoever|those|that|the same|so (many|long|much|often))\b";
const WORD: &str = r"[A-Za-z][A-Za-z'-]*";
/// Code, links and addresses.
const SPARED: &str = r"`[^`]*`|\[[^]]*\]\([^)]*\)|https?://\S+";
/// A comment that has a line of its own.
const COMMENT: &str = r"^(///|//!|//)\s?(.*)";

/// All patterns, compiled.
struct Patterns {
    token: Regex,
    pronoun: Regex,
    opener: Regex,
    word: Regex,
    spared: Regex,
    comment: Regex,
}

impl Patterns {
    fn new() -> Result<Self> {
        Ok(Self {
            token: Regex::new(TOKEN)?,
            pronoun: Regex::new(PRONOUN)?,
            opener: Regex::new(OPENER)?,
            word: Regex::new(WORD)?,
            spared: Regex::new(SPARED)?,
            comment: Regex::new(COMMENT)?,
        })
    }
}

/// Figures of one room, or its limits: tokens of the program, tokens of tests, and two shares in percent.
type Limits = (usize, usize, f64, f64);

/// Counts of one room.
#[derive(Clone, Copy, Default)]
struct Room {
    tokens: usize,
    test_tokens: usize,
    words: usize,
    pronouns: usize,
    docs: usize,
    openings: usize,
}

impl Room {
    fn figures(&self) -> Limits {
        let pronouns = share(self.pronouns, self.words);
        (
            self.tokens,
            self.test_tokens,
            pronouns,
            share(self.openings, self.docs),
        )
    }

    /// Adds a Rust file.
    fn add(&mut self, path: &str, text: &str, patterns: &Patterns) {
        let (program, tests) = split(&tokens(text, patterns));
        let is_test = path.split('/').any(|part| part == "tests") || path.ends_with("/tests.rs");
        self.tokens += if is_test { 0 } else { program };
        self.test_tokens += tests + if is_test { program } else { 0 };
        for (is_doc, comment) in comments(text, patterns) {
            let plain = patterns.spared.replace_all(&comment, " x ");
            let words = patterns.word.find_iter(&plain).count();
            if words > 0 {
                self.words += words;
                self.pronouns += patterns.pronoun.find_iter(&plain).count();
                self.docs += usize::from(is_doc);
                self.openings += usize::from(is_doc && patterns.opener.is_match(&plain));
            }
        }
    }
}

/// Percentage, to one decimal.
fn share(part: usize, whole: usize) -> f64 {
    (1000.0 * part as f64 / whole.max(1) as f64).round() / 10.0
}

/// Prints the tokens of each room beside its limits; with `write`, lowers the limits to them.
///
/// # Errors
///
/// That a source or the limits cannot be read.
pub(crate) fn mass(write: bool) -> Result<()> {
    let (rooms, limits) = (rooms()?, limits()?);
    println!(
        "{:24}{:>10}{:>10}{:>13}{:>10}",
        "room", "tokens", "limit", "test tokens", "limit"
    );
    for (name, room) in &rooms {
        let limit = limits.get(name).copied().unwrap_or_default();
        println!(
            "{name:24}{:>10}{:>10}{:>13}{:>10}",
            room.tokens, limit.0, room.test_tokens, limit.1
        );
    }
    let sum = |of: fn(&Room) -> usize| rooms.values().map(of).sum::<usize>();
    let (tokens, tests) = (sum(|room| room.tokens), sum(|room| room.test_tokens));
    println!("{:24}{tokens:>10}{:>10}{tests:>13}", "all", "");
    if write {
        lower(&rooms)?;
        say(&format!("{LIMITS} is written: commit it"));
    }
    Ok(())
}

/// Prints the share of pronouns and of odd openings in each room's comments, beside its limits.
///
/// # Errors
///
/// As [`mass`].
pub(crate) fn prose() -> Result<()> {
    let limits = limits()?;
    println!(
        "{:24}{:>9}{:>12}{:>7}{:>16}{:>7}",
        "room", "words", "pronouns %", "limit", "odd openings %", "limit"
    );
    for (name, room) in rooms()? {
        let (limit, (.., pronouns, openings)) = (
            limits.get(&name).copied().unwrap_or_default(),
            room.figures(),
        );
        println!(
            "{name:24}{:>9}{pronouns:>12.1}{:>7.1}{openings:>16.1}{:>7.1}",
            room.words, limit.2, limit.3
        );
    }
    Ok(())
}

/// Checks each room against its limits.
///
/// # Errors
///
/// Every limit that is exceeded, and every room that has none.
pub(crate) fn check() -> Result<()> {
    let problems = problems(&rooms()?, &limits()?);
    ensure!(
        problems.is_empty(),
        "{}. `cargo xtask mass` and `cargo xtask prose` print all figures. Remove something, or raise the limit and say why in a comment above \
         its line",
        problems.join("; ")
    );
    Ok(())
}

fn problems(rooms: &BTreeMap<String, Room>, limits: &BTreeMap<String, Limits>) -> Vec<String> {
    let mut problems = Vec::new();
    for (name, room) in rooms {
        let Some(limit) = limits.get(name) else {
            problems.push(format!(
                "{LIMITS} has no limits for {name}: add `\"{name}\" = {:?}`",
                list(room.figures())
            ));
            continue;
        };
        let is = room.figures();
        for (what, is, limit) in [
            ("tokens", is.0 as f64, limit.0 as f64),
            ("tokens of tests", is.1 as f64, limit.1 as f64),
            ("% pronouns in comments", is.2, limit.2),
            ("% odd openings of doc comments", is.3, limit.3),
        ] {
            if is > limit {
                problems.push(format!(
                    "{name} has {is} {what}, and {LIMITS} allows {limit}"
                ));
            }
        }
    }
    problems
}

/// A room's figures as an array of TOML, which is one of JSON too.
fn list((tokens, tests, pronouns, openings): Limits) -> String {
    format!("[{tokens}, {tests}, {pronouns:.1}, {openings:.1}]")
}

/// The figures of all rooms: a folder of `guard-user`, or one of the top level.
fn rooms() -> Result<BTreeMap<String, Room>> {
    let files = read(
        Command::new("git")
            .current_dir(root())
            .args(["ls-files", "*.rs"]),
    )?;
    let (mut rooms, patterns) = (BTreeMap::<String, Room>::new(), Patterns::new()?);
    for path in files.lines().filter(|path| root().join(path).exists()) {
        let text =
            fs::read_to_string(root().join(path)).with_context(|| format!("cannot read {path}"))?;
        let parts = if path.starts_with("guard-user/") {
            2
        } else {
            1
        };
        let room: Vec<_> = path.split('/').take(parts).collect();
        rooms
            .entry(room.join("/"))
            .or_default()
            .add(path, &text, &patterns);
    }
    Ok(rooms)
}

fn limits() -> Result<BTreeMap<String, Limits>> {
    let text =
        fs::read_to_string(root().join(LIMITS)).with_context(|| format!("cannot read {LIMITS}"))?;
    Ok(text.lines().filter_map(limit).collect())
}

/// Reads a line such as `"xtask" = [96094, 20028, 17.6, 34.1]`.
fn limit(line: &str) -> Option<(String, Limits)> {
    let (name, limits) = line.split_once('=')?;
    let name = name.trim().trim_matches('"').to_owned();
    Some((name, serde_json::from_str(limits.trim()).ok()?))
}

/// Lowers every limit that is above the figure, and keeps comments.
fn lower(rooms: &BTreeMap<String, Room>) -> Result<()> {
    let path = root().join(LIMITS);
    let text: String = fs::read_to_string(&path)?
        .lines()
        .filter_map(|line| lowered(line, rooms))
        .collect();
    fs::write(path, text).with_context(|| format!("cannot write {LIMITS}"))
}

/// A line of the limits with the lower figures; none for a room that is gone.
fn lowered(line: &str, rooms: &BTreeMap<String, Room>) -> Option<String> {
    let Some((name, old)) = limit(line) else {
        return Some(format!("{line}\n"));
    };
    let new = rooms.get(&name)?.figures();
    let least = (
        old.0.min(new.0),
        old.1.min(new.1),
        old.2.min(new.2),
        old.3.min(new.3),
    );
    Some(format!("\"{name}\" = {}\n", list(least)))
}

/// Returns the tokens of Rust, without comments and white space.
fn tokens<'t>(text: &'t str, patterns: &Patterns) -> Vec<&'t str> {
    let tokens = patterns.token.captures_iter(text);
    tokens
        .filter_map(|found| found.name("token"))
        .map(|token| token.as_str())
        .collect()
}

/// Counts tokens of the program, and of items under `#[cfg(test)]`.
fn split(tokens: &[&str]) -> (usize, usize) {
    const TEST: [&str; 7] = ["#", "[", "cfg", "(", "test", ")", "]"];
    let (mut at, mut tests) = (0, 0);
    while at < tokens.len() {
        if tokens[at..].starts_with(&TEST) {
            let length = TEST.len() + item(&tokens[at + TEST.len()..]);
            tests += length.min(tokens.len() - at);
            at += length;
        } else {
            at += 1;
        }
    }
    (tokens.len() - tests, tests)
}

/// Number of tokens of the item that these begin with: up to its `;` or its last brace.
fn item(tokens: &[&str]) -> usize {
    let (mut depth, mut has_body) = (0, false);
    for (at, token) in tokens.iter().enumerate() {
        match *token {
            "(" | "[" | "{" => {
                depth += 1;
                has_body |= *token == "{";
            }
            ")" | "]" | "}" => {
                depth -= 1;
                if depth == 0 && *token == "}" && has_body {
                    return at + 1;
                }
            }
            ";" if depth == 0 => return at + 1,
            _ => {}
        }
    }
    tokens.len() + 1
}

/// Returns comments that have lines of their own, joined, and whether each is documentation.
fn comments(text: &str, patterns: &Patterns) -> Vec<(bool, String)> {
    let (mut all, mut last) = (Vec::<(bool, String)>::new(), String::new());
    for line in text.split('\n').map(str::trim) {
        let [kind, body] = patterns
            .comment
            .captures(line)
            .map_or(["", ""], |found| found.extract().1);
        match all.last_mut() {
            Some((_, comment)) if last == kind && !kind.is_empty() => {
                *comment += &format!(" {body}")
            }
            _ if !kind.is_empty() => all.push((kind != "//", body.to_owned())),
            _ => {}
        }
        kind.clone_into(&mut last);
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_and_pronouns_are_counted_and_tests_apart() -> Result<()> {
        let text = r##"/// What it is.
            /// The same.
            // [a it](b) `it` each other
            fn a<'x>(b: &'x str) -> char { '\'' /* no */ } // no
            #[cfg(test)] mod tests { fn b() { r#"a " b"#; b"\""; 'c'; 1_0.5 } }
            #[cfg(test)] use c; const D: u8 = b'"';"##;
        let mut room = Room::default();
        room.add("src/a.rs", text, &Patterns::new()?);
        assert_eq!((room.tokens, room.test_tokens), (25, 34));
        assert_eq!((room.words, room.pronouns), (9, 4));
        assert_eq!((room.docs, room.openings), (1, 1));
        Ok(())
    }

    #[test]
    fn limits_only_fall_and_what_exceeds_one_is_named() {
        let mut rooms = BTreeMap::new();
        rooms.insert(
            "xtask".to_owned(),
            Room {
                tokens: 5,
                test_tokens: 3,
                ..Room::default()
            },
        );
        assert_eq!(
            lowered("\"xtask\" = [4, 9, 1.0, 0.0]", &rooms),
            Some("\"xtask\" = [4, 3, 0.0, 0.0]\n".to_owned())
        );
        assert_eq!(lowered("# why", &rooms), Some("# why\n".to_owned()));
        assert_eq!(lowered("\"gone\" = [4, 9, 1.0, 0.0]", &rooms), None);
        let limits = limit("\"xtask\" = [4, 9, 1.0, 0.0]").into_iter().collect();
        assert_eq!(
            problems(&rooms, &limits),
            ["xtask has 5 tokens, and mass.toml allows 4"]
        );
        assert_eq!(problems(&rooms, &BTreeMap::new()).len(), 1);
    }
}
