//! The lists name what there is.

use super::{
    super::{allowed, read, tree::Tree},
    lines,
};
use std::collections::BTreeSet;

/// Met in no text that PostgreSQL's grammar takes where only a read is expected, but parts of what it takes.
const UNMET: &[&str] = &[];

fn collect(tree: &Tree, met: &mut BTreeSet<&'static str>) {
    match tree {
        Tree::Many(items) => items.iter().for_each(|item| collect(item, met)),
        Tree::Node(node) => {
            met.insert(node.name);
            for (_, tree) in &node.fields {
                collect(tree, met);
            }
        }
        _ => {}
    }
}

/// A misspelt name would let nothing through, and nobody would see.
#[test]
fn every_node_that_is_allowed_is_met_in_a_read() {
    let mut met = BTreeSet::new();
    for line in lines(include_str!("fixtures/reads.sql")) {
        for statement in read::parse(&line.replace("%(name)s", "'x'")).unwrap() {
            collect(&Tree::of(&statement).unwrap(), &mut met);
        }
    }
    let allowed = allowed::NODES.iter().copied();
    let unmet: Vec<_> = allowed.filter(|name| !met.contains(name)).collect();
    assert_eq!(unmet, UNMET);
}
