//! DROP, of whatever kind.

use super::{
    SqlWrite, objects,
    tree::{Node, Tree},
};
use pg_query::protobuf::{DropBehavior, DropStmt, ObjectType};

pub(super) const CASCADE: i64 = DropBehavior::DropCascade as i64;
pub(super) const FOREVER: &str = "DROP cannot be undone";

pub(super) fn write(drop: &DropStmt, tree: &Tree) -> SqlWrite {
    let (command, what) = kind(drop.remove_type());
    let named: Vec<_> = tree.node().map(names).unwrap_or_default();
    SqlWrite::new(command, format!("drops {what}{}", objects::listed(&named)))
        .warn(FOREVER)
        .warn_if(
            drop.behavior() == DropBehavior::DropCascade,
            "CASCADE: also drops whatever depends on it",
        )
        .on(named.into_iter().take(8).collect())
        .definition(true)
}

fn kind(object: ObjectType) -> (&'static str, &'static str) {
    match object {
        ObjectType::ObjectTable => ("DROP TABLE", "a table:"),
        ObjectType::ObjectView => ("DROP VIEW", "a view:"),
        ObjectType::ObjectMatview => ("DROP MATERIALIZED VIEW", "a materialized view:"),
        ObjectType::ObjectSequence => ("DROP SEQUENCE", "a sequence:"),
        ObjectType::ObjectIndex => ("DROP INDEX", "an index:"),
        ObjectType::ObjectSchema => ("DROP SCHEMA", "a schema:"),
        ObjectType::ObjectFunction => ("DROP FUNCTION", "a function:"),
        ObjectType::ObjectProcedure => ("DROP PROCEDURE", "a procedure:"),
        ObjectType::ObjectType => ("DROP TYPE", "a type:"),
        ObjectType::ObjectDomain => ("DROP DOMAIN", "a domain:"),
        ObjectType::ObjectTrigger => ("DROP TRIGGER", "a trigger:"),
        ObjectType::ObjectRule => ("DROP RULE", "a rule:"),
        ObjectType::ObjectPolicy => ("DROP POLICY", "a row security policy:"),
        ObjectType::ObjectExtension => ("DROP EXTENSION", "an extension:"),
        ObjectType::ObjectForeignTable => ("DROP FOREIGN TABLE", "a foreign table:"),
        ObjectType::ObjectPublication => ("DROP PUBLICATION", "a publication:"),
        _ => ("DROP", "something of the database:"),
    }
}

/// The names in its list of objects, each of which is a string, a list of strings, a type, or a function.
fn names(node: &Node) -> Vec<String> {
    let items = node.get("objects").map(Tree::many).unwrap_or_default();
    items.iter().filter_map(name).collect()
}

fn name(item: &Tree) -> Option<String> {
    if let Some(name) = item.name() {
        return Some(objects::shown(name));
    }
    let node = item.node()?;
    let field = match node.name {
        "List" => "items",
        "TypeName" => "names",
        "ObjectWithArgs" => "objname",
        _ => return None,
    };
    Some(objects::dotted(&node.names(field)))
}
