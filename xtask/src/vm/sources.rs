//! The names of the tests, as their sources have them: nothing is compiled for a list.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};

use crate::shell::root;

/// The names of the tests in a suite.
pub(super) fn tests_in(suite: &str) -> Result<Vec<String>> {
    let dir = root().join("tests/tests");
    let mut tests = Vec::new();
    let file = dir.join(format!("{suite}.rs"));
    if file.is_file() {
        add_file(&file, suite, &mut tests)?;
    }
    if dir.join(suite).is_dir() {
        add_dir(&dir.join(suite), suite, &mut tests)?;
    }
    tests.sort_unstable();
    Ok(tests)
}

fn add_dir(dir: &Path, module: &str, tests: &mut Vec<String>) -> Result<()> {
    let entries = fs::read_dir(dir).with_context(|| format!("cannot list {}", dir.display()))?;
    for entry in entries {
        let path = entry?.path();
        let stem = path.file_stem().unwrap_or_default().to_string_lossy();
        let inner = format!("{module}::{stem}");
        match path.extension() {
            _ if path.is_dir() => add_dir(&path, &inner, tests)?,
            Some(extension) if extension == "rs" && stem == "mod" => {
                add_file(&path, module, tests)?;
            }
            Some(extension) if extension == "rs" => add_file(&path, &inner, tests)?,
            _ => {}
        }
    }
    Ok(())
}

fn add_file(file: &Path, module: &str, tests: &mut Vec<String>) -> Result<()> {
    let text =
        fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    tests.extend(names(&text).map(|name| format!("{module}::{name}")));
    Ok(())
}

/// The function behind each `#[test]`, what a `family!` makes, and each row of a `tools!`, which makes two tests of it.
fn names(text: &str) -> impl Iterator<Item = String> {
    let functions = text.split("#[test]").skip(1).filter_map(|behind| {
        let mut lines = behind.lines().map(str::trim_start);
        let function = lines.find_map(|line| {
            line.strip_prefix("pub(crate) ")
                .unwrap_or(line)
                .strip_prefix("fn ")
        })?;
        function.split(['(', '<']).next()
    });
    // That of a macro has no name yet.
    let functions = functions.filter(|name| !name.starts_with('$'));
    let families = of_families(text).map(|name| format!("tried::{name}"));
    let tools = rows(text, "tools")
        .flat_map(|name| ["tried", "units"].map(|kind| format!("{kind}::{name}")));
    functions.map(str::to_owned).chain(families).chain(tools)
}

/// The tests of each `family!`: of each way that is named behind `alone`, and one of all others.
fn of_families(text: &str) -> impl Iterator<Item = &str> {
    text.split("\nfamily! {").skip(1).flat_map(|behind| {
        let rows = behind.split("\n}").next().unwrap_or(behind);
        let alone = rows.split_once("\n    alone: ");
        let alone = alone.and_then(|(_, rows)| rows.split(';').next());
        let names = alone.into_iter().flat_map(|names| names.split(','));
        ["together"].into_iter().chain(names.map(str::trim))
    })
}

/// The names of the rows of a macro.
fn rows<'a>(text: &'a str, name: &str) -> impl Iterator<Item = &'a str> {
    let begin = format!("{name}! {{");
    let is_in = move |line: &str, is_in: &mut bool| {
        *is_in = line.starts_with(&begin) || *is_in && !line.starts_with('}');
        *is_in
    };
    let lines = text
        .lines()
        .scan(false, move |is, line| Some((is_in(line, is), line)));
    lines.filter_map(|(is_in, line)| row(line).filter(|_| is_in))
}

/// The name of a row, which begins a line.
fn row(line: &str) -> Option<&str> {
    let (name, _) = line.strip_prefix("    ")?.split_once(": ")?;
    let is_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    name.chars().all(is_name).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_is_told_by_its_attribute() {
        let text = "fn helper() {}
#[test]
#[ignore = \"why\"]
fn one() {}
#[test]
pub(crate) fn two() -> Result<()> {}
family! { \"title\";
    alone: three,
        four;
    three: closed(
        \"a: b\",
    ) => || run();
    four: open() => || run();
    fifth: open() => || run();
}
    five: 5,
tools! { \"title\";
    #[ignore = \"why\"]
    six: tool(\"a: b\");
}
macro_rules! family { () => {
    #[test]
    fn $name() {}
} }
";
        let names: Vec<_> = names(text).collect();
        assert_eq!(names[..2], ["one", "two"]);
        assert_eq!(
            names[2..],
            [
                "tried::together",
                "tried::three",
                "tried::four",
                "tried::six",
                "units::six"
            ]
        );
    }

    #[test]
    fn each_suite_has_tests() -> Result<()> {
        for suite in crate::test::suites()? {
            let tests = tests_in(&suite)?;
            assert!(!tests.is_empty(), "{suite}");
            let inside = format!("{suite}::");
            assert!(tests.iter().all(|test| test.starts_with(&inside)));
        }
        Ok(())
    }
}
