//! Apache Tomcat, whose manager for scripts does everything by GET.
//! <https://tomcat.apache.org/tomcat-10.1-doc/manager-howto.html>

use super::{super::headers::shown, Opinion, View};
use guard_policy::Profile;

const PROFILE: Profile = Profile::Tomcat;

/// What `/manager/text/…` and `/host-manager/text/…` do beside what they tell. To look for leaks stops the machine to collect
/// garbage.
const ACTS: &[&str] = &[
    "add",
    "deploy",
    "expire",
    "findleaks",
    "persist",
    "reload",
    "remove",
    "save",
    "sslreload",
    "start",
    "stop",
    "undeploy",
];

pub(super) fn judge(view: &View<'_>) -> Opinion {
    let words: Vec<_> = view
        .words()
        .iter()
        .map(|word| word.to_ascii_lowercase())
        .collect();
    // Wherever somebody serves it.
    let mut acts = words
        .windows(2)
        .filter(|pair| pair[0] == "text" && ACTS.contains(&pair[1].as_str()));
    if let Some([_, act]) = acts.next() {
        return Opinion::write(PROFILE, format!("Tomcat {}", shown(act)));
    }
    let has = |name: &&str| view.facts.query.values(name).next().is_some();
    let is_jmx = words.iter().any(|word| word == "jmxproxy");
    match ["set", "invoke"].iter().find(|name| is_jmx && has(name)) {
        Some(does) => Opinion::write(PROFILE, format!("Tomcat JMX: {does}s something")),
        None => Opinion::None,
    }
}
