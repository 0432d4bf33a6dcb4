//! Statements that change rows: INSERT, UPDATE, DELETE, MERGE, TRUNCATE.

use super::{
    SqlWrite, objects,
    tree::{Node, Tree},
};

const ALL: &str = "no WHERE: every row";
const ALWAYS: &str = "its WHERE holds for every row";

/// What such a statement does, and those that are within it; `None` for any other.
pub(super) fn write(tree: &Tree) -> Option<SqlWrite> {
    let write = alone(tree)?;
    let mut within = Vec::new();
    for (_, tree) in tree.node().into_iter().flat_map(|node| &node.fields) {
        collect(tree, &mut within);
    }
    Some(
        within
            .into_iter()
            .filter_map(alone)
            .fold(write, SqlWrite::and),
    )
}

/// The statements that change rows, wherever they are.
fn collect<'a>(tree: &'a Tree, found: &mut Vec<&'a Tree>) {
    match tree {
        Tree::Node(node) => {
            if matches!(
                node.name,
                "InsertStmt" | "UpdateStmt" | "DeleteStmt" | "MergeStmt"
            ) {
                found.push(tree);
            }
            for (_, tree) in &node.fields {
                collect(tree, found);
            }
        }
        Tree::Many(items) => items.iter().for_each(|item| collect(item, found)),
        Tree::Nothing | Tree::Flag(_) | Tree::Number(_) | Tree::Text(_) => {}
    }
}

/// What it does by itself.
fn alone(tree: &Tree) -> Option<SqlWrite> {
    let node = tree.node()?;
    let objects = objects::with_target(node, tree);
    let target = objects::listed(objects.get(..1).unwrap_or_default());
    let write = match node.name {
        "InsertStmt" => insert(node, &target),
        "UpdateStmt" => SqlWrite::new("UPDATE", format!("changes rows of{target}")),
        "DeleteStmt" => SqlWrite::new("DELETE", format!("deletes rows of{target}")),
        "MergeStmt" => SqlWrite::new("MERGE", format!("adds, changes or deletes rows of{target}")),
        "TruncateStmt" => truncate(node, &objects),
        _ => return None,
    };
    let has_where = matches!(node.name, "UpdateStmt" | "DeleteStmt");
    let warning = has_where.then(|| condition(node)).flatten();
    let is_by_cursor = tree.first("CurrentOfExpr").is_some();
    let mut write = write.on(objects).by_cursor(is_by_cursor);
    write.warnings.extend(warning.map(str::to_owned));
    Some(write)
}

/// The changes in a query's `WITH`.
pub(super) fn within(tree: &Tree) -> SqlWrite {
    let mut found = Vec::new();
    collect(tree, &mut found);
    let all = found.into_iter().filter_map(alone).reduce(SqlWrite::and);
    let write = all.unwrap_or_else(|| SqlWrite::new("WITH", "changes rows"));
    write.because("a query within it changes rows")
}

fn insert(node: &Node, target: &str) -> SqlWrite {
    let updates = node.get("on_conflict_clause").and_then(Tree::node);
    let updates = updates.is_some_and(|clause| clause.get("target_list").is_some());
    let more = if updates {
        ", or changes those that are there"
    } else {
        ""
    };
    SqlWrite::new("INSERT", format!("adds rows to{target}{more}"))
}

fn truncate(node: &Node, objects: &[String]) -> SqlWrite {
    let cascades = node.get("behavior") == Some(&Tree::Number(super::drops::CASCADE));
    let restarts = node.get("restart_seqs").is_some();
    SqlWrite::new("TRUNCATE", format!("empties{}", objects::listed(objects)))
        .warn("TRUNCATE deletes every row")
        .warn_if(
            cascades,
            "CASCADE: also empties the tables that refer to them",
        )
        .warn_if(restarts, "RESTART IDENTITY: their sequences begin again")
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
