//! Directory outside of the clone for what takes long to make: compiled dependencies, tools, and what machines boot.
//!
//! The cache may be deleted at any time, and several runs may use it at once. A damaged entry is made anew.

use std::collections::BTreeMap;
use std::env;
use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context as _, Result};
use rustix::fs::{FlockOperation, flock, syncfs};
use serde::{Deserialize, Serialize};

use crate::shell::{read, say, target};

/// Environment variable that names another directory.
const DIR: &str = "GUARD_CACHE";
/// File of each entry that describes it.
const SEAL: &str = "entry.json";

/// Description of an entry.
#[derive(Serialize, Deserialize)]
struct Seal {
    made_from: String,
    /// Length of each file, which shows damage.
    lengths: BTreeMap<PathBuf, u64>,
}

/// Returns the directory that the environment names, else `$XDG_CACHE_HOME/guard`, else `~/.cache/guard`. Where it cannot be written to,
/// returns one in this clone.
///
/// # Errors
///
/// That neither can be written to.
pub(crate) fn dir() -> Result<PathBuf> {
    static DIRECTORY: Mutex<Option<PathBuf>> = Mutex::new(None);
    let mut directory = DIRECTORY.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(dir) = &*directory {
        return Ok(dir.clone());
    }
    let set = |name| env::var_os(name).filter(|dir| !dir.is_empty());
    let home = || Some(PathBuf::from(set("HOME")?).join(".cache"));
    let caches = set("XDG_CACHE_HOME").map(PathBuf::from).or_else(home);
    let wanted = set(DIR).map(PathBuf::from);
    let wanted = wanted.or_else(|| Some(caches?.join("guard")));
    let dir = find(wanted.as_deref(), &target().join("cache"))?;
    Ok(directory.insert(dir).clone())
}

/// Returns the wanted directory where it can be written to, else `own`, having said so.
fn find(wanted: Option<&Path>, own: &Path) -> Result<PathBuf> {
    match wanted.map(writable) {
        Some(Ok(dir)) => Ok(dir),
        Some(Err(why)) => {
            say(&format!(
                "{why:#}: caching in {} instead; set {DIR} to another directory",
                own.display()
            ));
            writable(own)
        }
        None => writable(own),
    }
}

/// Makes the directory if need be, and returns it if files can be made there.
fn writable(dir: &Path) -> Result<PathBuf> {
    let cannot = || format!("cannot write to {}", dir.display());
    fs::create_dir_all(dir).with_context(cannot)?;
    tempfile::tempfile_in(dir).with_context(cannot)?;
    Ok(fs::canonicalize(dir)?)
}

/// Returns the entry of this name. Where it is not there, is damaged or was made from something else, `make` fills another directory,
/// which then gets that name: what a killed run has begun is never taken for the whole.
///
/// # Errors
///
/// That it could not be made.
pub(crate) fn entry(
    name: &str,
    made_from: &str,
    make: impl FnOnce(&Path) -> Result<()>,
) -> Result<PathBuf> {
    entry_in(&dir()?, name, made_from, make)
}

fn entry_in(
    cache: &Path,
    name: &str,
    made_from: &str,
    make: impl FnOnce(&Path) -> Result<()>,
) -> Result<PathBuf> {
    let entry = cache.join(name);
    let _lock = lock(cache, name)?;
    let Some(why) = fault(&entry, made_from) else {
        return Ok(entry);
    };
    if entry.exists() {
        say(&format!("making {} anew: {why}", entry.display()));
    }
    let unfinished = cache.join(format!("{name}.unfinished"));
    remove(&unfinished)?;
    fs::create_dir(&unfinished).with_context(|| format!("cannot make {}", unfinished.display()))?;
    let made = make(&unfinished).and_then(|()| {
        seal(&unfinished, made_from)?;
        // A machine that loses its power leaves empty files otherwise.
        syncfs(File::open(&unfinished)?)?;
        remove(&entry)?;
        Ok(fs::rename(&unfinished, &entry)?)
    });
    if made.is_err() {
        // A full disk gets its room back.
        let _ = remove(&unfinished);
    }
    made.map(|()| entry)
}

/// Waits until no other run works on the same entry.
///
/// # Errors
///
/// That the lock cannot be made.
pub(crate) fn lock(cache: &Path, name: &str) -> Result<File> {
    let waiting = format!("waiting for another run that makes {name}");
    lock_file(&cache.join(format!("{name}.lock")), &waiting)
}

/// Locks a file until the returned handle is dropped; says `waiting` where another process has locked it.
///
/// # Errors
///
/// That the file cannot be made.
pub(crate) fn lock_file(file: &Path, waiting: &str) -> Result<File> {
    let lock = File::create(file).with_context(|| format!("cannot make {}", file.display()))?;
    if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
        say(waiting);
        flock(&lock, FlockOperation::LockExclusive)?;
    }
    Ok(lock)
}

/// Returns the year and the week: entries whose sources move while nothing here changes are made anew each week.
///
/// # Errors
///
/// That `date` cannot be run.
pub(crate) fn week() -> Result<String> {
    read(Command::new("date").args(["--utc", "+%G-%V"])).map(|week| week.trim().to_owned())
}

/// Writes down what a directory was made from, and how long each of its files is.
///
/// # Errors
///
/// That it cannot be read or written.
pub(crate) fn seal(dir: &Path, made_from: &str) -> Result<()> {
    remove(&dir.join(SEAL))?;
    let mut lengths = BTreeMap::new();
    add_lengths(dir, dir, &mut lengths)?;
    let made_from = made_from.to_owned();
    let seal = serde_json::to_vec(&Seal { made_from, lengths })?;
    Ok(fs::write(dir.join(SEAL), seal)?)
}

fn add_lengths(whole: &Path, dir: &Path, lengths: &mut BTreeMap<PathBuf, u64>) -> Result<()> {
    for file in fs::read_dir(dir)? {
        let file = file?.path();
        let about = fs::symlink_metadata(&file)?;
        if about.is_dir() {
            add_lengths(whole, &file, lengths)?;
        } else if about.is_file() {
            lengths.insert(file.strip_prefix(whole)?.to_owned(), about.len());
        }
    }
    Ok(())
}

/// Returns why an entry is of no use: it is missing, was made from something else, or a file is missing or shorter than it was. Programs
/// may add to what they find there.
pub(crate) fn fault(entry: &Path, made_from: &str) -> Option<String> {
    let seal = fs::read(entry.join(SEAL)).ok();
    let Some(seal) = seal.and_then(|text| serde_json::from_slice::<Seal>(&text).ok()) else {
        return Some(format!("it has no {SEAL} that can be read"));
    };
    if seal.made_from != made_from {
        return Some("it was made from something else".to_owned());
    }
    seal.lengths.iter().find_map(|(file, length)| {
        let now = fs::symlink_metadata(entry.join(file)).map_or(0, |about| about.len());
        let file = file.display();
        (now < *length).then(|| format!("{file} has {now} bytes in place of {length}"))
    })
}

/// Removes a directory with all that is in it, or a file, if it is there.
///
/// # Errors
///
/// That it cannot be removed.
pub(crate) fn remove(path: &Path) -> Result<()> {
    let removed = match fs::symlink_metadata(path) {
        Ok(about) if about.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(problem) => Err(problem),
    };
    match removed {
        Err(e) if e.kind() != ErrorKind::NotFound => {
            Err(e).with_context(|| format!("cannot remove {}", path.display()))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::io::Write as _;

    use anyhow::bail;

    use super::*;
    use crate::shell::beside;

    /// Makes an entry of one file, and counts how often.
    fn obtain(cache: &Path, made_from: &str, made: &Cell<u32>) -> Result<PathBuf> {
        let entry = entry_in(cache, "tool", made_from, |dir| {
            made.set(made.get() + 1);
            fs::create_dir(dir.join("bin"))?;
            Ok(fs::write(dir.join("bin/tool"), made_from)?)
        })?;
        assert_eq!(fs::read_to_string(entry.join("bin/tool"))?, made_from);
        Ok(entry)
    }

    #[test]
    fn a_damaged_entry_is_made_anew_and_so_is_one_of_something_else() -> Result<()> {
        let (dir, made) = (tempfile::tempdir()?, Cell::new(0));
        let entry = obtain(dir.path(), "one", &made)?;
        // What tools write beside themselves is no harm, and what a killed run has begun is removed.
        fs::write(entry.join("bin/written"), "more")?;
        fs::create_dir_all(dir.path().join("tool.unfinished/left"))?;
        obtain(dir.path(), "one", &made)?;
        assert_eq!(made.get(), 1);
        let harms: [fn(&Path) -> std::io::Result<()>; 3] = [
            |entry| fs::remove_file(entry.join("bin/tool")),
            |entry| fs::write(entry.join("bin/tool"), "o"),
            |entry| fs::write(entry.join(SEAL), "{"),
        ];
        for (at, harm) in (2..).zip(harms) {
            harm(&entry)?;
            obtain(dir.path(), "one", &made)?;
            assert_eq!(made.get(), at);
        }
        obtain(dir.path(), "another", &made)?;
        assert_eq!(made.get(), 5);
        assert!(!dir.path().join("tool.unfinished").exists());
        Ok(())
    }

    #[test]
    fn a_full_disk_keeps_what_was_there_and_gets_its_room_back() -> Result<()> {
        let (dir, made) = (tempfile::tempdir()?, Cell::new(0));
        let entry = obtain(dir.path(), "one", &made)?;
        let full = entry_in(dir.path(), "tool", "another", |dir| {
            fs::write(dir.join("large"), "large")?;
            File::options()
                .write(true)
                .open("/dev/full")?
                .write_all(b"x")?;
            bail!("a full device took something")
        });
        assert!(full.is_err_and(|why| why.to_string().contains("No space left")));
        assert_eq!(fs::read_to_string(entry.join("bin/tool"))?, "one");
        assert!(!dir.path().join("tool.unfinished").exists());
        Ok(())
    }

    #[test]
    fn two_runs_at_once_make_an_entry_once() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let made = Mutex::new(0);
        let run = || {
            entry_in(dir.path(), "tool", "", |_| {
                *made.lock().unwrap_or_else(PoisonError::into_inner) += 1;
                Ok(())
            })
        };
        let (one, other) = beside(run, run);
        assert_eq!(one?, other?);
        assert_eq!(made.into_inner()?, 1);
        Ok(())
    }

    #[test]
    fn a_cache_that_cannot_be_written_to_is_replaced_by_one_in_the_clone() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let (file, own) = (dir.path().join("file"), dir.path().join("own"));
        fs::write(&file, "")?;
        assert_eq!(find(Some(&file.join("cache")), &own)?, own.canonicalize()?);
        let wanted = dir.path().join("wanted");
        assert_eq!(find(Some(&wanted), &own)?, wanted.canonicalize()?);
        Ok(())
    }
}
