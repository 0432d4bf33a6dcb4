//! The pinned maps, typed.

use std::path::Path;

use aya::maps::{Array, HashMap, LpmTrie, Map, MapData, MapError, of_maps::HashOfMaps};
use guard_common::{
    Answered, AnsweredKey, AttemptCount, AttemptKey, HoleList, PrefixValue, RangeList, Session,
    SessionId, SessionStats, meta,
};
use zerocopy::{FromBytes, IntoBytes};

use super::{DatapathError, Places, Result, pins};

/// As the eBPF object names them.
pub(super) const NAMES: [&str; 39] = [
    "META",
    "POLICIES",
    "RANGES",
    "SESSIONS",
    "HOLES",
    "BUDGETS",
    "THROUGH",
    "ATTEMPTS",
    "STATS",
    "EVENTS",
    "SOCKETS",
    "BEGAN",
    "PROXIES",
    "RESOLVERS",
    "NAMED",
    "ANSWERED",
    "ASKED",
    "LISTENERS",
    "TURNED",
    "ORIGINS",
    "QUESTIONS",
    "DRAINED",
    "UNREAD",
    "PATIENCE",
    "HELD",
    "REFUSED",
    "HOLDS",
    "UNSENT",
    "HERE",
    "REMEMBERS",
    "NEAR",
    "OUTERMOST",
    "SHARES",
    "WENT_ON",
    "FLOWS",
    "FLOW_SHARES",
    "GATE",
    "GATE_STATES",
    "GATE_SOCKETS",
];

/// Bytes of a `T`: aya wants types that it knows, and arrays of bytes are.
type Bytes<const N: usize> = [u8; N];
pub(super) type Trie = LpmTrie<MapData, Bytes<16>, Bytes<{ size_of::<PrefixValue>() }>>;
type Table<K, const N: usize> = HashMap<MapData, K, Bytes<N>>;

/// The maps that guardd reads or writes, but for those of [`super::proxies`], [`super::holding`] and [`super::listeners`].
pub(super) struct Maps {
    pub(super) meta: Array<MapData, u64>,
    pub(super) policies: HashOfMaps<MapData, u32, Trie>,
    pub(super) ranges: Table<u32, { size_of::<RangeList>() }>,
    pub(super) sessions: Table<u64, { size_of::<Session>() }>,
    pub(super) holes: Table<u32, { size_of::<HoleList>() }>,
    pub(super) budgets: HashMap<MapData, u32, i64>,
    pub(super) through: HashMap<MapData, u64, u32>,
    pub(super) attempts:
        HashMap<MapData, Bytes<{ size_of::<AttemptKey>() }>, Bytes<{ size_of::<AttemptCount>() }>>,
    pub(super) stats: Table<u32, { size_of::<SessionStats>() }>,
    /// None where the kernel half reads no answers of name servers, as those before 0.3.0.
    pub(super) answered: Option<
        HashMap<MapData, Bytes<{ size_of::<AnsweredKey>() }>, Bytes<{ size_of::<Answered>() }>>,
    >,
    /// None if the kernel half gives each session a share of its own, as before 0.3.0.
    pub(super) outermost: Option<HashMap<MapData, u32, u32>>,
    /// None where the kernel half does not count them, as those before 0.3.0.
    pub(super) went_on: Option<HashMap<MapData, u32, u64>>,
}

impl Maps {
    /// Opens the pinned maps.
    pub(super) fn open(dir: &Path) -> Result<Self> {
        Ok(Self {
            meta: open(dir, "META")?,
            policies: open(dir, "POLICIES")?,
            ranges: open(dir, "RANGES")?,
            sessions: open(dir, "SESSIONS")?,
            holes: open(dir, "HOLES")?,
            budgets: open(dir, "BUDGETS")?,
            through: open(dir, "THROUGH")?,
            attempts: open(dir, "ATTEMPTS")?,
            stats: open(dir, "STATS")?,
            answered: open_if_there(dir, "ANSWERED")?,
            outermost: open_if_there(dir, "OUTERMOST")?,
            went_on: open_if_there(dir, "WENT_ON")?,
        })
    }

    /// Whether the maps can still be read, and are of this version.
    pub(super) fn check(&self, places: &Places) -> Result<()> {
        let found = self.get_meta(meta::ABI)?;
        if found == guard_common::ABI {
            return Ok(());
        }
        Err(DatapathError::OtherVersion {
            path: places.pin_dir.clone(),
            root: places.cgroup_root.clone(),
            found,
            ours: guard_common::ABI,
        })
    }

    pub(super) fn get_meta(&self, index: u32) -> Result<u64> {
        self.meta
            .get(&index, 0)
            .map_err(DatapathError::ebpf("read the map META"))
    }

    pub(super) fn set_meta(&mut self, index: u32, value: u64) -> Result<()> {
        self.meta
            .set(index, value, 0)
            .map_err(DatapathError::ebpf("write the map META"))
    }

    /// Voids every cached verdict.
    pub(super) fn bump_generation(&mut self) -> Result<()> {
        let generation = self.get_meta(meta::GENERATION)?;
        self.set_meta(meta::GENERATION, generation + 1)
    }

    /// A number that is never given again. Only the holder of the locks calls this.
    pub(super) fn next_id(&mut self, index: u32) -> Result<u32> {
        let id = self.get_meta(index)?;
        let next = u32::try_from(id).map_err(|_| DatapathError::Full {
            what: "ids",
            limit: u32::MAX as usize,
        })?;
        self.set_meta(index, id + 1)?;
        Ok(next)
    }

    /// Writes the session of a cgroup.
    pub(super) fn insert_session(&mut self, cgroup: u64, session: Session) -> Result<()> {
        self.sessions
            .insert(cgroup, bytes(&session), 0)
            .map_err(DatapathError::ebpf("write the map SESSIONS"))
    }

    /// All sessions, by the id of their cgroup.
    pub(super) fn sessions(&self) -> Result<Vec<(u64, Session)>> {
        self.sessions
            .iter()
            .map(|entry| entry.map(|(cgroup, bytes)| (cgroup, read(&bytes))))
            .collect::<std::result::Result<_, _>>()
            .map_err(DatapathError::ebpf("list the map SESSIONS"))
    }

    /// A session's counters; none if it has none.
    pub(super) fn attempts(&self, of: SessionId) -> Result<Vec<(AttemptKey, AttemptCount)>> {
        let mut found = Vec::new();
        for key in self.attempts.keys() {
            let bytes = key.map_err(DatapathError::ebpf("list the map ATTEMPTS"))?;
            let key: AttemptKey = read(&bytes);
            // The kernel may have evicted it since: the least recently used one goes when the map is full.
            if key.session == of
                && let Ok(count) = self.attempts.get(&bytes, 0)
            {
                found.push((key, read(&count)));
            }
        }
        Ok(found)
    }
}

/// A value from its bytes.
pub(super) fn read<T: FromBytes, const N: usize>(bytes: &[u8; N]) -> T {
    const { assert!(size_of::<T>() == N) };
    zerocopy::FromBytes::read_from_bytes(bytes).unwrap_or_else(|_| unreachable!("{N} bytes"))
}

/// A value's bytes.
pub(super) fn bytes<T: IntoBytes + zerocopy::Immutable, const N: usize>(value: &T) -> [u8; N] {
    const { assert!(size_of::<T>() == N) };
    let mut bytes = [0; N];
    bytes.copy_from_slice(value.as_bytes());
    bytes
}

/// The result of a removal, of something that may be gone already.
pub(super) fn gone(
    removed: std::result::Result<(), MapError>,
) -> std::result::Result<(), MapError> {
    match removed {
        Err(MapError::KeyNotFound) => Ok(()),
        Err(MapError::SyscallError(e)) if e.io_error.kind() == std::io::ErrorKind::NotFound => {
            Ok(())
        }
        other => other,
    }
}

pub(super) fn open<T: TryFrom<Map, Error = MapError>>(dir: &Path, name: &str) -> Result<T> {
    let typed = |data| Map::from_map_data(data).and_then(T::try_from);
    typed(open_untyped(dir, name)?).map_err(DatapathError::ebpf(format!(
        "open the pinned map {}",
        pins::map(dir, name).display()
    )))
}

/// None where another kernel half has no such map.
pub(super) fn open_if_there<T: TryFrom<Map, Error = MapError>>(
    dir: &Path,
    name: &str,
) -> Result<Option<T>> {
    if pins::map(dir, name).exists() {
        open(dir, name).map(Some)
    } else {
        Ok(None)
    }
}

pub(super) fn open_untyped(dir: &Path, name: &str) -> Result<MapData> {
    let pin = pins::map(dir, name);
    if !pin.exists() {
        return Err(DatapathError::Incomplete { pin });
    }
    MapData::from_pin(&pin).map_err(DatapathError::ebpf(format!(
        "open the pinned map {}",
        pin.display()
    )))
}
