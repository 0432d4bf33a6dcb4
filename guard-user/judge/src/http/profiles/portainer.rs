//! Portainer: a list, and what it hands through to Docker, to Podman and to Kubernetes.

use guard_policy::Profile;

use super::{Opinion, View, docker, kubernetes, service};

const PROFILE: Profile = Profile::Portainer;

pub(super) fn judge(view: &View<'_>) -> Opinion {
    service::judge(view, PROFILE).stricter(handed_through(view))
}

/// What goes to an environment (`/api/endpoints/2/docker/...`). Which API answers there is by the environment, whatever the
/// prefix says (`docker`, `kubernetes`, `azure`, `agent/docker`, ...): so it is no read if it is none by any of them.
fn handed_through(view: &View<'_>) -> Opinion {
    let path = view.path.to_ascii_lowercase();
    let view = View {
        facts: view.facts,
        path: &path,
        lists: view.lists,
        is_listed: view.is_listed,
    };
    let words = view.words();
    let mut places = (0..words.len()).map(|at| &words[at..]);
    let below = places.find_map(|place| match place {
        ["api", "endpoints", _, below @ ..] => Some(below),
        _ => None,
    });
    let Some(below) = below else {
        return Opinion::None;
    };
    let way = kubernetes::way_in_below(below).unwrap_or(Opinion::None);
    let told = docker::judge(&view).stricter(way);
    told.only_write(PROFILE, "Portainer")
}
