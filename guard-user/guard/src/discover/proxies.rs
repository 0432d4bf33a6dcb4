//! Forward proxies that the environment names. What goes through one has the proxy's address: no rule for a name behind it holds.

use std::collections::BTreeSet;

use guard_discover::Host;
use guard_probe::{Check, Family, ProbeResult};
use guard_proto::Row;

use super::items::{Discovered, at};
use super::judge::Judge;
use super::variables;
use crate::policy_file::PolicyFile;
use crate::render::page::{BAD, Page};

/// Its row of `guard doctor`.
pub(crate) const PROXY: Check = Check::part(
    Family::Guard,
    "forward proxy",
    "make the proxy read-only: tunnels are refused then",
)
.optional();

/// The policy that judges where none is named.
const DEFAULT: &str = "default";

fn all() -> BTreeSet<(Host, u16)> {
    guard_discover::proxies(&variables())
}

/// Returns a line for each proxy, with what the policy does with its address.
pub(super) fn page(found: &Discovered) -> Page {
    let mut page = Page::default();
    for (host, port) in all() {
        let mut items = found.items.iter();
        let item = items.find(|one| one.host == host.as_str() && one.port() == port);
        page.text(format_args!(
            "guard: what goes through {} is not judged by name",
            at(host.as_str(), port)
        ));
        if item.is_some_and(|one| one.now.verdict == "allow") {
            page.text("; ")
                .text(found.judged_by())
                .styled(BAD, " leaves it open");
        }
        page.end();
    }
    page
}

/// Returns the row of `guard doctor`.
pub(crate) fn row() -> Row {
    let all: Vec<_> = all().iter().map(shown).collect();
    PROXY.row(if all.is_empty() {
        ProbeResult::yes("the environment names none")
    } else {
        ProbeResult::no(format!(
            "what goes through {} is not judged by name",
            all.join(", ")
        ))
    })
}

/// "192.0.2.8:3128 (allow under default)"
fn shown((host, port): &(Host, u16)) -> String {
    let place = at(host.as_str(), *port);
    let file = PolicyFile::named(DEFAULT).ok();
    let parsed = file.and_then(|file| guard_policy::parse(DEFAULT, &file.text).ok());
    let verdicts = parsed.and_then(|parsed| {
        let judge = Judge::new(&parsed, [(host, &[][..])]).ok()?;
        Some(judge.explained(host.as_str(), &format!("tcp/{port}")))
    });
    match verdicts.unwrap_or_default().first() {
        Some(one) => format!("{place} ({} under {DEFAULT})", one.verdict),
        None => place,
    }
}
