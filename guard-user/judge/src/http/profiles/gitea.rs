//! Gitea, and Forgejo: a list, and Git.

use guard_policy::Profile;

use super::{Opinion, View, git, service};

const PROFILE: Profile = Profile::Gitea;

/// A push makes a repository where the settings let it, which already its beginning does (`HEAD /me/new.git/info/refs`).
pub(super) fn judge(view: &View<'_>) -> Opinion {
    let pushes = git::judge(view).only_write(PROFILE, "Gitea");
    service::judge(view, PROFILE).stricter(pushes)
}
