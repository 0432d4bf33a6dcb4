//! docs/tools.md, which is made from the tools.

use std::env;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use guard_lab::Tested;

use crate::tools::FAMILIES;
use crate::tools::tool::{Claim, Family, Row, Tool, Way};

/// The environment variable that names the file to write the page to: `cargo xtask docs --record` sets it.
const PAGE: &str = "GUARD_TOOLS_PAGE";
/// The page in the repository, seen from this package.
const WRITTEN: &str = "../docs/tools.md";

/// What stands between tools of which the same is said.
const BETWEEN: &str = "; ";

const HEAD: &str = "\
# Tools in a session, run

<!-- Made by `cargo xtask docs --record` from tests/tests/tools. -->

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

/// What is said of a place: of its first way, and behind it of those that differ.
fn cell_of(row: &Row, at: usize) -> String {
    if let Some(why) = left_out(&row.tool, at) {
        return why.to_owned();
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

fn page() -> String {
    let mut page = format!("{HEAD}\n{LEGEND}\n");
    let (mut same, mut other) = (0, 0);
    for row in rows() {
        for (at, place) in PLACES.iter().enumerate() {
            for way in place
                .ways
                .iter()
                .filter(|_| left_out(&row.tool, at).is_none())
            {
                match row.tool.claim(*way) {
                    Claim::Same => same += 1,
                    _ => other += 1,
                }
            }
        }
    }
    let names: String = PLACES
        .iter()
        .map(|place| format!(" {} |", place.name))
        .collect();
    let _ = write!(
        page,
        "{} tools; of their runs {same} come to the same, {other} differ as is said.\n\n\
         | kind | tools |{names}\n|---|---|{}\n",
        rows().count(),
        "---|".repeat(PLACES.len())
    );
    for family in FAMILIES {
        for (tools, cells) in alike(family) {
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
fn alike(family: &Family) -> Vec<(Vec<&'static str>, String)> {
    let mut groups: Vec<(Vec<_>, String)> = Vec::new();
    for row in family.tools {
        let cells: Vec<_> = (0..PLACES.len()).map(|at| cell_of(row, at)).collect();
        let cells = cells.join(" | ");
        match groups.iter_mut().find(|(_, said)| *said == cells) {
            Some((tools, _)) => tools.push(row.tool.what),
            None => groups.push((vec![row.tool.what], cells)),
        }
    }
    groups
}

#[test]
fn the_page_says_what_comes_of_each_tool() -> Tested {
    if let Some(file) = env::var_os(PAGE) {
        fs::write(file, page())?;
    } else if beside("../docs").is_dir() {
        // The documents are no part of the program that runs in machines.
        assert!(
            page() == fs::read_to_string(beside(WRITTEN))?,
            "docs/tools.md is old: run `cargo xtask docs --record`"
        );
    }
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
