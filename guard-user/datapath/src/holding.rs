//! Held connections, as guardd writes and reads their maps: whose connections are held (`PATIENCE`), which ones are
//! (`HELD`), and where none is since a person said no (`REFUSED`).

use std::{collections::HashSet, io, path::Path, time::Duration};

use aya::maps::{HashMap, MapData};
use guard_common::{BootTime, Connection, Held, HoldTerms, RefusedKey, SessionId};
use guard_sys::{clock, sock_destroy, tcp};

use super::{
    Datapath, DatapathError, Result, SessionCgroup,
    maps::{bytes, gone, open, read},
};

/// The first interval after which the SYN of a held connection is sent again.
const FIRST_PROBE: Duration = Duration::from_millis(400);
/// How many times it is sent again at most: the limit of `TCP_SYNCNT`.
const PROBES: u64 = 127;
/// The interval of the quick ones (`TCP_RESOURCE_PROBE_INTERVAL` of net/tcp.h).
const QUICK_STEP: Duration = Duration::from_millis(500);
/// The interval of the others, if the kernel has `TCP_RTO_MAX_MS`.
const LONG_STEP: Duration = Duration::from_secs(4);
/// Probes between the two kinds, each interval twice the one before.
const BETWEEN: u64 = 4;
/// The others without `TCP_RTO_MAX_MS`: each interval is twice the one before, so they last for the longest hold.
const DOUBLING: u64 = 10;

/// A connection that is held, by its socket's cookie.
pub type HeldSocket = (u64, Held);

/// The maps for held connections.
pub(super) struct Holding {
    /// `PATIENCE`: pinned maps keep their names.
    terms: HashMap<MapData, u32, [u8; size_of::<HoldTerms>()]>,
    held: HashMap<MapData, u64, [u8; size_of::<Held>()]>,
    refused: HashMap<MapData, [u8; size_of::<RefusedKey>()], u64>,
    /// Whether the interval between two probes can be limited.
    bounds_steps: bool,
}

impl Holding {
    pub(super) fn open(dir: &Path) -> Result<Self> {
        Ok(Self {
            terms: open(dir, "PATIENCE")?,
            held: open(dir, "HELD")?,
            refused: open(dir, "REFUSED")?,
            bounds_steps: tcp::bounds_timeout(),
        })
    }
}

/// [`FIRST_PROBE`] in the kernel's jiffies.
pub(super) fn first_probe() -> io::Result<u32> {
    let jiffies = FIRST_PROBE.as_nanos() / clock::tick().as_nanos().max(1);
    u32::try_from(jiffies.max(1)).map_err(io::Error::other)
}

/// How many quick probes a connection held for `time` gets: as many as leave enough of the others for the rest.
fn quick(time: Duration, bounds_steps: bool) -> u64 {
    if time <= QUICK_STEP * PROBES as u32 {
        return PROBES;
    }
    if !bounds_steps {
        return PROBES - DOUBLING;
    }
    // q quick ones and the others together last for that time.
    let longest = LONG_STEP * (PROBES - BETWEEN) as u32;
    let spare = longest.saturating_sub(time).as_millis();
    let gain = (LONG_STEP - QUICK_STEP).as_millis();
    u64::try_from(spare / gain).unwrap_or(PROBES).min(PROBES)
}

impl Datapath {
    /// Has a session's connections held that an approver could allow, each for that time, if they begin before `until`.
    ///
    /// # Errors
    ///
    /// The system's; then they are not held, or as before.
    pub fn set_hold_terms(
        &mut self,
        session: SessionId,
        time: Duration,
        until: BootTime,
    ) -> Result<()> {
        let holding = &mut self.holding;
        let terms = HoldTerms {
            until,
            time: u64::try_from(time.as_nanos()).unwrap_or(u64::MAX),
            quick: quick(time, holding.bounds_steps),
        };
        holding
            .terms
            .insert(session.0, bytes(&terms), 0)
            .map_err(DatapathError::ebpf("write the map PATIENCE"))
    }

    /// Holds no further connection of a session. Those that are held already stay so.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn clear_hold_terms(&mut self, session: SessionId) -> Result<()> {
        gone(self.holding.terms.remove(&session.0))
            .map_err(DatapathError::ebpf("write the map PATIENCE"))
    }

    /// The sessions whose connections are held, or were when they had such terms.
    ///
    /// # Errors
    ///
    /// The system's.
    pub(super) fn hold_terms(&self) -> Result<Vec<SessionId>> {
        let sessions = self.holding.terms.keys();
        let sessions = sessions.map(|id| id.map(SessionId));
        let sessions = sessions.collect::<std::result::Result<_, _>>();
        sessions.map_err(DatapathError::ebpf("list the map PATIENCE"))
    }

    /// The held connections.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn held(&self) -> Result<Vec<HeldSocket>> {
        let holding = &self.holding;
        let mut all = Vec::new();
        for cookie in holding.held.keys() {
            let cookie = cookie.map_err(DatapathError::ebpf("list the map HELD"))?;
            // The kernel may have removed it since.
            if let Ok(value) = holding.held.get(&cookie, 0) {
                all.push((cookie, read(&value)));
            }
        }
        Ok(all)
    }

    /// Whether any connection is held.
    #[must_use]
    pub fn holds_any(&self) -> bool {
        self.holding.held.keys().next().is_some()
    }

    /// Closes held connections: their programs get `ECONNABORTED` at once. Returns how many there were.
    ///
    /// # Errors
    ///
    /// The system's. Their packets are dropped all the same.
    pub fn end_held(&mut self, session: &SessionCgroup, cookies: &HashSet<u64>) -> Result<usize> {
        let ended = self.destroy(session, cookies.len(), || {
            sock_destroy::destroy_tcp(cookies)
        });
        self.forget_held(cookies)?;
        ended
    }

    /// Removes the entries of connections that are no longer held, if the kernel half has not.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn forget_held(&mut self, cookies: &HashSet<u64>) -> Result<()> {
        for cookie in cookies {
            gone(self.holding.held.remove(cookie))
                .map_err(DatapathError::ebpf("write the map HELD"))?;
        }
        Ok(())
    }

    /// Has a session's connections to a destination refused without a hold until then: a person said no.
    ///
    /// # Errors
    ///
    /// The system's; then each is held, and guardd closes it.
    pub fn refuse(&mut self, session: SessionId, to: &Connection, until: BootTime) -> Result<()> {
        let key = bytes(&RefusedKey::new(session, to));
        self.holding
            .refused
            .insert(key, until.0, 0)
            .map_err(DatapathError::ebpf("write the map REFUSED"))
    }

    /// Ends such a refusal.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn unrefuse(&mut self, session: SessionId, to: &Connection) -> Result<()> {
        let key = bytes(&RefusedKey::new(session, to));
        gone(self.holding.refused.remove(&key))
            .map_err(DatapathError::ebpf("write the map REFUSED"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// When the last probe comes.
    fn lasts(quick: u64, bounds_steps: bool) -> Duration {
        let mut rest = (FIRST_PROBE, FIRST_PROBE);
        for _ in quick + 1..PROBES {
            let next = rest.1 * 2;
            rest.1 = if bounds_steps {
                next.min(LONG_STEP)
            } else {
                next
            };
            rest.0 += rest.1;
        }
        QUICK_STEP * quick as u32 + rest.0
    }

    #[test]
    fn what_waits_is_tried_for_as_long_as_it_waits() {
        for seconds in [1, 30, 60, 63, 64, 65, 100, 180, 240, 300] {
            let time = Duration::from_secs(seconds);
            for bounds_steps in [true, false] {
                let quick = quick(time, bounds_steps);
                let lasts = lasts(quick, bounds_steps);
                assert!(lasts >= time, "{seconds} s: {quick} quick, {lasts:?}");
            }
        }
    }

    #[test]
    fn a_minute_is_quick_throughout() {
        assert_eq!(quick(Duration::from_secs(60), true), PROBES);
        assert_eq!(quick(Duration::from_secs(60), false), PROBES);
        assert!(quick(Duration::from_secs(120), true) >= 100);
        assert!(quick(Duration::from_secs(300), true) >= 50);
    }

    #[test]
    fn the_first_probe_is_some_jiffies_away() {
        let jiffies = first_probe().unwrap();
        assert!((40..=400).contains(&jiffies), "{jiffies}");
    }
}
