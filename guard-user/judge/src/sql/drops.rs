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
    SqlWrite::drops(command, what, named.clone(), drop.objects.len())
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
        ObjectType::ObjectTable => ("DROP TABLE", "table"),
        ObjectType::ObjectView => ("DROP VIEW", "view"),
        ObjectType::ObjectMatview => ("DROP MATERIALIZED VIEW", "materialized view"),
        ObjectType::ObjectSequence => ("DROP SEQUENCE", "sequence"),
        ObjectType::ObjectIndex => ("DROP INDEX", "index"),
        ObjectType::ObjectSchema => ("DROP SCHEMA", "schema"),
        ObjectType::ObjectFunction => ("DROP FUNCTION", "function"),
        ObjectType::ObjectProcedure => ("DROP PROCEDURE", "procedure"),
        ObjectType::ObjectType => ("DROP TYPE", "type"),
        ObjectType::ObjectDomain => ("DROP DOMAIN", "domain"),
        ObjectType::ObjectTrigger => ("DROP TRIGGER", "trigger"),
        ObjectType::ObjectRule => ("DROP RULE", "rule"),
        ObjectType::ObjectPolicy => ("DROP POLICY", "row security policy"),
        ObjectType::ObjectExtension => ("DROP EXTENSION", "extension"),
        ObjectType::ObjectForeignTable => ("DROP FOREIGN TABLE", "foreign table"),
        ObjectType::ObjectPublication => ("DROP PUBLICATION", "publication"),
        _ => ("DROP", "object"),
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
