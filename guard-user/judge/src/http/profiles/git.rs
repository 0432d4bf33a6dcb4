//! Git's smart HTTP transport (gitprotocol-http) and Git LFS.

use guard_policy::Profile;

use super::{super::headers::shown, Opinion, View};

const PROFILE: Profile = Profile::Git;
const FETCH: &str = "application/x-git-upload-pack-request";
const LFS: &str = "application/vnd.git-lfs+json";

pub(super) fn judge(view: &View<'_>) -> Opinion {
    let services: Vec<_> = view.facts.query.values("service").collect();
    let announces_push = services.iter().any(|s| s.contains("receive-pack"));
    if view.words().ends_with(&["info", "refs"]) && announces_push {
        return Opinion::write(PROFILE, "begins a git push");
    }
    match (view.is_post(), view.segments().as_slice()) {
        (true, [.., "git-receive-pack"]) => Opinion::write(PROFILE, "git push"),
        (true, [_, .., "git-upload-pack"]) if view.has_media_type(&[FETCH]) => {
            Opinion::read(PROFILE, "a fetch")
        }
        (true, [_, .., "info", "lfs", "objects", "batch"]) if view.has_media_type(&[LFS]) => {
            batch(view).unwrap_or_else(|opinion| opinion)
        }
        _ => Opinion::None,
    }
}

/// Git LFS asks for links to objects, to download them or to upload them.
fn batch(view: &View<'_>) -> Result<Opinion, Opinion> {
    const KIND: &str = "Git LFS upload, or something that is not known";
    const NAMES: &[&str] = &["operation", "transfers", "ref", "objects", "hash_algo"];
    let json = view.json(PROFILE, KIND)?;
    let operation = json.get("operation").and_then(|value| value.as_str());
    Ok(match operation.filter(|_| json.has_only(NAMES)) {
        Some("download") => Opinion::read(PROFILE, "a Git LFS download"),
        Some(other) => Opinion::write(PROFILE, format!("Git LFS {}", shown(other))),
        None => Opinion::doubt(PROFILE, KIND, "it does not say what for"),
    })
}
