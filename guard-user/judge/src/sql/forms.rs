//! Forms that look like calls. An older server takes them for that: of functions that anybody may have made.

use super::{
    Release,
    tree::{Node, Tree},
};

/// The parser's node, its operation if it has several, the name, and the release that has the form.
const FORMS: &[(&str, Option<i64>, &str, Release)] = &[
    ("JsonArrayAgg", None, "json_arrayagg", Release(16)),
    ("JsonArrayConstructor", None, "json_array", Release(16)),
    ("JsonArrayQueryConstructor", None, "json_array", Release(16)),
    ("JsonObjectAgg", None, "json_objectagg", Release(16)),
    ("JsonObjectConstructor", None, "json_object", Release(16)),
    ("JsonFuncExpr", Some(1), "json_exists", Release(17)),
    ("JsonFuncExpr", Some(2), "json_query", Release(17)),
    ("JsonFuncExpr", Some(3), "json_value", Release(17)),
    ("JsonParseExpr", None, "json", Release(17)),
    ("JsonScalarExpr", None, "json_scalar", Release(17)),
    ("JsonSerializeExpr", None, "json_serialize", Release(17)),
    ("JsonTable", None, "json_table", Release(17)),
    ("MergeSupportFunc", None, "merge_action", Release(17)),
];

/// libpg_query's numbers of `SIMILAR TO`, and of a call that is written otherwise than as one.
const SIMILAR: i64 = 10;
const SQL_SYNTAX: i64 = 4;

/// The name of such a form, and the release that has it.
pub(super) fn of(node: &Node) -> Option<(&'static str, Release)> {
    let operation = number(node, "op");
    let mut forms = FORMS.iter();
    let is_it = |of: Option<i64>| of.is_none() || of == operation;
    let found = forms.find(|(name, of, ..)| *name == node.name && is_it(*of));
    found.map(|(.., name, since)| (*name, *since))
}

/// Whether it is `EXTRACT(… FROM …)`: a server before 14 calls `pg_catalog.date_part` for it, of which the parser knows nothing.
pub(super) fn extracts(call: &Node) -> bool {
    call.names("funcname") == ["pg_catalog", "extract"]
        && number(call, "funcformat") == Some(SQL_SYNTAX)
}

/// Whether that field has a call that the parser itself has made: of what `SIMILAR TO` compares with. A server before 13 calls
/// `pg_catalog.similar_escape` for it.
pub(super) fn is_made(node: &Node, field: &str) -> bool {
    node.name == "AExpr" && field == "rexpr" && number(node, "kind") == Some(SIMILAR)
}

fn number(node: &Node, field: &str) -> Option<i64> {
    match node.get(field) {
        Some(Tree::Number(number)) => Some(*number),
        _ => None,
    }
}
