//! Sizes, times and ratios that the documents state: each has the commit and the day of its measurement beside it, or above
//! its table, and is measured again by what stands here.

use std::fs;

use anyhow::{Context as _, Result};

use super::place;
use crate::shell::root;

/// What was measured.
struct Figure {
    file: &'static str,
    /// What the document says there; of a table, the beginning of its first row.
    says: &'static str,
    /// How it is measured again.
    again: &'static str,
}

const fn figure(file: &'static str, says: &'static str, again: &'static str) -> Figure {
    Figure { file, says, again }
}

const MEASURED: &[Figure] = &[
    figure(
        "docs/performance.md",
        "| connect + close, 10 rules ",
        "cargo xtask bench",
    ),
    figure(
        "docs/performance.md",
        "| egress, a packet of a flow | empty program ",
        "cargo xtask bench --gate",
    ),
    figure(
        "docs/performance.md",
        "| GETs over one connection ",
        "cargo xtask bench --only http",
    ),
    figure(
        "docs/performance.md",
        "| pgbench -S -c 1 -M simple ",
        "cargo xtask bench --only postgres",
    ),
    figure(
        "docs/performance.md",
        "| connect to request,",
        "cargo xtask bench --only waiting",
    ),
    figure(
        "docs/performance.md",
        "| `cargo build` of 72 crates ",
        "cargo xtask bench --only building",
    ),
    figure(
        "docs/performance.md",
        "| connect to a Unix socket of its own ",
        "cargo xtask bench --only containment",
    ),
    figure(
        "docs/performance.md",
        "on one emulated processor: × 1.09 on 6.12",
        "cargo xtask vm --bench connect-10 --bench containment",
    ),
    figure(
        "docs/performance.md",
        "| look-up |",
        "cargo xtask bench --only names",
    ),
    figure(
        "docs/performance.md",
        "| guard discover, 1,000,000 files |",
        "cargo xtask bench --only discover",
    ),
    figure(
        "docs/performance.md",
        "| connect to request, three servers |",
        "cargo xtask bench --only fleet",
    ),
    figure(
        "docs/performance.md",
        "| server killed, to the next request |",
        "cargo xtask bench --only fleet",
    ),
    figure(
        "docs/performance.md",
        "| guard-fleet serve, nobody looks |",
        "cargo xtask bench --only fleet",
    ),
    figure(
        "docs/performance.md",
        "| presence of 10,000 machines, nats-server |",
        "cargo xtask bench --only machines",
    ),
    figure(
        "docs/performance.md",
        "| verify a signature |",
        "cargo xtask bench --only signatures",
    ),
    figure(
        "docs/performance.md",
        "| connect to request, in a browser |",
        "cargo xtask test console::elsewhere::how_soon, which prints it, and cargo xtask bench --only fleet",
    ),
    figure(
        "docs/performance.md",
        "| guard-console, 200 pages |",
        "cargo xtask bench --only fleet",
    ),
    figure(
        "docs/performance.md",
        "| guardd, 64 requests |",
        "cargo xtask bench --only memory",
    ),
    figure(
        "docs/asking.md",
        "`connect` succeeds, within 600 ms in the first minute",
        "cargo xtask bench --only waiting",
    ),
    figure(
        "docs/asking.md",
        "A TLS handshake takes some 2 KiB",
        "guard open --bytes, one handshake, guard holes",
    ),
    figure(
        "CONTRIBUTING.md",
        "14 to 18 seconds",
        "cargo xtask vm --cold: the first lines of each log have the seconds",
    ),
];

/// What has one of these in it was measured, or is in [`SET`].
const UNITS: [&str; 11] = [
    " µs", " ms", " ns", " s", " min", " %", " KiB", " MiB", " GiB", " MB", " GB/s",
];

/// Where all numbers with such a unit are set.
const LIMITS: &str = "docs/reference/limits.md";

/// Numbers with such a unit that somebody has set, that are the kernel's, or of an example.
const SET: &[(&str, &str)] = &[
    ("docs/architecture.md", "TCP retries after 0.5 s"),
    ("docs/architecture.md", "sent again in 20 ms"),
    ("docs/asking.md", "asked for by node (14570) 1 s ago"),
    ("docs/policy.md", "over 64 KiB"),
    ("docs/postgres.md", "texts over 64 KiB"),
    ("docs/postgres.md", "messages over 1 MiB"),
    ("docs/postgres.md", "1,024 messages or 1 MiB"),
    ("docs/read-only.md", "over the limit (64 KiB"),
    ("docs/read-only.md", "16 and 4 KiB at most"),
    ("docs/read-only.md", "up to 64 KiB unpacked"),
    ("docs/read-only.md", "over 1 MiB, compressed"),
    ("docs/read-only.md", "its first 4 KiB"),
    ("docs/threat-model.md", "40 ms after a client"),
    ("docs/threat-model.md", "4,000 datagrams a second"),
    ("docs/use.md", "at least 95 %"),
    ("docs/use.md", "at most 5 %"),
    ("docs/reference/json.md", "A call over 64 KiB"),
];

/// Sections of docs/performance.md that say how things are measured and read.
const WITHOUT_FIGURES: [&str; 2] = ["How it is measured", "Reading them"];

/// What is wrong with the list, or with a document.
///
/// # Errors
///
/// That a document cannot be read.
pub(super) fn problems() -> Result<Vec<String>> {
    let mut problems = Vec::new();
    for figure in MEASURED {
        let text = read(figure.file)?;
        match place::find(&text, figure.says) {
            None => problems.push(format!(
                "{} does not say this any more: {:?}",
                figure.file, figure.says
            )),
            Some(line) if !is_dated(&around(&text, line)) => problems.push(format!(
                "{}:{line}: neither a commit (`at 1234567`) nor a day (2026-01-31) says when this was measured: {:?}",
                figure.file, figure.says
            )),
            Some(_) => {}
        }
    }
    for file in place::documents()? {
        let text = read(&file)?;
        problems.extend(unset(&file, &text));
        if file == "docs/performance.md" {
            problems.extend(undated_sections(&file, &text));
            continue;
        }
        let mut is_recorded = false;
        for (at, line) in text.lines().enumerate() {
            // What is recorded is compared with what comes, and its times are not.
            is_recorded = place::is_recorded(line, is_recorded);
            if is_recorded || file == LIMITS {
                continue;
            }
            let is_set = SET
                .iter()
                .any(|(of, part)| *of == file && line.contains(part));
            if has_figure(line) && !is_set && !is_dated(&around(&text, at + 1)) {
                problems.push(format!(
                    "{file}:{}: a figure without the commit and the day of its measurement; where it was set and not measured, \
                     name it in xtask/src/promises/figures.rs: {line:?}",
                    at + 1
                ));
            }
        }
    }
    Ok(problems)
}

/// How each is measured again.
#[cfg(test)]
pub(super) fn again() -> impl Iterator<Item = &'static str> {
    MEASURED.iter().map(|figure| figure.again)
}

/// The same for people, with what it is.
pub(super) fn rows() -> Vec<String> {
    let row = |figure: &Figure| {
        format!(
            "{}  {}\n    again: {}",
            figure.file,
            figure.says.trim(),
            figure.again
        )
    };
    MEASURED.iter().map(row).collect()
}

fn read(file: &str) -> Result<String> {
    fs::read_to_string(root().join(file)).with_context(|| format!("cannot read {file}"))
}

/// What is said to be set there, and is not there any more.
fn unset(file: &str, text: &str) -> Vec<String> {
    let gone = SET
        .iter()
        .filter(|(of, part)| *of == file && !text.lines().any(|line| line.contains(part)));
    gone.map(|(_, part)| format!("{file} has no line with {part:?}, which figures.rs says is set"))
        .collect()
}

fn undated_sections(file: &str, text: &str) -> Vec<String> {
    let sections = text.split("\n## ").skip(1);
    let undated = sections.filter(|section| {
        let title = section.lines().next().unwrap_or_default();
        section.lines().any(has_figure) && !WITHOUT_FIGURES.contains(&title) && !is_dated(section)
    });
    undated
        .map(|section| {
            let title = section.lines().next().unwrap_or_default();
            format!("{file}: the section {title:?} has figures, and does not say when they were measured")
        })
        .collect()
}

/// The paragraph with a line, and where it is of a table, the one before that.
fn around(text: &str, line: usize) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let at = line.saturating_sub(1).min(lines.len().saturating_sub(1));
    let is_blank = |at: usize| lines[at].trim().is_empty();
    let first = (0..=at)
        .rev()
        .take_while(|at| !is_blank(*at))
        .last()
        .unwrap_or(at);
    let last = (at..lines.len())
        .take_while(|at| !is_blank(*at))
        .last()
        .unwrap_or(at);
    let mut begin = first;
    if lines[first].trim_start().starts_with('|') {
        let above = (0..first).rev().skip_while(|at| is_blank(*at));
        begin = above
            .take_while(|at| !is_blank(*at))
            .last()
            .unwrap_or(first);
    }
    lines[begin..=last].join("\n")
}

/// Whether a commit and a day stand in it.
fn is_dated(text: &str) -> bool {
    let words = || text.split(|c: char| !c.is_ascii_alphanumeric() && c != '-');
    let is_day = |word: &str| {
        let parts: Vec<&str> = word.split('-').collect();
        let digits =
            |part: &&str, length| part.len() == length && part.bytes().all(|b| b.is_ascii_digit());
        matches!(&parts[..], [year, month, day] if digits(year, 4) && digits(month, 2) && digits(day, 2))
    };
    let is_commit = |word: &str| word.len() == 7 && word.bytes().all(|b| b.is_ascii_hexdigit());
    words().any(is_day) && words().any(is_commit)
}

/// Whether a line has a number with one of [`UNITS`].
fn has_figure(line: &str) -> bool {
    UNITS.iter().any(|unit| {
        line.match_indices(unit).any(|(at, _)| {
            let before = line[..at].chars().next_back();
            let after = line[at + unit.len()..].chars().next();
            before.is_some_and(|c| c.is_ascii_digit())
                && !after.is_some_and(|c| c.is_alphanumeric() || c == '_')
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_figure_says_when_it_was_measured() -> Result<()> {
        let problems = problems()?;
        assert!(problems.is_empty(), "{}", problems.join("\n"));
        Ok(())
    }

    #[test]
    fn a_day_and_a_commit_stand_beside_it_or_above_its_table() {
        let text = "Measured at 1234abc, 2026-01-31.\n\n| a | 3 µs |\n|---|---|\n\nb takes 4 ms\n";
        assert!(is_dated(&around(text, 3)));
        assert!(!is_dated(&around(text, 6)));
        assert!(!is_dated("at 1234abc"));
        assert!(!is_dated("2026-01-31"));
        assert!(has_figure("b takes 4 ms") && has_figure("0.1 % of it"));
        assert!(has_figure("2 KiB") && has_figure("in 3 s.") && has_figure("15 min"));
        assert!(!has_figure("4 msgs") && !has_figure("of ms") && !has_figure("2 sessions"));
        let [(file, part), ..] = SET else { return };
        assert_eq!(
            unset(file, "").len(),
            SET.iter().filter(|(of, _)| of == file).count()
        );
        assert!(
            !unset(file, part)
                .iter()
                .any(|problem| problem.contains(part))
        );
    }
}
