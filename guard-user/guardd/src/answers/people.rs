//! The people who may answer from elsewhere, and their file.

use std::{
    fs,
    io::{self, Write as _},
    os::unix::fs::DirBuilderExt as _,
    path::PathBuf,
};

use guard_signed::approvers::{Approvers, NoApprover};

use crate::control::failure::CallError;

/// Owns `approvers.toml`.
#[derive(Debug)]
pub struct People {
    file: PathBuf,
    known: Approvers,
    /// Why the file is not understood: then nobody answers, and it is not written over.
    broken: Option<String>,
}

impl People {
    /// Those in the file. It may be absent.
    #[must_use]
    pub fn read(file: PathBuf) -> Self {
        let read = match fs::read_to_string(&file) {
            Ok(text) => Approvers::parse(&text).map_err(|error| error.to_string()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Approvers::default()),
            Err(error) => Err(error.to_string()),
        };
        if let Err(why) = &read {
            tracing::error!(file = %file.display(), "nobody may answer from elsewhere: the approvers cannot be read: {why}");
        }
        Self {
            file,
            broken: read.as_ref().err().cloned(),
            known: read.unwrap_or_default(),
        }
    }

    /// Nobody, and no file.
    #[cfg(test)]
    pub(crate) fn nowhere() -> Self {
        Self::read(PathBuf::from("/nonexistent/approvers.toml"))
    }

    /// All of them.
    #[must_use]
    pub fn known(&self) -> &Approvers {
        &self.known
    }

    /// Whether what is on the disk may be changed.
    ///
    /// # Errors
    ///
    /// Why not.
    pub fn is_whole(&self) -> Result<(), CallError> {
        match &self.broken {
            None => Ok(()),
            Some(why) => Err(CallError::failed(
                "the approvers cannot be changed",
                format!("{} cannot be read: {why}", self.file.display()),
                format!(
                    "repair or remove it, and restart guardd: {}",
                    self.file.display()
                ),
            )),
        }
    }

    /// Puts other approvers in their place: on the disk, and then here.
    ///
    /// # Errors
    ///
    /// The system's; all stays as it was then.
    pub fn replace(&mut self, now: Approvers) -> io::Result<()> {
        let dir = self.file.parent().unwrap_or(&self.file);
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(dir)?;
        let mut half = tempfile::NamedTempFile::new_in(dir)?;
        half.write_all(now.to_toml().as_bytes())?;
        half.as_file().sync_all()?;
        half.persist(&self.file)?;
        fs::File::open(dir)?.sync_all()?;
        self.known = now;
        Ok(())
    }
}

/// The error for people that cannot be as root wants them.
impl From<NoApprover> for CallError {
    fn from(why: NoApprover) -> Self {
        Self::invalid(
            "nobody was enrolled",
            why.to_string(),
            "guard approver list; guard approver --help",
        )
    }
}

#[cfg(test)]
mod tests {
    use guard_signed::approvers::{Approver, Key};

    use super::*;

    #[test]
    fn they_outlive_guardd_and_a_broken_file_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("lib/approvers.toml");
        let mut people = People::read(file.clone());
        let mut known = people.known().clone();
        let alice = Approver {
            name: "alice".to_owned(),
            answers_for: vec!["dev".to_owned()],
            policies: vec!["*".to_owned()],
            max_for: None,
            keys: Vec::new(),
        };
        let key = Key::ssh(
            "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKs3ULRy3vxDYvU4qRrWRZLKLbBGZBtO7Y7ZkYqgB8jX",
        );
        known.add(&alice, &key.unwrap()).unwrap();
        people.replace(known.clone()).unwrap();
        assert_eq!(People::read(file.clone()).known(), &known);
        fs::write(&file, "[[approver]]\nname = 1\n").unwrap();
        let broken = People::read(file);
        assert!(broken.known().all.is_empty());
        assert!(
            broken
                .is_whole()
                .unwrap_err()
                .failure
                .why
                .contains("line 2")
        );
    }
}
