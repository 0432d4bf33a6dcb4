//! Elasticsearch and OpenSearch: searches are sent with POST, or with GET and a body.

use guard_policy::Profile;

use super::{super::headers::shown, Opinion, View};

const PROFILE: Profile = Profile::Elasticsearch;

/// What reads, behind an index or without one. From the REST API specification of Elasticsearch 7 and 8;
/// not `_async_search` and `_pit`, which keep something; not `_plugins/_sql`, which may delete.
const WITH_OR_WITHOUT_INDEX: &[&[&str]] = &[
    &["_search"],
    &["_search", "template"],
    &["_msearch"],
    &["_msearch", "template"],
    &["_count"],
    &["_mget"],
    &["_field_caps"],
    &["_validate", "query"],
    &["_mtermvectors"],
    &["_rank_eval"],
    &["_search_shards"],
    &["_analyze"],
];

const WITH_INDEX: &[&[&str]] = &[&["_terms_enum"], &["_knn_search"], &["_eql", "search"]];

const WITHOUT_INDEX: &[&[&str]] = &[
    &["_render", "template"],
    &["_cluster", "allocation", "explain"],
    &["_sql"],
    &["_sql", "translate"],
    &["_query"],
    &["_search", "scroll"],
];

/// What acts on an index though GET is a method for it.
const ACTS: &[&str] = &[
    "_refresh",
    "_flush",
    "_forcemerge",
    "_optimize",
    "_upgrade",
    "_reload_search_analyzers",
];

pub(super) fn judge(view: &View<'_>) -> Opinion {
    if let Some(acts) = acts(view) {
        return Opinion::write(PROFILE, format!("Elasticsearch {}", shown(acts)));
    }
    let asks = view.is_post() || (view.method() == "GET" && view.facts.has_body);
    match asks && reads(&view.segments()) {
        true => Opinion::read(PROFILE, "a search"),
        false => Opinion::None,
    }
}

fn reads(segments: &[&str]) -> bool {
    if WITH_OR_WITHOUT_INDEX.contains(&segments) || WITHOUT_INDEX.contains(&segments) {
        return true;
    }
    let [index, rest @ ..] = segments else {
        return false;
    };
    // `PUT /index/_doc/_search` writes a document: only what stands right behind an index is meant. The
    // name of an index does not begin with `_`.
    let is_index = !index.is_empty() && (!index.starts_with('_') || *index == "_all");
    let of_document = matches!(rest, ["_explain" | "_termvectors", id] if !id.is_empty());
    let of_index = WITH_OR_WITHOUT_INDEX.contains(&rest) || WITH_INDEX.contains(&rest);
    is_index && (of_index || of_document)
}

fn acts<'a>(view: &View<'a>) -> Option<&'a str> {
    let words = view.words();
    let last = words.last()?;
    match words[..] {
        [.., "_cache", "clear"] => Some("_cache/clear"),
        [.., "_flush", "synced"] => Some("_flush/synced"),
        _ => ACTS.contains(last).then_some(*last),
    }
}
