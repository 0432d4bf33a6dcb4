//! docs/tools.md, which is made from the tools, and from what is on record of their tests.

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use guard_lab::Tested;
use serde_json::{Value, json};

use crate::tools::FAMILIES;
use crate::tools::tool::{Claim, Family, Row, Tool, Way};

/// The environment variables that name the files to write: the page, and which tests are run in which place. `cargo xtask tools` sets them.
const PAGE: &str = "GUARD_TOOLS_PAGE";
const TRIED: &str = "GUARD_TOOLS_TRIED";
/// Where these are, seen from this package. They are read as they are: no run of tools has to build again what it has written.
const DOCUMENTS: &str = "../docs";
const WRITTEN: &str = "../docs/tools.md";
const RECORD: &str = "tools.json";

/// What stands between tools of which the same is said.
const BETWEEN: &str = "; ";
/// What a cell says of a tool of which not all tests are on record there.
const NOT_YET: &str = "not yet";

const HEAD: &str = "\
# Tools in a session, run

<!-- Made by `cargo xtask tools --write` from tests/tests/tools and tests/tools.json. -->

A script in `tests/tests/tools/scripts` uses each tool as a developer does: without the guard, where it must work; then in a session of each
kind, under `default` with a rule about production. *Same*: result and exit status. Otherwise the cell quotes the document.
*Not yet*: `tests/tools.json`, which has when each test passed last, lacks one of the tool's.
";

const LEGEND: &str = "\
The sessions, all in one cell unless they differ:

- **user**: an ordinary user's `guard run -- …`.
- **for a user**: root's `guard run --user NAME -- …`.
- **as root**: an ordinary user's `guard run --user root -- …`.
- **unit**: a systemd unit with the lines of `agent@.service`; in machines only.

[Kernels](kernels.md): Linux 6.18, without security hooks and systemd; Debian's 6.12, with both, emulated.
";

/// A kernel, what it is called in the record, and the ways that are tried on it.
struct KernelWays {
    name: &'static str,
    recorded: &'static str,
    ways: &'static [Way],
}

static PLACES: [KernelWays; 2] = [
    KernelWays {
        name: "6.18",
        recorded: "here",
        ways: &Way::RUN,
    },
    KernelWays {
        name: "6.12, hooks",
        recorded: "machine",
        ways: &Way::ALL,
    },
];

/// When each test passed last, by place and name: `tests/tools.json`.
struct OnRecord(Value);

/// The day of a test's last pass, and its commit.
struct LastPass {
    day: String,
    commit: String,
}

/// Where a tool stands on the page, so that files sort.
pub(crate) fn place(name: &str) -> String {
    let at = rows().position(|row| row.name == name);
    format!("{:03}", at.unwrap_or(999))
}

fn rows() -> impl Iterator<Item = &'static Row> {
    FAMILIES.iter().flat_map(|family| family.tools)
}

/// What is said of a tool that was run.
pub(crate) fn cell(claim: Claim) -> String {
    match claim {
        Claim::Same => "same".to_owned(),
        Claim::Told { file, says, .. } => format!("documented: “{says}” ([{file}]({file}))"),
        Claim::NotAsRoot { seen } => format!("the tool's own rule, for any root: “{seen}”"),
        Claim::NotInNamespace { seen } => {
            format!("the tool's own limit, in any user namespace: “{seen}”")
        }
    }
}

/// Why a place does not try a tool, if it does not.
fn left_out(tool: &Tool, at: usize) -> Option<&'static str> {
    [tool.not_here, tool.not_in_machines][at]
}

/// The tests of a tool in a place: one of the ways that need no systemd, and one of a unit. There is none where it is not tried.
fn tests(row: &Row, at: usize) -> Vec<String> {
    if left_out(&row.tool, at).is_some() {
        return Vec::new();
    }
    let ways = PLACES[at].ways.iter();
    let mut tests: Vec<_> = ways.map(|way| row.test(*way)).collect();
    tests.dedup();
    tests
}

/// All tests that try a tool in a place.
fn tried(at: usize) -> BTreeSet<String> {
    rows().flat_map(|row| tests(row, at)).collect()
}

/// What is said of a place: of its first way, and behind it of those that differ.
fn cell_of(row: &Row, at: usize, record: &OnRecord) -> String {
    if let Some(why) = left_out(&row.tool, at) {
        return why.to_owned();
    }
    let mut tests = tests(row, at).into_iter();
    if tests.any(|test| record.last(at, &test).is_none()) {
        return NOT_YET.to_owned();
    }
    let mut told: Vec<String> = Vec::new();
    for way in PLACES[at].ways {
        let text = cell(row.tool.claim(*way));
        match told.first() {
            None => told.push(text),
            Some(first) if *first == text => {}
            Some(_) => told.push(format!("{}: {text}", title(*way))),
        }
    }
    told.join("; ")
}

impl OnRecord {
    /// The one in the repository; none where a machine has only the program.
    fn read() -> Tested<Option<Self>> {
        if !beside(DOCUMENTS).is_dir() {
            return Ok(None);
        }
        let text = fs::read(beside(RECORD)).context("tests/tools.json cannot be read")?;
        Ok(Some(Self(serde_json::from_slice(&text)?)))
    }

    /// When a test passed last in a place, if it is known to pass there.
    fn last(&self, at: usize, test: &str) -> Option<LastPass> {
        let last = &self.0[PLACES[at].recorded][test];
        let text = |key: &str| last[key].as_str().map(str::to_owned);
        Some(LastPass {
            day: text("date")?,
            commit: text("commit")?,
        })
    }

    /// The places that have a column: those where something has passed.
    fn columns(&self) -> Vec<usize> {
        let has_any = |at: &usize| tried(*at).iter().any(|test| self.last(*at, test).is_some());
        (0..PLACES.len()).filter(has_any).collect()
    }

    /// How many tests have passed in a place, and when the first and the last of them did. Of a day all commits are named: which of
    /// them was the earlier one is not on record.
    fn runs(&self, at: usize) -> String {
        let tried = tried(at);
        let passed = tried.iter().filter_map(|test| self.last(at, test));
        let passed: Vec<_> = passed.collect();
        let (count, all) = (passed.len(), tried.len());
        let mut days: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for LastPass { day, commit } in passed {
            days.entry(day).or_default().insert(commit);
        }
        let when = |day: Option<(&String, &BTreeSet<String>)>| match day {
            None => NOT_YET.to_owned(),
            Some((day, commits)) => {
                let commits: Vec<_> = commits.iter().map(String::as_str).collect();
                format!("{day} at {}", commits.join(", "))
            }
        };
        let (first, last) = (when(days.first_key_value()), when(days.last_key_value()));
        format!(
            "| {} | {count} of {all} | {first} | {last} |",
            PLACES[at].name
        )
    }
}

fn beside(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(file)
}

fn title(way: Way) -> &'static str {
    match way {
        Way::User => "user",
        Way::ForUser => "for a user",
        Way::AsRoot => "as root",
        Way::Unit => "unit",
    }
}

fn page(record: &OnRecord) -> String {
    let mut page = format!("{HEAD}\n{LEGEND}\n");
    let (mut same, mut other) = (0, 0);
    for row in rows() {
        for (at, place) in PLACES.iter().enumerate() {
            let is_run = |way: &&Way| record.last(at, &row.test(**way)).is_some();
            let ways = place.ways.iter().filter(is_run);
            for way in ways.filter(|_| left_out(&row.tool, at).is_none()) {
                match row.tool.claim(*way) {
                    Claim::Same => same += 1,
                    _ => other += 1,
                }
            }
        }
    }
    let _ = write!(
        page,
        "{} tools; of their runs {same} came to the same, {other} differ as is said.\n\n\
         | kernel | tests that passed | first | last |\n|---|---|---|---|\n",
        rows().count()
    );
    for at in 0..PLACES.len() {
        let _ = writeln!(page, "{}", record.runs(at));
    }
    let columns = record.columns();
    let names: String = columns
        .iter()
        .map(|at| format!(" {} |", PLACES[*at].name))
        .collect();
    let _ = write!(
        page,
        "\n| kind | tools |{names}\n|---|---|{}\n",
        "---|".repeat(columns.len())
    );
    for family in FAMILIES {
        for (tools, cells) in alike(family, &columns, record) {
            let _ = writeln!(
                page,
                "| {} | {} | {cells} |",
                family.title,
                tools.join(BETWEEN)
            );
        }
    }
    page
}

/// The tools of a family of which the same is said, and what that is.
fn alike(
    family: &Family,
    columns: &[usize],
    record: &OnRecord,
) -> Vec<(Vec<&'static str>, String)> {
    let mut groups: Vec<(Vec<_>, String)> = Vec::new();
    for row in family.tools {
        let cells: Vec<_> = columns.iter().map(|at| cell_of(row, *at, record)).collect();
        let cells = cells.join(" | ");
        match groups.iter_mut().find(|(_, said)| *said == cells) {
            Some((tools, _)) => tools.push(row.tool.what),
            None => groups.push((vec![row.tool.what], cells)),
        }
    }
    groups
}

#[test]
fn the_page_says_what_is_on_record() -> Tested {
    let Some(record) = OnRecord::read()? else {
        return Ok(());
    };
    let page = page(&record);
    if let Some(file) = env::var_os(PAGE) {
        fs::write(file, page)?;
    } else {
        assert!(
            page == fs::read_to_string(beside(WRITTEN))?,
            "docs/tools.md is old: run `cargo xtask tools --page`"
        );
    }
    Ok(())
}

#[test]
fn what_is_on_record_is_tried() -> Tested {
    if let Some(file) = env::var_os(TRIED) {
        let names = PLACES.iter().enumerate();
        let names = names.map(|(at, place)| (place.recorded.to_owned(), json!(tried(at))));
        fs::write(file, Value::Object(names.collect()).to_string())?;
        return Ok(());
    }
    let Some(OnRecord(record)) = OnRecord::read()? else {
        return Ok(());
    };
    for (at, place) in PLACES.iter().enumerate() {
        let tests = record[place.recorded].as_object();
        let tests = tests.with_context(|| format!("no {} is on record", place.recorded))?;
        let tried = tried(at);
        // A test of another suite is run with them.
        let gone = tests
            .keys()
            .filter(|test| test.starts_with("tools::") && !tried.contains(*test));
        let gone: Vec<_> = gone.collect();
        assert!(
            gone.is_empty(),
            "{gone:?} are not tried: run `cargo xtask tools --page`"
        );
    }
    Ok(())
}

#[test]
fn a_cell_says_what_came_of_a_tool_once_all_of_its_tests_are_on_record() -> Tested {
    let in_both = |row: &&Row| (0..PLACES.len()).all(|at| left_out(&row.tool, at).is_none());
    let row = rows().find(in_both).context("no tool is tried in both")?;
    let last = |day: u32| json!({"commit": "aa", "date": format!("2026-01-0{day}")});
    let user = row.test(Way::User);
    assert!(user.starts_with("tools::") && user.ends_with(&format!("::tried::{}", row.name)));
    let mut record = OnRecord(json!({"here": {}, "machine": {}}));
    assert!(record.columns().is_empty());
    record.0["machine"][user.as_str()] = last(1);
    assert_eq!(cell_of(row, 1, &record), NOT_YET);
    record.0["machine"][row.test(Way::Unit).as_str()] = last(2);
    assert_ne!(cell_of(row, 1, &record), NOT_YET);
    assert_eq!(cell_of(row, 0, &record), NOT_YET);
    assert_eq!(record.columns(), [1]);
    let (here, machine) = (tried(0).len(), tried(1).len());
    let none = format!("| 6.18 | 0 of {here} | not yet | not yet |");
    assert_eq!(record.runs(0), none);
    let two = format!("| 6.12, hooks | 2 of {machine} | 2026-01-01 at aa | 2026-01-02 at aa |");
    assert_eq!(record.runs(1), two);
    // A commit's name says nothing about its time.
    record.0["machine"][user.as_str()] = json!({"commit": "bb", "date": "2026-01-02"});
    let one_day = "2026-01-02 at aa, bb";
    let both = format!("| 6.12, hooks | 2 of {machine} | {one_day} | {one_day} |");
    assert_eq!(record.runs(1), both);
    Ok(())
}

#[test]
fn each_tool_is_told_once() -> Tested {
    let mut all: Vec<_> = rows().map(|row| row.tool.what).collect();
    let count = all.len();
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), count);
    assert!(
        all.iter()
            .all(|what| !what.contains(['|', '\n']) && !what.contains(BETWEEN)),
        "it would break the table"
    );
    Ok(())
}

#[test]
fn each_document_says_what_a_cell_quotes() -> Tested {
    let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    // The documents are no part of the program that runs in machines.
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs");
    for claim in rows().flat_map(|row| row.tool.claims) {
        if let Claim::Told { file, says, .. } = claim
            && docs.is_dir()
        {
            let text = fs::read_to_string(docs.join(file))?;
            assert!(words(&text).contains(&words(says)), "{file}: {says}");
        }
    }
    Ok(())
}
