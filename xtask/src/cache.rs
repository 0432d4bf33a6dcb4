//! What takes long to make, kept outside of the clone under the hash of all that it is made from: compiled dependencies,
//! tools, and what machines boot. It may be deleted at any time; several runs may use it at once. What is damaged is made again.

use std::collections::BTreeMap;
use std::env;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result, ensure};
use rustix::fs::{FlockOperation, flock, syncfs};

use crate::shell::{say, target};

/// The environment variable that names another directory than [`default`].
const DIR: &str = "GUARD_CACHE";
/// What nobody used for so long was made from something that is no more.
const STALE: Duration = Duration::from_secs(3 * 24 * 3600);

/// In each entry and each directory of tools: the length of each of its files, which shows one that is damaged.
const LENGTHS: &str = "lengths.json";

/// The directory of the cache.
pub(crate) struct Cache(PathBuf);

impl Cache {
    /// The directory that the environment names, else [`default`]. Where it cannot be written to, one in this clone.
    ///
    /// # Errors
    ///
    /// That neither can be.
    pub(crate) fn open() -> Result<Self> {
        // Said once where it is another one than was wanted.
        static OPENED: Mutex<Option<PathBuf>> = Mutex::new(None);
        let mut opened = OPENED.lock().unwrap_or_else(PoisonError::into_inner);
        let dir = match &*opened {
            Some(dir) => dir.clone(),
            None => opened.insert(Self::find()?).clone(),
        };
        Ok(Self(dir))
    }

    fn find() -> Result<PathBuf> {
        let dir = env::var_os(DIR).filter(|dir| !dir.is_empty());
        let wanted = dir.map(PathBuf::from).or_else(default);
        find_in(wanted.as_deref(), &target().join("cache"))
    }

    /// One that tests have for themselves.
    #[cfg(test)]
    pub(crate) fn at(dir: &Path) -> Self {
        Self(dir.to_path_buf())
    }

    /// A file or directory of the cache.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// The directory `kind-key`. Where it isn't there yet, or is damaged, `make` fills another one, which then gets that name:
    /// what was begun and not ended is never taken for the whole.
    pub(crate) fn entry(
        &self,
        kind: &str,
        key: &str,
        make: impl FnOnce(&Path) -> Result<()>,
    ) -> Result<PathBuf> {
        let entry = self.path(&format!("{kind}-{key}"));
        let _lock = self.lock(kind)?;
        // Left by a run that was killed: who holds the lock is the only one who makes this kind.
        remove(&self.unfinished(kind))?;
        if !is_there(&entry) {
            self.make(kind, &entry, make)?;
        } else if let Some(why) = damage(&entry) {
            say(&format!(
                "{} is damaged ({why}): making it anew",
                entry.display()
            ));
            self.make(kind, &entry, make)?;
        }
        touch(&entry)?;
        self.remove_stale(kind, &entry)?;
        Ok(entry)
    }

    /// The same, made anew whatever is there. Who has [`Cache::lock_shared`] sees the old one or the new one, whole.
    pub(crate) fn replace(
        &self,
        kind: &str,
        key: &str,
        make: impl FnOnce(&Path) -> Result<()>,
    ) -> Result<PathBuf> {
        let entry = self.path(&format!("{kind}-{key}"));
        let _lock = self.lock(kind)?;
        remove(&self.unfinished(kind))?;
        self.make(kind, &entry, make)?;
        self.remove_stale(kind, &entry)?;
        Ok(entry)
    }

    /// Lets nobody else in who works on the same kind of thing, until it is dropped.
    pub(crate) fn lock(&self, kind: &str) -> Result<File> {
        let waiting = format!("waiting for another run that makes {kind}");
        lock_file(&self.path(&format!("{kind}.lock")), &waiting)
    }

    /// The same, but for others who only read.
    pub(crate) fn lock_shared(&self, kind: &str) -> Result<File> {
        locked(
            &self.path(&format!("{kind}.lock")),
            &format!("waiting for another run that makes {kind}"),
            FlockOperation::NonBlockingLockShared,
            FlockOperation::LockShared,
        )
    }

    /// Where one is made.
    fn unfinished(&self, kind: &str) -> PathBuf {
        self.path(&format!("{kind}.unfinished"))
    }

    /// Fills a directory, and puts it in the place of `entry` once it is whole.
    fn make(&self, kind: &str, entry: &Path, make: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
        let unfinished = self.unfinished(kind);
        fs::create_dir(&unfinished)
            .with_context(|| format!("cannot make {}", unfinished.display()))?;
        let made = make(&unfinished).and_then(|()| {
            seal(&unfinished)?;
            // On the disk before it has its name: what a machine that loses its power leaves would be empty files.
            syncfs(File::open(&unfinished)?)?;
            remove(entry)?;
            Ok(fs::rename(&unfinished, entry)?)
        });
        if made.is_err() {
            // Where the disk is full, this is what fills it.
            let _ = remove(&unfinished);
        }
        made
    }

    fn remove_stale(&self, kind: &str, current: &Path) -> Result<()> {
        for entry in fs::read_dir(&self.0)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let of_kind = name
                .strip_prefix(kind)
                .and_then(|rest| rest.strip_prefix('-'))
                .is_some_and(|key| key.len() == KEY);
            // Of another kind: another run may be about to rename it.
            if !of_kind || entry.path() == current {
                continue;
            }
            // Whoever deletes the cache does that at any time.
            let Ok(modified) = entry.metadata().and_then(|about| about.modified()) else {
                continue;
            };
            if modified.elapsed().unwrap_or_default() > STALE {
                remove(&entry.path())?;
            }
        }
        Ok(())
    }
}

/// The wanted directory where it can be written to, else `own`, having said so.
fn find_in(wanted: Option<&Path>, own: &Path) -> Result<PathBuf> {
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

/// `$XDG_CACHE_HOME/guard`, else `~/.cache/guard`.
fn default() -> Option<PathBuf> {
    let set = |name| env::var_os(name).filter(|dir| !dir.is_empty());
    let caches = set("XDG_CACHE_HOME").map(PathBuf::from);
    let caches = caches.or_else(|| Some(PathBuf::from(set("HOME")?).join(".cache")));
    Some(caches?.join("guard"))
}

/// The directory, made if need be, if files can be.
fn writable(dir: &Path) -> Result<PathBuf> {
    fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
    tempfile::tempfile_in(dir).with_context(|| format!("cannot write to {}", dir.display()))?;
    Ok(fs::canonicalize(dir)?)
}

/// Hexadecimal digits of a key.
const KEY: usize = 16;

/// The key of something that is made from all of `parts`.
pub(crate) fn key<P: AsRef<[u8]>>(parts: &[P]) -> Result<String> {
    let mut sum = Command::new("sha256sum")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start sha256sum")?;
    if let Some(mut input) = sum.stdin.take() {
        for part in parts {
            let part = part.as_ref();
            // With its length, so that two parts are not one.
            input.write_all(&(part.len() as u64).to_le_bytes())?;
            input.write_all(part)?;
        }
    }
    let output = sum.wait_with_output()?;
    ensure!(output.status.success(), "sha256sum failed");
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text.chars().take(KEY).collect())
}

/// Lets nobody else in who locks the same file, until what this gives is dropped; says `waiting` where somebody is.
pub(crate) fn lock_file(file: &Path, waiting: &str) -> Result<File> {
    locked(
        file,
        waiting,
        FlockOperation::NonBlockingLockExclusive,
        FlockOperation::LockExclusive,
    )
}

fn locked(file: &Path, waiting: &str, now: FlockOperation, then: FlockOperation) -> Result<File> {
    let lock = File::create(file).with_context(|| format!("cannot make {}", file.display()))?;
    if flock(&lock, now).is_err() {
        say(waiting);
        flock(&lock, then)?;
    }
    Ok(lock)
}

/// Whether anything has that name.
fn is_there(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok()
}

/// Its time tells when it was last of use.
pub(crate) fn touch(entry: &Path) -> Result<()> {
    Ok(File::open(entry)?.set_modified(SystemTime::now())?)
}

/// Writes down how long each file in a directory is, which shows later whether it is whole.
pub(crate) fn seal(dir: &Path) -> Result<()> {
    let mut lengths = lengths(dir)?;
    lengths.remove(LENGTHS);
    Ok(fs::write(dir.join(LENGTHS), serde_json::to_vec(&lengths)?)?)
}

/// What is wrong with an entry, if anything is.
fn damage(entry: &Path) -> Option<String> {
    difference(entry, |kept, now| now == kept)
}

/// What a directory has lost into which programs may write: a file that is missing, or shorter than it was. One from before lengths were
/// kept is believed, and they are from now on.
pub(crate) fn loss(dir: &Path) -> Result<Option<String>> {
    if is_there(&dir.join(LENGTHS)) {
        return Ok(difference(dir, |kept, now| now >= kept));
    }
    seal(dir)?;
    Ok(None)
}

/// In what a directory differs from what is written down of it.
fn difference(dir: &Path, is_alike: impl Fn(u64, u64) -> bool) -> Option<String> {
    let now = match lengths(dir) {
        Ok(now) => now,
        Err(problem) => return Some(format!("{problem:#}")),
    };
    let kept = fs::read(dir.join(LENGTHS)).ok();
    let kept = kept.and_then(|text| serde_json::from_slice::<BTreeMap<String, u64>>(&text).ok());
    let Some(kept) = kept else {
        return Some(format!("it has no {LENGTHS} that can be read"));
    };
    kept.iter().find_map(|(file, length)| match now.get(file) {
        Some(now) if is_alike(*length, *now) => None,
        Some(now) => Some(format!("{file} has {now} bytes in place of {length}")),
        None => Some(format!("{file} is missing")),
    })
}

/// How long each file in a directory is. Programs may be writing there: what goes meanwhile is not there.
fn lengths(dir: &Path) -> Result<BTreeMap<String, u64>> {
    let mut lengths = BTreeMap::new();
    add_lengths(dir, dir, &mut lengths)
        .with_context(|| format!("cannot look through {}", dir.display()))?;
    Ok(lengths)
}

fn add_lengths(whole: &Path, dir: &Path, lengths: &mut BTreeMap<String, u64>) -> Result<()> {
    let has_gone = |problem: &std::io::Error| problem.kind() == std::io::ErrorKind::NotFound;
    let files = match fs::read_dir(dir) {
        Err(problem) if has_gone(&problem) && dir != whole => return Ok(()),
        files => files?,
    };
    for file in files {
        let file = file?;
        let about = match file.metadata() {
            Err(problem) if has_gone(&problem) => continue,
            about => about?,
        };
        let path = file.path();
        if about.is_dir() {
            add_lengths(whole, &path, lengths)?;
        } else if about.is_file() {
            let name = path.strip_prefix(whole).unwrap_or(&path);
            lengths.insert(name.to_string_lossy().into_owned(), about.len());
        }
    }
    Ok(())
}

/// Removes a directory with all that is in it, or a file, if it is there.
pub(crate) fn remove(path: &Path) -> Result<()> {
    let removed = match fs::symlink_metadata(path) {
        Ok(about) if about.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(problem) => Err(problem),
    };
    match removed {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            Err(e).with_context(|| format!("cannot remove {}", path.display()))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
