//! The start of a [`Datapath`]: attaches everything, or adopts what is pinned.

use std::{
    collections::HashMap,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use aya::Ebpf;
use guard_common::meta;
use guard_sys::bpf;

use super::{
    Datapath, DatapathError, LogOf, Object, Places, Result, cgroup,
    flows::Flows,
    gate::{self, Gate, TlsBy},
    holding::Holding,
    hooks, layout,
    listeners::Listeners,
    loader::{LoadSettings, Loader},
    lsm::Lsm,
    maps::Maps,
    outside, pins,
    proxies::Proxies,
    resolvers::Resolvers,
    top,
    unix::{self, Unix},
};

/// How long the kernel may take to release the links to a removed cgroup, or a program whose link was replaced.
const LETTING_GO: Duration = Duration::from_secs(2);

/// How a datapath began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// Nothing was pinned.
    Fresh,
    /// The programs and maps that an earlier guardd pinned are adopted.
    Adopted,
    /// The maps are adopted; the programs were replaced by this guardd's.
    Replaced,
}

impl Datapath {
    /// Attaches every program, or adopts the pinned ones.
    ///
    /// # Errors
    ///
    /// If another guardd is there, the kernel refuses, or the pins may not be adopted. Then nothing is changed, and what was
    /// enforced still is.
    pub fn start(places: &Places, object: &Object, tls: TlsBy) -> Result<(Self, Start)> {
        let made_pins = pins::ensure(&places.pin_dir)?;
        Self::start_in(places, object, tls).inspect_err(|_| {
            if made_pins {
                let _ = pins::remove_dir(&places.pin_dir);
            }
        })
    }

    fn start_in(places: &Places, object: &Object, tls: TlsBy) -> Result<(Self, Start)> {
        let pin_lock = pins::lock(&places.pin_dir)?;
        let making = pins::making_root(&places.pin_dir);
        let (root, made_root) = cgroup::Root::ensure(&places.cgroup_root, &making)?;
        let settings = LoadSettings::new(&root, None);
        let mut loader = Loader::new(&settings);
        let begun = root.lock().and_then(|root_lock| {
            let start = begin(places, object, &root, made_root, &mut loader)?;
            Ok((root_lock, start))
        });
        let (root_lock, start) = begun.inspect_err(|_| {
            if made_root {
                let _ = cgroup::remove(&places.cgroup_root);
            }
        })?;
        let live = pins::live(&places.pin_dir);
        let proxies = Proxies::open(&live)?;
        let resolvers = if object.knows_names() {
            Resolvers::open(&live)?
        } else {
            None
        };
        let holding = Holding::open(&live)?;
        let offered = Offered::attach(&live, object, &root, tls, &mut loader)?;
        let mut datapath = Self {
            places: places.clone(),
            object: object.clone(),
            root,
            maps: Maps::open(&live)?,
            kernel_log: None,
            proxies,
            resolvers,
            holding,
            flows: Flows::open(&live)?,
            gate: offered.gate,
            lsm: offered.lsm,
            unix: offered.unix,
            outside: offered.outside,
            listeners: Listeners::open(&live)?,
            slots: HashMap::new(),
            _locks: [pin_lock, root_lock],
        };
        datapath.recall_slots()?;
        datapath.read_back()?;
        Ok((datapath, start))
    }
}

/// Programs that not every kernel takes; where it does not, why.
struct Offered {
    gate: std::result::Result<Gate, String>,
    lsm: std::result::Result<Lsm, String>,
    unix: std::result::Result<Unix, String>,
    outside: std::result::Result<(), String>,
}

/// Turns the error of a kernel that lacks something into words.
///
/// # Errors
///
/// A shortage, after which nobody can tell what the kernel has: to go on without a judge would open what it closes.
fn or_lacking<T>(attached: Result<T>) -> Result<std::result::Result<T, String>> {
    match attached {
        Err(error) if error.is_shortage() => Err(error),
        attached => Ok(attached.map_err(|why| why.to_string())),
    }
}

impl Offered {
    /// # Errors
    ///
    /// Where it cannot be told whether the kernel takes what judges sockets.
    fn attach(
        live: &Path,
        object: &Object,
        root: &cgroup::Root,
        tls: TlsBy,
        loader: &mut Loader<'_>,
    ) -> Result<Self> {
        let types = loader.settings().types();
        let with_types = types.map_err(|why| format!("cannot judge what sockets lead to: {why}"));
        let lsm = match with_types.clone() {
            Ok(types) => or_lacking(Lsm::attach(live, object, loader, types))?,
            Err(why) => Err(why),
        };
        // Once for all of them: each load reads the whole object.
        let mut top = match with_types {
            Ok(types) => {
                let unix = lsm.is_err().then_some(unix::MAPS);
                let others: Vec<_> = unix.into_iter().flatten().collect();
                or_lacking(layout::load(loader, live, object, types, &others))?
            }
            Err(why) => Err(why),
        };
        let unix = match (&lsm, &top) {
            // These are removed when those judge: see `judge_at_security_hooks`.
            (Ok(_), _) => Err("programs at the security hooks judge Unix sockets".to_owned()),
            (Err(_), Err(why)) => Err(why.clone()),
            (Err(_), Ok(top)) => or_lacking(Unix::attach(live, object, top))?,
        };
        let outside = match &mut top {
            Err(why) => Err(why.clone()),
            Ok(top) => or_lacking(top::attach(live, &outside::HOOKS, top))?,
        };
        top::detach(live, &top::FORMER);
        let gate = match (tls, &mut top) {
            (TlsBy::Proxy, _) => {
                gate::detach(live);
                Err("the settings have the proxy look at TLS".to_owned())
            }
            (TlsBy::Kernel, Err(why)) => Err(why.clone()),
            (TlsBy::Kernel, Ok(top)) => Gate::attach(live, object, root, top),
        };
        Ok(Self {
            gate,
            lsm,
            unix,
            outside,
        })
    }
}

fn begin(
    places: &Places,
    object: &Object,
    root: &cgroup::Root,
    made_root: bool,
    loader: &mut Loader<'_>,
) -> Result<Start> {
    let live = pins::live(&places.pin_dir);
    pins::clear_away(&places.pin_dir)?;
    if live.exists() && guards_nothing(&live, root, made_root) {
        pins::discard(&places.pin_dir)?;
    }
    if live.exists() {
        adopt(places, object, root, loader)
    } else {
        attach(places, object, root, loader)
    }
}

/// Whether the pinned programs were attached to a cgroup that is gone, and in which no process can be. The kernel releases its
/// links a moment after the cgroup.
fn guards_nothing(live: &Path, root: &cgroup::Root, made_root: bool) -> bool {
    let deadline = Instant::now() + LETTING_GO;
    loop {
        match hooks::guarded_cgroup(live) {
            // Without any link it is unknown, unless the root did not exist.
            None => return made_root,
            Some(0) => return true,
            Some(id) if id == root.id() || Instant::now() > deadline => return false,
            Some(_) => thread::sleep(Duration::from_millis(5)),
        }
    }
}

fn attach(
    places: &Places,
    object: &Object,
    root: &cgroup::Root,
    loader: &mut Loader<'_>,
) -> Result<Start> {
    let dir = pins::begin(&places.pin_dir)?;
    attach_unseen(&dir, object, root, loader)
        .and_then(|()| pins::commit(&places.pin_dir))
        .inspect_err(|_| {
            let _ = pins::remove(&dir);
        })?;
    Ok(Start::Fresh)
}

fn attach_unseen(
    dir: &Path,
    object: &Object,
    root: &cgroup::Root,
    loader: &mut Loader<'_>,
) -> Result<()> {
    let mut ebpf = hooks::load(loader, object, dir)?;
    let mut maps = Maps::open(dir)?;
    for index in [
        meta::GENERATION,
        meta::NEXT_SESSION,
        meta::NEXT_REQUEST,
        meta::NEXT_HOLE,
        meta::NEXT_POLICY,
        meta::NEXT_LIST,
    ] {
        maps.set_meta(index, 1)?;
    }
    maps.set_meta(meta::MADE_CGROUP_ROOT, u64::from(root.is_ours()))?;
    maps.set_meta(meta::OBJECT, object.build())?;
    maps.make_stats(guard_common::SessionId(0))?;
    hooks::attach(&mut ebpf, root.dir(), dir)?;
    maps.set_meta(meta::ABI, guard_common::ABI)
}

/// No object has this number: the pinned programs may be of two objects.
const HALF_REPLACED: u64 = 0;

/// The programs that are replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OldPrograms {
    /// Perhaps another object's: they may have allowed what these would not.
    Unknown,
    /// The same object's, which this guardd has attached or adopted: they judge as these do, by the same maps.
    Own,
}

impl OldPrograms {
    /// Those of them that have to have judged for the last time before what they have allowed is voided.
    fn awaited(self, replaced: Vec<u32>) -> Vec<u32> {
        match self {
            Self::Unknown => replaced,
            Self::Own => Vec::new(),
        }
    }
}

/// Replaces the pinned programs by those of an object. If guardd is killed meanwhile, a mark is left, so that no other guardd
/// takes them for its own.
pub(super) fn replace(
    maps: &mut Maps,
    live: &Path,
    object: &Object,
    root: &cgroup::Root,
    loader: &mut Loader<'_>,
    old: OldPrograms,
) -> Result<Ebpf> {
    let mut ebpf = hooks::load(loader, object, live)?;
    let awaited = old.awaited(hooks::programs(live)?);
    maps.set_meta(meta::OBJECT, HALF_REPLACED)?;
    hooks::attach(&mut ebpf, root.dir(), live)?;
    hooks::remove_strays(live, object.knows_names())?;
    await_end(&awaited);
    // The map of sockets stays, so these programs would take over what the replaced ones have allowed under the generation of now, for as
    // long as it stands: an open connection would go on as an older guard has judged it. Before the object is named: whoever comes after
    // a kill here replaces them once more, and comes here.
    maps.bump_generation()?;
    maps.set_meta(meta::OBJECT, object.attached(loader.log_of()))?;
    Ok(ebpf)
}

/// Waits until programs judge nothing any more: the kernel detaches them a moment after their pins have gone. Another process that holds one,
/// as a debugger may, is not waited for any longer than [`LETTING_GO`]. This stops guardd's one thread, with all that it does for sessions, so
/// only a start comes here with any: nothing is served yet, what is pinned judges, and whoever connects waits in the socket's queue.
fn await_end(programs: &[u32]) {
    let deadline = Instant::now() + LETTING_GO;
    let is_there = |id: &u32| bpf::program_of(*id).is_ok();
    while programs.iter().any(is_there) && Instant::now() < deadline {
        thread::sleep(Duration::from_millis(5));
    }
}

fn adopt(
    places: &Places,
    object: &Object,
    root: &cgroup::Root,
    loader: &mut Loader<'_>,
) -> Result<Start> {
    let live = pins::live(&places.pin_dir);
    let mut maps = Maps::open(&live)?;
    check_pins(places, root, &live, &maps)?;
    // The listeners at the ports of an earlier guardd's proxies are unknown: until there are others, redirected connections are
    // refused. Before any program is replaced, so that no connection is judged by one and redirected by another.
    Proxies::clear(&live)?;
    Resolvers::clear(&live)?;
    // A guardd that was killed over a change may not have come to say that it holds for what is remembered, too. If programs are replaced, it is
    // raised again behind that: until then the old ones allow under this one.
    maps.bump_generation()?;
    let hooks = hooks::read_back(&live, root.id(), object.knows_names());
    let missing = hooks.iter().filter(|hook| !hook.attached).count();
    let build = maps.get_meta(meta::OBJECT)?;
    if missing == 0 && build == object.build() && !hooks::has_strays(&live, object.knows_names())? {
        return Ok(Start::Adopted);
    }
    replace(&mut maps, &live, object, root, loader, OldPrograms::Unknown)?;
    log_replaced(build, object, missing);
    Ok(Start::Replaced)
}

/// Whether the pins have this guardd's layout, and are of this root.
fn check_pins(places: &Places, root: &cgroup::Root, live: &Path, maps: &Maps) -> Result<()> {
    let found = maps.get_meta(meta::ABI)?;
    if found != guard_common::ABI {
        return Err(DatapathError::OtherVersion {
            path: places.pin_dir.clone(),
            root: places.cgroup_root.clone(),
            found,
            ours: guard_common::ABI,
        });
    }
    if hooks::guarded_cgroup(live).is_some_and(|id| id != root.id()) {
        return Err(DatapathError::OtherRoot {
            pins: places.pin_dir.clone(),
            root: places.cgroup_root.clone(),
        });
    }
    Ok(())
}

/// Logs why programs of that build were replaced, of which `missing` were not attached.
fn log_replaced(build: u64, object: &Object, missing: usize) {
    match build {
        build if build == object.build() => {
            tracing::info!(missing, "attached programs that were not there any more");
        }
        HALF_REPLACED => {
            tracing::info!("finished what a guardd was killed over: replacing programs")
        }
        build if build == object.attached(Some(LogOf::All)) => {
            tracing::info!("replaced the programs that an earlier guardd had log their decisions");
        }
        build => tracing::info!("replaced the programs of build {build:016x} by {object:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guardd_that_serves_waits_for_no_program_of_its_own() {
        let replaced = vec![7, 9];
        assert!(OldPrograms::Own.awaited(replaced.clone()).is_empty());
        assert_eq!(OldPrograms::Unknown.awaited(replaced.clone()), replaced);
    }
}
