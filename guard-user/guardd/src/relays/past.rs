//! The upstreams of listeners that are gone, for when their programs are started again. Other programs may have listened there
//! in between.

use guard_common::{BootTime, Connection, MAX_UPSTREAMS, NetnsCookie};

use super::scan::ScanResult;

/// Programs that are kept.
const MAX_PAST: usize = 256;

/// The port that a program listens at, at whatever address: one that listens at all addresses, or has a listener for each, is
/// the same program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ListeningPort {
    pub(super) netns: NetnsCookie,
    pub(super) port: u16,
}

/// What was known of a program.
#[derive(Clone, Debug)]
pub(super) struct PastProgram {
    pub(super) comm: Option<String>,
    pub(super) command: Vec<String>,
    pub(super) upstreams: Vec<Connection>,
    pub(super) anywhere: bool,
}

impl PastProgram {
    fn is_of(&self, comm: Option<&String>, command: &[String]) -> bool {
        self.comm.as_ref() == comm && self.command == command
    }

    fn merge(&mut self, other: Self) {
        for upstream in other.upstreams {
            if !self.upstreams.contains(&upstream) {
                self.upstreams.push(upstream);
            }
        }
        self.anywhere |= other.anywhere || self.upstreams.len() > MAX_UPSTREAMS;
        self.upstreams.truncate(MAX_UPSTREAMS);
    }
}

/// Programs that had an upstream, the most recently used last.
#[derive(Debug, Default)]
pub(super) struct Past(Vec<Remembered>);

#[derive(Debug)]
struct Remembered {
    spot: ListeningPort,
    before: PastProgram,
    used: BootTime,
}

impl Past {
    /// Keeps a program that was last connected to at `used`. One without an upstream is not kept.
    pub(super) fn add(&mut self, spot: ListeningPort, before: PastProgram, used: BootTime) {
        // A program without a readable command line could not be recognised.
        if before.command.is_empty() || (before.upstreams.is_empty() && !before.anywhere) {
            return;
        }
        if let Some(known) = self.find(spot, before.comm.as_ref(), &before.command) {
            known.used = known.used.max(used);
            known.before.merge(before);
            return;
        }
        if self.0.len() >= MAX_PAST {
            let all = self.0.iter().enumerate();
            let oldest = all.min_by_key(|(_, one)| one.used).map(|(at, _)| at);
            if let Some(at) = oldest {
                self.0.swap_remove(at);
            }
        }
        self.0.push(Remembered { spot, before, used });
    }

    /// What is known of the program that listens there now, to which a session connected at `used`.
    pub(super) fn of(
        &mut self,
        spot: ListeningPort,
        who: &ScanResult,
        used: BootTime,
    ) -> Option<&PastProgram> {
        if who.command.is_empty() || spot.netns.0 == 0 {
            return None;
        }
        let known = self.find(spot, who.comm.as_ref(), &who.command)?;
        known.used = known.used.max(used);
        Some(&known.before)
    }

    fn find(
        &mut self,
        spot: ListeningPort,
        comm: Option<&String>,
        command: &[String],
    ) -> Option<&mut Remembered> {
        let mut all = self.0.iter_mut();
        all.find(|one| one.spot == spot && one.before.is_of(comm, command))
    }
}

#[cfg(test)]
mod tests {
    use guard_common::{Address, Protocol};

    use super::*;

    fn spot(port: u16) -> ListeningPort {
        ListeningPort {
            netns: NetnsCookie(1),
            port,
        }
    }

    fn before(command: &str, upstreams: impl IntoIterator<Item = u16>) -> PastProgram {
        let upstream = |port| Connection::new(Address::default(), Protocol::TCP, port);
        PastProgram {
            comm: Some("relay".into()),
            command: vec![command.into()],
            upstreams: upstreams.into_iter().map(upstream).collect(),
            anywhere: false,
        }
    }

    fn found(command: &str) -> ScanResult {
        ScanResult {
            comm: Some("relay".into()),
            command: vec![command.into()],
            ..ScanResult::default()
        }
    }

    #[test]
    fn the_least_recently_used_program_is_evicted_first() {
        let mut past = Past::default();
        for at in 0..MAX_PAST as u64 {
            past.add(spot(1), before(&at.to_string(), [5432]), BootTime(at));
        }
        assert!(past.of(spot(1), &found("0"), BootTime(1000)).is_some());
        past.add(spot(1), before("one more", [5432]), BootTime(1001));
        assert_eq!(past.0.len(), MAX_PAST);
        for (command, is_known) in [("0", true), ("1", false), ("2", true), ("one more", true)] {
            let known = past.of(spot(1), &found(command), BootTime(0));
            assert_eq!(known.is_some(), is_known, "{command}");
        }
    }

    #[test]
    fn what_is_known_grows_and_is_of_one_place_and_program() {
        let mut past = Past::default();
        past.add(spot(1), before("relay", [1, 2]), BootTime(1));
        past.add(spot(1), before("relay", [2, 3]), BootTime(2));
        past.add(spot(1), before("server", []), BootTime(3));
        assert_eq!(past.0.len(), 1);
        let known = past.of(spot(1), &found("relay"), BootTime(4)).unwrap();
        assert_eq!(known.upstreams.len(), 3);
        assert!(past.of(spot(2), &found("relay"), BootTime(4)).is_none());
        assert!(past.of(spot(1), &found("server"), BootTime(4)).is_none());
        let all = 0..=u16::try_from(MAX_UPSTREAMS).unwrap();
        past.add(spot(1), before("relay", all), BootTime(5));
        let known = past.of(spot(1), &found("relay"), BootTime(6)).unwrap();
        assert!(known.anywhere);
        assert_eq!(known.upstreams.len(), MAX_UPSTREAMS);
    }
}
