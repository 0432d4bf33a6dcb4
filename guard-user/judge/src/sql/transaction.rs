//! BEGIN, COMMIT and their kind.

use super::{Control, SqlWrite, Statement, options};
use pg_query::{
    Node,
    protobuf::{TransactionStmt, TransactionStmtKind as Kind},
};

pub(super) const LIFTED: &str = "the server's own lock against writing is lifted";

pub(super) fn judge(statement: &TransactionStmt) -> Statement {
    match statement.kind() {
        Kind::TransStmtBegin | Kind::TransStmtStart => begin(statement),
        Kind::TransStmtCommit | Kind::TransStmtRollback => Statement::reads().with(Control::End {
            chain: statement.chain,
        }),
        Kind::TransStmtSavepoint | Kind::TransStmtRelease | Kind::TransStmtRollbackTo => {
            Statement::reads()
        }
        Kind::TransStmtPrepare => {
            let write = SqlWrite::new("PREPARE TRANSACTION", "keeps its transaction for later");
            let write = write.warn("the transaction keeps its locks until somebody ends it");
            Statement::from(write).with(Control::End { chain: false })
        }
        Kind::TransStmtCommitPrepared => {
            SqlWrite::new("COMMIT PREPARED", "commits a transaction that was prepared").into()
        }
        Kind::TransStmtRollbackPrepared => {
            let write = SqlWrite::new(
                "ROLLBACK PREPARED",
                "gives up a transaction that was prepared",
            );
            write.warn("what it had changed is lost").into()
        }
        Kind::Undefined => SqlWrite::new("transaction", "does something to a transaction").into(),
    }
}

fn begin(statement: &TransactionStmt) -> Statement {
    let read_write = !statement.options.iter().all(keeps_reading);
    let begins = Control::Begin { read_write };
    if read_write {
        let write = SqlWrite::new("BEGIN READ WRITE", "begins a transaction that may write");
        return Statement::from(write.warn(LIFTED)).with(begins);
    }
    Statement::reads().with(begins)
}

/// Whether settings may be others behind it: what ends takes back those that were set in it.
pub(super) fn may_set(statement: &TransactionStmt) -> bool {
    !matches!(
        statement.kind(),
        Kind::TransStmtBegin
            | Kind::TransStmtStart
            | Kind::TransStmtSavepoint
            | Kind::TransStmtRelease
    )
}

/// Whether a transaction with this option may write no more than without it.
pub(super) fn keeps_reading(node: &Node) -> bool {
    let Some(option) = options::of(node) else {
        return false;
    };
    match option.defname.as_str() {
        "transaction_read_only" => options::is_on(option) == Some(true),
        "transaction_isolation" | "transaction_deferrable" => true,
        _ => false,
    }
}
