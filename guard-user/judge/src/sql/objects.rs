//! The objects that are named in a statement, as they are written there.

use super::tree::{Node, Tree};

/// Limit of the objects that a person is shown.
const MOST: usize = 8;
/// Names are cut off behind so many characters: PostgreSQL's own end after 63 bytes.
const LONGEST: usize = 64;

/// The tables that are named anywhere in it, but for those that a `WITH` names.
pub(super) fn of(tree: &Tree) -> Vec<String> {
    let mut found = Found::default();
    found.collect(tree);
    let own = |name: &String| !found.own.contains(name);
    found
        .tables
        .iter()
        .filter(|name| own(name))
        .take(MOST)
        .cloned()
        .collect()
}

/// [`of`], with the table that the statement changes at the head. It is a table, even if a `WITH` has the same name.
pub(super) fn with_target(node: &Node, tree: &Tree) -> Vec<String> {
    let target = node.get("relation").and_then(Tree::node).map(range);
    let mut objects = of(tree);
    if let Some(target) = target {
        objects.retain(|name| *name != target);
        objects.insert(0, target);
        objects.truncate(MOST);
    }
    objects
}

/// What `because` and `kind` say of them: ` public.users`, ` a, b and 3 more`, or nothing.
pub(super) fn listed(objects: &[String]) -> String {
    match objects {
        [] => String::new(),
        [one] => format!(" {one}"),
        [one, two] => format!(" {one} and {two}"),
        [one, two, rest @ ..] => format!(" {one}, {two} and {} more", rest.len()),
    }
}

pub(super) fn dotted(names: &[&str]) -> String {
    let names: Vec<_> = names.iter().map(|name| shown(name)).collect();
    names.join(".")
}

/// A name as it is written: in quotes where it needs them.
pub(super) fn shown(name: &str) -> String {
    let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == '$';
    let cut: String = name.chars().take(LONGEST).map(visible).collect();
    match cut.chars().next() {
        Some(first) if !first.is_ascii_digit() && cut.chars().all(is_plain) => cut,
        _ => format!("\"{}\"", cut.replace('"', "\"\"")),
    }
}

/// Nothing that a terminal acts on, or that makes text run backwards, gets into what a person reads.
fn visible(c: char) -> char {
    match c {
        '\u{200b}'..='\u{200f}'
        | '\u{202a}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}'
        | '\u{feff}' => '?',
        c if c.is_control() => '?',
        c => c,
    }
}

#[derive(Default)]
struct Found {
    tables: Vec<String>,
    own: Vec<String>,
}

impl Found {
    fn collect(&mut self, tree: &Tree) {
        match tree {
            Tree::Many(items) => items.iter().for_each(|item| self.collect(item)),
            Tree::Node(node) => self.node(node),
            _ => {}
        }
    }

    fn node(&mut self, node: &Node) {
        match node.name {
            "RangeVar" => self.table(range(node)),
            "CommonTableExpr" => {
                let name = node.get("ctename").and_then(Tree::text);
                self.own.extend(name.map(shown));
            }
            _ => {}
        }
        for (_, tree) in &node.fields {
            self.collect(tree);
        }
    }

    fn table(&mut self, name: String) {
        // More than are shown, for the names of `WITH` are taken away.
        if self.tables.len() < 8 * MOST && !self.tables.contains(&name) {
            self.tables.push(name);
        }
    }
}

fn range(node: &Node) -> String {
    let parts = ["catalogname", "schemaname", "relname"];
    let parts = parts.iter().filter_map(|part| node.get(part)?.text());
    dotted(&parts.collect::<Vec<_>>())
}
