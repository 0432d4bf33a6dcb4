//! docs/escapes.md, which is made from the ways.

use std::env;
use std::fmt::Write as _;
use std::fs;

use crate::escapes::way::{Family, State, Way};
use crate::escapes::{FAMILIES, families};

/// The environment variable that names the file to write the page to.
const PAGE: &str = "GUARD_ESCAPES_PAGE";
/// What is in the repository.
const WRITTEN: &str = include_str!("../../../docs/escapes.md");

const HEAD: &str = "\
# Ways round, tried

<!-- Made by `cargo xtask escapes --write` from tests/tests/escapes. -->

Each row is a test that does the thing for real, on each run, against a server that would answer: without the guard, where it
must work, and in a session, under a policy that does not allow the destination, where it must not. \"Arrives\" means that
production saw the packet. *Open* rows are tested too: nothing stops them yet, and whoever closes one has to change its row.
Where the last column says what to do elsewhere, the way is open on other kernels, and tested to be: guard asks the machine, not
its version.
The rows have been tried on Linux 6.18, which as we have it takes no programs at [security hooks](kernels.md#security-hooks): what takes
one is open there.
The last column says for which kernels they are claimed, and `cargo xtask vm escapes` tries
them on the others of [kernels.md](kernels.md). `cargo xtask escapes` tries them on your machine, and prints what came of each.

[The threat model](threat-model.md) says what is meant to hold, and what is not claimed. That the clock is set cannot be tried
without harm to the machine: holes end in boot time, which nobody can set.
";

/// Where a way stands on the page, so that files sort.
pub(crate) fn place(family: &str, name: &str) -> String {
    let at = families().position(|one| one.title == family).unwrap_or(99);
    let ways = FAMILIES.get(at).map_or(&[][..], |family| family.ways);
    let way = ways.iter().position(|one| one.name == name).unwrap_or(99);
    format!("{at:02}-{way:02}")
}

fn page() -> String {
    let mut page = String::from(HEAD);
    let all = || families().flat_map(|family| family.ways);
    let open = all().filter(|row| matches!(row.way.state, State::Open { .. }));
    let _ = write!(
        page,
        "\n{} ways; {} of them open on every kernel.\n",
        all().count(),
        open.count()
    );
    for family in families() {
        table(&mut page, family);
    }
    page
}

fn table(page: &mut String, family: &Family) {
    let _ = write!(
        page,
        "\n## {}\n\n| way | without the guard | with it | closed by | kernels |\n|---|---|---|---|---|\n",
        family.title
    );
    for one in family.ways {
        row(page, &one.way);
    }
}

fn row(page: &mut String, way: &Way) {
    let Way {
        how,
        without,
        kernels,
        ..
    } = way;
    let (with, by) = match way.state {
        State::Closed { seen: "", by } => ("nothing arrives".to_owned(), by.to_owned()),
        State::Closed { seen, by } => (shown(seen), by.to_owned()),
        State::Open { but } => (
            "**works: open**".to_owned(),
            format!("**nothing yet**; {but}"),
        ),
    };
    let needs = way
        .needs
        .map_or(String::new(), |what| format!(", where there is {what}"));
    let elsewhere = way.layers.first().map_or(String::new(), |layer| {
        format!("; **elsewhere open**: {}", layer.instead())
    });
    let _ = writeln!(
        page,
        "| {how} | {without} | {with} | {by} | {kernels}{needs}{elsewhere} |"
    );
}

/// `EPERM (socket` is the start of what a test compares.
fn shown(seen: &str) -> String {
    match seen.split_once(" (") {
        Some((errno, call)) => format!("{errno} ({call})"),
        None => seen.to_owned(),
    }
}

#[test]
fn the_page_says_what_is_tried() {
    let page = page();
    if let Some(file) = env::var_os(PAGE) {
        fs::write(file, &page).unwrap();
    } else {
        assert!(
            page == WRITTEN,
            "docs/escapes.md is old: run `cargo xtask escapes --write`"
        );
    }
}

#[test]
fn each_way_is_told_once() {
    let mut all: Vec<_> = families()
        .flat_map(|family| family.ways)
        .map(|row| row.way.how)
        .collect();
    let count = all.len();
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), count);
    assert!(
        all.iter().all(|how| !how.contains(['|', '\n'])),
        "it would break the table"
    );
}
