//! docs/tools.md, which is made from the tools, and says where and when each was run.

use guard_lab::{Json as _, Tested};
use std::collections::BTreeSet;
use std::env;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::tools::FAMILIES;
use crate::tools::tool::{Claim, Family, Row, Tool, Way};

/// The environment variables that name the file to write the page to, and one that says what has passed where, and when.
const PAGE: &str = "GUARD_TOOLS_PAGE";
const PASSED: &str = "GUARD_TOOLS_PASSED";
/// What is in the repository.
const WRITTEN: &str = include_str!("../../../docs/tools.md");

/// What stands between tools of which the same is said.
const BETWEEN: &str = "; ";
/// What a cell says of a tool that was not run there yet.
const NOT_YET: &str = "not yet";

const HEAD: &str = "\
# Tools in a session, run

<!-- Made by `cargo xtask tools --write` from tests/tests/tools. -->

A script in `tests/tests/tools/scripts` uses each tool as a developer does: without the guard, where it must work; then in a session of each
kind, under `default` with a rule about production. *Same*: result and exit status. Otherwise the cell quotes the document.
";

const LEGEND: &str = "\
The sessions, all in one cell unless they differ:

- **user**: an ordinary user's `guard run -- …`.
- **for a user**: root's `guard run --user NAME -- …`.
- **as root**: an ordinary user's `guard run --user root -- …`.
- **unit**: a systemd unit with the lines of `agent@.service`; in machines only.

[Kernels](kernels.md): Linux 6.18, without security hooks and systemd; Debian's 6.12, with both, emulated.
";

/// A kernel, and the ways that are tried on it.
struct KernelWays {
    name: &'static str,
    ways: &'static [Way],
}

static PLACES: [KernelWays; 2] = [
    KernelWays {
        name: "6.18",
        ways: &Way::RUN,
    },
    KernelWays {
        name: "6.12, hooks",
        ways: &Way::ALL,
    },
];

/// When a place's tools were run, and which cells were.
#[derive(Default)]
struct Seen {
    when: [String; 2],
    /// The number of the place, the tool, and the way.
    cells: BTreeSet<(usize, String, &'static str)>,
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

/// What is said of one way to have a session, in a place where the tool is tried.
fn of_way(tool: &Tool, way: Way, is_seen: bool) -> String {
    match is_seen {
        true => cell(tool.claim(way)),
        false => NOT_YET.to_owned(),
    }
}

/// Why a place does not try a tool, if it does not.
fn left_out(tool: &Tool, at: usize) -> Option<&'static str> {
    [tool.not_here, tool.not_in_machines][at]
}

/// What is said of a place: of its first way, and behind it of those that differ.
fn cell_of(tool: &Tool, at: usize, is_seen: impl Fn(Way) -> bool) -> String {
    if let Some(why) = left_out(tool, at) {
        return why.to_owned();
    }
    let mut told: Vec<String> = Vec::new();
    for way in PLACES[at].ways {
        let text = of_way(tool, *way, is_seen(*way));
        match told.first() {
            None => told.push(text),
            Some(first) if *first == text => {}
            Some(_) => told.push(format!("{}: {text}", title(*way))),
        }
    }
    told.join("; ")
}

impl Seen {
    /// The places that have a column: those where the tools were run.
    fn columns(&self) -> Vec<usize> {
        let is_run = |at: &usize| !self.when[*at].is_empty() && self.when[*at] != NOT_YET;
        (0..PLACES.len()).filter(is_run).collect()
    }

    fn has(&self, at: usize, tool: &Tool, way: Way) -> bool {
        let key = (at, tool.what.to_owned(), way.name());
        self.cells.contains(&key)
    }
}

fn title(way: Way) -> &'static str {
    match way {
        Way::User => "user",
        Way::ForUser => "for a user",
        Way::AsRoot => "as root",
        Way::Unit => "unit",
    }
}

fn page(seen: &Seen) -> String {
    let mut page = format!("{HEAD}\n{LEGEND}\n");
    let (mut same, mut other) = (0, 0);
    for tool in rows().map(|row| &row.tool) {
        for (at, place) in PLACES.iter().enumerate() {
            let ways = place.ways.iter().filter(|way| seen.has(at, tool, **way));
            for way in ways.filter(|_| left_out(tool, at).is_none()) {
                match tool.claim(*way) {
                    Claim::Same => same += 1,
                    _ => other += 1,
                }
            }
        }
    }
    let _ = write!(
        page,
        "{} tools; of their runs {same} came to the same, {other} differ as is said.\n\n| kernel | run |\n|---|---|\n",
        rows().count()
    );
    for (place, when) in PLACES.iter().zip(&seen.when) {
        let when = if when.is_empty() { NOT_YET } else { when };
        let _ = writeln!(page, "| {} | {when} |", place.name);
    }
    let columns = seen.columns();
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
        for (tools, cells) in alike(family, &columns, seen) {
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
fn alike(family: &Family, columns: &[usize], seen: &Seen) -> Vec<(Vec<&'static str>, String)> {
    let mut groups: Vec<(Vec<_>, String)> = Vec::new();
    for tool in family.tools.iter().map(|row| &row.tool) {
        let cell = |at: &usize| cell_of(tool, *at, |way| seen.has(*at, tool, way));
        let cells: Vec<_> = columns.iter().map(cell).collect();
        let cells = cells.join(" | ");
        match groups.iter_mut().find(|(_, said)| *said == cells) {
            Some((tools, _)) => tools.push(tool.what),
            None => groups.push((vec![tool.what], cells)),
        }
    }
    groups
}

/// What a page says was run.
fn seen(page: &str) -> Seen {
    let mut seen = Seen::default();
    for line in page.lines() {
        let cells: Vec<_> = line.trim_matches('|').split(" | ").map(str::trim).collect();
        let kernel = PLACES.iter().position(|place| cells[0] == place.name);
        if let (Some(at), [_, when]) = (kernel, &cells[..]) {
            seen.when[at] = (*when).to_owned();
        }
        let [_, tools, ..] = cells[..] else { continue };
        for row in tools
            .split(BETWEEN)
            .filter_map(|tool| rows().find(|row| row.tool.what == tool))
        {
            for (at, cell) in seen.columns().into_iter().zip(&cells[2..]) {
                let ways = ways_run(&row.tool, at, cell);
                let keys = ways.map(|way| (at, row.tool.what.to_owned(), way.name()));
                seen.cells.extend(keys);
            }
        }
    }
    seen
}

/// In which ways a tool was run there, if the page says this of it: none, if it says what is not so any more.
fn ways_run(tool: &Tool, at: usize, says: &str) -> impl Iterator<Item = Way> {
    let is_in = |set: u32, way: Way| set & (1 << way as u32) != 0;
    let sets = 0..1 << Way::ALL.len();
    let mut fitting = sets.filter(|set| cell_of(tool, at, |way| is_in(*set, way)) == says);
    let set = fitting.next().unwrap_or(0);
    Way::ALL.into_iter().filter(move |way| is_in(set, *way))
}

/// What has passed now, of each place that was tried, in the place of what the page says of that.
fn take_in(seen: &mut Seen, passed: &Value) -> Tested {
    for (at, name) in ["here", "machine"].into_iter().enumerate() {
        let now = &passed[name];
        let Some(when) = now["when"].as_str() else {
            continue;
        };
        when.clone_into(&mut seen.when[at]);
        seen.cells.retain(|(place, ..)| *place != at);
        let tests = now["tests"].list()?;
        for row in rows() {
            for way in PLACES[at].ways {
                let kind = if *way == Way::Unit { "units" } else { "tried" };
                let end = format!("::{kind}::{}", row.name);
                if tests
                    .iter()
                    .any(|test| test.as_str().unwrap().ends_with(&end))
                {
                    seen.cells
                        .insert((at, row.tool.what.to_owned(), way.name()));
                }
            }
        }
    }
    Ok(())
}

#[test]
fn the_page_says_what_is_run() -> Tested {
    let mut seen = seen(WRITTEN);
    if let (Some(file), Some(passed)) = (env::var_os(PAGE), env::var_os(PASSED)) {
        take_in(&mut seen, &serde_json::from_slice(&fs::read(passed)?)?)?;
        fs::write(file, page(&seen))?;
    } else {
        assert!(
            page(&seen) == WRITTEN,
            "docs/tools.md is old: run `cargo xtask tools --write`"
        );
    }
    Ok(())
}

#[test]
fn each_tool_is_told_once() {
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
