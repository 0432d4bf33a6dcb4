//! `WebDAV` and what is made of it: methods of their own that are safe.

use guard_policy::Profile;

use super::{Opinion, View};

/// PROPFIND: RFC 4918 9.1. REPORT: RFC 3253 3.6, and what RFC 4791 and RFC 6352 ask with it. SEARCH: RFC
/// 5323 2. All three carry what is asked for in their body.
const READS: &[&str] = &["PROPFIND", "REPORT", "SEARCH"];

pub(super) fn judge(view: &View<'_>) -> Opinion {
    if READS.contains(&view.method()) {
        Opinion::read(Profile::Webdav, view.method())
    } else {
        Opinion::None
    }
}
