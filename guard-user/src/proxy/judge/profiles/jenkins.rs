//! Jenkins, where some links change things: a build with a token in the query begins with GET.

use super::{super::headers::shown, Opinion, View};
use crate::policy::Profile;

/// The segments of paths that do something. Most ask for POST since Jenkins 1.502; plugins and older
/// servers do not, and `build?token=` never does.
const ACTIONS: &[&str] = &[
    "build",
    "buildwithparameters",
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
    "proceedempty",
    "abort",
];

pub(super) fn judge(view: &View<'_>) -> Opinion {
    let words = view.words();
    // What follows the name of an action does not matter to Jenkins.
    let acts = words.iter().enumerate().find(|(at, word)| {
        let before = at.checked_sub(1).and_then(|at| words.get(at));
        // In `/job/build` the job has that name.
        let is_name = matches!(before, Some(&"job" | &"view" | &"computer" | &"user"));
        ACTIONS.contains(&word.to_ascii_lowercase().as_str()) && !is_name
    });
    match acts {
        Some((_, action)) => Opinion::write(Profile::Jenkins, format!("Jenkins {}", shown(action))),
        None => Opinion::None,
    }
}
