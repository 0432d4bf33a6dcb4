//! The Kubernetes API: GET reads but where it opens a way into a pod, and a few POSTs read.

use guard_policy::Profile;

use super::{Opinion, View, kubernetes_target::Target};

const PROFILE: Profile = Profile::Kubernetes;

/// Subresources that are ways into something, and are opened with GET as well as with POST.
const WAYS_IN: &[(&str, &str)] = &[
    ("exec", "runs a command in a container"),
    ("attach", "attaches to a container"),
    ("portforward", "opens a connection to a pod"),
    (
        "proxy",
        "sends any request through to a pod, a service or a node",
    ),
    ("console", "opens the console of a virtual machine"),
    ("vnc", "opens the screen of a virtual machine"),
];

/// Resources that are questions: to create one stores nothing.
const QUESTIONS: &[(&str, &[&str])] = &[
    (
        "authorization.k8s.io",
        &[
            "selfsubjectaccessreviews",
            "selfsubjectrulesreviews",
            "subjectaccessreviews",
            "localsubjectaccessreviews",
        ],
    ),
    (
        "authentication.k8s.io",
        &["tokenreviews", "selfsubjectreviews"],
    ),
];

/// The groups of the API server itself, which knows `dryRun`. Others may be served by anything.
const BUILT_IN: &[&str] = &[
    "",
    "admissionregistration.k8s.io",
    "apiextensions.k8s.io",
    "apps",
    "autoscaling",
    "batch",
    "certificates.k8s.io",
    "coordination.k8s.io",
    "discovery.k8s.io",
    "flowcontrol.apiserver.k8s.io",
    "networking.k8s.io",
    "node.k8s.io",
    "policy",
    "rbac.authorization.k8s.io",
    "resource.k8s.io",
    "scheduling.k8s.io",
    "storage.k8s.io",
];

pub(super) fn judge(view: &View<'_>) -> Opinion {
    let words = view.words();
    if let Some(way) = way_in_below(&words) {
        return way;
    }
    let mut places = places(&words);
    let Some(target) = places.find_map(Target::of) else {
        return Opinion::None;
    };
    let exact = Target::of(&view.segments()) == Some(target);
    match view.method() {
        "POST" if exact && is_question(&target) => Opinion::read(PROFILE, "a review"),
        "POST" | "PUT" | "PATCH" | "DELETE" if exact && is_dry_run(view, &target) => {
            Opinion::read(PROFILE, "a dry run")
        }
        "POST" | "PUT" | "PATCH" | "DELETE" => {
            Opinion::write(PROFILE, kind(view.method(), &target))
        }
        _ => Opinion::None,
    }
}

/// Returns what a review is: a question that is asked by POST.
pub(super) fn review(view: &View<'_>) -> Opinion {
    match Target::of(&view.segments()) {
        Some(target) if is_question(&target) => Opinion::read(PROFILE, "a review"),
        _ => Opinion::None,
    }
}

/// Returns what opens a way into something, where the path begins with the API and says a namespace or a node.
pub(super) fn way_in_at(words: &[&str]) -> Opinion {
    match words {
        ["api", "v1", "namespaces" | "nodes", ..] | ["apis", _, _, "namespaces", ..] => {
            way_in(words).unwrap_or(Opinion::None)
        }
        _ => Opinion::None,
    }
}

/// What opens a way into something.
pub(super) fn way_in_below(words: &[&str]) -> Option<Opinion> {
    places(words).find_map(way_in)
}

/// Where the API may begin. What manages clusters serves theirs further down: `/k8s/clusters/c-1/api/v1`.
fn places<'w, 'a>(words: &'w [&'a str]) -> impl Iterator<Item = &'w [&'a str]> {
    (0..words.len()).map(move |at| &words[at..])
}

/// What opens a way into something, with the API at the beginning of these words.
fn way_in(words: &[&str]) -> Option<Opinion> {
    // `/api/v1/proxy/...`: the old way through.
    if let ["api", _, "proxy", ..] | ["apis", _, _, "proxy", ..] = words {
        let kind = "Kubernetes proxy: sends any request through";
        return Some(Opinion::write(PROFILE, kind));
    }
    let target = Target::of(words)?;
    let subresource = target.subresource?;
    let (name, does) = WAYS_IN.iter().find(|(name, _)| *name == subresource)?;
    let kind = format!("Kubernetes {name}: {does} ({})", target.shown());
    Some(Opinion::write(PROFILE, kind))
}

fn is_question(target: &Target<'_>) -> bool {
    let mut groups = QUESTIONS.iter();
    let known = groups.any(|(group, all)| *group == target.group && all.contains(&target.resource));
    known && target.name.is_none()
}

/// The API server checks a dry run and stores nothing. With DELETE it looks for `dryRun` in the query
/// only where there is no body.
fn is_dry_run(view: &View<'_>, target: &Target<'_>) -> bool {
    let stored = matches!(target.subresource, None | Some("status" | "scale"));
    let unbound = view.method() != "DELETE" || !view.facts.has_body;
    view.facts.query.one("dryRun") == Some("All")
        && BUILT_IN.contains(&target.group)
        && stored
        && unbound
        && !target.more
}

fn kind(method: &str, target: &Target<'_>) -> String {
    let does = match (method, target.name) {
        ("DELETE", None) => "deletes all",
        ("DELETE", Some(_)) => "deletes",
        ("POST", _) => "creates",
        ("PUT", _) => "replaces",
        _ => "changes",
    };
    format!("Kubernetes: {does} {}", target.shown())
}
