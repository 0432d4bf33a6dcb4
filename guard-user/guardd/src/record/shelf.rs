//! Small JSON files beside the kernel's state, for what it has no room for.
//!
//! A file is written whole or not at all. What enforcement needs is in the kernel; without these files sessions and holes have
//! no names, but hold and end all the same.

use std::{
    fs, io,
    io::{BufWriter, IntoInnerError},
    marker::PhantomData,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};

use serde::{Serialize, de::DeserializeOwned};

/// Prefix of a file that is being written.
const HALF: &str = ".tmp";

/// A directory of values, each in a file `KEY.json`.
#[derive(Clone, Debug)]
pub(crate) struct Shelf<T> {
    dir: PathBuf,
    of: PhantomData<T>,
}

impl<T: Serialize + DeserializeOwned> Shelf<T> {
    /// Opens the shelf in that directory, or makes it, for its owner only.
    ///
    /// # Errors
    ///
    /// What the file system says.
    pub(crate) fn open(dir: PathBuf) -> io::Result<Self> {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&dir)?;
        let of = PhantomData;
        Ok(Self { dir, of })
    }

    /// A shelf that keeps nothing, for tests.
    #[cfg(test)]
    pub(crate) fn nowhere() -> Self {
        Self {
            dir: PathBuf::from("/nonexistent"),
            of: PhantomData,
        }
    }

    /// Removes the incomplete files of a guardd that was killed. Returns how many.
    pub(crate) fn sweep(&self) -> usize {
        let files = fs::read_dir(&self.dir).into_iter().flatten().flatten();
        let half = files.filter(|file| file.file_name().to_string_lossy().starts_with(HALF));
        half.filter(|file| fs::remove_file(file.path()).is_ok())
            .count()
    }

    /// Writes a value, in place of the one with the same key.
    ///
    /// # Errors
    ///
    /// What the file system says; the old value stays then.
    pub(crate) fn put(&self, key: &str, value: &T) -> io::Result<()> {
        self.half(value)?.persist(self.file(key))?;
        Ok(())
    }

    /// The same, on the disk when this returns.
    ///
    /// # Errors
    ///
    /// What the file system says; the value may be there or not then.
    pub(crate) fn put_synced(&self, key: &str, value: &T) -> io::Result<()> {
        let half = self.half(value)?;
        half.as_file().sync_all()?;
        half.persist(self.file(key))?;
        fs::File::open(&self.dir)?.sync_all()
    }

    fn half(&self, value: &T) -> io::Result<tempfile::NamedTempFile> {
        // Buffered: else a large policy is written a few bytes at a time.
        let file = tempfile::Builder::new()
            .prefix(HALF)
            .tempfile_in(&self.dir)?;
        let mut file = BufWriter::new(file);
        serde_json::to_writer(&mut file, value)?;
        file.into_inner().map_err(IntoInnerError::into_error)
    }

    /// As [`Self::put`], if going on without is better than stopping.
    pub(crate) fn keep(&self, key: &str, value: &T) {
        if let Err(error) = self.put(key, value) {
            tracing::warn!(%error, file = %self.file(key).display(), "cannot be written");
        }
    }

    /// Removes a value that grants nothing: a leftover is overwritten, or removed later.
    pub(crate) fn remove(&self, key: &str) {
        let _ = fs::remove_file(self.file(key));
    }

    /// Removes a value, also from the disk when this returns.
    ///
    /// # Errors
    ///
    /// What the file system says; the value may still be there then.
    pub(crate) fn remove_synced(&self, key: &str) -> io::Result<()> {
        fs::remove_file(self.file(key))?;
        fs::File::open(&self.dir)?.sync_all()
    }

    /// The value of that key, if it can be read.
    #[must_use]
    pub(crate) fn get(&self, key: &str) -> Option<T> {
        read(&self.file(key))
    }

    /// Whether there is a value of that key, or it cannot be told.
    #[must_use]
    pub(crate) fn has(&self, key: &str) -> bool {
        self.file(key).try_exists().unwrap_or(true)
    }

    /// All keys.
    #[must_use]
    pub(crate) fn keys(&self) -> Vec<String> {
        let files = fs::read_dir(&self.dir).into_iter().flatten().flatten();
        let keys = files.filter_map(|entry| {
            let file = entry.file_name();
            Some(file.to_str()?.strip_suffix(".json")?.to_owned())
        });
        keys.collect()
    }

    /// All keys with their values. Unreadable ones are left out, and logged.
    #[must_use]
    pub(crate) fn all(&self) -> Vec<(String, T)> {
        let keys = self.keys().into_iter();
        keys.filter_map(|key| Some((key.clone(), self.get(&key)?)))
            .collect()
    }

    /// Removes everything: the kernel state that it belonged to is gone.
    pub(crate) fn clear(&self) {
        for entry in fs::read_dir(&self.dir).into_iter().flatten().flatten() {
            let _ = fs::remove_file(entry.path());
        }
    }

    /// Removes everything, and the directory.
    pub(crate) fn destroy(self) {
        self.clear();
        // A file of another program keeps it.
        let _ = fs::remove_dir(&self.dir);
    }

    fn file(&self, key: &str) -> PathBuf {
        self.dir.join(format!("{key}.json"))
    }
}

fn read<T: DeserializeOwned>(path: &Path) -> Option<T> {
    let text = fs::read(path).ok()?;
    match serde_json::from_slice(&text) {
        Ok(value) => Some(value),
        Err(error) => {
            tracing::warn!(%error, file = %path.display(), "cannot be read");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_come_back_and_broken_files_do_not() {
        let dir = tempfile::tempdir().unwrap();
        let shelf = Shelf::<Vec<u32>>::open(dir.path().join("a/b")).unwrap();
        shelf.put("s1", &vec![1]).unwrap();
        shelf.put("s1", &vec![1, 2]).unwrap();
        shelf.put("s2", &vec![]).unwrap();
        fs::write(dir.path().join("a/b/s3.json"), "[1,").unwrap();
        let mut all = shelf.all();
        all.sort();
        assert_eq!(
            all,
            [("s1".to_owned(), vec![1, 2]), ("s2".to_owned(), vec![])]
        );
        shelf.remove("s1");
        assert_eq!(shelf.get("s1"), None);
        assert!(shelf.remove_synced("s1").is_err());
        fs::write(dir.path().join("a/b/.tmpXyz"), "[1").unwrap();
        assert_eq!((shelf.sweep(), shelf.sweep()), (1, 0));
        assert_eq!(shelf.get("s2"), Some(vec![]));
        shelf.clear();
        assert!(shelf.all().is_empty());
    }
}
