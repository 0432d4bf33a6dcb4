//! What the language has and this version cannot enforce.

use super::{invalid::Invalid, parse::ReadOnly, source::Source};

/// Refuses `read-only`: no half of it is safe to pretend.
pub(super) fn refuse(source: &mut Source<'_>, read_only: &[ReadOnly]) {
    for ReadOnly(span) in read_only {
        let refusal = Invalid::new("this version cannot enforce `read-only` yet")
            .help("write `confirm`: each connection is asked about");
        source.error(span.clone(), refusal);
    }
}
