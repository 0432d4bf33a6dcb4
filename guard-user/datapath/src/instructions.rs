//! Programs of the object as plain instructions, for kinds of programs that aya does not load.

use std::{
    collections::HashMap,
    io,
    os::fd::{AsFd as _, AsRawFd as _, BorrowedFd},
};

use aya::{Ebpf, maps::Map};
use guard_sys::bpf;

use super::{DatapathError, Object, Result};

/// The instructions of each program, by its name, with the functions that it calls. They use the maps that aya has loaded, and
/// are valid while those are open.
///
/// # Errors
///
/// [`DatapathError::Ebpf`] for an object that cannot be read, or one that uses other maps.
pub(super) fn of_programs(object: &Object, loaded: &Ebpf) -> Result<HashMap<String, Vec<u64>>> {
    let mut parsed =
        aya_obj::Object::parse(object.bytes()).map_err(DatapathError::ebpf("read the object"))?;
    let text = parsed.functions.keys().map(|(section, _)| *section);
    let text = text.collect();
    let known = std::mem::take(&mut parsed.maps);
    let maps = loaded.maps().filter_map(|(name, map)| {
        let fd = descriptor(map)?.as_raw_fd();
        Some((name, fd, known.get(name)?))
    });
    let failed = || DatapathError::ebpf("put maps and functions into the programs");
    parsed.relocate_maps(maps, &text).map_err(failed())?;
    parsed.relocate_calls(&text).map_err(failed())?;
    let programs = parsed.programs.iter().filter_map(|(name, program)| {
        let function = parsed.functions.get(&program.function_key())?;
        let code = function.instructions.iter().map(|one| {
            let (to, from) = (one.dst_reg(), one.src_reg());
            bpf::encode(one.code, to, from, one.off, one.imm)
        });
        Some((name.clone(), code.collect()))
    });
    Ok(programs.collect())
}

/// The instructions of one program.
///
/// # Errors
///
/// If the object has no such program.
pub(super) fn of<'c>(code: &'c HashMap<String, Vec<u64>>, name: &str) -> io::Result<&'c [u64]> {
    let found = code.get(name).map(Vec::as_slice);
    found.ok_or_else(|| io::Error::other("the eBPF object has no such program"))
}

/// The descriptor of any kind of map in the object.
fn descriptor(map: &Map) -> Option<BorrowedFd<'_>> {
    match map {
        Map::Array(map)
        | Map::HashMap(map)
        | Map::HashOfMaps(map)
        | Map::LpmTrie(map)
        | Map::LruHashMap(map)
        | Map::PerCpuArray(map)
        | Map::PerCpuHashMap(map)
        | Map::RingBuf(map)
        | Map::SkStorage(map)
        | Map::SockHash(map) => Some(map.fd().as_fd()),
        _ => None,
    }
}
