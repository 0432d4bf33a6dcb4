//! Where addresses are judged the same by themselves, and otherwise for a session that knows them by a name: no name lifts the
//! `deny` of a rule, nor what a rule says of that very address, and each lifts the default.

use std::collections::HashSet;

use guard_common::{Protocol, RangeEntry, Verdict};

use super::{
    AddressChange, Holds, Lifted, OrderedVerdict, PROTOCOLS, Shift, Side, by_verdict,
    names::{FromPort, PortValue, bounds},
};

/// What a policy's most open names get at each port, where nothing forbids it.
struct MostOpen {
    /// Names that may have private addresses, and all names.
    private: Vec<(Protocol, FromPort)>,
    all: Vec<(Protocol, FromPort)>,
}

impl MostOpen {
    fn new(side: Side<'_>) -> Self {
        let patterns = side.compiled.patterns.iter();
        let values: HashSet<_> = patterns.map(|(_, value)| (*value, true)).collect();
        let of = |is_meant: fn(&PortValue) -> bool| {
            let protocols = PROTOCOLS.into_iter().filter(|_| !values.is_empty());
            let by_protocol = protocols.map(|protocol| {
                let bounds = bounds(side.compiled, &values, protocol, is_meant);
                (protocol, bounds)
            });
            by_protocol.collect()
        };
        Self {
            private: of(|held| held.is_private),
            all: of(|_| true),
        }
    }

    /// The verdict for an address that is known by the name that gets most there.
    fn over(&self, holds: Holds, protocol: Protocol, port: u16) -> Verdict {
        let names = match holds.lifted {
            Lifted::Never => return holds.verdict,
            Lifted::ByPrivate => &self.private,
            Lifted::ByAny => &self.all,
        };
        let from = names.iter().find(|(of, _)| *of == protocol);
        let from = from.and_then(|(_, from)| from.iter().rfind(|(low, _)| *low <= port));
        let named = from.map(|(_, bounds)| bounds.verdict());
        let lifts = named.filter(|named| named.strictness() < holds.verdict.strictness());
        lifts.unwrap_or(holds.verdict)
    }
}

/// What changes for addresses that are known by a name, where nothing does for the addresses themselves ([`super::diff`]): from
/// what the most open name gets there, to what it gets after. Both sides are compiled for a machine that judges names.
#[must_use]
pub fn diff_by_name(old: Side<'_>, new: Side<'_>) -> Vec<AddressChange> {
    if [old, new]
        .iter()
        .any(|side| side.compiled.patterns.is_empty())
    {
        // There no name lifts anything, and those of the other side are listed.
        return Vec::new();
    }
    let names = [old, new].map(MostOpen::new);
    by_verdict(old, new, &borders([old, new]), |at| {
        let is_told = at.was.verdict != at.is.verdict;
        // What a name's own rules change is listed under the name.
        if is_told || at.was.lifted == at.is.lifted {
            return None;
        }
        let was = names[0].over(at.was, at.protocol, at.port);
        let is = names[1].over(at.is, at.protocol, at.port);
        let (was, is) = (OrderedVerdict(was), OrderedVerdict(is));
        (was != is).then_some(Shift { was, is })
    })
}

/// The port ranges of names.
fn borders(sides: [Side<'_>; 2]) -> Vec<RangeEntry> {
    let patterns = sides.into_iter().flat_map(|side| {
        let patterns = side.compiled.patterns.iter();
        patterns.flat_map(move |(_, value)| side.compiled.ranges(value))
    });
    let all: HashSet<_> = patterns.copied().collect();
    all.into_iter().collect()
}
