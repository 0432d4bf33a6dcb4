//! Needs root: a kernel does bpf(2) for nobody else.

use std::fs::File;
use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::AsFd;
use std::path::PathBuf;

use aya::maps::lpm_trie::Key;
use aya::maps::{HashMap, LpmTrie, Map, MapData};
use guard_common::{
    BootTime, Learned, NameId, Named, NamedKey, NetnsCookie, Origin, OriginKey, PolicyId, Reason,
    SessionId,
};
use zerocopy::IntoBytes as _;

use super::*;

const HASH: u32 = 1;
const LRU_HASH: u32 = 9;
const LPM_TRIE: u32 = 11;
const BPF_F_NO_PREALLOC: u32 = 1;

/// A map with keys of `key_size` and values of `value_size` bytes.
fn map(kind: u32, key_size: u32, value_size: u32, max_entries: u32) -> OwnedFd {
    let flags = if kind == LPM_TRIE {
        BPF_F_NO_PREALLOC
    } else {
        0
    };
    let layout = MapLayout {
        kind,
        key_size,
        value_size,
        max_entries,
        flags,
    };
    create_map("guard_test", layout).expect("this test needs root")
}

/// The same map as aya sees it.
fn seen_by_aya(map: &OwnedFd) -> Map {
    let data = MapData::from_fd(map.try_clone().unwrap()).unwrap();
    Map::from_map_data(data).unwrap()
}

/// A bpffs of its own, unmounted at the end.
struct BpfFs(tempfile::TempDir);

impl BpfFs {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        mount_bpffs(dir.path(), "guard-test").expect("this test needs root");
        Self(dir)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }
}

impl Drop for BpfFs {
    fn drop(&mut self) {
        let _ = rustix::mount::unmount(self.0.path(), rustix::mount::UnmountFlags::DETACH);
    }
}

fn pin(fd: &OwnedFd, path: &Path) {
    const BPF_OBJ_PIN: libc::c_int = 6;
    let path = CString::new(path.as_os_str().as_bytes()).unwrap();
    let mut attr = ObjGet {
        pathname: address(path.as_ptr()),
        bpf_fd: fd.as_raw_fd().cast_unsigned(),
        file_flags: 0,
    };
    // SAFETY: `path` is a string ended by a NUL that outlives the call.
    unsafe { bpf(BPF_OBJ_PIN, &mut attr) }.unwrap();
}

/// A program for connect4 that allows everything: `r0 = 1; exit`.
fn program() -> OwnedFd {
    #[repr(C)]
    struct Load {
        prog_type: u32,
        insn_cnt: u32,
        insns: u64,
        license: u64,
        log: [u32; 4],
        kern_version: u32,
        prog_flags: u32,
        prog_name: [u8; 16],
        prog_ifindex: u32,
        expected_attach_type: u32,
    }
    let code: [u64; 2] = [0x0000_0001_0000_00b7, 0x0000_0000_0000_0095];
    let mut attr = Load {
        prog_type: 18,
        insn_cnt: 2,
        insns: address(code.as_ptr()),
        license: address(c"GPL".as_ptr()),
        log: [0; 4],
        kern_version: 0,
        prog_flags: 0,
        prog_name: [0; 16],
        prog_ifindex: 0,
        expected_attach_type: 10,
    };
    // SAFETY: the instructions and the licence outlive the call.
    let fd = unsafe { bpf(5, &mut attr) }.expect("this test needs root");
    // SAFETY: just made for us.
    unsafe { OwnedFd::from_raw_fd(fd as i32) }
}

fn link(program: &OwnedFd, cgroup: &File) -> OwnedFd {
    let mut attr = [
        program.as_raw_fd().cast_unsigned(),
        cgroup.as_raw_fd().cast_unsigned(),
        10,
        0,
    ];
    // SAFETY: BPF_LINK_CREATE reads no memory through its attributes here.
    let fd = unsafe { bpf(28, &mut attr) }.unwrap();
    // SAFETY: just made for us.
    unsafe { OwnedFd::from_raw_fd(fd as i32) }
}

fn cgroup2_mount() -> PathBuf {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let line = mounts.lines().find(|line| line.contains(" - cgroup2 "));
    line.unwrap().split(' ').nth(4).unwrap().into()
}

#[test]
fn a_pinned_link_says_where_it_is_attached() {
    use std::os::unix::fs::MetadataExt;
    let bpffs = BpfFs::new();
    let dir = cgroup2_mount().join(format!("guard-test-link-{}", std::process::id()));
    fs::create_dir(&dir).unwrap();
    let cgroup = File::open(&dir).unwrap();
    let program = program();
    let link = link(&program, &cgroup);
    pin(&link, &bpffs.path("link"));
    pin(&program, &bpffs.path("program"));

    let info = link_info(&bpffs.path("link")).unwrap();
    assert_eq!(info.cgroup_id, cgroup.metadata().unwrap().ino());
    assert_eq!(info.attach_type, 10);
    assert!(info.link_id != 0 && info.prog_id != 0);

    let no_link = link_info(&bpffs.path("program")).unwrap_err();
    assert_eq!(no_link.kind(), io::ErrorKind::InvalidData);
    let nothing = link_info(&bpffs.path("nothing")).unwrap_err();
    assert_eq!(nothing.kind(), io::ErrorKind::NotFound);
    drop(cgroup);
    fs::remove_dir(&dir).unwrap();
}

#[test]
fn batches_fill_and_empty_a_trie() {
    let count = batch::BATCH as u32 * 2 + 17;
    let map = map(LPM_TRIE, 8, 4, count);
    let trie = LpmTrie::<_, [u8; 4], u32>::try_from(seen_by_aya(&map)).unwrap();
    let keys: Vec<u8> = (0..count)
        .flat_map(|n| [32_u32.to_ne_bytes(), n.to_be_bytes()].concat())
        .collect();
    let values: Vec<u8> = (0..count).flat_map(u32::to_ne_bytes).collect();
    let fd = map.as_fd();
    update_batch(fd, &keys, &values, 8, 4).unwrap();
    let key = Key::new(32, (count - 1).to_be_bytes());
    assert_eq!(trie.get(&key, 0).unwrap(), count - 1);

    // The second half first, so that deleting all of them meets keys that are gone.
    delete_batch(fd, &keys[keys.len() / 16 * 8..], 8).unwrap();
    delete_batch(fd, &keys, 8).unwrap();
    assert_eq!(trie.keys().count(), 0);
}

#[test]
fn keys_that_are_not_there_are_passed_over() {
    let map = map(HASH, 4, 4, 8);
    let mut hash = HashMap::<_, u32, u32>::try_from(seen_by_aya(&map)).unwrap();
    hash.insert(2, 20, 0).unwrap();
    hash.insert(4, 40, 0).unwrap();
    let keys: Vec<u8> = (1_u32..6).flat_map(u32::to_ne_bytes).collect();
    delete_batch(map.as_fd(), &keys, 4).unwrap();
    assert_eq!(hash.keys().count(), 0);
}

#[test]
fn all_of_a_hash_table_is_listed_once() {
    let count = batch::BATCH as u32 * 2 + 17;
    let map = map(HASH, 4, 8, count);
    let keys: Vec<u8> = (0..count).flat_map(u32::to_ne_bytes).collect();
    let values: Vec<u8> = (0..count)
        .flat_map(|n| u64::from(n).to_ne_bytes())
        .collect();
    let (none, _) = lookup_all(map.as_fd()).unwrap();
    assert!(none.is_empty());
    update_batch(map.as_fd(), &keys, &values, 4, 8).unwrap();
    let (keys, values) = lookup_all(map.as_fd()).unwrap();
    let keys = keys
        .as_chunks()
        .0
        .iter()
        .map(|key| u32::from_ne_bytes(*key));
    let values = values
        .as_chunks()
        .0
        .iter()
        .map(|value| u64::from_ne_bytes(*value));
    let mut found: Vec<_> = keys.zip(values).collect();
    found.sort_unstable();
    assert!(
        found
            .iter()
            .copied()
            .eq((0..count).map(|n| (n, u64::from(n))))
    );
}

#[test]
fn sizes_that_are_not_the_maps_are_refused_before_the_kernel_reads() {
    let map = map(HASH, 4, 8, 8);
    let fd = map.as_fd();
    for (keys, values, key_size, value_size) in [
        (&[0; 8][..], &[0; 16][..], 8, 16),
        (&[0; 4], &[0; 4], 4, 4),
        (&[0; 5], &[0; 8], 4, 8),
        (&[0; 8], &[0; 8], 4, 8),
        (&[0; 4], &[0; 8], 0, 8),
    ] {
        let refused = update_batch(fd, keys, values, key_size, value_size).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::InvalidInput);
    }
}

#[test]
fn a_full_map_is_an_error() {
    let map = map(HASH, 4, 4, 2);
    let keys: Vec<u8> = (0_u32..3).flat_map(u32::to_ne_bytes).collect();
    let full = update_batch(map.as_fd(), &keys, &keys, 4, 4).unwrap_err();
    assert_eq!(full.raw_os_error(), Some(libc::E2BIG));
}

#[test]
fn a_map_without_batches_says_so() {
    // A cgroup array: its values are descriptors, one update at a time.
    let map = map(8, 4, 4, 1);
    let refused = update_batch(map.as_fd(), &[0; 4], &[0; 4], 4, 4).unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::Unsupported);
}

#[test]
fn a_value_for_each_cpu_is_refused() {
    let map = map(5, 4, 8, 1);
    let refused = update_batch(map.as_fd(), &[0; 4], &[0; 8], 4, 8).unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::InvalidInput);
}

#[test]
fn a_bpffs_is_told_from_other_file_systems() {
    let bpffs = BpfFs::new();
    assert!(is_bpffs(bpffs.0.path()).unwrap());
    assert!(!is_bpffs(Path::new("/proc")).unwrap());
    assert!(is_bpffs(&bpffs.path("nothing")).is_err());
}

#[test]
fn a_directory_is_locked_once() {
    let dir = tempfile::tempdir().unwrap();
    let first = lock_dir(dir.path()).unwrap();
    assert!(first.is_some());
    assert!(lock_dir(dir.path()).unwrap().is_none());
    drop(first);
    assert!(lock_dir(dir.path()).unwrap().is_some());
}

#[test]
fn an_origin_is_taken_once_and_from_no_other_map() {
    let (key_size, value_size) = (size_of::<OriginKey>() as u32, size_of::<Origin>() as u32);
    let map = map(LRU_HASH, key_size, value_size, 16);
    let session = SessionId(7);
    let destination = Ipv4Addr::new(192, 0, 2, 10).into();
    let origin = Origin::new(
        Reason::REDIRECTED,
        BootTime(1),
        session,
        4711,
        destination,
        443,
    );
    let key = OriginKey::new(NetnsCookie(3), Ipv4Addr::LOCALHOST.into(), 4001, 1);
    let mut aya: HashMap<_, [u8; 32], [u8; 40]> = seen_by_aya(&map).try_into().unwrap();
    let key_bytes: [u8; 32] = key.as_bytes().try_into().unwrap();
    let value: [u8; 40] = origin.as_bytes().try_into().unwrap();
    aya.insert(key_bytes, value, 0).unwrap();
    let origins = Origins::new(map).unwrap();
    let other = OriginKey::new(NetnsCookie(3), Ipv4Addr::LOCALHOST.into(), 4001, 2);
    assert_eq!(origins.take(&other).unwrap(), None);
    assert_eq!(origins.get(&other).unwrap(), None);
    assert_eq!(origins.get(&key).unwrap(), Some(origin));
    assert_eq!(origins.take(&key).unwrap(), Some(origin));
    assert_eq!(origins.take(&key).unwrap(), None);
    assert_eq!(origins.get(&key).unwrap(), None);

    for (key_size, value_size) in [(key_size, value_size - 8), (key_size + 8, value_size)] {
        let other = self::map(LRU_HASH, key_size, value_size, 16);
        let refused = Origins::new(other).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::InvalidInput);
    }
    let no_map = File::open("/dev/null").unwrap();
    assert!(Origins::new(no_map.into()).is_err());
}

#[test]
fn what_is_stored_at_a_socket_has_the_maps_size() {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let refused = store_at_socket(map(HASH, 4, 4, 1), &socket, 1).unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::InvalidInput);
    assert!(store_at_socket(&socket, &socket, 1).is_err());
}

#[test]
fn what_was_learned_is_there_and_a_full_map_refuses() {
    let (key_size, value_size) = (size_of::<NamedKey>() as u32, size_of::<Named>() as u32);
    let known = NamedMap::new(map(HASH, key_size, value_size, 1)).unwrap();
    let key = |last| {
        let address = Ipv4Addr::new(192, 0, 2, last).into();
        NamedKey::new(SessionId(7), PolicyId(3), address)
    };
    let learned = |until| Learned {
        pattern: NameId::of("*.example.com"),
        until: BootTime(until),
    };
    assert_eq!(known.get(&key(1)).unwrap(), None);
    for until in [10, 20] {
        let named = Named::default()
            .with(&key(1), learned(until), BootTime(1))
            .unwrap();
        known.put(&key(1), &named).unwrap();
        assert_eq!(known.get(&key(1)).unwrap(), Some(named));
    }
    let full = known.put(&key(2), &Named::default()).unwrap_err();
    assert_eq!(full.raw_os_error(), Some(libc::E2BIG));
    for _ in 0..2 {
        known.remove(&[key(1), key(3)]).unwrap();
        assert_eq!(known.get(&key(1)).unwrap(), None);
    }
    known.put(&key(2), &Named::default()).unwrap();
    let other = NamedMap::new(map(HASH, key_size, value_size + 8, 1)).unwrap_err();
    assert_eq!(other.kind(), io::ErrorKind::InvalidInput);
}

#[test]
fn many_are_listed_and_taken_out_at_once() {
    const COUNT: u32 = 10_000;
    let (key_size, value_size) = (size_of::<NamedKey>() as u32, size_of::<Named>() as u32);
    let map = map(HASH, key_size, value_size, COUNT);
    let known = NamedMap::new(map.try_clone().unwrap()).unwrap();
    let map = map.as_fd();
    let key = |number: u32| {
        let address = Ipv4Addr::from_bits(number).into();
        NamedKey::new(SessionId(number % 3), PolicyId(3), address)
    };
    let named = |number| {
        let learned = Learned {
            pattern: NameId::of("*.example.com"),
            until: BootTime(u64::from(number) + 2),
        };
        let named = Named::default().with(&key(number), learned, BootTime(1));
        (key(number), named.unwrap())
    };
    let mut all: Vec<_> = (0..COUNT).map(named).collect();
    for (key, named) in &all {
        known.put(key, named).unwrap();
    }
    let order = |key: &NamedKey| key.address.to_u128();
    let mut found = known.all().unwrap();
    found.sort_unstable_by_key(|(key, _)| order(key));
    all.sort_unstable_by_key(|(key, _)| order(key));
    assert!(found == all);
    let gone = named_keys(map).unwrap().into_iter();
    let gone: Vec<_> = gone.filter(|key| key.session == SessionId(1)).collect();
    // Some are gone already.
    known.remove(&gone[..7]).unwrap();
    remove_named(map, &gone).unwrap();
    let left = named_keys(map).unwrap();
    assert_eq!(left.len(), COUNT as usize - gone.len());
    assert!(left.iter().all(|key| key.session != SessionId(1)));
}
