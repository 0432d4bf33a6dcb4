//! GraphQL over HTTP: a query reads, a mutation or a subscription does not.
//! <https://graphql.github.io/graphql-over-http/draft/>

use guard_policy::Profile;

use super::{
    super::{
        glob::{matches, matches_any_case},
        headers::shown,
        json::Json,
    },
    Opinion, View,
    graphql_document::{Document, Operation},
};

const PROFILE: Profile = Profile::Graphql;
const KIND: &str = "GraphQL that is not known to be a query";

/// Where it is served, where the rule does not say: the ends of paths.
const ENDS: &[&[&str]] = &[
    &["graphql"],
    &["gql"],
    &["graphql.json"],
    &["graphql", "v1"],
    // Railway's.
    &["graphql", "v2"],
];

/// What servers take from the query, all of which may count more than the body.
const PARAMETERS: &[&str] = &[
    "query",
    "operationname",
    "variables",
    "extensions",
    "id",
    "queryid",
    "documentid",
    "doc_id",
    "hash",
    "operationid",
    "persistedqueryid",
    "sha256hash",
];

pub(super) fn judge(view: &View<'_>) -> Opinion {
    if !served(view) {
        return Opinion::None;
    }
    match view.is_post() {
        true => posted(view).unwrap_or_else(|opinion| opinion),
        false if view.is_safe() => in_query(view),
        false => Opinion::None,
    }
}

/// Whether the path is a GraphQL one. A server may take it with a slash at its end, or in capitals, as well.
fn served(view: &View<'_>) -> bool {
    let path = view.path.trim_end_matches('/');
    let words: Vec<_> = view
        .words()
        .iter()
        .map(|word| word.to_ascii_lowercase())
        .collect();
    let ends = |end: &&[&str]| {
        words
            .iter()
            .rev()
            .map(String::as_str)
            .take(end.len())
            .eq(end.iter().rev().copied())
    };
    let joined = format!("/{}", words.join("/"));
    match &view.lists.graphql_paths[..] {
        [] => ENDS.iter().any(ends),
        // To a GET, which is looked into because it may be one, no spelling makes a difference.
        listed if view.is_safe() => listed.iter().any(|pattern| {
            let pattern = pattern.trim_end_matches('/');
            matches_any_case(pattern, path) || matches_any_case(pattern, &joined)
        }),
        listed => listed
            .iter()
            .any(|pattern| matches(pattern, path) || matches(pattern, view.path)),
    }
}

fn in_query(view: &View<'_>) -> Opinion {
    let query = &view.facts.query;
    let given = |name: &&&str| query.values(name).next().is_some();
    let named: Vec<_> = PARAMETERS.iter().filter(given).copied().collect();
    if !named
        .iter()
        .any(|name| *name != "operationname" && *name != "variables")
    {
        return Opinion::None;
    }
    let only = named
        .iter()
        .all(|name| matches!(*name, "query" | "operationname" | "variables"));
    match query.one("query").filter(|_| only) {
        Some(document) => of_document(document),
        None => Opinion::doubt(
            PROFILE,
            KIND,
            "what is asked for is not in the request, or is there twice",
        ),
    }
}

fn posted(view: &View<'_>) -> Result<Opinion, Opinion> {
    let doubt = |why| Opinion::doubt(PROFILE, KIND, why);
    let both = |name: &&str| view.facts.query.values(name).next().is_some();
    if PARAMETERS.iter().any(both) {
        return Err(doubt("it asks in its path and in its body"));
    }
    match view.media_type().as_deref() {
        Some("application/graphql") => {
            let body = view.body(PROFILE, KIND)?;
            let text = std::str::from_utf8(body).map_err(|_| doubt("the body is not in UTF-8"))?;
            Ok(of_document(text))
        }
        Some("application/json") => {
            let json = view.json(PROFILE, KIND)?;
            let batch = json
                .batch()
                .ok_or_else(|| doubt("the batch is empty or too long"))?;
            let opinions = batch.iter().map(of_json);
            Ok(opinions.fold(Opinion::None, Opinion::stricter))
        }
        _ => Err(doubt("its body is neither JSON nor GraphQL")),
    }
}

fn of_json(call: &Json) -> Opinion {
    // Any other name may stand for a query that the server has kept.
    const NAMES: &[&str] = &["query", "operationName", "variables", "extensions"];
    // What else clients say there is about themselves, or for tracing.
    let persisted = match call.get("extensions") {
        Some(Json::Object(extensions)) => extensions
            .iter()
            .any(|(name, _)| name.eq_ignore_ascii_case("persistedQuery")),
        Some(Json::Other) | None => false,
        Some(_) => true,
    };
    match call.get("query").and_then(Json::as_str) {
        Some(document) if call.has_only(NAMES) && !persisted => of_document(document),
        _ => Opinion::doubt(PROFILE, KIND, "what is asked for may be kept by the server"),
    }
}

/// Every operation counts, whichever is to run: servers differ about how one is chosen.
fn of_document(text: &str) -> Opinion {
    let document = match Document::parse(text) {
        Ok(document) => document,
        Err(why) => return Opinion::doubt(PROFILE, KIND, why),
    };
    match document.first_write() {
        Some((operation, field)) => Opinion::write(PROFILE, kind(operation, field)),
        None => Opinion::read(PROFILE, "a GraphQL query"),
    }
}

fn kind(operation: Operation, field: &str) -> String {
    format!("GraphQL {} `{}`", operation.as_str(), shown(field))
}
