//! JSON-RPC 2.0, by the names of methods. <https://www.jsonrpc.org/specification>
//!
//! Servers take calls by GET as well, in ways of their own: aria2 in `?method=`, or a batch in `?params=` alone; Kodi the whole
//! of it in `?request=`; `CometBFT` in the path.

use guard_policy::Profile;

use super::{
    super::{
        glob::{matches, matches_any_case},
        headers::shown,
        json::Json,
    },
    Opinion, View,
};

const PROFILE: Profile = Profile::Jsonrpc;
const TYPES: &[&str] = &[
    "application/json",
    "application/json-rpc",
    "application/jsonrequest",
];

/// Where it is served, where the rule does not say.
const PATHS: &[&str] = &["/", "/rpc", "/jsonrpc", "/json-rpc", "/json_rpc"];

/// What `CometBFT` and its kin do by GET, whatever is in the query. Its other methods read.
const ACTS: &[&str] = &[
    "broadcast_evidence",
    "broadcast_tx_async",
    "broadcast_tx_commit",
    "broadcast_tx_sync",
    "dial_peers",
    "dial_seeds",
    "unsafe_*",
];

/// What stands in the query of a call by GET.
const PARAMETERS: &[&str] = &[
    "_",
    "callback",
    "id",
    "jsoncallback",
    "jsonrpc",
    "method",
    "params",
    "request",
];

pub(super) fn judge(view: &View<'_>) -> Opinion {
    let judged = match view.is_safe() {
        true if may_call(view) => called_in_query(view),
        true => called_in_path(view),
        false if view.is_post() && served(view) && view.has_media_type(TYPES) => calls(view),
        false => return Opinion::None,
    };
    judged.unwrap_or_else(|opinion| opinion)
}

/// Whether a query may call something: any, where calls are served; elsewhere one that looks like it.
fn may_call(view: &View<'_>) -> bool {
    let query = &view.facts.query;
    let is_json = |text: &str| text.trim_start().starts_with(['{', '[']);
    let calls = query.values("method").next().is_some() || query.values("request").any(is_json);
    calls || (may_be_served(view) && query.pairs().next().is_some())
}

fn called_in_query(view: &View<'_>) -> Result<Opinion, Opinion> {
    let query = &view.facts.query;
    let is_known = query
        .pairs()
        .all(|(name, _)| PARAMETERS.contains(&name.as_str()));
    let given = |name| query.values(name).next().and(query.one(name));
    match (given("method"), given("request")) {
        (Some(method), None) if is_known && query.values("request").next().is_none() => {
            listed(view, method)?;
        }
        (None, Some(request)) if is_known && query.values("method").next().is_none() => {
            let doubt = || Opinion::doubt(PROFILE, KIND, "its query has no JSON, or a name twice");
            each(view, &Json::parse(request.as_bytes()).ok_or_else(doubt)?)?;
        }
        _ => {
            let why = "its query does not say one method";
            return Err(Opinion::doubt(PROFILE, KIND, why));
        }
    }
    Ok(Opinion::read(PROFILE, "each method that it calls"))
}

fn called_in_path(view: &View<'_>) -> Result<Opinion, Opinion> {
    method_in_path(view).map_or(Ok(()), |method| listed(view, &method))?;
    Ok(Opinion::None)
}

/// Returns the method that a path calls: what `CometBFT` does by GET, or what stands behind `/rpc/` and has a dot, as Shelly's.
fn method_in_path(view: &View<'_>) -> Option<String> {
    match view.words()[..] {
        [.., "rpc", method] if method.contains('.') => Some(method.to_owned()),
        [.., last] => {
            let last = last.to_ascii_lowercase();
            let acts = ACTS.iter().any(|one| matches(one, &last));
            acts.then_some(last)
        }
        [] => None,
    }
}

/// Returns what a GET calls by its path, where no profile lists what reads.
pub(super) fn called_by_path(view: &View<'_>) -> Opinion {
    match method_in_path(view) {
        Some(method) if !is_read(&method) && view.lists.jsonrpc_methods.is_empty() => {
            Opinion::write(PROFILE, called(&method))
        }
        _ => Opinion::None,
    }
}

/// Methods that read, of Ethereum's nodes and of the Model Context Protocol.
const READS: &[&str] = &[
    "eth_blockNumber",
    "eth_call",
    "eth_chainId",
    "eth_estimateGas",
    "eth_gasPrice",
    "net_version",
    "web3_clientVersion",
    "initialize",
    "notifications/initialized",
    "ping",
    "prompts/list",
    "resources/list",
    "resources/templates/list",
    "tools/list",
];

/// Returns true if a method reads by its name: `Shelly.GetStatus`, `eth_getBalance`, `system.listMethods`.
fn is_read(method: &str) -> bool {
    let name = method.rsplit(['.', '_', '/']).next().unwrap_or_default();
    let mut begins = ["get", "Get", "list", "List"].iter();
    let is_named = begins.any(|begin| {
        let rest = name.strip_prefix(begin);
        rest.is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_uppercase()))
    });
    let says_more = ["And", "Or", "Set", "Create", "Delete", "Remove"];
    READS.contains(&method) || (is_named && !says_more.iter().any(|word| name.contains(word)))
}

/// Returns what a POST calls, where no profile lists what reads: each method must read by its name.
pub(super) fn unlisted(view: &View<'_>) -> Opinion {
    let at = |last: &&str| ["mcp", "rpc", "jsonrpc"].contains(last);
    let is_at = view.segments().last().is_some_and(at) || served(view);
    if !is_at || !view.has_media_type(TYPES) || !view.facts.query.is_empty() {
        return Opinion::None;
    }
    let json = match view.json(PROFILE, KIND) {
        Ok(json) => json,
        Err(opinion) => return opinion,
    };
    let reads = |call: &Json| {
        let version = call.get("jsonrpc").and_then(Json::as_str);
        let method = call.get("method").and_then(Json::as_str);
        version == Some("2.0") && call.has_only(NAMES) && method.is_some_and(is_read)
    };
    match json.batch() {
        Some(calls) if calls.iter().all(reads) => {
            Opinion::read(PROFILE, "each method that it calls")
        }
        _ => Opinion::None,
    }
}

fn called(method: &str) -> String {
    format!("calls `{}` (JSON-RPC)", shown(method))
}

/// Names in a call. Shelly's have who calls, and for whom.
const NAMES: &[&str] = &["jsonrpc", "method", "params", "id", "src", "dst"];

fn served(view: &View<'_>) -> bool {
    match &view.lists.jsonrpc_paths[..] {
        [] => PATHS.contains(&view.path),
        listed => listed.iter().any(|pattern| matches(pattern, view.path)),
    }
}

/// The same of what is to be stopped: with a slash more, or in capitals, it may be the same path to the server.
fn may_be_served(view: &View<'_>) -> bool {
    let path = format!("/{}", view.words().join("/")).to_ascii_lowercase();
    let is_like = |pattern: &String| {
        matches_any_case(pattern, view.path)
            || matches_any_case(pattern.trim_end_matches('/'), &path)
    };
    match &view.lists.jsonrpc_paths[..] {
        [] => PATHS.contains(&path.as_str()),
        listed => listed.iter().any(is_like),
    }
}

const KIND: &str = "calls a method that is not known (JSON-RPC)";

fn calls(view: &View<'_>) -> Result<Opinion, Opinion> {
    let both = |name: &&str| view.facts.query.values(name).next().is_some();
    if ["method", "request"].iter().any(both) {
        let why = "it calls in its query and in its body";
        return Err(Opinion::doubt(PROFILE, KIND, why));
    }
    each(view, &view.json(PROFILE, KIND)?)?;
    Ok(Opinion::read(PROFILE, "each method that it calls"))
}

fn each(view: &View<'_>, json: &Json) -> Result<(), Opinion> {
    let empty = || Opinion::doubt(PROFILE, KIND, "the batch is empty or too long");
    let mut calls = json.batch().ok_or_else(empty)?.iter();
    calls.try_for_each(|call| one(view, call))
}

fn one(view: &View<'_>, call: &Json) -> Result<(), Opinion> {
    // Some servers, as Shelly's, take calls without it.
    let is_version = match call.get("jsonrpc") {
        Some(version) => version.as_str() == Some("2.0"),
        None => true,
    };
    let method = call.get("method").and_then(Json::as_str);
    let Some(method) = method.filter(|_| is_version && call.has_only(NAMES)) else {
        return Err(Opinion::doubt(
            PROFILE,
            KIND,
            "it is no JSON-RPC 2.0 request",
        ));
    };
    listed(view, method)
}

fn listed(view: &View<'_>, method: &str) -> Result<(), Opinion> {
    let mut listed = view.lists.jsonrpc_methods.iter();
    if listed.any(|pattern| matches(pattern, method)) {
        Ok(())
    } else {
        Err(Opinion::doubt(
            PROFILE,
            called(method),
            "the method is not in `jsonrpc_methods`",
        ))
    }
}
