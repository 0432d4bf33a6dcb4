//! Programs of the object as plain instructions, for kinds of programs that aya does not load.

use std::{
    collections::HashMap,
    io,
    os::fd::{AsFd as _, AsRawFd as _, BorrowedFd},
};

use aya::{Ebpf, maps::Map};
use guard_sys::bpf;

use super::{DatapathError, Object, Result};

/// The instructions of these programs, by their names, with the functions that they call; of others there are none. They use the maps
/// that aya has loaded, and are valid while those are open.
///
/// # Errors
///
/// [`DatapathError::Ebpf`] for an object that cannot be read, or one that uses other maps.
pub(super) fn of_programs(
    object: &Object,
    loaded: &Ebpf,
    wanted: &[&str],
) -> Result<HashMap<String, Vec<u64>>> {
    let mut parsed =
        aya_obj::Object::parse(object.bytes()).map_err(DatapathError::ebpf("read the object"))?;
    // Others need not be put together with all that they call.
    parsed
        .programs
        .retain(|name, _| wanted.contains(&name.as_str()));
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

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use aya_obj::generated::bpf_insn;

    use super::*;

    /// `MAX_BPF_STACK` of linux/filter.h: so much have all frames of calls within each other.
    const STACK: u32 = 512;
    /// What old kernels, such as 6.1, round each frame up to.
    const FRAME: u32 = 32;
    /// `MAX_CALL_FRAMES` of linux/bpf_verifier.h.
    const FRAMES: usize = 8;
    const FRAME_POINTER: u8 = 10;

    /// A function of a linked program.
    #[derive(Default)]
    struct Function {
        depth: u32,
        calls: BTreeSet<usize>,
    }

    /// Where a function begins that is called, or given to a helper which calls it (`BPF_PSEUDO_CALL`, `BPF_PSEUDO_FUNC`).
    fn called(at: usize, one: &bpf_insn) -> Option<usize> {
        let is_call = matches!((one.code, one.src_reg()), (0x85, 1) | (0x18, 4));
        is_call.then(|| at.checked_add_signed(one.imm as isize + 1).unwrap())
    }

    /// How far below its frame's top an instruction gets: by a load or store, or by an address that it makes.
    fn depth(one: &bpf_insn, before: Option<&bpf_insn>) -> u32 {
        let (class, down) = (one.code & 7, |offset: i32| offset.min(0).unsigned_abs());
        let is_copy = before.is_some_and(|before| {
            (before.code, before.src_reg(), before.dst_reg())
                == (0xbf, FRAME_POINTER, one.dst_reg())
        });
        match (one.code, class) {
            (0x07, _) if is_copy => down(one.imm),
            (_, 1) if one.src_reg() == FRAME_POINTER => down(one.off.into()),
            (_, 2 | 3) if one.dst_reg() == FRAME_POINTER => down(one.off.into()),
            _ => 0,
        }
    }

    fn functions(code: &[bpf_insn]) -> BTreeMap<usize, Function> {
        let targets = code.iter().enumerate();
        let begins = targets.filter_map(|(at, one)| called(at, one)).chain([0]);
        let mut functions: BTreeMap<_, _> = begins.map(|at| (at, Function::default())).collect();
        for (at, one) in code.iter().enumerate() {
            let (_, function) = functions.range_mut(..=at).next_back().unwrap();
            let before = at.checked_sub(1).map(|before| &code[before]);
            function.depth = function.depth.max(depth(one, before));
            function.calls.extend(called(at, one));
        }
        functions
    }

    /// The frames of the calls that take most, the outermost first.
    fn deepest(functions: &BTreeMap<usize, Function>, at: usize) -> Vec<u32> {
        let function = &functions[&at];
        let below = function.calls.iter().map(|call| deepest(functions, *call));
        let below = below.max_by_key(|frames| frames.iter().sum::<u32>());
        let own = function.depth.max(1).next_multiple_of(FRAME);
        std::iter::once(own)
            .chain(below.unwrap_or_default())
            .collect()
    }

    /// How many calls are within each other.
    fn frames(functions: &BTreeMap<usize, Function>, at: usize) -> usize {
        let below = functions[&at].calls.iter();
        1 + below
            .map(|call| frames(functions, *call))
            .max()
            .unwrap_or(0)
    }

    #[test]
    fn calls_within_each_other_fit_into_the_stack_of_old_kernels() {
        let object = Object::built_in();
        let mut parsed = aya_obj::Object::parse(object.bytes()).unwrap();
        let text = parsed.functions.keys().map(|(section, _)| *section);
        parsed.relocate_calls(&text.collect()).unwrap();
        assert!(parsed.programs.len() > 10);
        for (name, program) in &parsed.programs {
            let code = &parsed.functions[&program.function_key()].instructions;
            let functions = functions(code);
            let deepest = deepest(&functions, 0);
            let all: u32 = deepest.iter().sum();
            assert!((FRAME..=STACK).contains(&all), "{name}: {deepest:?} bytes");
            let frames = frames(&functions, 0);
            assert!((1..=FRAMES).contains(&frames), "{name}: {frames} frames");
        }
    }

    /// A hole, a name and a hold end after so much time, also where the machine was suspended meanwhile.
    #[test]
    fn no_program_reads_a_clock_that_stands_still_in_suspend() {
        /// `bpf_ktime_get_boot_ns`, `bpf_ktime_get_ns` and `bpf_ktime_get_coarse_ns` of linux/bpf.h.
        const BOOT: i32 = 125;
        const STAND_STILL: [i32; 2] = [5, 160];
        let object = Object::built_in();
        let parsed = aya_obj::Object::parse(object.bytes()).unwrap();
        let all = parsed.functions.values();
        let all = all.flat_map(|function| &function.instructions);
        let helpers = all.filter(|one| (one.code, one.src_reg()) == (0x85, 0));
        let helpers: BTreeSet<_> = helpers.map(|one| one.imm).collect();
        assert!(helpers.contains(&BOOT));
        assert!(STAND_STILL.iter().all(|clock| !helpers.contains(clock)));
    }
}
