//! Grafana: its list, and what its newer API hands through, of which its description says nothing.

use guard_policy::Profile;

use super::{Opinion, View, service};

const PROFILE: Profile = Profile::Grafana;

pub(super) fn judge(view: &View<'_>) -> Opinion {
    if is_handed_through(&view.words()) {
        Opinion::write(
            PROFILE,
            "Grafana: sends any request through to a data source",
        )
    } else {
        service::judge(view, PROFILE)
    }
}

/// `/apis/prometheus.datasource.grafana.app/v0alpha1/namespaces/default/datasources/NAME/resource/…` of
/// `pkg/registry/apis/datasource`, with any method.
fn is_handed_through(words: &[&str]) -> bool {
    let is = |word: &str, one_of: &[&str]| one_of.iter().any(|one| word.eq_ignore_ascii_case(one));
    words.windows(8).any(|at| {
        is(at[0], &["apis"]) && is(at[3], &["namespaces"]) && is(at[7], &["proxy", "resource"])
    })
}
