//! What the kernel says of BPF programs and maps, and the least of both to compare with.

use std::fs::{self, File};
use std::path::Path;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result};
use rustix::fd::{AsRawFd as _, OwnedFd};

use crate::sys::bpf;

/// Bytes of a key of a policy's trie: the prefix's length, then the address.
const KEY: usize = 4 + 16;
const VALUE: usize = 8;

/// Programs are counted and timed while this lives, however its process ends (`BPF_ENABLE_STATS`).
#[derive(Debug)]
pub struct Timing(#[expect(dead_code, reason = "it is held, not read")] OwnedFd);

impl Timing {
    /// Starts that.
    ///
    /// # Errors
    ///
    /// That the kernel refuses.
    pub fn enable() -> Result<Self> {
        let fd = bpf::enable_stats().context("cannot have the kernel time BPF programs")?;
        Ok(Self(fd))
    }
}

/// How often a program ran, and how long in all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Runs {
    /// How often.
    pub count: u64,
    /// In nanoseconds.
    pub time: u64,
}

impl Runs {
    /// Nanoseconds a run between two looks; nothing where there was none.
    #[must_use]
    pub fn since(self, before: Self) -> Option<f64> {
        let count = self.count.checked_sub(before.count)?;
        let time = self.time.checked_sub(before.time)?;
        (count > 0).then(|| time as f64 / count as f64)
    }
}

/// A loaded program.
#[derive(Debug)]
pub struct Program(OwnedFd);

impl Program {
    /// The one with that id.
    ///
    /// # Errors
    ///
    /// That there is none.
    pub fn by_id(id: u32) -> Result<Self> {
        let fd = bpf::program(id).with_context(|| format!("there is no BPF program {id}"))?;
        Ok(Self(fd))
    }

    /// The smallest egress program, which lets everything out.
    ///
    /// # Errors
    ///
    /// That the kernel refuses it.
    pub fn empty_egress() -> Result<Self> {
        bpf::load_empty_egress()
            .map(Self)
            .context("cannot load an empty program")
    }

    /// Attaches it, an egress program, to a cgroup, for as long as the link lives.
    ///
    /// # Errors
    ///
    /// That the kernel refuses.
    pub fn attach_egress(&self, cgroup: &Path) -> Result<Link> {
        let dir =
            File::open(cgroup).with_context(|| format!("cannot open {}", cgroup.display()))?;
        let link = bpf::attach_egress(&self.0, &dir).context("cannot attach a program")?;
        Ok(Link(link))
    }

    /// How often it ran while runs were counted.
    ///
    /// # Errors
    ///
    /// That the kernel doesn't say.
    pub fn runs(&self) -> Result<Runs> {
        let path = format!("/proc/self/fdinfo/{}", self.0.as_raw_fd());
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
        Ok(Runs {
            count: field(&text, "run_cnt").context("the kernel counts no runs")?,
            time: field(&text, "run_time_ns").context("the kernel times no runs")?,
        })
    }
}

/// A program that is attached.
#[derive(Debug)]
pub struct Link(#[expect(dead_code, reason = "it is held, not read")] OwnedFd);

/// A trie as large as a policy's.
#[derive(Debug)]
pub struct Trie {
    fd: OwnedFd,
    keys: Vec<[u8; KEY]>,
}

impl Trie {
    /// One with every other /29 of 10.0.0.0/8, of which there are a million.
    ///
    /// # Errors
    ///
    /// That the kernel has no room for it.
    pub fn filled(entries: u32) -> Result<Self> {
        let fd =
            bpf::create_trie(KEY as u32, VALUE as u32, entries).context("cannot make a trie")?;
        let keys: Vec<_> = (0..entries).map(key).collect();
        let values = vec![[1; VALUE]; keys.len()];
        bpf::fill(&fd, &keys, &values).context("cannot fill a trie")?;
        Ok(Self { fd, keys })
    }

    /// Removes its entries, so many at a time, with a pause after each time.
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub fn drain(&self, step: usize, pause: Duration) -> Result<()> {
        for keys in self.keys.chunks(step) {
            bpf::drain(&self.fd, keys).context("cannot empty a trie")?;
            thread::sleep(pause);
        }
        Ok(())
    }
}

/// `struct bpf_lpm_trie_key`: the length in the machine's byte order, then the address.
fn key(index: u32) -> [u8; KEY] {
    let address = 0x0a00_0000_u32 + index * 16;
    let mut key = [0; KEY];
    key[..4].copy_from_slice(&(96_u32 + 29).to_ne_bytes());
    key[14..16].fill(0xff);
    key[16..].copy_from_slice(&address.to_be_bytes());
    key
}

/// What is pinned there.
///
/// # Errors
///
/// That nothing is.
pub fn pinned(at: &Path) -> Result<OwnedFd> {
    bpf::open_pin(at).with_context(|| format!("cannot open what is pinned at {}", at.display()))
}

/// Bytes of kernel memory of the maps that a process holds open.
///
/// # Errors
///
/// That there is no such process.
pub fn map_memory(pid: u32) -> Result<u64> {
    let dir = format!("/proc/{pid}/fdinfo");
    let mut maps = std::collections::BTreeMap::new();
    for entry in fs::read_dir(&dir).with_context(|| format!("cannot read {dir}"))? {
        // A descriptor that is closed meanwhile holds nothing.
        let text = fs::read_to_string(entry?.path()).unwrap_or_default();
        if let (Some(id), Some(bytes)) = (field(&text, "map_id"), field(&text, "memlock")) {
            maps.insert(id, bytes);
        }
    }
    Ok(maps.values().sum())
}

/// `name:\tnumber` of fdinfo.
fn field(text: &str, name: &str) -> Option<u64> {
    let value = |line: &str| {
        line.strip_prefix(name)?
            .strip_prefix(':')?
            .trim()
            .parse()
            .ok()
    };
    text.lines().find_map(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_found_by_its_whole_name() {
        let text = "map_id:\t7\nmap_id_more:\t8\nmemlock:\t4096\n";
        assert_eq!(field(text, "map_id"), Some(7));
        assert_eq!(field(text, "memlock"), Some(4096));
        assert_eq!(field(text, "run_cnt"), None);
    }

    #[test]
    fn runs_are_timed_between_two_looks() {
        let before = Runs {
            count: 2,
            time: 100,
        };
        let after = Runs {
            count: 4,
            time: 180,
        };
        assert_eq!(after.since(before), Some(40.0));
        assert_eq!(after.since(after), None);
    }
}
