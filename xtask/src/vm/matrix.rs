//! What passed in which machine, when and at which commit: kept beside the tests, for the whole takes hours without KVM, and is
//! run in parts.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context as _, Result, ensure};
use serde::{Deserialize, Serialize};

use super::plan::{self, Cell};
use super::report::{self, PassedSuite, Ran, SuiteStatus};
use crate::shell::{read, root};

pub(crate) const FILE: &str = "tests/machines.json";
/// Where the table is in the documents, and between what.
pub(crate) const DOCUMENT: &str = "docs/kernels.md";
const BEGIN: &str = "<!-- written by cargo xtask vm --write -->\n";
const END: &str = "<!-- end of what is written -->\n";

/// A suite that passed in a kind of machine, all of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Row {
    #[serde(flatten)]
    passed: PassedSuite,
    commit: String,
    date: String,
}

/// The last time of each.
#[derive(Debug)]
pub(super) struct Matrix {
    file: PathBuf,
    rows: Vec<Row>,
}

impl Matrix {
    /// What is known.
    ///
    /// # Errors
    ///
    /// That it cannot be read.
    pub(super) fn read() -> Result<Self> {
        Self::at(root().join(FILE))
    }

    fn at(file: PathBuf) -> Result<Self> {
        let text = fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?;
        let rows = serde_json::from_slice(&text);
        let rows = rows.with_context(|| format!("cannot read {}", file.display()))?;
        Ok(Self { file, rows })
    }

    pub(super) fn has(&self, cell: &Cell) -> bool {
        self.rows.iter().any(|row| is_of(&row.passed, cell))
    }

    /// Takes in what came of whole suites. One that failed, or broke its machine, is not known to pass any more.
    fn take(&mut self, ran: &[Ran], commit: &str, date: &str) {
        for ran in ran {
            let passed = PassedSuite::of(ran);
            self.rows.retain(|row| !row.passed.is_same(&passed));
            if ran.status() == SuiteStatus::Passed {
                self.rows.push(Row {
                    passed,
                    commit: commit.to_owned(),
                    date: date.to_owned(),
                });
            }
        }
    }

    /// Writes it, and the list in the documents. `all` is what the whole consists of: what is not in it any more is left out.
    ///
    /// # Errors
    ///
    /// That the list has no place, or that it cannot be written.
    fn write(&mut self, all: &[Cell]) -> Result<()> {
        self.rows
            .retain(|row| all.iter().any(|cell| is_of(&row.passed, cell)));
        self.rows
            .sort_by(|a, b| a.passed.place().cmp(&b.passed.place()));
        let rows = self.rows.iter().map(serde_json::to_string);
        let rows = rows.collect::<Result<Vec<_>, _>>()?.join(",\n");
        let path = root().join(DOCUMENT);
        let text = between(&read_text(&path)?, &self.text(all))?;
        write(&self.file, &format!("[\n{rows}\n]\n"))?;
        write(&path, &text)
    }

    fn text(&self, all: &[Cell]) -> String {
        let passed: Vec<_> = self.rows.iter().map(|row| row.passed.clone()).collect();
        let tests: usize = passed.iter().map(|one| one.tests).sum();
        let mut text = format!("{tests} tests passed, {}.\n\n", self.when());
        let machines = plan::machines(all);
        text += &report::table(&machines, &passed);
        let missing = all.iter().filter(|cell| !self.has(cell));
        let missing: Vec<_> = missing.map(PassedSuite::none_of).collect();
        if !missing.is_empty() {
            text += "\nNot seen to pass:\n\n";
            text += &report::table(&machines, &missing);
        }
        text
    }

    /// At which commits: rows come from runs of parts, so no single commit need have passed the whole.
    fn when(&self) -> String {
        let when = |row: &Row| format!("{} ({})", row.commit, row.date);
        let oldest = self.rows.iter().min_by_key(|row| &row.date).map(when);
        let newest = self.rows.iter().max_by_key(|row| &row.date).map(when);
        let (oldest, newest) = (oldest.unwrap_or_default(), newest.unwrap_or_default());
        let commits: BTreeSet<_> = self.rows.iter().map(|row| &row.commit).collect();
        match commits.len() {
            0 => "at no commit".to_owned(),
            1 => format!("all at {newest}"),
            commits => {
                format!(
                    "at {commits} commits, from {oldest} to {newest}: `{FILE}` has each suite's commit"
                )
            }
        }
    }
}

/// Writes each row as soon as it is known: the whole takes hours, and may be ended before.
pub(super) struct Writer {
    matrix: Mutex<Matrix>,
    /// What the whole consists of.
    whole: Vec<Cell>,
    commit: String,
    date: String,
}

impl Writer {
    /// One for a run of that commit.
    ///
    /// # Errors
    ///
    /// That there is no date.
    pub(super) fn new(matrix: Matrix, whole: Vec<Cell>, commit: String) -> Result<Self> {
        Ok(Self {
            matrix: Mutex::new(matrix),
            whole,
            commit,
            date: today()?,
        })
    }

    /// Takes in what came of a whole suite. Of what did not run, or broke its machine, nothing new is known.
    ///
    /// # Errors
    ///
    /// As [`Matrix::write`].
    pub(super) fn add(&self, ran: &Ran) -> Result<()> {
        if ran.status() == SuiteStatus::Unknown {
            return Ok(());
        }
        let mut matrix = self.matrix.lock().unwrap_or_else(PoisonError::into_inner);
        matrix.take(std::slice::from_ref(ran), &self.commit, &self.date);
        matrix.write(&self.whole)
    }
}

fn is_of(passed: &PassedSuite, cell: &Cell) -> bool {
    passed.is_same(&PassedSuite::none_of(cell))
}

/// Today, as dates are written.
///
/// # Errors
///
/// That `date` does not say.
pub(crate) fn today() -> Result<String> {
    let date = read(Command::new("date").args(["--utc", "+%F"]))?;
    Ok(date.trim().to_owned())
}

fn read_text(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

/// Writes a file whole or not at all: a run may be killed meanwhile.
///
/// # Errors
///
/// That it cannot be written.
pub(crate) fn write(path: &Path, text: &str) -> Result<()> {
    let unfinished = path.with_extension("unfinished");
    let written = fs::write(&unfinished, text).and_then(|()| fs::rename(&unfinished, path));
    written.with_context(|| format!("cannot write {}", path.display()))
}

/// The text with something else between the marks.
fn between(text: &str, new: &str) -> Result<String> {
    let (before, rest) = text.split_once(BEGIN).unwrap_or_default();
    let after = rest.split_once(END).map(|(_, after)| after);
    ensure!(
        after.is_some(),
        "{DOCUMENT} has no lines {:?} and {:?}, between which the table belongs",
        BEGIN.trim(),
        END.trim()
    );
    let after = after.unwrap_or_default();
    Ok(format!("{before}{BEGIN}{new}{END}{after}"))
}

#[cfg(test)]
mod tests {
    use super::super::passed::tests::{cell, ran};
    use super::*;

    #[test]
    fn what_passed_is_known_until_it_fails() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let file = dir.path().join("machines.json");
        fs::write(&file, "[]")?;
        let mut matrix = Matrix::at(file)?;
        let all = [cell("holes"), cell("ends")];
        assert!(
            matrix
                .text(&all)
                .starts_with("0 tests passed, at no commit.\n")
        );
        matrix.take(&[ran("holes", &[]), ran("ends", &[])], "aa", "2026-01-01");
        matrix.take(&[ran("holes", &[])], "bb", "2026-01-02");
        assert_eq!(
            matrix.text(&all),
            "2 tests passed, at 2 commits, from aa (2026-01-01) to bb (2026-01-02): `tests/machines.json` has each suite's commit.\n\n\
             - plain: `ends`, `holes`\n"
        );
        matrix.take(&[ran("ends", &["ends::one"])], "cc", "2026-01-03");
        assert!(matrix.has(&cell("holes")) && !matrix.has(&cell("ends")));
        assert_eq!(
            matrix.text(&all),
            "1 tests passed, all at bb (2026-01-02).\n\n- plain: `holes`\n\nNot seen to pass:\n\n- plain: `ends`\n"
        );
        Ok(())
    }

    #[test]
    fn the_table_replaces_what_is_between_the_marks() -> Result<()> {
        let text = format!("a\n{BEGIN}old\n{END}b\n");
        assert_eq!(between(&text, "new\n")?, format!("a\n{BEGIN}new\n{END}b\n"));
        assert!(between("no marks", "new").is_err());
        assert!(between(&read_text(&root().join(DOCUMENT))?, "new").is_ok());
        Ok(())
    }

    #[test]
    fn what_is_kept_can_be_read() -> Result<()> {
        Matrix::read().map(drop)
    }
}
