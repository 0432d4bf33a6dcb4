//! Statements that change rows: INSERT, UPDATE, DELETE, MERGE, TRUNCATE.

use super::{
    Write, objects,
    tree::{Node, Tree},
};

const ALL: &str = "no WHERE: every row";
const ALWAYS: &str = "its WHERE holds for every row";

/// What such a statement does; `None` for any other.
pub(super) fn write(tree: &Tree) -> Option<Write> {
    let node = tree.node()?;
    let objects = objects::with_target(node, tree);
    let target = objects::listed(objects.get(..1).unwrap_or_default());
    let write = match node.name {
        "InsertStmt" => insert(node, &target),
        "UpdateStmt" => Write::new("UPDATE", format!("changes rows of{target}")),
        "DeleteStmt" => Write::new("DELETE", format!("deletes rows of{target}")),
        "MergeStmt" => Write::new("MERGE", format!("adds, changes or deletes rows of{target}")),
        "TruncateStmt" => truncate(node, &objects),
        _ => return None,
    };
    let has_where = matches!(node.name, "UpdateStmt" | "DeleteStmt");
    let warning = has_where.then(|| condition(node)).flatten();
    let mut write = write.on(objects);
    write.warnings.extend(warning.map(str::to_owned));
    Some(write)
}

/// The one that is in a `WITH` of a query. `node` is its name.
pub(super) fn within(node: &'static str, tree: &Tree) -> Write {
    let write = first(node, tree).and_then(write);
    let write = write.unwrap_or_else(|| Write::new("WITH", "changes rows"));
    write.because("a query within it changes rows")
}

/// The first node of that name.
fn first<'a>(name: &str, tree: &'a Tree) -> Option<&'a Tree> {
    match tree {
        Tree::Node(node) if node.name == name => Some(tree),
        Tree::Node(node) => node.fields.iter().find_map(|(_, tree)| first(name, tree)),
        Tree::Many(items) => items.iter().find_map(|item| first(name, item)),
        _ => None,
    }
}

fn insert(node: &Node, target: &str) -> Write {
    let updates = node.get("on_conflict_clause").and_then(Tree::node);
    let updates = updates.is_some_and(|clause| clause.get("target_list").is_some());
    let more = if updates {
        ", or changes those that are there"
    } else {
        ""
    };
    Write::new("INSERT", format!("adds rows to{target}{more}"))
}

fn truncate(node: &Node, objects: &[String]) -> Write {
    let cascades = node.get("behavior") == Some(&Tree::Number(super::drops::CASCADE));
    let restarts = node.get("restart_seqs").is_some();
    Write::new("TRUNCATE", format!("empties{}", objects::listed(objects)))
        .warn("TRUNCATE deletes every row")
        .warn_if(
            cascades,
            "CASCADE: also empties the tables that refer to them",
        )
        .warn_if(restarts, "RESTART IDENTITY: their sequences begin anew")
}

/// What is to be said of its `WHERE`.
fn condition(node: &Node) -> Option<&'static str> {
    match node.get("where_clause").map(Tree::node) {
        None => Some(ALL),
        Some(Some(condition)) if is_always(condition) => Some(ALWAYS),
        Some(_) => None,
    }
}

/// `true`, `1 = 1`, `x = x`, and such with OR.
fn is_always(condition: &Node) -> bool {
    match condition.name {
        "AConst" => condition
            .get("val")
            .and_then(Tree::node)
            .is_some_and(|value| value.name == "Boolean" && value.get("boolval").is_some()),
        "AExpr" => {
            let is_equal = condition.names("name") == ["="];
            is_equal && same(condition.get("lexpr"), condition.get("rexpr"))
        }
        "BoolExpr" => is_or(condition) && args(condition).any(is_always),
        _ => false,
    }
}

fn is_or(node: &Node) -> bool {
    let or = i64::from(pg_query::protobuf::BoolExprType::OrExpr as i32);
    node.get("boolop") == Some(&Tree::Number(or))
}

fn args(node: &Node) -> impl Iterator<Item = &Node> {
    let args = node.get("args").map(Tree::many).unwrap_or_default();
    args.iter().filter_map(Tree::node)
}

/// Whether both are the same constant or column, wherever they stand.
fn same(one: Option<&Tree>, other: Option<&Tree>) -> bool {
    let value = |tree: Option<&Tree>| {
        let node = tree?.node()?;
        match node.name {
            "AConst" => node.get("val").cloned(),
            "ColumnRef" => node.get("fields").cloned(),
            _ => None,
        }
    };
    let one = value(one);
    one.is_some() && one == value(other)
}
