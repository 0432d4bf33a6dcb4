//! JSON-RPC 2.0, by the names of methods. <https://www.jsonrpc.org/specification>

use super::{
    super::{glob::matches, headers::shown, json::Json},
    Opinion, View,
};
use crate::policy::Profile;

const PROFILE: Profile = Profile::Jsonrpc;
const TYPES: &[&str] = &[
    "application/json",
    "application/json-rpc",
    "application/jsonrequest",
];

/// Where it is served, where the rule does not say.
const PATHS: &[&str] = &["/", "/rpc", "/jsonrpc", "/json-rpc", "/json_rpc"];

pub(super) fn judge(view: &View<'_>) -> Opinion {
    if !view.is_post() || !served(view) || !view.has_media_type(TYPES) {
        return Opinion::None;
    }
    calls(view).unwrap_or_else(|opinion| opinion)
}

fn served(view: &View<'_>) -> bool {
    match &view.lists.jsonrpc_paths[..] {
        [] => PATHS.contains(&view.path),
        listed => listed.iter().any(|pattern| matches(pattern, view.path)),
    }
}

const KIND: &str = "calls a method that is not known (JSON-RPC)";

fn calls(view: &View<'_>) -> Result<Opinion, Opinion> {
    let json = view.json(PROFILE, KIND)?;
    let empty = || Opinion::doubt(PROFILE, KIND, "the batch is empty or too long");
    for call in json.batch().ok_or_else(empty)? {
        one(view, call)?;
    }
    Ok(Opinion::read(PROFILE, "each method that it calls"))
}

fn one(view: &View<'_>, call: &Json) -> Result<(), Opinion> {
    const NAMES: &[&str] = &["jsonrpc", "method", "params", "id"];
    let version = call.get("jsonrpc").and_then(Json::as_str);
    let method = call.get("method").and_then(Json::as_str);
    let Some(method) = method.filter(|_| version == Some("2.0") && call.has_only(NAMES)) else {
        return Err(Opinion::doubt(
            PROFILE,
            KIND,
            "it is no JSON-RPC 2.0 request",
        ));
    };
    match view
        .lists
        .jsonrpc_methods
        .iter()
        .any(|m| matches(m, method))
    {
        true => Ok(()),
        false => Err(Opinion::doubt(
            PROFILE,
            format!("calls `{}` (JSON-RPC)", shown(method)),
            "the method is not in `jsonrpc_methods`",
        )),
    }
}
