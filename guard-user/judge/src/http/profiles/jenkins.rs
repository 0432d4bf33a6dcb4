//! Jenkins, where some links change things: a build with a token in the query begins with GET, at paths that plugins choose.

use guard_policy::Profile;

use super::{super::headers::shown, Opinion, View};

/// The segments of paths that do something. Most ask for POST since Jenkins 1.502; plugins and older
/// servers do not, and `build?token=` never does.
const ACTIONS: &[&str] = &[
    "build",
    "buildwithparameters",
    "build_now",
    "generic-webhook-trigger",
    "multibranch-webhook-trigger",
    "polling",
    "notifycommit",
    "stop",
    "term",
    "kill",
    "cancelitem",
    "dodelete",
    "enable",
    "disable",
    "toggle",
    "rebuild",
    "replay",
    "createitem",
    "docreateitem",
    "dowipeoutworkspace",
    "quietdown",
    "cancelquietdown",
    "restart",
    "saferestart",
    "exit",
    "safeexit",
    "reload",
    "script",
    "scripttext",
    "toggleoffline",
    "launchslaveagent",
    "proceed",
    "proceedempty",
    "submit",
    "abort",
    "reload-configuration-as-code",
];

/// What in a query stands for a person: links that have it act.
const TOKENS: &[&str] = &["token", "casc-reload-token"];

/// What is followed by a name.
const NAMED: &[&str] = &["job", "view", "user"];

pub(super) fn judge(view: &View<'_>) -> Opinion {
    let words = view.words();
    // What follows the name of an action does not matter to Jenkins.
    let behind = behind_names(&words);
    let mut after = before_files(behind, &words).iter();
    let acts = after.find(|word| ACTIONS.contains(&word.to_ascii_lowercase().as_str()));
    let has_token = |name: &&str| view.facts.query.values(name).next().is_some();
    match acts {
        None if TOKENS.iter().any(has_token) => {
            Opinion::write(Profile::Jenkins, "Jenkins, by a link with a token")
        }
        Some(action) => Opinion::write(Profile::Jenkins, format!("Jenkins {}", shown(action))),
        None => Opinion::None,
    }
}

/// What is left of it before the path of a file, which may be called anything: in the workspace of a job (`ws`), or among
/// what a run has made.
fn before_files<'w, 'a>(behind: &'w [&'a str], words: &[&str]) -> &'w [&'a str] {
    let is_job = words.iter().rev().nth(behind.len() + 1) == Some(&"job");
    let is_run = |word: &str| word.starts_with("last") || word.bytes().all(|b| b.is_ascii_digit());
    match behind {
        ["ws", ..] if is_job => &[],
        [run, "artifact", ..] if is_job && is_run(run) => &behind[..1],
        _ => behind,
    }
}

/// What follows the job, the view or the user that a path begins with: `/job/build` is a job of that name, and in
/// `/job/job/build` the last word is none. Behind any other word nothing is taken for a name: `/item/user/build` builds.
fn behind_names<'w, 'a>(words: &'w [&'a str]) -> &'w [&'a str] {
    let mut behind = words;
    while let [keyword, _, rest @ ..] = behind
        && NAMED.contains(keyword)
    {
        behind = rest;
    }
    behind
}
