//! Sets of ports.

use guard_common::Protocol;

/// Ports that earlier ranges have decided.
#[derive(Default)]
pub(super) struct Covered {
    protocols: Vec<(Protocol, Vec<(u16, u16)>)>,
}

impl Covered {
    /// Adds a range. False where all of it was there already: then it never decides.
    pub(super) fn add(&mut self, protocol: Protocol, low: u16, high: u16) -> bool {
        insert(self.spans_mut(protocol), low, high)
    }

    /// Whether all of a range is there.
    pub(super) fn has_all(&self, protocol: Protocol, low: u16, high: u16) -> bool {
        let spans = self.protocols.iter().find(|(p, _)| *p == protocol);
        spans.is_some_and(|(_, spans)| spans.iter().any(|(l, h)| *l <= low && high <= *h))
    }

    fn spans_mut(&mut self, protocol: Protocol) -> &mut Vec<(u16, u16)> {
        let at = self.protocols.iter().position(|(p, _)| *p == protocol);
        let at = at.unwrap_or_else(|| {
            self.protocols.push((protocol, Vec::new()));
            self.protocols.len() - 1
        });
        &mut self.protocols[at].1
    }
}

/// Adds a span to sorted spans that neither touch nor overlap, and keeps them so.
fn insert(spans: &mut Vec<(u16, u16)>, low: u16, high: u16) -> bool {
    // Those from `first` up to `last` touch or overlap the new one.
    let first = spans.partition_point(|(_, h)| h.saturating_add(1) < low);
    let last = spans.partition_point(|(l, _)| *l <= high.saturating_add(1));
    let touching = &spans[first..last];
    if touching.iter().any(|(l, h)| *l <= low && high <= *h) {
        return false;
    }
    let joined = touching
        .iter()
        .fold((low, high), |(l, h), span| (l.min(span.0), h.max(span.1)));
    spans.splice(first..last, [joined]);
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_join_where_they_touch() {
        let mut covered = Covered::default();
        for (low, high, new) in [
            (10, 20, true),
            (30, 40, true),
            (12, 18, false),
            (21, 29, true),
            (10, 40, false),
            (0, u16::MAX, true),
            (u16::MAX, u16::MAX, false),
        ] {
            assert_eq!(covered.add(Protocol::TCP, low, high), new, "{low}-{high}");
        }
        assert!(covered.has_all(Protocol::TCP, 0, u16::MAX));
        assert!(!covered.has_all(Protocol::UDP, 1, 1));
    }
}
