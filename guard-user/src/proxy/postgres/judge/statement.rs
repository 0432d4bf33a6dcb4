//! One statement.

use super::{
    Control, Statement, Write, changes, commands, doubt, drops, transaction, tree::Tree, utility,
    variable,
};
use pg_query::NodeEnum;

/// What a statement does.
pub(super) fn judge(node: &NodeEnum, extra: &[String]) -> Statement {
    if let Some(statement) = without_parts(node, extra) {
        return statement;
    }
    let Some(tree) = Tree::of(node) else {
        return unknown().into();
    };
    match node {
        NodeEnum::SelectStmt(_) => query(&tree, extra),
        NodeEnum::DeclareCursorStmt(_) => cursor(&tree, extra),
        NodeEnum::CopyStmt(copy) => utility::copy(copy, &tree, extra),
        NodeEnum::LockStmt(lock) => utility::lock(lock, &tree),
        NodeEnum::ExecuteStmt(execute) => utility::execute(execute, &tree, extra),
        NodeEnum::DropStmt(drop) => drops::write(drop, &tree).into(),
        _ => write(&tree).into(),
    }
}

/// Those of which no expression is evaluated, or one that is judged by itself.
fn without_parts(node: &NodeEnum, extra: &[String]) -> Option<Statement> {
    Some(match node {
        NodeEnum::TransactionStmt(statement) => transaction::judge(statement),
        NodeEnum::VariableSetStmt(statement) => variable::judge(statement),
        NodeEnum::ExplainStmt(explain) => utility::explain(explain, extra),
        NodeEnum::PrepareStmt(prepare) => utility::prepare(prepare, extra),
        NodeEnum::DeallocateStmt(deallocate) => utility::deallocate(deallocate),
        NodeEnum::DiscardStmt(discard) => utility::discard(discard),
        // A cursor's query was judged where it was declared. To listen changes nothing for anybody else.
        NodeEnum::FetchStmt(fetch) => Statement::reads().with(Control::Fetch {
            name: fetch.portalname.clone(),
        }),
        NodeEnum::VariableShowStmt(_)
        | NodeEnum::ClosePortalStmt(_)
        | NodeEnum::ListenStmt(_)
        | NodeEnum::UnlistenStmt(_)
        | NodeEnum::ConstraintsSetStmt(_) => Statement::reads(),
        _ => return None,
    })
}

/// SELECT, VALUES, TABLE.
fn query(tree: &Tree, extra: &[String]) -> Statement {
    let doubt = doubt::find(tree, extra);
    Statement::of(doubt.map(|doubt| doubt::write(doubt, tree)))
}

fn cursor(tree: &Tree, extra: &[String]) -> Statement {
    match tree.node().and_then(|node| node.get("query")) {
        Some(tree) => query(tree, extra),
        None => unknown().into(),
    }
}

fn write(tree: &Tree) -> Write {
    let write = changes::write(tree).or_else(|| commands::write(tree));
    write.unwrap_or_else(unknown)
}

/// What nothing is known of.
pub(super) fn unknown() -> Write {
    Write::new("statement", "does something that is not known to read")
        .because("nothing is known of this kind of statement")
}
