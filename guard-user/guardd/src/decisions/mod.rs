//! What people have decided about places that look like production, and about the policies of projects. guardd keeps it: whatever
//! runs as that person, a session too, may write to the files in the home.

pub(crate) mod deciding;

use std::{collections::BTreeMap, io, path::PathBuf};

use guard_common::BootTime;
use guard_proto::{
    self as proto,
    decisions::{Dismissal, DismissedFile, TrustedFile},
    production::Place,
};

use crate::{
    control::failure::CallError,
    quota::{Account, Limit, Pace, Quota},
    record::kept::{FileState, KeptFile},
};

/// Places and files that users may have dismissed.
const DISMISSED: Limit = Limit {
    session: Pace::UNLIMITED,
    user: Pace::held(1024),
    all: 4096,
    reserve: 256,
};
/// Files of a user's that are trusted. The oldest is forgotten for another.
const MAX_TRUSTED: usize = 256;
/// Files of all users that are.
const TRUSTED: Limit = Limit {
    session: Pace::UNLIMITED,
    user: Pace::UNLIMITED,
    all: 1024,
    reserve: 64,
};
/// What a place has to look like to be told of while a command runs.
const PRODUCTION: &str = "production";

/// What each user has decided.
#[derive(Clone, Debug, Default)]
struct ByUser(BTreeMap<u32, proto::decisions::DecisionsReply>);

impl FileState for ByUser {
    const WITHOUT: &'static str = "nothing counts as decided before";

    fn parse(text: &str) -> Result<Self, String> {
        let read = serde_json::from_str(text);
        read.map(Self).map_err(|error| error.to_string())
    }

    fn text(&self) -> io::Result<String> {
        Ok(serde_json::to_string(&self.0)?)
    }
}

/// Owns `decisions.json`.
#[derive(Debug)]
pub(crate) struct Decisions(KeptFile<ByUser>);

/// What becomes of the file: nothing, where it says so already.
type Changed = Option<ByUser>;

impl Decisions {
    /// Those in the file. It may be absent.
    #[must_use]
    pub(crate) fn read(file: PathBuf) -> Self {
        Self(KeptFile::read(file))
    }

    /// What a user has decided.
    #[must_use]
    pub(crate) fn of(&self, uid: u32) -> proto::decisions::DecisionsReply {
        self.0.known().0.get(&uid).cloned().unwrap_or_default()
    }

    /// Whether a user has said of a place that it is no production, wherever it is found. What was said for one project alone, the
    /// client that looks through the project knows.
    #[must_use]
    pub(crate) fn dismisses(&self, uid: u32, place: &Place) -> bool {
        let port = place.ports.split_once('/').map_or("0", |(_, port)| port);
        let own = self.0.known().0.get(&uid);
        own.is_some_and(|own| {
            own.dismissed.iter().any(|one| {
                let is_everywhere = one.label == PRODUCTION && one.dir.is_none();
                is_everywhere && one.host == place.host && port.parse() == Ok(one.port)
            })
        })
    }

    /// What the file would say with another of a user's decisions, if that is another.
    fn with(
        &self,
        uid: u32,
        change: impl FnOnce(&mut proto::decisions::DecisionsReply) -> Result<(), CallError>,
    ) -> Result<Changed, CallError> {
        let whole = self.0.is_whole();
        whole.map_err(|file| CallError::unread("nothing can be decided", &file))?;
        let (before, mut own) = (self.of(uid), self.of(uid));
        change(&mut own)?;
        if own == before {
            return Ok(None);
        }
        let mut now = self.0.known().clone();
        if own == proto::decisions::DecisionsReply::default() {
            now.0.remove(&uid)
        } else {
            now.0.insert(uid, own)
        };
        Ok(Some(now))
    }

    /// On the disk, and then here.
    fn keep(&mut self, now: ByUser) -> Result<(), CallError> {
        self.0.replace(now).map_err(|error| {
            CallError::failed(
                "it was not kept",
                format!("{} cannot be written: {error}", self.0.file().display()),
                "make room on that file system",
            )
        })
    }

    fn with_dismissed(&self, uid: u32, new: Dismissal) -> Result<Changed, CallError> {
        self.with(uid, |own| {
            if !own.dismissed.iter().any(|one| one.is_same(&new)) {
                self.may_dismiss(uid)?;
                own.dismissed.push(new);
            }
            Ok(())
        })
    }

    fn with_file(&self, uid: u32, new: DismissedFile) -> Result<Changed, CallError> {
        self.with(uid, |own| {
            if !own.files.iter().any(|one| one.is_same(&new)) {
                self.may_dismiss(uid)?;
                own.files.push(new);
            }
            Ok(())
        })
    }

    /// Whether there is room for one more.
    fn may_dismiss(&self, uid: u32) -> Result<(), CallError> {
        if self.has_room(DISMISSED, uid, |own| own.dismissed.len() + own.files.len()) {
            Ok(())
        } else {
            Err(too_many())
        }
    }

    fn has_room(
        &self,
        limit: Limit,
        uid: u32,
        count: impl Fn(&proto::decisions::DecisionsReply) -> usize,
    ) -> bool {
        let all = self.0.known().0.iter();
        let counted = all.map(|(uid, own)| (Account::outside(*uid), count(own) as u64));
        Quota::counted(limit, counted).has_room(Account::outside(uid), 1, BootTime(0))
    }

    fn without_file(&self, uid: u32, file: &DismissedFile) -> Result<Changed, CallError> {
        self.with(uid, |own| {
            own.files.retain(|one| !one.is_same(file));
            Ok(())
        })
    }

    fn without_dismissed(&self, uid: u32, place: &Dismissal) -> Result<Changed, CallError> {
        self.with(uid, |own| {
            own.dismissed.retain(|one| !one.is_same(place));
            Ok(())
        })
    }

    fn with_trusted(&self, uid: u32, new: TrustedFile) -> Result<Changed, CallError> {
        let has_room = self.has_room(TRUSTED, uid, |own| own.trusted.len());
        self.with(uid, |own| {
            if own.trusted.contains(&new) {
                return Ok(());
            }
            let most = own.trusted.len().saturating_sub(MAX_TRUSTED - 1);
            if most == 0 && !has_room {
                return Err(CallError::refused(
                    "no more files are trusted",
                    "1,024 are, of all users together",
                    "take back what is not needed: guard trust --withdraw",
                ));
            }
            own.trusted.drain(..most);
            // A yes to what the file says now takes the place of those to what it said before: the file's writer could go back.
            let is_before = |one: &TrustedFile| {
                (&one.file, &one.policy) == (&new.file, &new.policy) && one.sha256 != new.sha256
            };
            own.trusted.retain(|one| !is_before(one));
            own.trusted.push(new);
            Ok(())
        })
    }

    /// Without each yes to a file, whatever it said, and to its bytes wherever they are.
    fn without_trusted(&self, uid: u32, file: &TrustedFile) -> Result<Changed, CallError> {
        self.with(uid, |own| {
            let is_other = |one: &TrustedFile| one.file != file.file && one.sha256 != file.sha256;
            own.trusted.retain(is_other);
            Ok(())
        })
    }
}

fn too_many() -> CallError {
    CallError::refused(
        "no more places are dismissed",
        "1,024 are at most of one user, 4,096 of all users, and 256 of each user in any case",
        "take back some that are gone, as guard discover --all lists them: guard discover --dismiss HOST:PORT --withdraw",
    )
}

#[cfg(test)]
mod tests {
    use std::fs;

    use jiff::Timestamp;

    use super::*;

    fn file(number: usize) -> TrustedFile {
        TrustedFile {
            file: format!("/projects/{number}/.guard.toml"),
            sha256: format!("{number:064x}"),
            policy: "0".repeat(64),
            shown: "1".repeat(64),
        }
    }

    fn place(host: &str, port: u16, label: &str) -> Dismissal {
        Dismissal {
            host: host.to_owned(),
            port,
            label: label.to_owned(),
            dir: None,
            at: Timestamp::UNIX_EPOCH,
            by: "dev".to_owned(),
        }
    }

    /// Whether anything was written.
    fn kept(decisions: &mut Decisions, changed: Result<Changed, CallError>) -> bool {
        let changed = changed.unwrap();
        let is_other = changed.is_some();
        changed.map_or(Ok(()), |now| decisions.keep(now)).unwrap();
        is_other
    }

    #[test]
    fn they_outlive_guardd_are_each_users_own_and_are_written_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lib/decisions.json");
        let mut decisions = Decisions::read(path.clone());
        let new = place("db.example.net", 5432, PRODUCTION);
        for is_first in [true, false] {
            let now = decisions.with_dismissed(1000, new.clone());
            assert_eq!(kept(&mut decisions, now), is_first);
            let now = decisions.with_trusted(1000, file(1));
            assert_eq!(kept(&mut decisions, now), is_first);
        }
        let mut read = Decisions::read(path.clone());
        assert_eq!(read.of(1000).dismissed, [new]);
        assert_eq!(read.of(1000).trusted, [file(1)]);
        assert_eq!(read.of(1001), proto::decisions::DecisionsReply::default());
        for is_first in [true, false] {
            let now = read.without_dismissed(1000, &place("db.example.net", 5432, PRODUCTION));
            assert_eq!(kept(&mut read, now), is_first);
            let now = read.without_trusted(1000, &file(1));
            assert_eq!(kept(&mut read, now), is_first);
        }
        // Of whom there is nothing the file says nothing.
        assert_eq!(fs::read_to_string(&path).unwrap(), "{}");
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
            let now = decisions.with_dismissed(1000, place(host, port, label));
            kept(&mut decisions, now);
        }
        // Of another project nothing was said.
        let here = Dismissal {
            dir: Some("/home/dev/shop".to_owned()),
            ..place("c", 2, PRODUCTION)
        };
        let now = decisions.with_dismissed(1000, here);
        kept(&mut decisions, now);
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
            (1000, "c", "tcp/2"),
        ] {
            assert!(!is(uid, host, ports), "{uid} {host} {ports}");
        }
    }

    fn full(of: &dyn Fn(u32) -> proto::decisions::DecisionsReply, users: u32) -> Decisions {
        let dir = tempfile::tempdir().unwrap();
        let mut decisions = Decisions::read(dir.path().join("decisions.json"));
        let all = (1..=users).map(|uid| (uid, of(uid)));
        decisions.keep(ByUser(all.collect())).unwrap();
        decisions
    }

    #[test]
    fn a_yes_takes_the_place_of_those_to_what_the_file_said_before() {
        let dir = tempfile::tempdir().unwrap();
        let mut decisions = Decisions::read(dir.path().join("decisions.json"));
        let says = |bytes: usize, shown: usize, policy: usize| TrustedFile {
            file: "/project/.guard.toml".to_owned(),
            shown: format!("{shown:064x}"),
            policy: format!("{policy:064x}"),
            ..file(bytes)
        };
        // The same bytes in another network, or under another policy, are agreed to beside.
        for new in [
            file(1),
            says(1, 1, 1),
            says(1, 2, 1),
            says(1, 1, 2),
            says(2, 1, 1),
        ] {
            let now = decisions.with_trusted(1000, new);
            kept(&mut decisions, now);
        }
        let left = [file(1), says(1, 1, 2), says(2, 1, 1)];
        assert_eq!(decisions.of(1000).trusted, left);
        // Taken back is all of that file, whatever it says by now.
        let now = decisions.without_trusted(1000, &says(9, 9, 9));
        kept(&mut decisions, now);
        assert_eq!(decisions.of(1000).trusted, [file(1)]);
    }

    #[test]
    fn what_is_trusted_is_bounded_of_each_and_of_all() {
        let trusted = |_| proto::decisions::DecisionsReply {
            trusted: (0..MAX_TRUSTED).map(file).collect(),
            ..Default::default()
        };
        let one = full(&trusted, 1);
        let ByUser(now) = one.with_trusted(1, file(1000)).unwrap().unwrap();
        assert_eq!(now[&1].trusted.len(), MAX_TRUSTED);
        assert_eq!(now[&1].trusted[0], file(1), "the oldest is forgotten");
        // What others have used up leaves each a reserve.
        let all = full(&trusted, 4);
        assert!(all.with_trusted(5, file(1)).unwrap().is_some());
        // In place of one of their own there is room, and to take one back takes none.
        assert!(all.with_trusted(1, file(1000)).unwrap().is_some());
        assert!(all.without_trusted(1, &file(1)).unwrap().is_some());
    }

    #[test]
    fn what_is_dismissed_is_bounded_of_each_and_of_all() {
        let dismissed = |_| proto::decisions::DecisionsReply {
            dismissed: (0..1024)
                .map(|at| place(&format!("db{at}.example.net"), 1, PRODUCTION))
                .collect(),
            ..Default::default()
        };
        let new = || place("new.example.net", 1, PRODUCTION);
        let all = full(&dismissed, 4);
        let refused = all.with_dismissed(1, new()).unwrap_err();
        assert!(refused.failure.why.contains("1,024 are"), "{refused}");
        // What four users have used up leaves the fifth a reserve.
        assert!(all.with_dismissed(5, new()).unwrap().is_some());
    }

    #[test]
    fn a_dismissed_file_is_the_one_with_those_bytes_and_counts_among_what_is_dismissed() {
        let dir = tempfile::tempdir().unwrap();
        let mut decisions = Decisions::read(dir.path().join("decisions.json"));
        let sealed = |sha256: &str, dir: Option<&str>| DismissedFile {
            file: ".env.vault".to_owned(),
            sha256: sha256.repeat(64),
            dir: dir.map(str::to_owned),
            at: Timestamp::UNIX_EPOCH,
            by: "dev".to_owned(),
        };
        let own = sealed("a", Some("/home/dev/shop"));
        for is_first in [true, false] {
            let now = decisions.with_file(1000, own.clone());
            assert_eq!(kept(&mut decisions, now), is_first);
        }
        assert_eq!(decisions.of(1000).files, std::slice::from_ref(&own));
        // Of another project, and of other bytes, nothing was said: neither is taken back.
        for other in [
            sealed("a", Some("/home/dev/bank")),
            sealed("b", Some("/home/dev/shop")),
        ] {
            let now = decisions.without_file(1000, &other);
            assert!(!kept(&mut decisions, now), "{other:?}");
        }
        let now = decisions.without_file(1000, &own);
        assert!(kept(&mut decisions, now));
        let full = full(
            &|_| proto::decisions::DecisionsReply {
                files: (0..1024)
                    .map(|at| DismissedFile {
                        file: at.to_string(),
                        ..own.clone()
                    })
                    .collect(),
                ..Default::default()
            },
            1,
        );
        let new = place("new.example.net", 1, PRODUCTION);
        assert!(full.with_dismissed(1, new).is_err() && full.with_file(1, own).is_err());
    }

    #[test]
    fn a_broken_file_decides_nothing_and_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("decisions.json");
        fs::write(&path, "{\"1\": 2}").unwrap();
        let decisions = Decisions::read(path.clone());
        assert_eq!(decisions.of(1), proto::decisions::DecisionsReply::default());
        assert!(decisions.with_trusted(1, file(1)).is_err());
        assert!(decisions.without_trusted(1, &file(1)).is_err());
    }
}
