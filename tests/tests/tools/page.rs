//! docs/tools.md, which is made from the tools, and says where and when each was run.

use std::collections::BTreeSet;
use std::env;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::tools::FAMILIES;
use crate::tools::tool::{Claim, Row, Tool, Way};

/// The environment variables that name the file to write the page to, and one that says what has passed where, and when.
const PAGE: &str = "GUARD_TOOLS_PAGE";
const PASSED: &str = "GUARD_TOOLS_PASSED";
/// What is in the repository.
const WRITTEN: &str = include_str!("../../../docs/tools.md");

/// What a cell says of a tool that was not run there yet.
const NOT_YET: &str = "not yet";

const HEAD: &str = "\
# Tools in a session, run

<!-- Made by `cargo xtask tools --write` from tests/tests/tools. -->

Each row is a script in `tests/tests/tools/scripts` that uses a tool as a developer does, and prints a result. It runs without the guard
first, where it must work; then, as the same user, in a session in each way that there is to have one, under the policy `default` with one
rule more, which asks about an address in production.
*Same* is the same result and the same exit status. Where something else comes of it, the cell says which sentence of which
document says so, and the test looks for the error that goes with it; anything else fails the test. What the tools contact is on this
machine, or in a network that plays production.
";

const LEGEND: &str = "\
- **user**: an ordinary user, with a guardd that runs as a service: `guard run -- …`.
- **for a user**: root, for a user: `guard run --user NAME -- …`.
- **as root**: an ordinary user, as root of a user namespace: `guard run --user root -- …`, which the settings allow (`run_as_root`).
- **unit**: a systemd unit with the lines of `agent@.service` and `guard assign`.

Kernels are those of [kernels.md](kernels.md): Linux 6.18 as we have it, which takes no programs at security hooks and has no systemd
here, so that the last way is tried in machines only; and Debian's 6.12, which takes them, emulated. `cargo xtask tools` runs what
your machine can; with `--all` it runs the machine too.
";

/// A kernel, and the ways that are tried on it.
struct Place {
    name: &'static str,
    ways: &'static [Way],
}

static PLACES: [Place; 2] = [
    Place {
        name: "6.18",
        ways: &Way::RUN,
    },
    Place {
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

fn cells_of(tool: &Tool, seen: &Seen) -> Vec<String> {
    let mut cells = Vec::new();
    for (at, place) in PLACES.iter().enumerate() {
        let left_out = [tool.not_here, tool.not_in_machines][at];
        for way in place.ways {
            let key = (at, tool.what.to_owned(), way.name());
            cells.push(match left_out {
                Some(why) => why.to_owned(),
                None if seen.cells.contains(&key) => cell(tool.claim(*way)),
                None => NOT_YET.to_owned(),
            });
        }
    }
    cells
}

fn columns() -> impl Iterator<Item = (usize, Way)> {
    let of = |(at, place): (usize, &'static Place)| place.ways.iter().map(move |way| (at, *way));
    PLACES.iter().enumerate().flat_map(of)
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
    for row in rows() {
        for cell in cells_of(&row.tool, seen) {
            match &*cell {
                "same" => same += 1,
                NOT_YET => {}
                cell if cell.starts_with("documented") || cell.starts_with("the tool's") => {
                    other += 1
                }
                _ => {}
            }
        }
    }
    let _ = write!(
        page,
        "{} tools; {same} cells are the same, {other} differ as is said.\n\n| kernel | run |\n|---|---|\n",
        rows().count()
    );
    for (place, when) in PLACES.iter().zip(&seen.when) {
        let when = if when.is_empty() { NOT_YET } else { when };
        let _ = writeln!(page, "| {} | {when} |", place.name);
    }
    for family in FAMILIES {
        let _ = write!(page, "\n## {}\n\n| tool |", family.title);
        for (at, way) in columns() {
            let _ = write!(page, " {}: {} |", PLACES[at].name, title(way));
        }
        let _ = write!(page, "\n|---|{}\n", "---|".repeat(columns().count()));
        for row in family.tools {
            let cells = cells_of(&row.tool, seen).join(" | ");
            let _ = writeln!(page, "| {} | {cells} |", row.tool.what);
        }
    }
    page
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
        if !rows().any(|row| row.tool.what == cells[0]) {
            continue;
        }
        for ((at, way), cell) in columns().zip(&cells[1..]) {
            if *cell != NOT_YET {
                seen.cells.insert((at, cells[0].to_owned(), way.name()));
            }
        }
    }
    seen
}

/// What has passed now, of each place that was tried, in the place of what the page says of that.
fn take_in(seen: &mut Seen, passed: &Value) {
    for (at, name) in ["here", "machine"].into_iter().enumerate() {
        let now = &passed[name];
        let Some(when) = now["when"].as_str() else {
            continue;
        };
        when.clone_into(&mut seen.when[at]);
        seen.cells.retain(|(place, ..)| *place != at);
        let tests = now["tests"].as_array().unwrap();
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
}

#[test]
fn the_page_says_what_is_run() {
    let mut seen = seen(WRITTEN);
    if let (Some(file), Some(passed)) = (env::var_os(PAGE), env::var_os(PASSED)) {
        take_in(
            &mut seen,
            &serde_json::from_slice(&fs::read(passed).unwrap()).unwrap(),
        );
        fs::write(file, page(&seen)).unwrap();
    } else {
        assert!(
            page(&seen) == WRITTEN,
            "docs/tools.md is old: run `cargo xtask tools --write`"
        );
    }
}

#[test]
fn each_tool_is_told_once() {
    let mut all: Vec<_> = rows().map(|row| row.tool.what).collect();
    let count = all.len();
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), count);
    assert!(
        all.iter().all(|what| !what.contains(['|', '\n'])),
        "it would break the table"
    );
}

#[test]
fn each_document_says_what_a_cell_quotes() {
    let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    // The documents are no part of the program that runs in machines.
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs");
    for claim in rows().flat_map(|row| row.tool.claims) {
        if let Claim::Told { file, says, .. } = claim
            && docs.is_dir()
        {
            let text = fs::read_to_string(docs.join(file)).unwrap();
            assert!(words(&text).contains(&words(says)), "{file}: {says}");
        }
    }
}
