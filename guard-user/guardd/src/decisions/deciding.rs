//! Who may decide, and for whom.

use guard_proto::{
    self as proto,
    decisions::{Dismissal, DismissedFile, TrustedFile},
    record::{Dismissed, Field, Trusted},
};
use jiff::Timestamp;

use super::{Changed, Decisions, PRODUCTION};
use crate::{
    config::Config,
    control::{answering::Answering, auth::Approver, failure::CallError},
    machine::Machine,
    record::{Recorder, audit::LogEntry},
};

/// Characters of a host.
const MAX_TEXT: usize = 256;
/// Bytes of a path, as for the kernel (`PATH_MAX`): a project's policy is trusted by the whole of it.
const MAX_DIR: usize = 4096;
/// What a place may look like.
const LABELS: [&str; 2] = [PRODUCTION, "maybe"];

/// An encrypted file, as a call names it: [`DismissedFile`] says what each field is.
#[derive(Debug)]
pub(crate) struct EncryptedFile {
    /// Its path.
    pub(crate) file: String,
    /// SHA-256 of its bytes.
    pub(crate) sha256: String,
    /// The project that it is in.
    pub(crate) dir: Option<String>,
}

/// A place, as a call names it: [`Dismissal`] says what each field is.
#[derive(Debug)]
pub(crate) struct NamedPlace {
    /// Its host.
    pub(crate) host: String,
    /// Its port.
    pub(crate) port: u16,
    /// What it looks like.
    pub(crate) label: String,
    /// The project that it is in.
    pub(crate) dir: Option<String>,
}

/// What it takes to keep a decision.
#[derive(Debug)]
pub(crate) struct Deciding<'s> {
    /// What was decided by now.
    pub(crate) decisions: &'s mut Decisions,
    /// The names of those who decide.
    pub(crate) machine: &'s mut Machine,
    /// The audit log.
    pub(crate) recorder: &'s mut Recorder,
    /// The settings.
    pub(crate) config: &'s Config,
}

impl Deciding<'_> {
    /// Keeps that a place is not what it looks like to the caller, or is after all.
    ///
    /// # Errors
    ///
    /// That it is none, or it cannot be kept.
    pub(crate) fn dismiss(
        &mut self,
        by: &Answering,
        place: NamedPlace,
        withdraw: bool,
    ) -> Result<proto::decisions::DecisionsReply, CallError> {
        let NamedPlace {
            host,
            port,
            label,
            dir,
        } = place;
        let uid = by.who.uid();
        let decided = self.machine.decided_by(Some(by));
        let record = Dismissed {
            host: host.clone().into(),
            port: port.into(),
            label: label.clone().into(),
            dir: dir.clone().map_or(Field::Absent, Field::Is),
            withdrawn: withdraw.into(),
            by: decided.by,
            from: decided.from,
            ..Dismissed::default()
        };
        let one = Dismissal {
            host,
            port,
            label,
            dir,
            at: Timestamp::now(),
            by: self.machine.user(uid),
        };
        let changed = if withdraw {
            self.decisions.without_dismissed(uid, &one)?
        } else {
            is_place(&one)?;
            self.decisions.with_dismissed(uid, one)?
        };
        self.decide(changed, withdraw, LogEntry::of_user(uid, record))?;
        Ok(self.decisions.of(uid))
    }

    /// Keeps that nobody has to know what is in an encrypted file, as long as it has those bytes; or that somebody has to, after all.
    ///
    /// # Errors
    ///
    /// That it is none, or it cannot be kept.
    pub(crate) fn dismiss_file(
        &mut self,
        by: &Answering,
        encrypted: EncryptedFile,
        withdraw: bool,
    ) -> Result<proto::decisions::DecisionsReply, CallError> {
        let EncryptedFile { file, sha256, dir } = encrypted;
        let uid = by.who.uid();
        let decided = self.machine.decided_by(Some(by));
        let record = Dismissed {
            file: file.clone().into(),
            sha256: sha256.clone().into(),
            dir: dir.clone().map_or(Field::Absent, Field::Is),
            withdrawn: withdraw.into(),
            by: decided.by,
            from: decided.from,
            ..Dismissed::default()
        };
        let one = DismissedFile {
            file,
            sha256,
            dir,
            at: Timestamp::now(),
            by: self.machine.user(uid),
        };
        let changed = if withdraw {
            self.decisions.without_file(uid, &one)?
        } else {
            is_file(&one)?;
            self.decisions.with_file(uid, one)?
        };
        self.decide(changed, withdraw, LogEntry::of_user(uid, record))?;
        Ok(self.decisions.of(uid))
    }

    /// Keeps that a project's policy may widen a policy, or that it may widen none any more.
    ///
    /// # Errors
    ///
    /// `Refused` for another user's; `Invalid` where it has no hashes; or it cannot be kept.
    pub(crate) fn trust(
        &mut self,
        by: &Answering,
        uid: Option<u32>,
        file: TrustedFile,
        withdraw: bool,
    ) -> Result<proto::decisions::DecisionsReply, CallError> {
        let uid = whose(by.who, uid)?;
        let file = TrustedFile {
            file: file.file.chars().take(MAX_DIR).collect(),
            ..file
        };
        let decided = self.machine.decided_by(Some(by));
        // What is taken back is so for every policy.
        let said = |hash: &String| {
            if withdraw {
                Field::Absent
            } else {
                hash.clone().into()
            }
        };
        let record = Trusted {
            file: file.file.clone().into(),
            sha256: file.sha256.clone().into(),
            policy_sha256: said(&file.policy),
            shown_sha256: said(&file.shown),
            withdrawn: withdraw.into(),
            by: decided.by,
            from: decided.from,
        };
        let changed = if withdraw {
            self.decisions.without_trusted(uid, &file)?
        } else {
            self.config.may_trust(by.who, &file)?;
            self.decisions.with_trusted(uid, file)?
        };
        self.decide(changed, withdraw, LogEntry::of_user(uid, record))?;
        Ok(self.decisions.of(uid))
    }

    /// Writes it to the audit log, and then to the file. Where something is taken back the file comes first: what is not written
    /// down is gone all the same.
    fn decide(
        &mut self,
        changed: Changed,
        withdraw: bool,
        record: LogEntry,
    ) -> Result<(), CallError> {
        let Some(now) = changed else {
            return Ok(());
        };
        if withdraw {
            self.decisions.keep(now)?;
            self.recorder.note(record);
            return Ok(());
        }
        self.recorder.reserve()?;
        self.recorder.write(record)?;
        self.recorder.sync()?;
        self.decisions.keep(now)
    }
}

impl Decisions {
    /// What the caller has decided, or for root another user.
    ///
    /// # Errors
    ///
    /// `Refused` for another user's.
    pub(crate) fn decided_by(
        &self,
        who: Approver,
        uid: Option<u32>,
    ) -> Result<proto::decisions::DecisionsReply, CallError> {
        Ok(self.of(whose(who, uid)?))
    }
}

impl Config {
    fn may_trust(&self, who: Approver, file: &TrustedFile) -> Result<(), CallError> {
        let mut hashes = [&file.sha256, &file.policy, &file.shown].into_iter();
        if !hashes.all(|hash| is_hash(hash)) {
            return Err(CallError::invalid(
                "nothing is trusted",
                "a file is trusted by the SHA-256 of its bytes, in hexadecimal",
                "guard trust",
            ));
        }
        if self.approve.polkit && !who.is_root() {
            return Err(CallError::refused(
                "nothing is trusted",
                "polkit is to be asked before anything opens, and is not asked about a project's policy",
                "take out what widens, or write it into a policy of your own:\nsudo guard policy edit default",
            ));
        }
        Ok(())
    }
}

/// Whether it is a directory's whole path, where there is one.
fn is_dir(dir: Option<&str>) -> bool {
    dir.is_none_or(|dir| dir.starts_with('/') && dir.len() <= MAX_DIR)
}

fn is_file(one: &DismissedFile) -> Result<(), CallError> {
    let is_homes = one.file.starts_with("~/") && one.dir.is_none();
    let is_path = (1..=MAX_DIR).contains(&one.file.len());
    if is_path
        && is_hash(&one.sha256)
        && is_dir(one.dir.as_deref())
        && (is_homes || one.dir.is_some())
    {
        return Ok(());
    }
    Err(CallError::invalid(
        "nothing was dismissed",
        "it is no file of a project or a home with the SHA-256 of its bytes, in hexadecimal",
        "guard discover, and a file that it has passed over as encrypted: guard discover --dismiss-file FILE",
    ))
}

fn is_place(one: &Dismissal) -> Result<(), CallError> {
    let is_host = (1..=MAX_TEXT).contains(&one.host.len()) && one.host.is_ascii();
    if is_host && is_dir(one.dir.as_deref()) && LABELS.contains(&one.label.as_str()) {
        return Ok(());
    }
    Err(CallError::invalid(
        "nothing was dismissed",
        "it is no place that looks like production, or may be",
        "guard discover, and the name of a place: guard discover --dismiss HOST:PORT",
    ))
}

fn is_hash(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| b"0123456789abcdef".contains(&byte))
}

/// Whose decisions are meant.
fn whose(who: Approver, uid: Option<u32>) -> Result<u32, CallError> {
    match uid {
        Some(uid) if uid != who.uid() && !who.is_root() => Err(CallError::refused(
            format!("you do not decide for uid {uid}"),
            "each user decides for themselves",
            "leave it to that user",
        )),
        uid => Ok(uid.unwrap_or(who.uid())),
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::*;
    use crate::{machine::machine, record::recorder};

    fn developer() -> Answering {
        Answering::by(1000, "owner", "dev")
    }

    fn place() -> NamedPlace {
        NamedPlace {
            host: "db.example.net".to_owned(),
            port: 5432,
            label: PRODUCTION.to_owned(),
            dir: None,
        }
    }

    fn file() -> TrustedFile {
        TrustedFile {
            file: "/projects/shop/.guard.toml".to_owned(),
            sha256: "a".repeat(64),
            policy: "b".repeat(64),
            shown: "c".repeat(64),
        }
    }

    /// How many records there are.
    fn records(recorder: &Recorder) -> usize {
        let text = fs::read_to_string(recorder.audit().path());
        text.unwrap_or_default().lines().count()
    }

    #[tokio::test]
    async fn what_is_decided_is_kept_and_written_down_once() -> Result<(), CallError> {
        let (mut recorder, dir) = recorder();
        let mut decisions = Decisions::read(dir.path().join("decisions.json"));
        let mut machine = machine(Path::new("/nonexistent"));
        let config = Config::default();
        let by = developer();
        for (withdraw, kept, written) in [(false, 1, 1), (false, 1, 1), (true, 0, 2), (true, 0, 2)]
        {
            let mut deciding = Deciding {
                decisions: &mut decisions,
                machine: &mut machine,
                recorder: &mut recorder,
                config: &config,
            };
            let now = deciding.dismiss(&by, place(), withdraw)?;
            assert_eq!(now.dismissed.len(), kept, "{withdraw}");
            assert_eq!(records(&recorder), written, "{withdraw}");
        }
        Ok(())
    }

    #[tokio::test]
    async fn what_may_not_be_decided_is_neither_kept_nor_written_down() -> Result<(), CallError> {
        let (mut recorder, dir) = recorder();
        let mut decisions = Decisions::read(dir.path().join("decisions.json"));
        let mut config = Config::default();
        let mut machine = machine(Path::new("/nonexistent"));
        let by = developer();
        config.approve.polkit = true;
        let mut deciding = Deciding {
            decisions: &mut decisions,
            machine: &mut machine,
            recorder: &mut recorder,
            config: &config,
        };
        let nowhere = NamedPlace {
            label: "staging".to_owned(),
            ..place()
        };
        assert!(deciding.dismiss(&by, nowhere, false).is_err());
        let bare = TrustedFile {
            shown: String::new(),
            ..file()
        };
        // For another user, without all hashes, and where polkit would have to be asked.
        for (uid, file) in [(Some(1001), file()), (None, bare), (None, file())] {
            assert!(deciding.trust(&by, uid, file, false).is_err(), "{uid:?}");
        }
        assert_eq!(records(&recorder), 0);
        config.approve.polkit = false;
        let mut deciding = Deciding {
            decisions: &mut decisions,
            machine: &mut machine,
            recorder: &mut recorder,
            config: &config,
        };
        let now = deciding.trust(&by, None, file(), false)?;
        assert_eq!((now.trusted, now.dismissed), (vec![file()], Vec::new()));
        assert_eq!(records(&recorder), 1);
        Ok(())
    }
}
