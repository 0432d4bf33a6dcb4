//! The guard's resolvers, one in each network namespace at most, to which DNS questions are redirected; and what sessions know
//! addresses by.

use std::{
    collections::BTreeMap,
    num::NonZeroU16,
    os::fd::{AsFd, OwnedFd},
    path::Path,
};

use aya::maps::{HashMap, MapData, MapError};
use guard_common::{Answered, AnsweredKey, Named, NamedKey, NetnsCookie, SessionId};
use guard_sys::bpf;

use super::{
    Datapath, DatapathError, Result,
    maps::{bytes, gone, open, open_untyped, read},
    pins,
    proxies::Ports,
};

type Names = HashMap<MapData, [u8; size_of::<NamedKey>()], [u8; size_of::<Named>()]>;

/// The maps of questions and of names.
pub(super) struct Resolvers {
    ports: Ports,
    names: Names,
    /// The same map, for whoever writes it beside guardd.
    shared: MapData,
    questions: MapData,
    drained: MapData,
}

impl Resolvers {
    /// Opens them where they are pinned; none where the programs that run are of a build that knows no names.
    pub(super) fn open(dir: &Path) -> Result<Option<Self>> {
        let is_there = |map| pins::map(dir, map).exists();
        if !["RESOLVERS", "NAMED", "QUESTIONS", "DRAINED"]
            .into_iter()
            .all(is_there)
        {
            return Ok(None);
        }
        Ok(Some(Self {
            ports: open(dir, "RESOLVERS")?,
            names: open(dir, "NAMED")?,
            shared: open_untyped(dir, "NAMED")?,
            questions: open_untyped(dir, "QUESTIONS")?,
            drained: open_untyped(dir, "DRAINED")?,
        }))
    }

    /// Removes every resolver from what is pinned, if that has any.
    pub(super) fn clear(dir: &Path) -> Result<()> {
        let Some(mut resolvers) = Self::open(dir)? else {
            return Ok(());
        };
        let all: std::result::Result<Vec<_>, _> = resolvers.ports.keys().collect();
        for netns in all.map_err(DatapathError::ebpf("list the map RESOLVERS"))? {
            gone(resolvers.ports.remove(&netns)).map_err(DatapathError::ebpf(WRITE_PORTS))?;
        }
        Ok(())
    }
}

const WRITE_PORTS: &str = "write the map RESOLVERS";
const WRITE_NAMES: &str = "write the map NAMED";

fn unknown() -> DatapathError {
    DatapathError::Absent {
        what: "map NAMED".into(),
    }
}

impl Datapath {
    /// Whether the programs that run know names.
    #[must_use]
    pub fn knows_names(&self) -> bool {
        self.resolvers.is_some()
    }

    /// Redirects the questions of that network namespace to that port of 127.0.0.1 and of ::1, for sessions whose policies speak
    /// of names. `sockets` are those that listen there, by TCP and UDP: only these are ever asked, and only while they are open.
    ///
    /// # Errors
    ///
    /// Where there is no room, or the system's; then what was there still is.
    pub fn set_resolver(
        &mut self,
        netns: NetnsCookie,
        port: NonZeroU16,
        sockets: &[impl AsFd],
    ) -> Result<()> {
        let resolvers = self.resolvers.as_mut().ok_or_else(unknown)?;
        for socket in sockets {
            self.proxies.mark_listener(socket)?;
        }
        let before = match resolvers.ports.get(&netns.0, 0) {
            Err(MapError::KeyNotFound) => None,
            found => Some(found.map_err(DatapathError::ebpf("read the map RESOLVERS"))?),
        };
        resolvers
            .ports
            .insert(netns.0, port.get(), 0)
            .map_err(DatapathError::ebpf(WRITE_PORTS))?;
        // What was sent there before may be cached: it was anybody's port.
        match before {
            Some(known) if known == port.get() => Ok(()),
            _ => self.maps.bump_generation(),
        }
    }

    /// Has the questions of that network namespace refused: the port may become anybody's. To be called before the resolver closes
    /// it.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn clear_resolver(&mut self, netns: NetnsCookie) -> Result<()> {
        if let Some(resolvers) = &mut self.resolvers {
            gone(resolvers.ports.remove(&netns.0)).map_err(DatapathError::ebpf(WRITE_PORTS))?;
            self.maps.bump_generation()?;
        }
        Ok(())
    }

    /// The map that the resolver writes what sessions learn into ([`guard_sys::bpf::NamedMap`]). A process that holds it needs no privilege.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn named_map(&self) -> Result<OwnedFd> {
        self.shared(|resolvers| (&resolvers.shared, "the map NAMED"))
    }

    /// The map in which the resolver finds where datagrams were going ([`guard_sys::bpf::Origins`]). A process that holds it needs no
    /// privilege.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn questions_map(&self) -> Result<OwnedFd> {
        self.shared(|resolvers| (&resolvers.questions, "the map QUESTIONS"))
    }

    /// The map in which the resolver says that it has read what there was ([`guard_sys::bpf::Queues`]). A process that holds it needs no
    /// privilege.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn drained_map(&self) -> Result<OwnedFd> {
        self.shared(|resolvers| (&resolvers.drained, "the map DRAINED"))
    }

    fn shared(&self, map: impl Fn(&Resolvers) -> (&MapData, &'static str)) -> Result<OwnedFd> {
        let (map, name) = map(self.resolvers.as_ref().ok_or_else(unknown)?);
        let fd = map.fd().as_fd().try_clone_to_owned();
        fd.map_err(DatapathError::file("copy a descriptor of", name))
    }

    /// What a session knows an address by, for one of its policies.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn named(&self, key: &NamedKey) -> Result<Option<Named>> {
        let Some(resolvers) = &self.resolvers else {
            return Ok(None);
        };
        match resolvers.names.get(&bytes(key), 0) {
            Err(MapError::KeyNotFound) => Ok(None),
            Ok(found) => Ok(Some(read(&found))),
            Err(error) => Err(DatapathError::ebpf("read the map NAMED")(error)),
        }
    }

    /// The last name that a session asked a name server for and was answered that address of, where its policies speak of no names.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn answered(&self, key: &AnsweredKey) -> Result<Option<Answered>> {
        let Some(answered) = &self.maps.answered else {
            return Ok(None);
        };
        match answered.get(&bytes(key), 0) {
            Err(MapError::KeyNotFound) => Ok(None),
            Ok(found) => Ok(Some(read(&found)).filter(|found: &Answered| found.is_of(key))),
            Err(error) => Err(DatapathError::ebpf("read the map ANSWERED")(error)),
        }
    }

    /// Writes what a session knows an address by. Where nothing is left of it, the entry goes.
    ///
    /// # Errors
    ///
    /// Where there is no room, or the system's.
    pub fn set_named(&mut self, key: &NamedKey, named: &Named) -> Result<()> {
        let resolvers = self.resolvers.as_mut().ok_or_else(unknown)?;
        let (key, value) = (bytes(key), bytes(named));
        if named.patterns.iter().all(|learned| learned.pattern.0 == 0) {
            gone(resolvers.names.remove(&key))
        } else {
            resolvers.names.insert(key, value, 0)
        }
        .map_err(DatapathError::ebpf(WRITE_NAMES))
    }

    /// All that sessions know addresses by.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn all_named(&self) -> Result<Vec<(NamedKey, Named)>> {
        let Some(resolvers) = &self.resolvers else {
            return Ok(Vec::new());
        };
        let listed = bpf::all_named(resolvers.shared.fd().as_fd());
        listed.map_err(DatapathError::file("list", "the map NAMED"))
    }

    /// How many addresses of each session are in the kernel, by each of its policies.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn named_counts(&self) -> Result<BTreeMap<SessionId, usize>> {
        let mut counts = BTreeMap::new();
        for key in self.named_keys()? {
            *counts.entry(key.session).or_default() += 1;
        }
        Ok(counts)
    }

    /// Forgets what sessions know addresses by that are not to be kept, no matter who has written it.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn forget_named(&mut self, is_kept: impl Fn(&NamedKey) -> bool) -> Result<()> {
        let mut gone = self.named_keys()?;
        gone.retain(|key| !is_kept(key));
        let Some(resolvers) = &self.resolvers else {
            return Ok(());
        };
        let removed = bpf::remove_named(resolvers.shared.fd().as_fd(), &gone);
        removed.map_err(DatapathError::file("write", "the map NAMED"))
    }

    fn named_keys(&self) -> Result<Vec<NamedKey>> {
        let Some(resolvers) = &self.resolvers else {
            return Ok(Vec::new());
        };
        let listed = bpf::named_keys(resolvers.shared.fd().as_fd());
        listed.map_err(DatapathError::file("list", "the map NAMED"))
    }
}
