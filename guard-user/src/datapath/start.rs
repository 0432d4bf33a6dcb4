//! Becoming a [`Datapath`]: by attaching everything, or by adopting what is pinned.

use std::{
    collections::HashMap,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use guard_common::meta;

use super::{Datapath, DatapathError, Places, Result, cgroup, hooks, maps::Maps, pins};

/// How long the kernel may take to let go of the links to a removed cgroup.
const LETTING_GO: Duration = Duration::from_secs(2);

/// How a datapath came to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// Nothing was pinned.
    Fresh,
    /// The programs and maps that an earlier guardd pinned go on.
    Adopted,
    /// The maps go on; the programs were replaced by those of this guardd.
    Replaced,
}

impl Datapath {
    /// Attaches every program, or adopts those that are pinned.
    ///
    /// # Errors
    ///
    /// Where another guardd is there, the kernel refuses, or the pins are not ours to adopt. Then
    /// nothing is changed, and what was enforced still is.
    pub fn start(places: &Places) -> Result<(Self, Start)> {
        let made_pins = pins::ensure(&places.pin_dir)?;
        Self::start_in(places).inspect_err(|_| {
            if made_pins {
                let _ = pins::remove_dir(&places.pin_dir);
            }
        })
    }

    fn start_in(places: &Places) -> Result<(Self, Start)> {
        let pin_lock = cgroup::lock(&places.pin_dir)?;
        let (root, made_root) = cgroup::Root::ensure(&places.cgroup_root)?;
        let begun = root.lock().and_then(|root_lock| {
            let start = begin(places, &root, made_root)?;
            Ok((root_lock, start))
        });
        let (root_lock, start) = begun.inspect_err(|_| {
            if made_root {
                let _ = cgroup::remove(&places.cgroup_root);
            }
        })?;
        let mut datapath = Self {
            places: places.clone(),
            root,
            maps: Maps::open(&pins::live(&places.pin_dir))?,
            slots: HashMap::new(),
            _locks: [pin_lock, root_lock],
        };
        datapath.recall_slots()?;
        datapath.read_back()?;
        Ok((datapath, start))
    }
}

fn begin(places: &Places, root: &cgroup::Root, made_root: bool) -> Result<Start> {
    let live = pins::live(&places.pin_dir);
    pins::clear_away(&places.pin_dir)?;
    if live.exists() && guards_nothing(&live, root, made_root) {
        pins::discard(&places.pin_dir)?;
    }
    if live.exists() {
        adopt(places, root)
    } else {
        attach(places, root, made_root)
    }
}

/// Whether what is pinned was attached to a cgroup that is gone, and no process can be in it. The kernel lets
/// its links go a moment after the cgroup.
fn guards_nothing(live: &Path, root: &cgroup::Root, made_root: bool) -> bool {
    let deadline = Instant::now() + LETTING_GO;
    loop {
        match hooks::guarded_cgroup(live) {
            // Without any link there is no telling, unless the root was not there.
            None => return made_root,
            Some(0) => return true,
            Some(id) if id == root.id() || Instant::now() > deadline => return false,
            Some(_) => thread::sleep(Duration::from_millis(5)),
        }
    }
}

fn attach(places: &Places, root: &cgroup::Root, made_root: bool) -> Result<Start> {
    let dir = pins::begin(&places.pin_dir)?;
    attach_unseen(&dir, root, made_root)
        .and_then(|()| pins::commit(&places.pin_dir))
        .inspect_err(|_| {
            let _ = pins::remove(&dir);
        })?;
    Ok(Start::Fresh)
}

fn attach_unseen(dir: &Path, root: &cgroup::Root, made_root: bool) -> Result<()> {
    let mut ebpf = hooks::load(dir, root.session_level())?;
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
    maps.set_meta(meta::MADE_CGROUP_ROOT, u64::from(made_root))?;
    maps.set_meta(meta::OBJECT, hooks::object_hash())?;
    maps.make_stats(guard_common::SessionId(0))?;
    hooks::attach(&mut ebpf, root.dir(), dir)?;
    maps.set_meta(meta::ABI, guard_common::ABI)
}

fn adopt(places: &Places, root: &cgroup::Root) -> Result<Start> {
    let live = pins::live(&places.pin_dir);
    let mut maps = Maps::open(&live)?;
    let found = maps.get_meta(meta::ABI)?;
    if found != guard_common::ABI {
        return Err(DatapathError::OtherVersion {
            path: places.pin_dir.clone(),
            found,
            ours: guard_common::ABI,
        });
    }
    if hooks::guarded_cgroup(&live).is_some_and(|id| id != root.id()) {
        return Err(DatapathError::OtherRoot {
            pins: places.pin_dir.clone(),
            root: places.cgroup_root.clone(),
        });
    }
    let complete = hooks::read_back(&live, root.id())
        .iter()
        .all(|hook| hook.attached);
    if complete && maps.get_meta(meta::OBJECT)? == hooks::object_hash() {
        return Ok(Start::Adopted);
    }
    let mut ebpf = hooks::load(&live, root.session_level())?;
    hooks::attach(&mut ebpf, root.dir(), &live)?;
    maps.set_meta(meta::OBJECT, hooks::object_hash())?;
    Ok(Start::Replaced)
}
