//! Blocks of commands in the documents: each is run as it stands, or it is said here why not.

use std::fs;

use anyhow::{Context as _, Result};

use super::list::ALL;
use super::place;
use crate::shell::root;

/// Languages of blocks that people type.
const SHELLS: [&str; 3] = ["sh", "bash", "shell"];

/// How lines begin that people type, in blocks of any language.
const TYPED: [&str; 4] = ["guard ", "sudo ", "systemctl ", "$ "];

/// A block, by how its first line begins.
struct Block {
    file: &'static str,
    begins: &'static str,
    run: Run,
}

/// What runs it.
enum Run {
    /// The tests of a promise, which take the lines from the document.
    By(&'static str),
    /// Nothing, and why.
    Not(&'static str),
}

use Run::{By, Not};

/// Of one block.
const fn block(file: &'static str, begins: &'static str, run: Run) -> Block {
    Block { file, begins, run }
}

const NEEDS_A_CLONE: &str =
    "it needs a clone and a compiler: whoever runs any promise has typed such a line";

const BLOCKS: &[Block] = &[
    block("README.md", "sudo apt install", By("minute")),
    block("README.md", "cargo xtask demo", Not(NEEDS_A_CLONE)),
    block("docs/start.md", "sudo apt install", By("start")),
    block("docs/start.md", "guard run", By("start")),
    block("docs/start.md", "guard approve", By("start")),
    block("docs/admin.md", "sudo apt install ./guard", By("package")),
    block("docs/console.md", "sudo apt install", By("console-package")),
    block("docs/console.md", "sudo systemctl", By("console-package")),
    block(
        "docs/console.md",
        "sudo guard approver",
        By("console-package"),
    ),
    block(
        "docs/console.md",
        "sudo -u guard-console",
        By("console-package"),
    ),
    block("docs/fleet.md", "sudo apt install", By("fleet-package")),
    block("docs/fleet.md", "sudo systemctl", By("fleet-package")),
    block(
        "docs/fleet.md",
        "sudo systemctl enable --now guard-fleet-console",
        By("fleet-package"),
    ),
    block(
        "docs/fleet.md",
        "guard-fleet keep /etc",
        Not("the server is yours: the promise fleet-join has one of its own follow a list"),
    ),
    block(
        "docs/fleet.md",
        "guard-fleet invite",
        Not("the server is yours: the promise fleet-join has a machine join one of its own"),
    ),
    block(
        "docs/fleet.md",
        "guard-fleet keep …",
        Not("they want a server and machines: the suite fleet::log types the same to its own"),
    ),
    block(
        "docs/fleet.md",
        "guard policy sign",
        Not("they want a server and machines: the suite fleet::policies types the same to its own"),
    ),
    block(
        "docs/fleet.md",
        "guard-fleet pending",
        Not("they want a server and machines: the promise fleet types the same to its own"),
    ),
    block(
        "docs/admin.md",
        "sudo dnf install",
        Not("the machines are Debian's, and have no dnf: the promise rpm has rpm install it there"),
    ),
    block("docs/admin.md", "sudo tar -C / --strip", By("tarball")),
    block("docs/admin.md", "sudo tar -C / --exclude", By("tarball")),
    block(
        "docs/admin.md",
        "sudo systemctl disable --now guardd guardd.socket",
        By("tarball"),
    ),
    block("docs/admin.md", "cargo xtask build", Not(NEEDS_A_CLONE)),
    block(
        "docs/admin.md",
        "sudo systemctl enable --now guardd guard.slice",
        By("service"),
    ),
    block("docs/admin.md", "sudo systemd-run", By("slice")),
    block(
        "docs/reference/doctor.md",
        "guard doctor",
        By("doctor-typed"),
    ),
    block(
        "docs/admin.md",
        "sudo apt install --allow-downgrades",
        Not("apt's own switch: the promise downgrade has dpkg do the same with the same file"),
    ),
    block("docs/admin.md", "sudo journalctl", By("trail")),
    block("docs/admin.md", "$ sudo guard log --verify", By("trail")),
    block(
        "docs/admin.md",
        "sudo guard debug kernel-log",
        Not(
            "it follows the journal until somebody ends it: the suite events has it with its own guardd",
        ),
    ),
    block(
        "docs/admin.md",
        "guard status --json | jq -r",
        Not("it sends the head to another machine of yours"),
    ),
    block(
        "docs/admin.md",
        "sudo systemctl restart guardd",
        By("metrics"),
    ),
    block(
        "docs/admin.md",
        "sudo install -m 644 /usr/share/doc/guard/prometheus",
        Not("promtool comes with Prometheus: `cargo xtask lint` has it check the same file"),
    ),
    block(
        "docs/asking.md",
        "sudo systemctl restart guardd",
        Not("alice and her key are yours: the promise signed does it with its own"),
    ),
    block(
        "docs/asking.md",
        "ssh dev@build guard question",
        Not("it leads to another machine of yours: the promise signed does the rest of it"),
    ),
    block(
        "docs/reference/json.md",
        "guard pending --json --follow",
        Not("notify-send wants a desktop, and it goes on until somebody ends it"),
    ),
    block(
        "docs/reference/json.md",
        "sudo guard log --json",
        By("trail"),
    ),
    block("docs/reference/json.md", "varlinkctl", By("varlink")),
    block("docs/services.md", "sudo systemd-run", By("agent-service")),
    block(
        "docs/services.md",
        "sudo guard assign",
        Not("the unit and the container are yours: the suite assign does it with its own"),
    ),
    block(
        "docs/services.md",
        "sudo install -d /etc/guard/agents",
        By("agent-service"),
    ),
    block(
        "docs/services.md",
        "sudo systemctl start guard-ci.slice",
        Not("the container is yours: the suite containers does it with its own"),
    ),
    block("docs/ci.md", "guard run --policy ci", By("ci")),
    block("docs/ci.md", "sudo guard run", By("ci")),
    block("docs/ci.md", "guard check", By("ci")),
    block("docs/ci.md", "guard run --observe", By("observe")),
    block("docs/ci.md", "guard flows", By("observe")),
    block(
        "docs/read-only.md",
        "guard open db.example.com",
        By("open-read-only"),
    ),
    block(
        "docs/read-only.md",
        "$ curl -X PUT",
        Not("the server is yours: the promise read-only does it with its own"),
    ),
    block(
        "docs/postgres.md",
        "$ psql",
        Not("the database is yours: the promise postgres does it with its own"),
    ),
    block(
        "docs/postgres.md",
        "r1  psql",
        Not("the database is yours: the promise postgres does it with its own"),
    ),
    block(
        "docs/use.md",
        "guard run -- claude",
        Not(
            "what runs is yours: `cargo xtask tools` runs Claude Code so, and make, and as another user",
        ),
    ),
    block("docs/use.md", "guard pending --follow", By("answers-typed")),
    block(
        "docs/use.md",
        "systemctl --user enable",
        Not("the desktop is yours: the suite agents::notify has a bus and a server of its own"),
    ),
    block("docs/use.md", "guard why", By("why-typed")),
    block(
        "docs/use.md",
        "guard policy apply shop",
        Not(
            "the policy is yours: the suite contract::applied has one, and a terminal for its question",
        ),
    ),
    block(
        "docs/agents.md",
        "guard init claude-code",
        Not(
            "the project is yours: the promise agents-init has one, and a terminal for its question",
        ),
    ),
    block(
        "docs/performance.md",
        "sudo cargo xtask bench",
        Not(NEEDS_A_CLONE),
    ),
];

/// What is wrong with the list, or with a document.
///
/// # Errors
///
/// That a document cannot be read.
pub(super) fn problems() -> Result<Vec<String>> {
    let mut problems = Vec::new();
    let mut found = vec![0; BLOCKS.len()];
    for file in place::documents()? {
        let text = fs::read_to_string(root().join(&file))
            .with_context(|| format!("cannot read {file}"))?;
        for (line, first) in in_document(&text) {
            match of(&file, first) {
                Some(at) => found[at] += 1,
                None => problems.push(format!(
                    "{file}:{line}: nothing runs the block that begins with {first:?}, and xtask/src/promises/blocks.rs does \
                     not say why"
                )),
            }
        }
    }
    for (block, count) in BLOCKS.iter().zip(found) {
        if count != 1 {
            problems.push(format!(
                "{} has {count} blocks that begin with {:?}",
                block.file, block.begins
            ));
        }
        if let By(name) = block.run
            && !ALL.iter().any(|promise| promise.name == name)
        {
            problems.push(format!("no promise is called {name}"));
        }
    }
    Ok(problems)
}

/// Which of the list a block of a document is, by its first line: the longest beginning is the one that is meant.
fn of(file: &str, first: &str) -> Option<usize> {
    let fits = BLOCKS
        .iter()
        .enumerate()
        .filter(|(_, block)| block.file == file && first.starts_with(block.begins));
    let longest = fits.max_by_key(|(_, block)| block.begins.len());
    longest.map(|(at, _)| at)
}

/// What runs each, for people.
pub(super) fn rows() -> Vec<String> {
    let row = |block: &Block| {
        let how = match block.run {
            By(name) => format!("run by {name}"),
            Not(why) => format!("not run: {why}"),
        };
        format!("{}  {}…\n    {how}", block.file, block.begins)
    };
    BLOCKS.iter().map(row).collect()
}

/// A block of a document, of whatever kind.
pub(super) struct Fence<'t> {
    /// Where it begins.
    pub(super) line: usize,
    pub(super) language: &'t str,
    pub(super) lines: Vec<&'t str>,
    /// What is recorded is compared with what comes.
    is_recorded: bool,
}

impl<'t> Fence<'t> {
    /// Those of a document.
    pub(super) fn all(text: &'t str) -> Vec<Self> {
        let mut fences = Vec::new();
        let mut lines = text.lines().enumerate();
        let mut is_recorded = false;
        while let Some((at, line)) = lines.next() {
            is_recorded = place::is_recorded(line, is_recorded);
            let Some(language) = line.trim_start().strip_prefix("```") else {
                continue;
            };
            let lines = lines.by_ref().map(|(_, line)| line.trim_start());
            fences.push(Self {
                line: at + 1,
                language,
                lines: lines.take_while(|line| !line.starts_with("```")).collect(),
                is_recorded,
            });
        }
        fences
    }
}

/// Where blocks of commands are in a document, and their first lines: blocks of a shell's, and others with a line that is typed.
fn in_document(text: &str) -> Vec<(usize, &str)> {
    let is_typed = |fence: &Fence<'_>| {
        SHELLS.contains(&fence.language) || fence.lines.iter().any(|line| is_typed(line))
    };
    let fences = Fence::all(text).into_iter();
    let typed = fences.filter(|fence| !fence.is_recorded && is_typed(fence));
    typed
        .map(|fence| (fence.line, fence.lines.first().copied().unwrap_or_default()))
        .collect()
}

/// Whether a person types that line. What follows after several blanks belongs to a picture or a table.
fn is_typed(line: &str) -> bool {
    let rest = TYPED.iter().find_map(|begins| line.strip_prefix(begins));
    rest.is_some_and(|rest| !rest.starts_with(' '))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::promises::{Promise, taken};

    #[test]
    fn each_block_of_commands_is_run_or_it_is_said_why_not() -> Result<()> {
        let problems = problems()?;
        assert!(problems.is_empty(), "{}", problems.join("\n"));
        Ok(())
    }

    /// Most such tests run in machines alone: a word that is found no more, or twice, is seen here.
    #[test]
    fn what_tests_take_from_documents_is_there_once() -> Result<()> {
        let taken = taken::all()?;
        assert!(taken.len() > 30, "only {} were found", taken.len());
        for one in taken {
            one.line()?;
        }
        Ok(())
    }

    #[test]
    fn what_is_run_by_a_promise_is_taken_by_a_test_of_it() -> Result<()> {
        let taken = taken::all()?;
        let tests = |name: &str| {
            let promise = ALL.iter().find(|promise| promise.name == name);
            promise.map(Promise::tests).unwrap_or_default()
        };
        for file in place::documents()? {
            let text = fs::read_to_string(root().join(&file))?;
            for (line, first) in in_document(&text) {
                let Some(Run::By(name)) = of(&file, first).map(|at| &BLOCKS[at].run) else {
                    continue;
                };
                let mut is_run = false;
                for one in taken.iter().filter(|one| one.document == file) {
                    for test in tests(name) {
                        is_run |= one.line()? == line && one.is_by(test)?;
                    }
                }
                assert!(is_run, "{file}:{line}: no test of {name} takes {first:?}");
            }
        }
        Ok(())
    }

    #[test]
    fn getting_started_takes_as_many_commands_as_it_says() -> Result<()> {
        let text = fs::read_to_string(root().join("docs/start.md"))?;
        let fences = Fence::all(&text).into_iter();
        let typed = fences.filter(|fence| fence.language == "sh");
        let count: usize = typed.map(|fence| fence.lines.len()).sum();
        assert_eq!(count, 5);
        assert!(place::find(&text, "five commands").is_some());
        Ok(())
    }

    /// Who only wants to use guard compiles nothing.
    #[test]
    fn readme_has_cargo_xtask_for_the_demo_and_the_tests_alone() -> Result<()> {
        let text = fs::read_to_string(root().join("README.md"))?;
        let fences = Fence::all(&text).into_iter();
        let lines = fences.flat_map(|fence| fence.lines);
        let verbs = lines.filter_map(|line| line.split_once("cargo xtask ")?.1.split(' ').next());
        assert_eq!(verbs.collect::<Vec<_>>(), ["demo", "test"]);
        Ok(())
    }

    #[test]
    fn blocks_of_commands_are_found_among_others() {
        let text = "a\n```sh\nfirst\nsecond\n```\n```text\n```\n```\nplain\n```\n  ```sh\n  third\n  ```\n";
        assert_eq!(in_document(text), [(2, "first"), (11, "third")]);
        let text = "```text\nout\nguard why\n```\n```\nguard  -> sys\n```\n```console\n$ ls\n```\n\
                    <!-- recorded by cargo xtask promises --write: x -->\n```text\nguard why\n```\n\
                    <!-- end of the recording -->\n```text\nsudo ls\n```\n";
        assert_eq!(
            in_document(text),
            [(1, "out"), (8, "$ ls"), (16, "sudo ls")]
        );
    }
}
