//! The API of Docker Engine, and of Podman, which has the same and more under `/libpod`.

use guard_policy::Profile;

use super::{super::headers::shown, Opinion, View};

const PROFILE: Profile = Profile::Docker;

/// What a POST to a container, an image and so on does.
const ACTIONS: &[(&str, &str)] = &[
    ("attach", "attaches to a container"),
    ("build", "builds an image"),
    ("commit", "makes an image of a container"),
    ("create", "creates something"),
    ("exec", "makes a command to run in a container"),
    ("kill", "kills a container"),
    ("prune", "removes all that is not in use"),
    ("push", "pushes an image"),
    ("restart", "restarts a container"),
    ("start", "starts a container, or a command in one"),
    ("stop", "stops a container"),
    (
        "session",
        "opens a session, through which the daemon calls back",
    ),
    ("grpc", "opens a session of BuildKit"),
];

pub(super) fn judge(view: &View<'_>) -> Opinion {
    if view.is_post() && waits(&without_version(&view.segments())) {
        return Opinion::read(PROFILE, "waiting for a container");
    }
    let words = view.words();
    // Whatever stands before: a version, or where a proxy serves it.
    match words[..] {
        // Its WebSocket carries what the container reads.
        [.., "containers", _, "attach", "ws"] => {
            Opinion::write(PROFILE, "Docker attach: sends input to a container")
        }
        // Runs the command of the check, with GET.
        [.., "containers", _, "healthcheck"] => {
            Opinion::write(PROFILE, "Podman healthcheck: runs a command in a container")
        }
        // The engine asks a registry, and a caller names which: as the first part of an image's or a plugin's name, and of a term
        // (`splitReposSearchTerm` of moby's registry/search.go).
        [.., "images", "search"] | [.., "plugins", "privileges"] => {
            Opinion::write(PROFILE, REGISTRY)
        }
        [.., "json"] if is_behind("distribution", &words) => Opinion::write(PROFILE, REGISTRY),
        // Podman asks the registry for a list that it does not have (`remoteManifestInspect`).
        [.., "json"] if words.contains(&"libpod") && is_behind("manifests", &words) => {
            Opinion::write(PROFILE, REGISTRY)
        }
        [.., last] if view.is_post() => known(last),
        _ => Opinion::None,
    }
}

/// What a GET does that no rule for the caller's own connections sees.
const REGISTRY: &str = "Docker: has the engine ask a registry, which may be any host";

/// Whether something stands between a word and the end.
fn is_behind(word: &str, words: &[&str]) -> bool {
    let at = words.iter().position(|one| *one == word);
    at.is_some_and(|at| at + 2 < words.len())
}

fn known(last: &str) -> Opinion {
    match ACTIONS.iter().find(|(action, _)| *action == last) {
        Some((action, does)) => {
            Opinion::write(PROFILE, format!("Docker {}: {does}", shown(action)))
        }
        None => Opinion::None,
    }
}

/// Blocks until a container stops, and changes nothing.
fn waits(segments: &[&str]) -> bool {
    matches!(segments, ["containers", id, "wait"] if !id.is_empty())
}

/// The path behind `/v1.43`, or `/v5.3.0-dev`: Podman routes `/v{version:[0-9][0-9A-Za-z.-]*}` (`pkg/api/server`).
fn without_version<'a>(segments: &[&'a str]) -> Vec<&'a str> {
    let version = |text: &str| {
        let number = text.strip_prefix('v').unwrap_or_default();
        number.starts_with(|c: char| c.is_ascii_digit())
            && number
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"-.".contains(&b))
    };
    match segments {
        [first, rest @ ..] if version(first) => rest.to_vec(),
        all => all.to_vec(),
    }
}
