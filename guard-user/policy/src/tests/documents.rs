//! What ships and what the reference shows is right.

use super::{
    super::{
        compile::compile, diagnostic::render, model::Environment, parse::parse, profile::Profile,
        shipped::SHIPPED,
    },
    policy,
};

const REFERENCE: &str = include_str!("../../../../docs/policy.md");

#[test]
fn shipped_policies_are_right() {
    for (name, text) in SHIPPED {
        let parsed = parse(&format!("{name}.toml"), text)
            .unwrap_or_else(|found| panic!("{}", render(&found, text, false)));
        assert_eq!(parsed.policy.name, *name);
        assert_eq!(parsed.warnings, [], "{name}");
        compile(&parsed.policy, &Environment::default()).unwrap();
    }
}

#[test]
fn a_rule_for_a_name_beside_those_that_ship_is_warned_of_by_nothing() {
    let rule =
        "\n[[rule]]\nname = \"mine\"\nto = [\"db.prod.example.com\"]\naction = \"confirm\"\n";
    for (name, text) in SHIPPED {
        let parsed = parse(&format!("{name}.toml"), &format!("{text}{rule}")).unwrap();
        assert_eq!(parsed.warnings, [], "{name}");
    }
}

#[test]
fn the_examples_of_the_reference_are_right() {
    let blocks: Vec<_> = REFERENCE.split("\n```toml\n").skip(1).collect();
    for block in &blocks {
        let (text, _) = block.split_once("\n```").unwrap();
        if let Err(found) = parse("policy.md", text) {
            panic!("{}", render(&found, text, false));
        }
    }
    assert_eq!(blocks.len(), 5);
}

#[test]
fn the_examples_of_read_only_are_right() {
    let reference = include_str!("../../../../docs/read-only.md");
    let mut blocks: Vec<_> = reference.split("\n```toml\n").skip(1).collect();
    // Of guardd's settings.
    blocks.retain(|block| !block.starts_with("[proxy]"));
    for block in &blocks {
        let (text, _) = block.split_once("\n```").unwrap();
        assert!(!policy(text).rules.is_empty());
    }
    assert_eq!(blocks.len(), 3);
}

#[test]
fn the_reference_has_every_profile() {
    let reference = include_str!("../../../../docs/read-only.md");
    // An item is about one, or about several of a kind.
    let items = reference.lines().filter_map(|line| line.strip_prefix("- "));
    let firsts: Vec<_> = items.filter_map(|item| item.split(':').next()).collect();
    for profile in Profile::ALL {
        let name = format!("`{profile}`");
        let has_it = |first: &&str| first.split(", ").any(|one| one.trim() == name);
        assert!(firsts.iter().any(has_it), "{profile}");
    }
}
