//! The people who may answer from elsewhere, and their file.

use std::io;

use guard_signed::approvers::{ApproverList, NoApprover};

use crate::{
    control::failure::CallError,
    record::kept::{FileState, KeptFile},
};

/// Owns `approvers.toml`.
pub(crate) type People = KeptFile<ApproverList>;

impl FileState for ApproverList {
    const WITHOUT: &'static str = "nobody may answer from elsewhere";

    fn parse(text: &str) -> Result<Self, String> {
        Self::parse(text).map_err(|error| error.to_string())
    }

    fn text(&self) -> io::Result<String> {
        Ok(self.to_toml())
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
    use std::fs;

    use guard_signed::approvers::{Key, SigningApprover};

    use super::*;

    #[test]
    fn they_outlive_guardd_and_a_broken_file_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("lib/approvers.toml");
        let mut people = People::read(file.clone());
        let mut known = people.known().clone();
        let alice = SigningApprover {
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
        let why = broken.is_whole().unwrap_err().to_string();
        assert!(why.contains("line 2"), "{why}");
    }
}
