//! The blocks that tests take from the documents, by the tests' own sources: most of them run in machines alone, where a word that is
//! found no more would be seen the night after.

use std::collections::BTreeSet;
use std::fs;

use anyhow::{Context as _, Result, ensure};

use super::blocks::Fence;
use crate::shell::root;

/// Where the tests are that type what documents say, and what they call to have a block.
const SUITES: [&str; 2] = ["documents", "packages"];
const CALLS: [&str; 2] = ["block(", "text("];
/// Where that is, with the documents by name.
const HELPER: &str = "tests/tests/documents/block.rs";

/// A block as a test asks for it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TakenBlock {
    /// The test's file, and the function that asks.
    file: String,
    function: String,
    pub(super) document: String,
    language: String,
    part: String,
    /// Its first line begins with the part.
    begins: bool,
}

/// A function of a file, by name, with its text.
struct Function<'t> {
    name: &'t str,
    text: &'t str,
}

/// All that is taken.
///
/// # Errors
///
/// That sources cannot be read, or a call whose block they do not say.
pub(super) fn all() -> Result<Vec<TakenBlock>> {
    let documents = documents()?;
    let mut all = Vec::new();
    for suite in SUITES {
        let folder = format!("tests/tests/{suite}");
        for entry in fs::read_dir(root().join(&folder))? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            let file = format!("{folder}/{name}");
            if name.ends_with(".rs") && file != HELPER {
                all.extend(in_source(&file, &read(&file)?, &documents)?);
            }
        }
    }
    Ok(all)
}

impl TakenBlock {
    /// The line of the one block that is asked for, in its document.
    ///
    /// # Errors
    ///
    /// That there is none, or that there are several.
    pub(super) fn line(&self) -> Result<usize> {
        let text = read(&self.document)?;
        let is_it = |fence: &Fence<'_>| {
            let body = fence.lines.join("\n") + "\n";
            if self.begins {
                body.starts_with(&self.part)
            } else {
                body.contains(&self.part)
            }
        };
        let fences = Fence::all(&text).into_iter();
        let found = fences.filter(|fence| fence.language == self.language && is_it(fence));
        let found: Vec<_> = found.map(|fence| fence.line).collect();
        ensure!(
            found.len() == 1,
            "{} blocks are as this asks: {self:?}",
            found.len()
        );
        Ok(found[0])
    }

    /// Whether a test has it, itself or by functions of its file.
    pub(super) fn is_by(&self, test: &str) -> Result<bool> {
        let (modules, name) = test.rsplit_once("::").context("no module")?;
        let file = format!("tests/tests/{}.rs", modules.replace("::", "/"));
        if file != self.file {
            return Ok(false);
        }
        let text = read(&file)?;
        Ok(reached(&functions(&text), name).contains(&*self.function))
    }
}

fn read(file: &str) -> Result<String> {
    fs::read_to_string(root().join(file)).with_context(|| format!("cannot read {file}"))
}

/// The documents of the helper: their names there, and their paths.
fn documents() -> Result<Vec<(String, String)>> {
    let text = read(HELPER)?;
    let constants = text.lines().filter_map(|line| {
        let (name, rest) = line
            .split_once("const ")?
            .1
            .split_once(": &str = include_str!(\"")?;
        let path = rest.split('"').next()?.trim_start_matches("../");
        Some((name.to_owned(), path.to_owned()))
    });
    let constants: Vec<_> = constants.collect();
    for (_, path) in &constants {
        ensure!(root().join(path).exists(), "{HELPER}: there is no {path}");
    }
    Ok(constants)
}

/// Those of one file, if it has the helper.
fn in_source(file: &str, text: &str, documents: &[(String, String)]) -> Result<Vec<TakenBlock>> {
    let mut taken = Vec::new();
    if !text.contains("block::{") {
        return Ok(taken);
    }
    for function in functions(text) {
        for call in CALLS {
            for (at, _) in function.text.match_indices(call) {
                let before = function.text[..at].chars().next_back();
                // A method, or the end of another name.
                if before.is_some_and(|c| c.is_alphanumeric() || "_.:".contains(c)) {
                    continue;
                }
                let rest = &function.text[at + call.len()..];
                let asked = arguments(rest, documents, call == CALLS[0]).with_context(|| {
                    format!(
                        "{file}: {} takes a block, and its words do not stand there",
                        function.name
                    )
                })?;
                taken.push(TakenBlock {
                    file: file.to_owned(),
                    function: function.name.to_owned(),
                    ..asked
                });
            }
        }
    }
    Ok(taken)
}

/// What a call asks for: a document by name, and literals.
fn arguments(text: &str, documents: &[(String, String)], begins: bool) -> Option<TakenBlock> {
    let (name, rest) = text.split_once(',')?;
    let (_, document) = documents.iter().find(|(known, _)| known == name.trim())?;
    let (first, rest) = literal(rest)?;
    let (language, part) = if begins {
        ("sh".to_owned(), first)
    } else {
        (first, literal(rest.trim_start().strip_prefix(',')?)?.0)
    };
    Some(TakenBlock {
        file: String::new(),
        function: String::new(),
        document: document.clone(),
        language,
        part,
        begins,
    })
}

/// The literal that text begins with, and what is behind it.
fn literal(text: &str) -> Option<(String, &str)> {
    let text = text.trim_start().strip_prefix('"')?;
    let mut value = String::new();
    let mut letters = text.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => value.push(match letters.next()?.1 {
                'n' => '\n',
                same @ ('"' | '\\') => same,
                _ => return None,
            }),
            letter => value.push(letter),
        }
    }
    None
}

/// The functions of a file as rustfmt leaves it: up to the brace below their first letter.
fn functions(text: &str) -> Vec<Function<'_>> {
    let mut found = Vec::new();
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        let begin = at;
        at += line.len();
        let code = line.trim_start();
        let indent = &line[..line.len() - code.len()];
        let Some((head, rest)) = code.split_once("fn ") else {
            continue;
        };
        if !(head.is_empty() || head.starts_with("pub")) {
            continue;
        }
        let name = rest
            .split(|c: char| !(c.is_alphanumeric() || c == '_'))
            .next();
        let end = text[begin..].find(&format!("\n{indent}}}\n"));
        if let (Some(name), Some(end)) = (name, end) {
            found.push(Function {
                name,
                text: &text[at..(begin + end).max(at)],
            });
        }
    }
    found
}

/// The names of functions that one of them calls, by whatever way, and its own.
fn reached<'t>(functions: &[Function<'t>], first: &'t str) -> BTreeSet<&'t str> {
    let mut reached = BTreeSet::new();
    let mut open = vec![first];
    while let Some(name) = open.pop() {
        if !reached.insert(name) {
            continue;
        }
        for function in functions.iter().filter(|function| function.name == name) {
            let calls = |other: &&Function<'_>| function.text.contains(&format!("{}(", other.name));
            open.extend(functions.iter().filter(calls).map(|other| other.name));
        }
    }
    reached
}

#[test]
fn calls_are_read_as_the_tests_have_them() -> Result<()> {
    let documents = [("ADMIN".to_owned(), "docs/admin.md".to_owned())];
    let source = "use super::block::{ADMIN, block, text};\n\
                  #[test]\nfn one() {\n    two();\n    note.text()?;\n}\n\
                  pub(crate) fn two() {\n    text(\n        ADMIN,\n        \"toml\",\n        \"a \\\"b\\\"\",\n    );\n}\n\
                  fn three() {\n    block(ADMIN, \"sudo\\n\");\n}\n";
    let taken = in_source("a.rs", source, &documents)?;
    let parts = taken
        .iter()
        .map(|one| (&*one.function, &*one.language, &*one.part));
    let parts: Vec<_> = parts.collect();
    assert_eq!(
        parts,
        [("two", "toml", "a \"b\""), ("three", "sh", "sudo\n")]
    );
    let reached = reached(&functions(source), "one");
    assert_eq!(reached.into_iter().collect::<Vec<_>>(), ["one", "two"]);
    for unread in [
        "block(ADMIN, begins);",
        "block(OTHER, \"a\");",
        "text(ADMIN, \"sh\", &part);",
    ] {
        let source = format!("use block::{{block}};\nfn one() {{\n    {unread}\n}}\n");
        assert!(in_source("a.rs", &source, &documents).is_err(), "{unread}");
    }
    Ok(())
}
