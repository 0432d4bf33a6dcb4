//! Several policies at once, and several profiles.

use proptest::prelude::*;

use super::{
    super::{Judgement, judge, judge_all},
    Rules, Wire, not_read, read, rules,
};

fn candidates() -> Vec<Rules> {
    [
        "",
        "[[rule.http]]\naction = \"allow\"",
        "[[rule.http]]\npath = \"/graphql\"\naction = \"deny\"",
        "[[rule.http]]\nmethod = [\"GET\"]\naction = \"confirm\"",
        "profile = \"graphql\"",
        "profile = [\"kubernetes\", \"git\"]",
    ]
    .iter()
    .map(|keys| rules(keys))
    .collect()
}

/// Strictest last.
fn rank(judgement: &Judgement) -> usize {
    match judgement {
        Judgement::Read { .. } => 0,
        Judgement::NeedsBody { .. } => 1,
        Judgement::Write(_) => 2,
        Judgement::Denied { .. } => 3,
    }
}

proptest! {
    #[test]
    fn the_strictest_counts_and_of_equal_ones_the_outermost(
        chosen in prop::collection::vec(prop::sample::select(candidates()), 1..4),
        wire in prop::sample::select(vec![
            "GET /",
            "POST /graphql\nContent-Type: application/json\n\n{\"query\":\"{a}\"}",
            "GET /api/v1/namespaces/a/pods/b/exec",
            "DELETE /x",
        ]),
        with_body in any::<bool>(),
    ) {
        let wire = Wire::of(wire);
        let body = with_body.then_some(&wire.body[..]);
        let together = judge_all(&chosen, &wire.request(), body);
        let each: Vec<_> = chosen.iter().map(|rules| judge(rules, &wire.request(), body)).collect();
        let strictest = each.iter().map(rank).max().unwrap();
        let first = each.iter().position(|judgement| rank(judgement) == strictest).unwrap();
        prop_assert_eq!(&together.judgement, &each[first]);
        prop_assert_eq!(together.by, Some(&chosen[first]));
    }
}

#[test]
fn no_rules_let_nothing_through() {
    let wire = Wire::of("GET /");
    let none = judge_all(&[], &wire.request(), None);
    assert!(matches!(none.judgement, Judgement::Denied { .. }));
    assert_eq!(none.by, None);
}

#[test]
fn one_profile_permits_and_another_stops() {
    let both = rules("profile = [\"graphql\", \"kubernetes\"]");
    read(
        &both,
        &["POST /graphql\nContent-Type: application/json\n\n{\"query\":\"{a}\"}"],
    );
    not_read(
        &both,
        &[
            "POST /api/v1/graphql\nContent-Type: application/json\n\n{\"query\":\"{a}\"}",
            "GET /api/v1/namespaces/a/pods/b/exec",
        ],
    );
}

#[test]
fn http_rules_come_before_profiles() {
    let both = rules(
        "profile = \"kubernetes\"\n[[rule.http]]\npath = \"/api/v1/namespaces/test/pods/*/exec\"\naction = \"allow\"",
    );
    read(
        &both,
        &["GET /api/v1/namespaces/test/pods/b/exec\nUpgrade: websocket"],
    );
    not_read(
        &both,
        &["GET /api/v1/namespaces/prod/pods/b/exec\nUpgrade: websocket"],
    );
}
