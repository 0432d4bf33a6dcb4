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

/// Returns what a request does that its path names.
pub(super) fn acts_by_path(view: &View<'_>) -> Opinion {
    acts(view).map_or(Opinion::None, |acts| {
        Opinion::write(PROFILE, format!("Elasticsearch {}", shown(acts)))
    })
}

/// Judges a search where no profile says that Elasticsearch answers: CrateDB runs any statement that is sent to `/_sql`.
pub(super) fn search(view: &View<'_>) -> Opinion {
    if WITHOUT_INDEX.contains(&&view.segments()[..]) {
        return acts_by_path(view);
    }
    judge(view)
}

pub(super) fn judge(view: &View<'_>) -> Opinion {
    match acts_by_path(view) {
        Opinion::None => {}
        acts => return acts,
    }
    if let Err(doubt) = keeps_nothing(view) {
        return doubt;
    }
    let asks = view.is_post() || (view.method() == "GET" && view.facts.has_body);
    if asks && reads(&view.segments()) {
        Opinion::read(PROFILE, "a search")
    } else {
        Opinion::None
    }
}

/// What keeps its result in an index where it is asked to: as `_async_search` does.
const KEEP: &[&[&str]] = &[&["_sql"], &["_eql", "search"]];
/// What asks for that in the body; `source` in the query stands for a body.
const TOLD: &[&str] = &["keep_on_completion", "wait_for_completion_timeout"];

/// JSON, also as Elasticsearch's own clients say it since version 8.
const JSON: &[&str] = &["application/json", "application/vnd.elasticsearch+json"];

fn keeps_nothing(view: &View<'_>) -> Result<(), Opinion> {
    const KIND: &str = "Elasticsearch: may keep what it finds";
    let words = view.words();
    if !KEEP.iter().any(|end| words.ends_with(end)) {
        return Ok(());
    }
    let in_query = |name: &&str| view.facts.query.values(name).next().is_some();
    let doubt = || {
        Opinion::doubt(
            PROFILE,
            KIND,
            "it may be told so where it is not looked for",
        )
    };
    if in_query(&"source") || TOLD.iter().any(in_query) {
        return Err(doubt());
    }
    if !view.facts.has_body {
        return Ok(());
    }
    if !view.has_media_type(JSON) {
        return Err(doubt());
    }
    let json = view.json(PROFILE, KIND)?;
    if TOLD.iter().any(|name| json.get(name).is_some()) {
        Err(Opinion::write(
            PROFILE,
            "Elasticsearch: keeps what it finds",
        ))
    } else {
        Ok(())
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
        // Makes a token of a service's, or shows the keys by which a node joins.
        [.., "_security", "enroll", _] => Some("_security/enroll"),
        _ => ACTS.contains(last).then_some(*last),
    }
}
