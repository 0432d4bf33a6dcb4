//! What people have decided about places that look like production, and about the policies of projects. guardd keeps it: whatever
//! runs as that person, a session too, may write to the files in the home.

pub mod deciding;

use std::{
    collections::BTreeMap,
    fs,
    io::{self, Write as _},
    os::unix::fs::DirBuilderExt as _,
    path::PathBuf,
};

use guard_proto::{
    self as proto,
    decisions::{Dismissal, TrustedFile},
    production::Place,
};

use crate::control::failure::CallError;

/// Places that one user may have dismissed.
const MAX_DISMISSED: usize = 1024;
/// Files that are trusted of one user's; the oldest is forgotten for another.
const MAX_TRUSTED: usize = 256;
/// What a place has to look like to be told of while a command runs.
const PRODUCTION: &str = "production";

/// Owns `decisions.json`.
#[derive(Debug)]
pub struct Decisions {
    file: PathBuf,
    by_uid: BTreeMap<u32, proto::decisions::Decisions>,
    /// Why the file is not understood: then nothing counts as decided, and it is not written over.
    broken: Option<String>,
}

impl Decisions {
    /// Those in the file. It may be absent.
    #[must_use]
    pub fn read(file: PathBuf) -> Self {
        let read = match fs::read(&file) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| error.to_string()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(BTreeMap::new()),
            Err(error) => Err(error.to_string()),
        };
        if let Err(why) = &read {
            tracing::error!(file = %file.display(), "nothing counts as decided before: it cannot be read: {why}");
        }
        Self {
            file,
            broken: read.as_ref().err().cloned(),
            by_uid: read.unwrap_or_default(),
        }
    }

    /// What a user has decided.
    #[must_use]
    pub fn of(&self, uid: u32) -> proto::decisions::Decisions {
        self.by_uid.get(&uid).cloned().unwrap_or_default()
    }

    /// Whether a user has said of a place that it is no production.
    #[must_use]
    pub fn dismisses(&self, uid: u32, place: &Place) -> bool {
        let port = place.ports.strip_prefix("tcp/").unwrap_or("0");
        let own = self.by_uid.get(&uid);
        own.is_some_and(|own| {
            own.dismissed.iter().any(|one| {
                one.host == place.host && one.label == PRODUCTION && port.parse() == Ok(one.port)
            })
        })
    }

    /// Changes what a user has decided: on the disk, and then here.
    fn change(
        &mut self,
        uid: u32,
        change: impl FnOnce(&mut proto::decisions::Decisions) -> Result<(), CallError>,
    ) -> Result<proto::decisions::Decisions, CallError> {
        if let Some(why) = &self.broken {
            let file = self.file.display();
            return Err(CallError::failed(
                "nothing can be decided",
                format!("{file} cannot be read: {why}"),
                format!("repair or remove it, and restart guardd: {file}"),
            ));
        }
        let mut now = self.by_uid.clone();
        let own = now.entry(uid).or_default();
        change(own)?;
        let own = own.clone();
        self.write(&now).map_err(|error| {
            CallError::failed(
                "it was not kept",
                format!("{} cannot be written: {error}", self.file.display()),
                "make room on that file system",
            )
        })?;
        self.by_uid = now;
        Ok(own)
    }

    /// The file is its owner's alone from the first byte, and whole or not there.
    fn write(&self, all: &BTreeMap<u32, proto::decisions::Decisions>) -> io::Result<()> {
        let dir = self.file.parent().unwrap_or(&self.file);
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(dir)?;
        let mut half = tempfile::NamedTempFile::new_in(dir)?;
        half.write_all(&serde_json::to_vec(all)?)?;
        half.as_file().sync_all()?;
        half.persist(&self.file)?;
        fs::File::open(dir)?.sync_all()
    }

    fn dismiss(
        &mut self,
        uid: u32,
        new: Dismissal,
    ) -> Result<proto::decisions::Decisions, CallError> {
        self.change(uid, |own| {
            let is_same = |one: &&Dismissal| {
                (&one.host, one.port, &one.label) == (&new.host, new.port, &new.label)
            };
            if own.dismissed.iter().any(|one| is_same(&one)) {
                return Ok(());
            }
            if own.dismissed.len() >= MAX_DISMISSED {
                return Err(CallError::refused(
                    "no more places are dismissed",
                    format!("{MAX_DISMISSED} are"),
                    "take back some that are gone: guard discover --dismiss N --withdraw",
                ));
            }
            own.dismissed.push(new);
            Ok(())
        })
    }

    fn dismiss_no_more(
        &mut self,
        uid: u32,
        (host, port, label): (&str, u16, &str),
    ) -> Result<proto::decisions::Decisions, CallError> {
        self.change(uid, |own| {
            own.dismissed
                .retain(|one| (&*one.host, one.port, &*one.label) != (host, port, label));
            Ok(())
        })
    }

    fn trust(
        &mut self,
        uid: u32,
        new: TrustedFile,
    ) -> Result<proto::decisions::Decisions, CallError> {
        self.change(uid, |own| {
            let is_other = |one: &TrustedFile| *one != new;
            own.trusted.retain(is_other);
            let most = own.trusted.len().saturating_sub(MAX_TRUSTED - 1);
            own.trusted.drain(..most);
            own.trusted.push(new);
            Ok(())
        })
    }

    fn withdraw(
        &mut self,
        uid: u32,
        sha256: &str,
    ) -> Result<proto::decisions::Decisions, CallError> {
        self.change(uid, |own| {
            own.trusted.retain(|one| one.sha256 != sha256);
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use jiff::Timestamp;

    use super::*;

    fn file(number: usize) -> TrustedFile {
        TrustedFile {
            file: ".guard.toml".to_owned(),
            sha256: format!("{number:064x}"),
            policy: "0".repeat(64),
        }
    }

    #[test]
    fn they_outlive_guardd_and_are_each_users_own() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lib/decisions.json");
        let mut decisions = Decisions::read(path.clone());
        let place = Dismissal {
            host: "db.example.net".to_owned(),
            port: 5432,
            label: "production".to_owned(),
            at: Timestamp::UNIX_EPOCH,
            by: "dev".to_owned(),
        };
        decisions.dismiss(1000, place.clone()).unwrap();
        decisions.dismiss(1000, place.clone()).unwrap();
        decisions.trust(1000, file(1)).unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let read = Decisions::read(path);
        assert_eq!(read.of(1000).dismissed, [place]);
        assert_eq!(read.of(1000).trusted, [file(1)]);
        assert_eq!(read.of(1001), proto::decisions::Decisions::default());
        let gone = decisions.dismiss_no_more(1000, ("db.example.net", 5432, "production"));
        assert!(gone.unwrap().dismissed.is_empty());
    }

    #[test]
    fn a_dismissed_place_is_that_one_and_of_whoever_dismissed_it() {
        let dir = tempfile::tempdir().unwrap();
        let mut decisions = Decisions::read(dir.path().join("decisions.json"));
        for (host, port, label) in [
            ("db.example.net", 5432, PRODUCTION),
            ("a", 0, PRODUCTION),
            ("b", 1, "maybe"),
        ] {
            let new = Dismissal {
                host: host.to_owned(),
                port,
                label: label.to_owned(),
                at: Timestamp::UNIX_EPOCH,
                by: "dev".to_owned(),
            };
            decisions.dismiss(1000, new).unwrap();
        }
        let is = |uid, host: &str, ports: &str| {
            let place = Place {
                host: host.to_owned(),
                ports: ports.to_owned(),
                service: String::new(),
                file: String::new(),
                line: None,
                key: String::new(),
                verdict: "allow".to_owned(),
            };
            decisions.dismisses(uid, &place)
        };
        assert!(is(1000, "db.example.net", "tcp/5432") && is(1000, "a", "tcp"));
        for (uid, host, ports) in [
            (1001, "db.example.net", "tcp/5432"),
            (1000, "db.example.net", "tcp/5433"),
            (1000, "db.example.net", "tcp"),
            (1000, "db2.example.net", "tcp/5432"),
            // It may have been a question of something less grave.
            (1000, "b", "tcp/1"),
        ] {
            assert!(!is(uid, host, ports), "{uid} {host} {ports}");
        }
    }

    #[test]
    fn what_is_trusted_is_bounded_and_can_be_withdrawn() {
        let dir = tempfile::tempdir().unwrap();
        let mut decisions = Decisions::read(dir.path().join("decisions.json"));
        for number in 0..MAX_TRUSTED + 3 {
            decisions.trust(1, file(number)).unwrap();
        }
        let trusted = decisions.of(1).trusted;
        assert_eq!(trusted.len(), MAX_TRUSTED);
        assert_eq!(trusted[0], file(3));
        decisions.withdraw(1, &file(3).sha256).unwrap();
        assert_eq!(decisions.of(1).trusted[0], file(4));
    }

    #[test]
    fn a_broken_file_decides_nothing_and_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("decisions.json");
        fs::write(&path, "{\"1\": 2}").unwrap();
        let mut decisions = Decisions::read(path.clone());
        assert_eq!(decisions.of(1), proto::decisions::Decisions::default());
        assert!(decisions.trust(1, file(1)).is_err());
        assert_eq!(fs::read_to_string(&path).unwrap(), "{\"1\": 2}");
    }
}
