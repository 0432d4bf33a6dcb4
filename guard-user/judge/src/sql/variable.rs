//! SET and RESET.

use super::{Control, SqlWrite, Statement, options, settings, transaction};
use pg_query::{
    NodeEnum,
    protobuf::{Node, VariableSetKind as Kind, VariableSetStmt},
};

pub(super) fn judge(statement: &VariableSetStmt, extra: &[String]) -> Statement {
    let refused = match statement.kind() {
        Kind::VarSetValue if settings::is_extra(&statement.name, extra) => Ok(()),
        Kind::VarSetValue => set(statement),
        Kind::VarSetMulti => of_transaction(statement),
        Kind::VarSetDefault | Kind::VarReset => settings::reset(&statement.name),
        Kind::VarResetAll => Ok(()),
        Kind::VarSetCurrent | Kind::Undefined => Err("nothing is known of this SET".to_owned()),
    };
    match refused {
        Ok(()) if statement.kind() == Kind::VarResetAll => Statement::reads().resets(),
        Ok(()) => Statement::reads(),
        Err(why) if unlocks(statement) => {
            Statement::from(write(statement, why)).with(Control::Unlock)
        }
        Err(why) => write(statement, why).into(),
    }
}

/// Returns true if later transactions of the session write by default afterwards, and nothing else has changed.
fn unlocks(statement: &VariableSetStmt) -> bool {
    match (statement.kind(), &statement.args[..]) {
        (Kind::VarSetMulti, [option]) => {
            let option = options::of(option).filter(|one| one.defname == "transaction_read_only");
            statement.name == "SESSION CHARACTERISTICS"
                && option.is_some_and(|one| options::is_on(one) == Some(false))
        }
        (Kind::VarSetValue, [value]) => {
            let value = options::text(value).and_then(|text| options::boolean(&text));
            let is_it = statement
                .name
                .eq_ignore_ascii_case("default_transaction_read_only");
            is_it && !statement.is_local && value == Some(false)
        }
        _ => false,
    }
}

/// Whether one text may mean something else by it.
pub(super) fn matters(statement: &VariableSetStmt) -> bool {
    let name = statement.name.to_ascii_lowercase();
    match statement.kind() {
        Kind::VarSetValue | Kind::VarSetDefault | Kind::VarReset => {
            settings::MEANING.contains(&&*name)
        }
        // SET TRANSACTION: what it sets is how much is seen.
        Kind::VarSetMulti => false,
        Kind::VarResetAll | Kind::VarSetCurrent | Kind::Undefined => true,
    }
}

fn set(statement: &VariableSetStmt) -> Result<(), String> {
    let values: Option<Vec<_>> = statement.args.iter().map(value).collect();
    match values {
        Some(values) => settings::set(&statement.name, &values),
        None => Err("it is not known what is set".to_owned()),
    }
}

fn value(node: &Node) -> Option<String> {
    match node.node.as_ref()? {
        // SET TIME ZONE INTERVAL '…'
        NodeEnum::TypeCast(cast) => options::text(cast.arg.as_deref()?),
        _ => options::text(node),
    }
}

fn of_transaction(statement: &VariableSetStmt) -> Result<(), String> {
    let is_known = match statement.name.as_str() {
        "TRANSACTION SNAPSHOT" => true,
        "TRANSACTION" | "SESSION CHARACTERISTICS" => {
            statement.args.iter().all(transaction::keeps_reading)
        }
        _ => false,
    };
    if is_known {
        Ok(())
    } else {
        Err("the transaction may write afterwards".to_owned())
    }
}

fn write(statement: &VariableSetStmt, why: String) -> SqlWrite {
    let name = statement.name.to_ascii_lowercase();
    let is_lock = name.contains("read_only") || statement.kind() == Kind::VarSetMulti;
    let kind = match name.as_str() {
        "role" | "session_authorization" => "goes on as another role".to_owned(),
        "session_replication_role" => "turns triggers off or on".to_owned(),
        _ if is_lock => "lets the session write".to_owned(),
        name => format!("changes the setting {}", super::objects::shown(name)),
    };
    SqlWrite::new("SET", kind)
        .because(why)
        .warn_if(is_lock, transaction::LIFTED)
}
