//! A file of what people have said, which guardd keeps: its owner's alone from the first byte, and whole or not there. One that is
//! not understood counts for nothing, and is left as it is.

use std::{
    fs,
    io::{self, Read as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use rustix::fs::OFlags;

/// Bytes of such a file at most.
const LONGEST: u64 = 16 * 1024 * 1024;

/// What such a file says.
pub(crate) trait FileState: Default {
    /// What it means that the file cannot be read, for guardd's log.
    const WITHOUT: &'static str;

    /// Parses the file's text.
    ///
    /// # Errors
    ///
    /// Why it is not understood.
    fn parse(text: &str) -> Result<Self, String>;

    /// The file's text.
    ///
    /// # Errors
    ///
    /// That it has none.
    fn text(&self) -> io::Result<String>;
}

/// Why a file may not be changed.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{} cannot be read: {why}", file.display())]
pub(crate) struct UnreadableFile {
    file: PathBuf,
    why: String,
}

impl UnreadableFile {
    /// The file.
    #[must_use]
    pub(crate) fn file(&self) -> &Path {
        &self.file
    }
}

/// Owns one file.
#[derive(Debug)]
pub(crate) struct KeptFile<T> {
    file: PathBuf,
    known: T,
    unread: Option<UnreadableFile>,
}

impl<T: FileState> KeptFile<T> {
    /// What the file says. It may be absent.
    #[must_use]
    pub(crate) fn read(file: PathBuf) -> Self {
        let read = match text_of(&file) {
            Ok(Some(text)) => T::parse(&text),
            Ok(None) => Ok(T::default()),
            Err(error) => Err(error.to_string()),
        };
        let (known, why) = match read {
            Ok(known) => (known, None),
            Err(why) => (T::default(), Some(why)),
        };
        let unread = why.map(|why| UnreadableFile {
            file: file.clone(),
            why,
        });
        if let Some(unread) = &unread {
            tracing::error!("{}: {unread}", T::WITHOUT);
        }
        Self {
            file,
            known,
            unread,
        }
    }

    /// What it says.
    #[must_use]
    pub(crate) fn known(&self) -> &T {
        &self.known
    }

    /// The file.
    #[must_use]
    pub(crate) fn file(&self) -> &Path {
        &self.file
    }

    /// Whether it may be changed.
    ///
    /// # Errors
    ///
    /// Why not.
    pub(crate) fn is_whole(&self) -> Result<(), UnreadableFile> {
        self.unread.clone().map_or(Ok(()), Err)
    }

    /// Changes it: on the disk, and then here.
    ///
    /// # Errors
    ///
    /// The system's; all stays as it was then.
    pub(crate) fn replace(&mut self, now: T) -> io::Result<()> {
        let dir = self.file.parent().unwrap_or(&self.file);
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(dir)?;
        let mut half = tempfile::NamedTempFile::new_in(dir)?;
        half.write_all(now.text()?.as_bytes())?;
        half.as_file().sync_all()?;
        half.persist(&self.file)?;
        fs::File::open(dir)?.sync_all()?;
        self.known = now;
        self.unread = None;
        Ok(())
    }
}

/// The text of a plain file; none: there is nothing of that name, not even a link that leads nowhere.
fn text_of(path: &Path) -> io::Result<Option<String>> {
    let mut options = fs::OpenOptions::new();
    // What is no file may block guardd when it opens it.
    options
        .read(true)
        .custom_flags(OFlags::NONBLOCK.bits().cast_signed());
    let file = match options.open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return match fs::symlink_metadata(path) {
                Ok(_) => Err(error),
                Err(_) => Ok(None),
            };
        }
        opened => opened?,
    };
    let mut text = String::new();
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is no file"));
    }
    file.take(LONGEST + 1).read_to_string(&mut text)?;
    if text.len() as u64 > LONGEST {
        Err(io::Error::other(format!(
            "it is longer than {LONGEST} bytes"
        )))
    } else {
        Ok(Some(text))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    impl FileState for String {
        const WITHOUT: &'static str = "nothing is known";

        fn parse(text: &str) -> Result<Self, String> {
            match text.strip_prefix("so: ") {
                Some(said) => Ok(said.to_owned()),
                None => Err("it says nothing".to_owned()),
            }
        }

        fn text(&self) -> io::Result<String> {
            Ok(format!("so: {self}"))
        }
    }

    #[test]
    fn it_outlives_guardd_and_one_that_is_broken_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lib/said");
        let mut file = KeptFile::<String>::read(path.clone());
        assert_eq!(file.known(), "");
        file.is_whole().unwrap();
        file.replace("yes".to_owned()).unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(KeptFile::<String>::read(path.clone()).known(), "yes");
        fs::write(&path, "nonsense").unwrap();
        let broken = KeptFile::<String>::read(path.clone());
        assert_eq!(broken.known(), "");
        let why = broken.is_whole().unwrap_err().to_string();
        assert!(why.contains("lib/said cannot be read: it says nothing"));
        assert_eq!(fs::read_to_string(&path).unwrap(), "nonsense");
    }
}
