//! `cargo xtask escapes`: ways round the guard, tried on this machine.

use std::fs;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::shell::{root, say};
use crate::test;

/// Where `tests/tests/escapes` writes what came of each way, and its page.
const SAID: &str = "GUARD_ESCAPES";
const PAGE: &str = "GUARD_ESCAPES_PAGE";

const HEAD: &str =
    "| way | without the guard | with it | closed by | kernels |\n|---|---|---|---|---|";

/// Tries each way, and prints a table of what came of them.
///
/// # Errors
///
/// That this machine cannot run the suite, or that a way ended otherwise than docs/escapes.md says; the table is printed
/// all the same.
pub(crate) fn escapes(write: bool) -> Result<ExitCode> {
    let said = tempfile::tempdir()?;
    let page = root().join("docs/escapes.md");
    let mut env = vec![(SAID, said.path())];
    if write {
        env.push((PAGE, &page));
    }
    let done = test::suite("escapes", &env);
    println!("{}", table(said.path())?);
    if write {
        say("docs/escapes.md is written: commit it with what it is made from");
    }
    done
}

/// What came of each, in the page's order, which the names of the files are in.
fn table(said: &Path) -> Result<String> {
    let mut files: Vec<_> = fs::read_dir(said)?
        .flatten()
        .map(|file| file.path())
        .collect();
    files.sort();
    let (mut table, mut family) = (String::new(), String::new());
    for file in &files {
        let came: Value = serde_json::from_slice(&fs::read(file)?)
            .with_context(|| format!("{} is broken", file.display()))?;
        let text = |name: &str| came[name].as_str().unwrap_or_default().to_owned();
        if text("family") != family {
            family = text("family");
            table += &format!("\n## {family}\n\n{HEAD}\n");
        }
        table += &row(&came["state"], text);
        table.push('\n');
    }
    Ok(format!(
        "{table}\n{} ways were tried to their end",
        files.len()
    ))
}

fn row(state: &Value, text: impl Fn(&str) -> String) -> String {
    let (without, with) = match state.as_str() {
        Some("not here") => (
            format!("not on this machine: {}", text("without")),
            "-".to_owned(),
        ),
        Some("open") => (text("without"), format!("OPEN: {}", text("with"))),
        _ => (text("without"), text("with")),
    };
    let by = match state.as_str() {
        Some("open") => format!("nothing yet; {}", text("by")),
        _ => text("by"),
    };
    let cells = [text("way"), without, with, by, text("kernels")];
    format!(
        "| {} |",
        cells.map(|cell| cell.replace('|', "\\|")).join(" | ")
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn rows_stand_below_their_family_in_the_order_of_the_files() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let files = [
            ("01-00", "B", "third"),
            ("00-01", "A", "second"),
            ("00-00", "A", "first"),
        ];
        for (file, family, way) in files {
            let came = json!({"family": family, "way": way, "state": "closed", "with": "a | b"});
            fs::write(dir.path().join(file), came.to_string())?;
        }
        let table = table(dir.path())?;
        let places =
            ["## A", "first", "second", "## B", "third", "3 ways"].map(|text| table.find(text));
        assert!(places[0].is_some() && places.is_sorted(), "{table}");
        assert!(table.contains("a \\| b"), "{table}");
        assert_eq!(table.matches(HEAD).count(), 2);
        Ok(())
    }

    #[test]
    fn what_is_open_and_what_is_not_here_is_said() {
        let came = |state: &str| row(&json!(state), |name| format!("({name})"));
        assert_eq!(
            came("closed"),
            "| (way) | (without) | (with) | (by) | (kernels) |"
        );
        assert!(came("open").contains("OPEN: (with) | nothing yet; (by)"));
        assert!(came("not here").contains("not on this machine: (without)"));
    }
}
