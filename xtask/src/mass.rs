//! `cargo xtask mass` and `cargo xtask prose`: what each room weighs, how its comments read, and the limits of both.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use crate::shell::{read, root, say};

/// File of the limits, in the root of the workspace.
const LIMITS: &str = "mass.toml";

/// Pronouns that stand for a noun elsewhere; "the same" and "each other" count too.
const PRONOUNS: &str = "it its that those these this they them their theirs what whatever whoever who whom whose one ones such so other \
                        others another nobody nothing somebody anybody thereby thereof else";
/// Words that a doc comment should not begin with.
const OPENERS: &str = "what whether how where as who whoever those that";

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
    fn add(&mut self, path: &str, text: &str) {
        let (program, tests) = split(&tokens(text));
        let is_test = path.split('/').any(|part| part == "tests") || path.ends_with("/tests.rs");
        self.tokens += if is_test { 0 } else { program };
        self.test_tokens += tests + if is_test { program } else { 0 };
        for (is_doc, comment) in comments(text) {
            let plain = plain(&comment);
            let words = words(&plain);
            if words > 0 {
                let (pronouns, is_odd) = pronouns(&plain);
                self.words += words;
                self.pronouns += pronouns;
                self.docs += usize::from(is_doc);
                self.openings += usize::from(is_doc && is_odd);
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
    let mut rooms: BTreeMap<String, Room> = BTreeMap::new();
    for path in files.lines().filter(|path| root().join(path).exists()) {
        let text =
            fs::read_to_string(root().join(path)).with_context(|| format!("cannot read {path}"))?;
        let parts = if path.starts_with("guard-user/") {
            2
        } else {
            1
        };
        let room: Vec<_> = path.split('/').take(parts).collect();
        rooms.entry(room.join("/")).or_default().add(path, &text);
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

/// Tokens of Rust: words, numbers, strings and signs, without comments and white space.
fn tokens(text: &str) -> Vec<&str> {
    let (mut rest, mut all) = (text, Vec::new());
    while let Some(first) = rest.chars().next() {
        let comment = comment(rest);
        let length = comment
            .or_else(|| string(rest))
            .or_else(|| character(rest))
            .unwrap_or_else(|| word(rest));
        let (token, behind) = rest.split_at(length);
        if comment.is_none() && !first.is_whitespace() {
            all.push(token);
        }
        rest = behind;
    }
    all
}

fn comment(text: &str) -> Option<usize> {
    if text.starts_with("//") {
        return Some(text.find('\n').unwrap_or(text.len()));
    }
    let inside = text.strip_prefix("/*")?;
    Some(inside.find("*/")? + 4)
}

/// Length of the string literal that `text` begins with.
fn string(text: &str) -> Option<usize> {
    let body = text.strip_prefix(['b', 'c']).unwrap_or(text);
    let before = text.len() - body.len();
    if let Some(inside) = body.strip_prefix('"') {
        let mut letters = inside.char_indices();
        while let Some((at, letter)) = letters.next() {
            match letter {
                '"' => return Some(before + at + 2),
                '\\' => drop(letters.next()),
                _ => {}
            }
        }
        return None;
    }
    let raw = body.strip_prefix('r')?;
    let inside = raw.trim_start_matches('#');
    let end = format!("\"{}", "#".repeat(raw.len() - inside.len()));
    let at = inside.strip_prefix('"')?.find(&end)?;
    Some(text.len() - inside.len() + 1 + at + end.len())
}

/// Length of the character literal that `text` begins with.
fn character(text: &str) -> Option<usize> {
    let inside = text.strip_prefix('b').unwrap_or(text).strip_prefix('\'')?;
    let mut letters = inside.char_indices();
    let first = letters.next()?.1;
    let escaped = if first == '\\' {
        letters.next()?.1.len_utf8()
    } else {
        0
    };
    let from = first.len_utf8() + escaped;
    let end = if first == '\\' {
        inside[from..].find('\'')?
    } else {
        0
    };
    let is_closed = first != '\'' && inside[from + end..].starts_with('\'');
    is_closed.then(|| text.len() - inside.len() + from + end + 1)
}

/// Length of the word, number or sign that `text` begins with.
fn word(text: &str) -> usize {
    let is_letter = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let body = text.strip_prefix('\'').unwrap_or(text);
    let run = |is: &dyn Fn(char) -> bool| body.find(|c| !is(c)).unwrap_or(body.len());
    match body.chars().next() {
        Some(c) if is_letter(c) && !c.is_ascii_digit() => text.len() - body.len() + run(&is_letter),
        Some(c) if c.is_ascii_digit() && body.len() == text.len() => {
            run(&|c| is_letter(c) || c == '.')
        }
        _ => text.chars().next().map_or(0, char::len_utf8),
    }
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

/// Comments that have lines of their own, joined, and whether each is documentation.
fn comments(text: &str) -> Vec<(bool, String)> {
    let (mut all, mut last) = (Vec::<(bool, String)>::new(), None);
    for line in text.split('\n').map(str::trim) {
        let kind = ["///", "//!", "//"]
            .into_iter()
            .find(|kind| line.starts_with(kind));
        if let Some(kind) = kind {
            let body = &line[kind.len()..];
            let body = body.strip_prefix(char::is_whitespace).unwrap_or(body);
            match all.last_mut() {
                Some((_, comment)) if last == Some(kind) => *comment += &format!(" {body}"),
                _ => all.push((kind != "//", body.to_owned())),
            }
        }
        last = kind;
    }
    all
}

/// A comment with `x` in place of code, links and addresses.
fn plain(comment: &str) -> String {
    let (mut plain, mut rest) = (String::new(), comment);
    while let Some(letter) = rest.chars().next() {
        let length = spared(rest);
        let behind = length.unwrap_or(letter.len_utf8());
        match length {
            Some(_) => plain += " x ",
            None => plain.push(letter),
        }
        rest = &rest[behind..];
    }
    plain
}

/// Length of the code, link or address that `text` begins with.
fn spared(text: &str) -> Option<usize> {
    if let Some(code) = text.strip_prefix('`') {
        return Some(code.find('`')? + 2);
    }
    if text.starts_with('[') {
        let name = text.find(']')? + 1;
        let target = text[name..].strip_prefix('(')?;
        return Some(name + 1 + target.find(')')? + 1);
    }
    let address = text
        .strip_prefix("http://")
        .or_else(|| text.strip_prefix("https://"))?;
    let length = address.find(char::is_whitespace).unwrap_or(address.len());
    (length > 0).then(|| text.len() - address.len() + length)
}

fn words(plain: &str) -> usize {
    let is_inside = |c: char| c.is_ascii_alphabetic() || c == '\'' || c == '-';
    plain
        .split(|c| !is_inside(c))
        .filter(|run| run.contains(|c: char| c.is_ascii_alphabetic()))
        .count()
}

/// Counts the pronouns, and returns whether the opening is odd.
fn pronouns(plain: &str) -> (usize, bool) {
    let is_inside = |c: char| c.is_alphanumeric() || c == '_';
    let plain = plain.to_lowercase();
    let spaced = plain.replace(|c: char| !is_inside(c) && c != ' ', " , ");
    let mut rest = spaced.split(' ').peekable();
    let begins = |words: &str| {
        plain
            .strip_prefix(words)
            .is_some_and(|rest| !rest.starts_with(is_inside))
    };
    let is_odd = OPENERS.split(' ').any(begins)
        || ["the same", "so many", "so long", "so much", "so often"]
            .into_iter()
            .any(begins);
    let mut count = 0;
    while let Some(word) = rest.next() {
        let pair = [("the", "same"), ("each", "other")]
            .into_iter()
            .find(|(first, _)| word == *first);
        let is_pair =
            pair.is_some_and(|(_, second)| rest.next_if(|next| *next == second).is_some());
        count += usize::from(is_pair || PRONOUNS.split_whitespace().any(|pronoun| pronoun == word));
    }
    (count, is_odd)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_counted_without_comments_and_tests_apart() {
        let text = r##"fn a<'x>(b: &'x str) -> char { '\'' /* no */ } // no
            #[cfg(test)] mod tests { fn b() { r#"a " b"#; b"\""; 'c'; 1_0.5 } }
            #[cfg(test)] use c; const D: u8 = b'"';"##;
        assert_eq!(split(&tokens(text)), (25, 34));
    }

    #[test]
    fn pronouns_and_odd_openings_are_counted() {
        let comments = comments(
            "/// What it is.\n/// The same.\n// [a it](b) `it` each other\nfn a() {} // it\n",
        );
        let of = |(is_doc, text): &(bool, String)| {
            (*is_doc, words(&plain(text)), pronouns(&plain(text)))
        };
        let all: Vec<_> = comments.iter().map(of).collect();
        assert_eq!(all, [(true, 5, (3, true)), (false, 4, (1, false))]);
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
