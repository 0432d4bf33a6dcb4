//! What takes long to make, kept outside of the clone under the hash of all that it is made from: compiled dependencies,
//! tools, and what machines boot. It may be deleted at any time; several runs may use it at once.

use std::env;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result, ensure};
use rustix::fs::{FlockOperation, flock};

use crate::shell::{say, target};

/// The environment variable that names another directory than [`default`].
const DIR: &str = "GUARD_CACHE";
/// What nobody used for so long was made from something that is no more.
const STALE: Duration = Duration::from_secs(3 * 24 * 3600);

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
        let own = target().join("cache");
        match wanted.map(|dir| writable(&dir)) {
            Some(Ok(dir)) => Ok(dir),
            Some(Err(why)) => {
                say(&format!(
                    "{why:#}: caching in {} instead; set {DIR} to another directory",
                    own.display()
                ));
                writable(&own)
            }
            None => writable(&own),
        }
    }

    /// A file or directory of the cache.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// The directory `kind-key`. Where it isn't there yet, `make` fills another one, which then gets that name:
    /// what was begun and not ended is never taken for the whole.
    pub(crate) fn entry(
        &self,
        kind: &str,
        key: &str,
        make: impl FnOnce(&Path) -> Result<()>,
    ) -> Result<PathBuf> {
        let entry = self.path(&format!("{kind}-{key}"));
        let _lock = self.lock(kind)?;
        if !entry.is_dir() {
            let unfinished = self.path(&format!("{kind}.unfinished"));
            remove(&unfinished)?;
            fs::create_dir(&unfinished)?;
            make(&unfinished)?;
            fs::rename(&unfinished, &entry)?;
        }
        // Its time tells when it was last of use.
        File::open(&entry)?.set_modified(SystemTime::now())?;
        self.remove_stale(kind, &entry)?;
        Ok(entry)
    }

    /// Lets nobody else in who works on the same kind of thing, until it is dropped.
    pub(crate) fn lock(&self, kind: &str) -> Result<File> {
        let lock = File::create(self.path(&format!("{kind}.lock")))?;
        if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
            say(&format!("waiting for another run that makes {kind}"));
            flock(&lock, FlockOperation::LockExclusive)?;
        }
        Ok(lock)
    }

    fn remove_stale(&self, kind: &str, current: &Path) -> Result<()> {
        for entry in fs::read_dir(&self.0)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let of_kind = name
                .strip_prefix(kind)
                .and_then(|rest| rest.strip_prefix('-'))
                .is_some_and(|key| key.len() == KEY);
            let age = entry.metadata()?.modified()?.elapsed().unwrap_or_default();
            if of_kind && age > STALE && entry.path() != current {
                remove(&entry.path())?;
            }
        }
        Ok(())
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

/// Removes a directory with all that is in it, if it is there.
pub(crate) fn remove(dir: &Path) -> Result<()> {
    match fs::remove_dir_all(dir) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            Err(e).with_context(|| format!("cannot remove {}", dir.display()))
        }
        _ => Ok(()),
    }
}
