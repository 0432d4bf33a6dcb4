//! Options of statements: `(ANALYZE false, FORMAT json)`, `READ ONLY`, `ISOLATION LEVEL …`.

use pg_query::{
    Node, NodeEnum,
    protobuf::{AConst, DefElem, a_const::Val},
};

/// One of a list; `None` where the list holds something else.
pub(super) fn of(node: &Node) -> Option<&DefElem> {
    match node.node.as_ref()? {
        NodeEnum::DefElem(option) => Some(option),
        _ => None,
    }
}

/// Whether an option is on. One that nobody understands is `None`.
pub(super) fn is_on(option: &DefElem) -> Option<bool> {
    let Some(value) = &option.arg else {
        return Some(true);
    };
    text(value).and_then(|value| boolean(&value))
}

/// What PostgreSQL takes for a boolean, but for the shorter spellings.
pub(super) fn boolean(value: &str) -> Option<bool> {
    match value.to_ascii_lowercase().as_str() {
        "on" | "true" | "yes" | "1" => Some(true),
        "off" | "false" | "no" | "0" => Some(false),
        _ => None,
    }
}

/// A constant, as text.
pub(super) fn text(node: &Node) -> Option<String> {
    match node.node.as_ref()? {
        NodeEnum::AConst(constant) => of_constant(constant),
        NodeEnum::String(string) => Some(string.sval.clone()),
        NodeEnum::Integer(number) => Some(number.ival.to_string()),
        NodeEnum::Float(number) => Some(number.fval.clone()),
        NodeEnum::Boolean(flag) => Some(flag.boolval.to_string()),
        _ => None,
    }
}

fn of_constant(constant: &AConst) -> Option<String> {
    match constant.val.as_ref()? {
        Val::Ival(number) => Some(number.ival.to_string()),
        Val::Fval(number) => Some(number.fval.clone()),
        Val::Boolval(flag) => Some(flag.boolval.to_string()),
        Val::Sval(string) => Some(string.sval.clone()),
        Val::Bsval(_) => None,
    }
}
