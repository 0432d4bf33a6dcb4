//! One statement.

use super::{
    Control, Effect, Extra, SqlWrite, Statement, changes, commands, doubt, drops, transaction,
    tree::Tree, utility, variable,
};
use pg_query::NodeEnum;

/// What a statement does.
pub(super) fn judge(node: &NodeEnum, extra: Extra<'_>) -> Statement {
    let Some(tree) = Tree::of(node) else {
        return Statement::from(unknown()).sets(true);
    };
    let mut statement = of_kind(node, &tree, extra).sets(may_set(node, &tree));
    if let Effect::Writes(write) = &mut statement.effect {
        write.has_values = has_values(node, &tree, extra);
    }
    statement
}

/// Whether its constants are values, of whatever they are: what is called by them is known to read.
fn has_values(node: &NodeEnum, tree: &Tree, extra: Extra<'_>) -> bool {
    let is_of_values = match node {
        NodeEnum::SelectStmt(_)
        | NodeEnum::InsertStmt(_)
        | NodeEnum::UpdateStmt(_)
        | NodeEnum::DeleteStmt(_)
        | NodeEnum::MergeStmt(_)
        | NodeEnum::TruncateStmt(_)
        | NodeEnum::LockStmt(_)
        | NodeEnum::VacuumStmt(_)
        | NodeEnum::CreateStmt(_)
        | NodeEnum::IndexStmt(_)
        | NodeEnum::AlterTableStmt(_)
        | NodeEnum::ViewStmt(_)
        | NodeEnum::CommentStmt(_)
        | NodeEnum::DropStmt(_)
        | NodeEnum::RenameStmt(_) => true,
        NodeEnum::CopyStmt(copy) => !copy.is_program && copy.filename.is_empty(),
        _ => false,
    };
    // An option may be a command, or decide by whose rights something is done.
    let has_options = match node {
        NodeEnum::CopyStmt(_) | NodeEnum::VacuumStmt(_) => false,
        _ => tree.first("DefElem").is_some(),
    };
    is_of_values && !has_options && doubt::of_calls(tree, extra).is_none()
}

/// Whether it may change settings. Transactions take those back that were set in them; of all that is not known, and of code
/// that is executed, nobody can tell.
fn may_set(node: &NodeEnum, tree: &Tree) -> bool {
    match node {
        NodeEnum::TransactionStmt(statement) => transaction::may_set(statement),
        NodeEnum::SelectStmt(_)
        | NodeEnum::InsertStmt(_)
        | NodeEnum::UpdateStmt(_)
        | NodeEnum::DeleteStmt(_)
        | NodeEnum::MergeStmt(_)
        | NodeEnum::CopyStmt(_)
        | NodeEnum::DeclareCursorStmt(_) => doubt::sets(tree),
        // What it gives a name is set when that is executed.
        NodeEnum::PrepareStmt(prepare) => {
            let query = prepare.query.as_ref().and_then(|query| query.node.as_ref());
            let sets = |query| Tree::of(query).is_none_or(|tree| may_set(query, &tree));
            query.is_none_or(sets)
        }
        NodeEnum::VariableSetStmt(set) => variable::matters(set),
        NodeEnum::VariableShowStmt(_)
        | NodeEnum::ClosePortalStmt(_)
        | NodeEnum::ListenStmt(_)
        | NodeEnum::UnlistenStmt(_)
        | NodeEnum::DeallocateStmt(_) => false,
        _ => true,
    }
}

fn of_kind(node: &NodeEnum, tree: &Tree, extra: Extra<'_>) -> Statement {
    if let Some(statement) = without_parts(node, extra) {
        return statement;
    }
    match node {
        NodeEnum::SelectStmt(_) => query(tree, extra),
        NodeEnum::DeclareCursorStmt(_) => cursor(tree, extra),
        NodeEnum::CopyStmt(copy) => utility::copy(copy, tree, extra),
        NodeEnum::LockStmt(lock) => utility::lock(lock, tree),
        NodeEnum::ExecuteStmt(execute) => utility::execute(execute, tree, extra),
        NodeEnum::CreateTableAsStmt(create) => utility::create_as(create, tree, extra),
        NodeEnum::DropStmt(drop) => drops::write(drop, tree).into(),
        _ => write(tree, extra).into(),
    }
}

/// Statements of which no expression is evaluated, or one that is judged by itself.
fn without_parts(node: &NodeEnum, extra: Extra<'_>) -> Option<Statement> {
    Some(match node {
        NodeEnum::TransactionStmt(statement) => transaction::judge(statement),
        NodeEnum::VariableSetStmt(statement) => variable::judge(statement, extra.settings),
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
fn query(tree: &Tree, extra: Extra<'_>) -> Statement {
    Statement::of(doubt::of_query(tree, extra))
}

fn cursor(tree: &Tree, extra: Extra<'_>) -> Statement {
    match tree.node().and_then(|node| node.get("query")) {
        Some(tree) => query(tree, extra),
        None => unknown().into(),
    }
}

/// Returns a statement's own command, joined with the functions that the statement calls.
pub(super) fn write(tree: &Tree, extra: Extra<'_>) -> SqlWrite {
    let write = changes::write(tree).or_else(|| commands::write(tree));
    let write = write.unwrap_or_else(unknown);
    match doubt::of_calls(tree, extra) {
        // CALL names its procedure already.
        Some(calls) if write.command != "CALL" => write.and(calls),
        _ => write,
    }
}

/// What nothing is known of.
pub(super) fn unknown() -> SqlWrite {
    SqlWrite::new("statement", "does something that is not known to read")
        .because("nothing is known of this kind of statement")
}
