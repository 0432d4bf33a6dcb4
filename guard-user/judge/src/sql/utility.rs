//! COPY, EXPLAIN, LOCK, PREPARE, EXECUTE and other statements that are neither queries nor definitions.

use super::{Control, Extra, SqlWrite, Statement, objects, options, statement, tree::Tree};
use pg_query::{
    LockMode, Node, NodeEnum,
    protobuf::{
        CopyStmt, CreateTableAsStmt, DeallocateStmt, DiscardMode, DiscardStmt, ExecuteStmt,
        ExplainStmt, LockStmt, PrepareStmt,
    },
};

pub(super) fn copy(copy: &CopyStmt, tree: &Tree, extra: Extra<'_>) -> Statement {
    let objects = objects::of(tree);
    let listed = objects::listed(&objects);
    let (command, kind) = match (copy.is_from, copy.is_program, copy.filename.is_empty()) {
        (true, true, _) => (
            "COPY FROM PROGRAM",
            format!("adds rows to{listed}: the output of a program"),
        ),
        (true, false, false) => (
            "COPY FROM FILE",
            format!("adds rows to{listed} from a file of the server"),
        ),
        (true, false, true) => ("COPY FROM", format!("adds rows to{listed}")),
        (false, true, _) => (
            "COPY TO PROGRAM",
            "hands rows to a program on the server".to_owned(),
        ),
        (false, false, false) => (
            "COPY TO FILE",
            "writes rows to a file of the server".to_owned(),
        ),
        (false, false, true) => return copy_out(copy, tree, extra),
    };
    let on_file = !copy.is_program && !copy.filename.is_empty();
    SqlWrite::new(command, kind)
        .warn_if(
            copy.is_from && copy.filename.is_empty(),
            "which rows it adds is not shown: a yes is for whatever comes",
        )
        .warn_if(copy.is_program, "runs a program on the server")
        .warn_if(on_file && copy.is_from, "reads a file of the server")
        .warn_if(on_file && !copy.is_from, "writes a file of the server")
        .on(objects)
        .into()
}

/// To the client.
fn copy_out(copy: &CopyStmt, tree: &Tree, extra: Extra<'_>) -> Statement {
    const KNOWN: &[&str] = &[
        "delimiter",
        "encoding",
        "escape",
        "force_quote",
        "format",
        "header",
        "null",
        "quote",
    ];
    let is_known = |option: &Node| {
        options::of(option).is_some_and(|option| KNOWN.contains(&option.defname.as_str()))
    };
    if !copy.options.iter().all(is_known) || copy.where_clause.is_some() {
        let write = SqlWrite::new("COPY TO", "copies rows").on(objects::of(tree));
        return write.because("one of its options is not known").into();
    }
    match &copy.query {
        Some(query) => inner(query, extra),
        None => Statement::reads(),
    }
}

/// EXPLAIN plans; with ANALYZE it executes.
pub(super) fn explain(explain: &ExplainStmt, extra: Extra<'_>) -> Statement {
    const KNOWN: &[&str] = &[
        "buffers",
        "costs",
        "format",
        "generic_plan",
        "memory",
        "serialize",
        "settings",
        "summary",
        "timing",
        "verbose",
        "wal",
    ];
    let mut executes = false;
    for option in &explain.options {
        match options::of(option) {
            Some(option) if option.defname == "analyze" => {
                executes |= options::is_on(option).unwrap_or(true);
            }
            Some(option) if KNOWN.contains(&option.defname.as_str()) => {}
            _ => {
                let write = SqlWrite::new("EXPLAIN", "explains a statement");
                return write.because("one of its options is not known").into();
            }
        }
    }
    match &explain.query {
        Some(query) if executes => explained(inner(query, extra)),
        Some(query) => planned(query, extra),
        None => statement::unknown().into(),
    }
}

/// Planning evaluates what it can, to know how many rows there will be: functions that are stable, and the parameters of a
/// statement that has a name. What stands behind a name is not seen here: it counts as executed.
fn planned(query: &Node, extra: Extra<'_>) -> Statement {
    match &query.node {
        Some(NodeEnum::ExecuteStmt(_)) => inner(query, extra),
        Some(NodeEnum::CreateTableAsStmt(create)) => match &create.query {
            Some(query) => planned(query, extra),
            None => statement::unknown().into(),
        },
        Some(query) => match Tree::of(query) {
            Some(tree) => Statement::of(super::doubt::of_calls(&tree, extra)),
            None => statement::unknown().into(),
        },
        None => statement::unknown().into(),
    }
}

fn explained(statement: Statement) -> Statement {
    let write = statement.effect;
    let super::Effect::Writes(write) = write else {
        return Statement {
            effect: write,
            ..statement
        };
    };
    let write = write.warn("EXPLAIN ANALYZE executes the statement");
    Statement {
        effect: super::Effect::Writes(write),
        ..statement
    }
}

/// ACCESS SHARE is the lock that reading takes; a transaction that only reads may take it by itself, as pg_dump does.
pub(super) fn lock(lock: &LockStmt, tree: &Tree) -> Statement {
    if lock.mode == LockMode::AccessShareLock as i32 {
        return Statement::reads();
    }
    let objects = objects::of(tree);
    let kind = format!("locks{}", objects::listed(&objects));
    let write = SqlWrite::new("LOCK", kind).warn("keeps others from writing, or from reading");
    write.on(objects).into()
}

/// DISCARD ALL goes back to what the start-up packet set, and forgets the names of statements.
pub(super) fn discard(discard: &DiscardStmt) -> Statement {
    match discard.target() {
        DiscardMode::DiscardAll => {
            let forgets = Control::Deallocate { name: None };
            Statement::reads().with(forgets).resets()
        }
        _ => Statement::reads(),
    }
}

/// Nothing happens before it is executed.
pub(super) fn prepare(prepare: &PrepareStmt, extra: Extra<'_>) -> Statement {
    let write = match &prepare.query {
        Some(query) => inner(query, extra).into_write(),
        None => Some(statement::unknown()),
    };
    let name = prepare.name.clone();
    Statement::reads().with(Control::Prepare { name, write })
}

/// Judges the parameters of EXECUTE. The caller knows the statement behind the name.
pub(super) fn execute(execute: &ExecuteStmt, tree: &Tree, extra: Extra<'_>) -> Statement {
    let params = tree.node().and_then(|node| node.get("params"));
    let write = params.and_then(|params| super::doubt::of_query(params, extra));
    let name = execute.name.clone();
    Statement::of(write).with(Control::Execute { name })
}

/// A table is made of what a query gives, or of what executing a statement gives that has a name.
pub(super) fn create_as(create: &CreateTableAsStmt, tree: &Tree, extra: Extra<'_>) -> Statement {
    let own = Statement::from(statement::write(tree, extra));
    let query = create
        .query
        .as_deref()
        .and_then(|query| query.node.as_ref());
    match query {
        Some(NodeEnum::ExecuteStmt(execute)) => own.with(Control::Execute {
            name: execute.name.clone(),
        }),
        Some(_) => own,
        None => statement::unknown().into(),
    }
}

pub(super) fn deallocate(deallocate: &DeallocateStmt) -> Statement {
    let name = (!deallocate.isall).then(|| deallocate.name.clone());
    Statement::reads().with(Control::Deallocate { name })
}

/// A statement within another.
pub(super) fn inner(node: &Node, extra: Extra<'_>) -> Statement {
    match &node.node {
        Some(node) => statement::judge(node, extra),
        None => statement::unknown().into(),
    }
}
