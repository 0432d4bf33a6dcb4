//! What doc comments in the sources say, wherever their file lies.

use std::fs;
use std::path::{Path, PathBuf};

use crate::root;

/// What is written here and there, but for what only tells of it, in lines of whatever length, as one line: texts go on without what breaks them.
pub(super) fn production() -> String {
    let texts = texts().into_iter().map(|text| {
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        let lines: Vec<_> = code.lines().map(str::trim).collect();
        lines.join(" ").replace("\\ ", "")
    });
    texts.collect()
}

/// A file of the sources, or several behind each other.
pub(super) struct Source(String);

/// A kind of record.
pub(super) struct RecordKind {
    /// Its doc comment, as [`Field::says`].
    pub(super) says: String,
    /// Its fields.
    pub(super) fields: Vec<Field>,
}

/// A field of a struct.
pub(super) struct Field {
    /// As it is written outside: serde's name, where it has one.
    pub(super) name: String,
    /// Its type.
    pub(super) kind: String,
    /// Its doc comment, as one line of Markdown.
    pub(super) says: String,
}

impl Source {
    /// The one file that has both texts.
    pub(super) fn with(one: &str, other: &str) -> Self {
        let has = |text: &String| text.contains(one) && text.contains(other);
        let mut found = texts().into_iter().filter(has);
        let text = found.next().unwrap_or_else(|| panic!("no file has {one}"));
        assert!(found.next().is_none(), "several files have {one}");
        Self(text)
    }

    /// All files below a folder of the repository, which define each name once.
    pub(super) fn below(dir: &str) -> Self {
        let mut texts = Vec::new();
        files(&root().join(dir), &mut texts);
        let texts = texts.iter().map(|path| fs::read_to_string(path).unwrap());
        Self(texts.collect())
    }

    /// The names of its structs.
    pub(super) fn structs(&self) -> impl Iterator<Item = String> {
        let names = self.0.split("\npub struct ").skip(1);
        names.map(|rest| rest.chars().take_while(|c| c.is_alphanumeric()).collect())
    }

    /// The fields of a struct that are part of what serde reads or writes.
    pub(super) fn fields(&self, name: &str) -> Vec<Field> {
        let (_, body) = self.0.split_once(&format!("struct {name} {{\n")).unwrap();
        let (body, _) = body.split_once("\n}").unwrap();
        let fields = fields_in(body);
        assert!(!fields.is_empty(), "{name} has no fields");
        fields
    }

    /// Exit statuses: constants of eight bits, and what their comments say.
    pub(super) fn statuses(&self) -> Vec<(u8, String)> {
        let (mut statuses, mut says) = (Vec::new(), String::new());
        for line in self.0.lines().map(str::trim) {
            if let Some(comment) = line.strip_prefix("/// ") {
                says += comment;
                says.push(' ');
                continue;
            }
            if let Some(status) = status(line) {
                statuses.push((status, markdown(&says)));
            }
            says.clear();
        }
        statuses
    }

    /// A kind of record, as the macro has it.
    pub(super) fn record(&self, name: &str) -> RecordKind {
        let (before, rest) = self.0.split_once(&format!("\n    {name} {{\n")).unwrap();
        let (body, _) = rest.split_once("\n    }").unwrap();
        let lines = before.lines().rev();
        let comment = lines.map_while(|line| line.trim().strip_prefix("/// "));
        let mut comment: Vec<_> = comment.collect();
        comment.reverse();
        let fields = fields_in(body);
        assert!(!fields.is_empty(), "{name} has no fields");
        RecordKind {
            says: markdown(&comment.join(" ")),
            fields,
        }
    }
}

/// Of `const NO: Self = Self(1);` or `const NOT_FOUND: u8 = 127;` the number.
fn status(line: &str) -> Option<u8> {
    let (_, value) = line.split_once("const ")?.1.split_once(" = ")?;
    let value = value.trim_start_matches("Self(");
    value.trim_end_matches([';', ')']).parse().ok()
}

fn fields_in(body: &str) -> Vec<Field> {
    let (mut fields, mut says, mut attributes) = (Vec::new(), String::new(), String::new());
    for line in body.lines().map(str::trim) {
        if let Some(comment) = line.strip_prefix("/// ") {
            says += comment;
            says.push(' ');
        } else if line.starts_with("#[") {
            attributes += line;
        } else if let Some((name, kind)) = line.split_once(": ") {
            if !attributes.contains("serde(skip)") {
                fields.push(Field {
                    name: named(name, &attributes),
                    kind: kind.trim_end_matches(',').to_owned(),
                    says: markdown(&says),
                });
            }
            says.clear();
            attributes.clear();
        }
    }
    fields
}

fn named(name: &str, attributes: &str) -> String {
    let renamed = attributes.split_once("rename = \"");
    match renamed {
        Some((_, rest)) => rest.split('"').next().unwrap_or_default().to_owned(),
        None => name.rsplit(' ').next().unwrap_or_default().to_owned(),
    }
}

/// Without rustdoc's own links, and without a full stop.
fn markdown(says: &str) -> String {
    says.replace("[`", "`")
        .replace("`]", "`")
        .trim()
        .trim_end_matches('.')
        .to_owned()
}

fn texts() -> Vec<String> {
    let mut all = Vec::new();
    files(&root().join("guard-user"), &mut all);
    let texts = all.iter().map(|path| fs::read_to_string(path).unwrap());
    texts.collect()
}

fn files(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            if !["tests", "target", "reference"]
                .iter()
                .any(|name| path.ends_with(name))
            {
                files(&path, found);
            }
        } else if path.extension().is_some_and(|kind| kind == "rs") {
            found.push(path);
        }
    }
}
