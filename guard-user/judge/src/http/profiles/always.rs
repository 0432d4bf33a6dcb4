//! What needs no profile: requests that are unmistakable, whatever server gets them. Holes for reads are judged by this, too.

use super::{
    super::warnings, Opinion, View, elasticsearch, git, graphql, jenkins, jsonrpc, kubernetes,
    monitoring, service, tomcat,
};

pub(super) fn judge(view: &View<'_>) -> Opinion {
    if view.is_post() {
        reads(view)
    } else if view.is_safe() {
        acts(view)
    } else {
        Opinion::None
    }
}

/// A POST that only reads.
fn reads(view: &View<'_>) -> Opinion {
    let only_reads = [
        git::judge,
        monitoring::query,
        kubernetes::review,
        jsonrpc::unlisted,
    ];
    let read = only_reads
        .iter()
        .map(|judge| judge(view))
        .find(|opinion| matches!(opinion, Opinion::Read { .. } | Opinion::Body));
    read.unwrap_or_else(|| graphql::judge(view).stricter(elasticsearch::search(view)))
}

/// A GET, or another method that passes as a read, which does something.
fn acts(view: &View<'_>) -> Opinion {
    let words = view.words();
    let is_at = |names: &[&str]| words.iter().any(|word| names.contains(word));
    let given = |name: &str| view.facts.query.values(name).next().is_some();
    let mut opinion = monitoring::acts(view)
        .stricter(elasticsearch::acts_by_path(view))
        .stricter(kubernetes::way_in_at(&words))
        .stricter(jsonrpc::called_by_path(view));
    if given("query") {
        opinion = opinion.stricter(graphql::judge(view));
    }
    if is_at(&["manager", "host-manager"]) {
        opinion = opinion.stricter(tomcat::judge(view));
    }
    if words.first() == Some(&"job") || (is_at(&["job"]) && given("token")) {
        opinion = opinion.stricter(jenkins::judge(view));
    }
    if words.is_empty() && given("action") {
        opinion = opinion.stricter(super::aws::judge(view));
    }
    if view.is_listed || matches!(opinion, Opinion::Write { .. }) {
        return opinion;
    }
    let is_overridden = view
        .facts
        .strictest_method()
        .is_some_and(|one| one.name != view.method());
    match warnings::act_named(view.facts).filter(|_| !is_overridden) {
        Some((what, does)) => Opinion::Write {
            kind: format!("{does}: {what}"),
            because: format!(
                "{what} names an act, and servers do it by {}",
                view.method()
            ),
        },
        None => opinion.stricter(service::acts_anywhere(view)),
    }
}
