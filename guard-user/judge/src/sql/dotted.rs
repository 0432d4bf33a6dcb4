//! Functions that are called with a dot. `(x).f` and `t.f` are `f(x)` and `f(t)` where there is no field of that name, with
//! whatever stands before the dot: `('s'::regclass).nextval`, `select p.pg_cancel_backend from unnest(…) p`.
//!
//! A text does not tell a field from a function. So behind an expression, only what is known passes; of a table, it is
//! taken for a field: only a function that takes rows would be called, and PostgreSQL's own that do only read.

use super::{
    Extra, functions,
    tree::{Node, Tree},
};
use std::{collections::HashSet, sync::LazyLock};

static FIELDS: LazyLock<HashSet<&'static str>> =
    LazyLock::new(|| functions::names(include_str!("fields.txt")).collect());

/// What gives rows whose fields are a table's.
const ROWS: &[&str] = &[
    "json_populate_record",
    "json_populate_recordset",
    "jsonb_populate_record",
    "jsonb_populate_recordset",
];
/// What gives values in a column of the name that they have in `FROM`.
const VALUES: &[&str] = &[
    "generate_series",
    "generate_subscripts",
    "json_object_keys",
    "jsonb_object_keys",
    "jsonb_path_query",
    "regexp_matches",
    "regexp_split_to_table",
    "string_to_table",
    "unnest",
];

/// Whether what stands behind a dot reads, be it a field or a function.
pub(super) fn reads(name: &str, extra: Extra<'_>) -> bool {
    FIELDS.contains(name)
        || functions::reads(&[name], extra.release)
        || functions::is_extra(&[name], extra.functions)
}

/// A function in `FROM`. What it gives may be no row: then `t.f` is a call, where no column has that name.
struct Source<'t> {
    /// `None` for any, where there is no name that is known.
    name: Option<&'t str>,
    columns: Vec<&'t str>,
}

/// All sources of a statement, at any depth.
pub(super) struct Sources<'t>(Vec<Source<'t>>);

impl<'t> Sources<'t> {
    pub(super) fn of(tree: &'t Tree) -> Self {
        let mut sources = Self(Vec::new());
        sources.collect(tree);
        sources
    }

    fn collect(&mut self, tree: &'t Tree) {
        match tree {
            Tree::Node(node) => {
                if node.name == "RangeFunction" {
                    self.0.extend(Source::of(node));
                }
                node.fields.iter().for_each(|(_, tree)| self.collect(tree));
            }
            Tree::Many(items) => items.iter().for_each(|item| self.collect(item)),
            Tree::Nothing | Tree::Flag(_) | Tree::Number(_) | Tree::Text(_) => {}
        }
    }

    /// The function that a column may be, by its names.
    pub(super) fn called<'c>(&self, column: &[&'c str], extra: Extra<'_>) -> Option<&'c str> {
        let [of, name] = column else { return None };
        let is_column = |source: &Source<'_>| {
            source.name.is_some_and(|name| differ(name, of)) || source.columns.contains(name)
        };
        let is_known = self.0.iter().all(is_column) || name.is_empty() || reads(name, extra);
        (!is_known).then_some(name)
    }
}

/// Whether two names are two for every server. One that has another encoding than UTF-8, or takes the text to be in another,
/// may fold others into one, or cut them off where they begin alike.
fn differ(one: &str, other: &str) -> bool {
    one != other && one.is_ascii() && other.is_ascii()
}

impl<'t> Source<'t> {
    /// `None` where it gives rows.
    fn of(node: &'t Node) -> Option<Self> {
        let functions = node.get("functions").map(Tree::many).unwrap_or_default();
        let called = match functions {
            [one] => items(one).first().and_then(called),
            _ => None,
        };
        if called.is_some_and(|name| ROWS.contains(&name)) {
            return None;
        }
        let alias = node.get("alias").and_then(Tree::node);
        let name = alias.and_then(|alias| alias.get("aliasname")?.text());
        // It is `date_part` before release 14.
        let name = name.or(called.filter(|name| *name != "extract"));
        let mut columns = alias.map_or_else(Vec::new, |alias| alias.names("colnames"));
        if columns.is_empty() && called.is_some_and(|name| VALUES.contains(&name)) {
            columns.extend(name);
        }
        let defined = node.get("coldeflist").map(Tree::many).unwrap_or_default();
        columns.extend(defined.iter().filter_map(defines));
        let more = functions.iter().flat_map(|one| items(one).iter().skip(1));
        let more = more.flat_map(items);
        columns.extend(more.filter_map(defines));
        Some(Self { name, columns })
    }
}

/// What is in a list of the tree.
fn items(list: &Tree) -> &[Tree] {
    let items = list.node().and_then(|node| node.get("items"));
    items.map(Tree::many).unwrap_or_default()
}

/// The name of a function that is called, without its schema.
fn called(tree: &Tree) -> Option<&str> {
    let node = tree.node().filter(|node| node.name == "FuncCall")?;
    node.names("funcname").pop()
}

/// The name of a column that is defined.
fn defines(tree: &Tree) -> Option<&str> {
    let node = tree.node().filter(|node| node.name == "ColumnDef")?;
    node.get("colname")?.text()
}
