//! The holes of one session as one value: built in memory, put in place by one write.

use guard_common::{BootTime, HoleEntry, HoleId, HoleKind, HoleList, MAX_HOLES, SessionId};

use super::{DatapathError, Result};

/// No holes.
pub(super) const EMPTY: HoleList = HoleList {
    head: 0,
    len: 0,
    entries: [HoleEntry {
        prefix: guard_common::Address([0; 4]),
        mask: guard_common::Address([0; 4]),
        expires: BootTime(0),
        id: HoleId(0),
        low: 0,
        high: 0,
        prefix_len: 0,
        protocol: guard_common::Protocol::ANY,
        kind: HoleKind::ALL,
        pad: [0; 5],
    }; MAX_HOLES],
    tail: 0,
    session: SessionId(0),
};

/// The entries that are in use.
pub(super) fn entries(list: &HoleList) -> &[HoleEntry] {
    let len = usize::try_from(list.len).unwrap_or(MAX_HOLES);
    &list.entries[..len.min(MAX_HOLES)]
}

/// The next version of a list: with `entries`, those for reads last, and of each sort the most specific first.
pub(super) fn next(
    session: SessionId,
    list: &HoleList,
    mut entries: Vec<HoleEntry>,
) -> Result<HoleList> {
    if entries.len() > MAX_HOLES {
        return Err(DatapathError::Full {
            what: "holes in this session",
            limit: MAX_HOLES,
        });
    }
    entries.sort_by_key(order);
    let version = list.head.wrapping_add(1);
    let mut new = HoleList {
        head: version,
        tail: version,
        session,
        ..EMPTY
    };
    new.len = u32::try_from(entries.len()).unwrap_or(0);
    new.entries[..entries.len()].copy_from_slice(&entries);
    Ok(new)
}

/// Sorts what lets all through before what is for reads, then the longest prefix first, then a protocol before all of
/// them, then the narrower range; of two alike the one that ends later, then the newer.
pub(super) fn order(hole: &HoleEntry) -> impl Ord + use<> {
    use std::cmp::Reverse;
    (
        hole.kind.reads(),
        Reverse(hole.prefix_len),
        hole.protocol.0 == 0,
        hole.high - hole.low,
        Reverse(hole.expires),
        Reverse(hole.id),
    )
}

#[cfg(test)]
mod tests {
    use guard_common::{Address, Protocol};

    use super::*;

    fn hole(id: u32, prefix_len: u8, protocol: u8, low: u16, high: u16) -> HoleEntry {
        HoleEntry {
            mask: Address::mask(prefix_len),
            id: HoleId(id),
            prefix_len,
            protocol: Protocol(protocol),
            low,
            high,
            ..EMPTY.entries[0]
        }
    }

    #[test]
    fn the_most_specific_comes_first() {
        let any = hole(1, 120, 0, 0, u16::MAX);
        let tcp = hole(2, 120, 6, 0, u16::MAX);
        let https = hole(3, 120, 6, 443, 443);
        let host = hole(4, 128, 0, 0, u16::MAX);
        let reads = HoleEntry {
            kind: HoleKind::READS,
            ..hole(5, 128, 6, 443, 443)
        };
        let list = next(SessionId(1), &EMPTY, vec![reads, any, tcp, https, host]).unwrap();
        let order: Vec<u32> = entries(&list).iter().map(|hole| hole.id.0).collect();
        assert_eq!(order, [4, 3, 2, 1, 5]);
        assert_eq!(list.head, list.tail);
        assert_ne!(list.head, EMPTY.head);
    }

    #[test]
    fn one_too_many_is_refused() {
        let full = vec![hole(1, 128, 6, 1, 1); MAX_HOLES];
        let list = next(SessionId(1), &EMPTY, full.clone()).unwrap();
        assert_eq!(entries(&list).len(), MAX_HOLES);
        let one_more = [full, vec![hole(2, 128, 6, 2, 2)]].concat();
        assert!(next(SessionId(1), &list, one_more).is_err());
    }
}
