//! The files that variables name.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

/// Files to write, each content once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Files {
    files: Vec<(String, Vec<u8>)>,
}

impl Files {
    /// The name of the file with that content; a new file is called `name`.
    pub(super) fn add(&mut self, name: &str, content: Vec<u8>) -> String {
        if let Some((name, _)) = self.files.iter().find(|(_, there)| *there == content) {
            return name.clone();
        }
        self.files.push((name.to_owned(), content));
        name.to_owned()
    }

    /// All of them together, in bytes.
    pub(super) fn size(&self) -> u64 {
        self.files
            .iter()
            .map(|(_, content)| content.len() as u64)
            .sum()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// Writes all of them, readable by everybody who may enter `dir`.
    ///
    /// # Errors
    ///
    /// The system's; `AlreadyExists` if one exists.
    pub(super) fn write(&self, dir: &Path) -> io::Result<()> {
        self.files
            .iter()
            .try_for_each(|(name, content)| write(&dir.join(name), content))
    }

    #[cfg(test)]
    pub(super) fn content(&self, name: &str) -> &[u8] {
        let found = self.files.iter().find(|(one, _)| one == name);
        &found.unwrap_or_else(|| panic!("no {name}")).1
    }
}

/// Makes a file that everybody may read, whatever the umask.
pub(super) fn write(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o644)
        .open(path)?;
    file.write_all(content)?;
    file.set_permissions(fs::Permissions::from_mode(0o644))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_content_is_there_once() {
        let mut files = Files::default();
        assert_eq!(files.add("a", b"same".into()), "a");
        assert_eq!(files.add("b", b"same".into()), "a");
        assert_eq!(files.add("c", b"other".into()), "c");
        assert_eq!(files.size(), 9);
        let dir = tempfile::tempdir().unwrap();
        files.write(dir.path()).unwrap();
        assert_eq!(fs::read(dir.path().join("c")).unwrap(), b"other");
        let mode = fs::metadata(dir.path().join("a")).unwrap().permissions();
        assert_eq!(mode.mode() & 0o777, 0o644);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
        assert!(files.write(dir.path()).is_err());
    }
}
