//! What there is of a guard: compared with that of one that nobody has killed.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use aya::maps::{HashMap, Map, MapData, MapError};
use guard_common::{RangeList, Session, SessionStats};
use guard_lab::{Daemon, Tested};

/// How many there are of each: pins, files, cgroups and entries of maps. Ids are left out of the names.
pub(crate) type Inventory = BTreeMap<String, usize>;

/// Counts all.
pub(crate) fn of(daemon: &Daemon) -> Tested<Inventory> {
    let mut found = Inventory::new();
    for (what, dir) in [
        ("pin", daemon.pin_dir()),
        ("file", &daemon.state_dir()),
        ("cgroup", daemon.cgroup_root()),
    ] {
        add(&mut found, what, dir, "")?;
    }
    let live = daemon.pin_dir().join("live");
    if live.exists() {
        found.extend(entries(&live)?);
    }
    Ok(found)
}

/// Every directory, and of files all but those that each cgroup has.
fn add(found: &mut Inventory, what: &str, dir: &Path, below: &str) -> Tested {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let name: String = name.replace(|c: char| c.is_ascii_digit(), "");
        let is_dir = entry.file_type()?.is_dir();
        if what == "cgroup" && !is_dir {
            continue;
        }
        // A request comes with each attempt that the kernel reports, which it does at a bounded rate.
        if below == "requests/" && name.ends_with("r.json") {
            continue;
        }
        // What a session has reached outlives it, as its audit records do.
        if below == "flows/" {
            continue;
        }
        *found.entry(format!("{what} {below}{name}")).or_default() += 1;
        if is_dir {
            add(found, what, &entry.path(), &format!("{below}{name}/"))?;
        }
    }
    Ok(())
}

fn entries(live: &Path) -> Tested<Inventory> {
    let count = |name: &str, count: usize| (format!("entries of {name}"), count);
    Ok(Inventory::from([
        count(
            "sessions",
            keys::<u64, { size_of::<Session>() }>(live, "sessions")?,
        ),
        count(
            "ranges",
            keys::<u32, { size_of::<RangeList>() }>(live, "ranges")?,
        ),
        count(
            "stats",
            keys::<u32, { size_of::<SessionStats>() }>(live, "stats")?,
        ),
        count("budgets", keys::<u32, 8>(live, "budgets")?),
    ]))
}

fn keys<K: aya::Pod, const V: usize>(live: &Path, name: &str) -> Tested<usize> {
    let data = MapData::from_pin(live.join(name))?;
    let map: Map = Map::from_map_data(data)?;
    let map: HashMap<_, K, [u8; V]> = map.try_into()?;
    let keys: Result<Vec<K>, MapError> = map.keys().collect();
    Ok(keys?.len())
}
