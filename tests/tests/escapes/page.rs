//! docs/escapes.md, which is made from the ways.

use guard_lab::Tested;
use std::env;
use std::fmt::Write as _;
use std::fs;

use crate::escapes::way::{Family, State, Way};
use crate::escapes::{FAMILIES, families, guard, helpers, leaving, names, rooted, sockets, time};

/// The environment variable that names the file to write the page to.
const PAGE: &str = "GUARD_ESCAPES_PAGE";
/// What is in the repository.
const WRITTEN: &str = include_str!("../../../docs/escapes.md");

const HEAD: &str = "\
# Ways round, tried

<!-- Made by `cargo xtask docs --record` from tests/tests/escapes. -->

A test tries each way round, whose source has these words (`cargo xtask test escapes::forms` runs a table): without the guard, where it must
work if the kernel has it, and in a session whose policy does not allow it. *Ended*: what the program saw, EPERM if nothing is named, and
[what closed it](#what-closes-them). *Nothing*: no packet arrived. **Open**: nothing stops it yet; what to do instead.

All were tried on Linux 6.18 without [security hooks](kernels.md#security-hooks), and are [claimed](threat-model.md) for 6.1 and later,
unless [said otherwise](#what-closes-them). `cargo xtask test escapes` tries them on your machine.
";

/// What stands between ways of which the same is said.
const BETWEEN: &str = "; ";

/// What most programs see, which rows do not repeat.
const USUAL: &str = "EPERM";

const CLOSES: &str = "
## What closes them

`connect`, `sendmsg`, `sock_create` and egress are the guard's [hooks](architecture.md#how-a-connection-is-judged).

";

/// What closes several ways or some kernels only, as rows call it, and what it is.
const SHARED: [(&str, &str); 22] = [
    ("IPv6", "judged as the IPv6 address that it is"),
    ("anew", "judged anew each time"),
    ("unprivileged", "the session has no capability"),
    ("cgroups", leaving::ROOTS),
    ("`no_new_privs`", leaving::NO_NEW_PRIVS),
    ("caller", guard::INSIDE),
    ("clock", time::CLOCK),
    ("covered", rooted::COVERED),
    ("capabilities", rooted::NONE),
    ("mounts", rooted::FILES),
    ("owner", rooted::OWNERS),
    ("sockets", helpers::LISTENERS),
    ("outside", sockets::MADE_OUTSIDE),
    ("hook", sockets::ARRIVING),
    ("Landlock", helpers::DOMAIN),
    ("signals", helpers::SIGNALS),
    ("own user", helpers::USER),
    ("names", names::JUDGED),
    ("asked anew", names::ANEW),
    ("one reading", names::STRICT),
    ("learned", names::LEARNED),
    ("inside", names::INSIDE),
];

/// Where a way stands on the page, so that files sort.
pub(crate) fn place(family: &str, name: &str) -> String {
    let at = families().position(|one| one.title == family).unwrap_or(99);
    let ways = FAMILIES.get(at).map_or(&[][..], |family| family.ways);
    let way = ways.iter().position(|one| one.name == name).unwrap_or(99);
    format!("{at:02}-{way:02}")
}

fn page() -> String {
    let mut page = String::from(HEAD);
    let open = ways().filter(|way| matches!(way.state, State::Open { .. }));
    let _ = write!(
        page,
        "\n{} ways; {} of them open on every kernel.\n",
        ways().count(),
        open.count()
    );
    for family in families() {
        table(&mut page, family);
    }
    page += CLOSES;
    for (short, by) in SHARED {
        let _ = writeln!(page, "- *{short}*: {by}{}", kernels(by));
    }
    page
}

fn ways() -> impl Iterator<Item = &'static Way> {
    families()
        .flat_map(|family| family.ways)
        .map(|row| &row.way)
}

/// On which kernels it closes ways, where that is not all of them, and what to do on others.
fn kernels(by: &str) -> String {
    let mut all = ways().filter(|way| way.by() == by);
    let way = all.find(|way| !way.layers.is_empty());
    way.map_or(String::new(), |way| {
        let instead = way.layers.first().map_or("", |layer| layer.instead());
        format!(". {}; **elsewhere open**: {}", way.kernels, brief(instead))
    })
}

fn table(page: &mut String, family: &Family) {
    let (_, suite) = family.module.split_once("::").unwrap();
    let _ = write!(
        page,
        "\n## {}\n\n`{suite}`: way | ended\n---|---\n",
        family.title
    );
    for row in alike(family) {
        let _ = writeln!(page, "{} | {}", row.ways.join(BETWEEN), row.ended);
    }
}

/// Ways beside each other that ended alike.
struct Alike {
    ways: Vec<String>,
    ended: String,
}

/// The rows of a family: what several ways end with is said once.
fn alike(family: &Family) -> Vec<Alike> {
    let mut rows: Vec<Alike> = Vec::new();
    for row in family.ways {
        let (way, ended) = (told(&row.way), ended(&row.way));
        match rows.last_mut() {
            Some(last) if last.ended == ended => last.ways.push(way),
            _ => rows.push(Alike {
                ways: vec![way],
                ended,
            }),
        }
    }
    rows
}

/// A way, and what a kernel may lack. Whoever looks for its test finds these words in the suite that the table names.
fn told(way: &Way) -> String {
    match way.needs {
        Some(what) if !way.how.contains(what) => format!("{} (needs {what})", way.how),
        _ => way.how.to_owned(),
    }
}

fn ended(way: &Way) -> String {
    match way.state {
        State::Closed { seen, by } => match shown(seen).as_str() {
            USUAL => shared(by).to_owned(),
            seen => format!("{seen}: {}", shared(by)),
        },
        State::Open { but } => format!("**open**: {}", brief(but)),
    }
}

/// What to do instead, where that is what it mostly is.
fn brief(instead: &str) -> String {
    let (own_user, _) = helpers::USER.split_once(" (").unwrap();
    instead
        .replace(helpers::USER, "own user")
        .replace(own_user, "own user")
}

/// As rows call what closes a way.
fn shared(by: &str) -> &str {
    let known = SHARED.iter().find(|(_, long)| *long == by);
    known.map_or(by, |(short, _)| short)
}

/// `EPERM (socket` is the start of what a test compares, and shells tell an error by its words.
fn shown(seen: &str) -> String {
    match seen.split_once(" (") {
        _ if seen.is_empty() || seen == "nothing arrives" => "nothing".to_owned(),
        _ if seen == "Operation not permitted" => "EPERM".to_owned(),
        _ if seen == "Permission denied" => "EACCES".to_owned(),
        _ if seen == "Read-only file system" => "EROFS".to_owned(),
        _ if seen == "No such file" => "ENOENT".to_owned(),
        // Which call it was, what closed it says.
        Some((USUAL, _)) => USUAL.to_owned(),
        Some((errno, "")) => errno.to_owned(),
        Some((errno, call)) => format!("{errno} ({call})"),
        None => seen.to_owned(),
    }
}

#[test]
fn the_page_says_what_is_tried() -> Tested {
    let page = page();
    if let Some(file) = env::var_os(PAGE) {
        fs::write(file, &page)?;
    } else {
        assert!(
            page == WRITTEN,
            "docs/escapes.md is old: run `cargo xtask docs --record`"
        );
    }
    Ok(())
}

#[test]
fn each_way_is_told_once() -> Tested {
    let mut all: Vec<_> = ways().map(|way| way.how).collect();
    let count = all.len();
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), count);
    assert!(
        all.iter().all(|how| !how.contains(['|', '\n', ';'])),
        "it would break the table"
    );
    Ok(())
}

#[test]
fn what_closes_some_kernels_only_says_which() -> Tested {
    for way in ways().filter(|way| !way.layers.is_empty()) {
        let told = ways().filter(|one| one.by() == way.by());
        assert!(
            SHARED.iter().any(|(_, by)| *by == way.by()),
            "{} is not among what closes them",
            way.by()
        );
        for one in told {
            assert_eq!(one.kernels, way.kernels, "{} and {}", one.how, way.how);
        }
    }
    for (short, by) in SHARED {
        assert!(ways().any(|way| way.by() == by), "{short} closes nothing");
    }
    Ok(())
}
