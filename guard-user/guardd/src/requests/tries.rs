//! In how many ways a session has lately tried to reach a destination. A program that is refused fails; one that tries other
//! ports, protocols and programs is looking for a way round.

use std::{
    collections::{HashMap, VecDeque},
    time::Duration,
};

use guard_common::{Address, BootTime, Protocol, SessionId};

use crate::{requests::RequestKey, times::is_past};

/// Ways from which on a person is warned.
pub(crate) const MANY: usize = 4;
/// The time within which they are counted.
pub(crate) const WINDOW: Duration = Duration::from_secs(20);
/// Tries that are kept of one destination.
const MOST_OF_ONE: usize = 32;
/// Destinations that are kept; the least recently tried one is evicted.
const MOST: usize = 1024;

/// One way to try a destination.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Way {
    protocol: Protocol,
    port: u16,
    program: String,
}

/// The recent tries.
#[derive(Debug, Default)]
pub(crate) struct Tries(HashMap<(SessionId, Address), VecDeque<(BootTime, Way)>>);

impl Tries {
    /// Notes a try by that program, and returns in how many ways the destination was tried.
    pub(crate) fn note(&mut self, key: &RequestKey, program: Option<&str>, at: BootTime) -> usize {
        let way_to = (key.session, key.destination);
        if !self.0.contains_key(&way_to) && self.0.len() >= MOST {
            self.drop_oldest();
        }
        let tries = self.0.entry(way_to).or_default();
        let way = Way {
            protocol: key.protocol,
            port: key.port,
            program: program.unwrap_or_default().to_owned(),
        };
        // Each way counts once: a repeated one does not push the others out.
        tries.retain(|(then, known)| !is_past(*then, WINDOW, at) && *known != way);
        if tries.len() >= MOST_OF_ONE {
            tries.pop_front();
        }
        tries.push_back((at, way));
        tries.len()
    }

    fn drop_oldest(&mut self) {
        let last = |tries: &VecDeque<(BootTime, Way)>| tries.back().map(|(at, _)| *at);
        let oldest = self.0.iter().min_by_key(|(_, tries)| last(tries));
        if let Some(key) = oldest.map(|(key, _)| *key) {
            self.0.remove(&key);
        }
    }

    /// Forgets a session that has ended.
    pub(crate) fn forget(&mut self, session: SessionId) {
        self.0.retain(|(of, _), _| *of != session);
    }
}

/// How such a warning begins.
const TRIED: &str = "tried in ";

/// The warning for that many ways, if they are enough for one.
#[must_use]
pub(crate) fn warning(ways: usize) -> Option<String> {
    let seconds = WINDOW.as_secs();
    (ways >= MANY).then(|| {
        format!("{TRIED}{ways} ways within {seconds} s: by different ports, protocols or programs")
    })
}

/// The number of ways in such a warning; none if it is another warning.
#[must_use]
pub(crate) fn ways(warning: &str) -> Option<usize> {
    let (number, _) = warning.strip_prefix(TRIED)?.split_once(' ')?;
    number.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn to(last: u8, port: u16) -> RequestKey {
        RequestKey::new(
            SessionId(1),
            IpAddr::from([192, 0, 2, last]).into(),
            Protocol::TCP,
            port,
        )
    }

    #[test]
    fn the_same_again_is_no_other_way() {
        let mut tries = Tries::default();
        for at in 0..10 {
            assert_eq!(tries.note(&to(1, 443), Some("curl"), BootTime(at)), 1);
        }
        assert_eq!(tries.note(&to(1, 443), Some("wget"), BootTime(10)), 2);
        assert_eq!(tries.note(&to(1, 80), Some("curl"), BootTime(10)), 3);
        assert_eq!(tries.note(&to(2, 80), Some("curl"), BootTime(10)), 1);
        assert_eq!(tries.note(&to(1, 22), None, BootTime(10)), 4);
        assert!(warning(3).is_none() && warning(4).is_some());
    }

    #[test]
    fn what_is_long_ago_counts_for_nothing_and_nothing_grows_for_ever() {
        let mut tries = Tries::default();
        for port in 0..5000 {
            let ways = tries.note(&to(1, port), None, BootTime(SECOND));
            assert!(ways <= MOST_OF_ONE);
        }
        assert_eq!(tries.note(&to(1, 9), None, BootTime(SECOND * 60)), 1);
        for n in 0..5000_u32 {
            let to = RequestKey {
                destination: IpAddr::from(n.to_be_bytes()).into(),
                ..to(1, 1)
            };
            tries.note(&to, None, BootTime(SECOND * 61 + u64::from(n)));
        }
        assert_eq!(tries.0.len(), MOST);
        tries.forget(SessionId(1));
        assert!(tries.0.is_empty());
    }
}
