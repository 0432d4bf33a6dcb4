//! Links that log in once, and the sessions of browsers. Both are files, named by the hash of a secret that only a person has:
//! whoever reads the directory learns no secret, and to look one up compares none.

use std::{
    fs::{self, DirBuilder, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context as _, Result, bail};
use data_encoding::BASE64URL_NOPAD;
use guard_proto::{ApproverShown, approvers::KeyShown};
use ring::{
    digest::{SHA256, digest},
    rand::{SecureRandom as _, SystemRandom},
};
use serde::{Deserialize, Serialize};

/// How long a link counts.
pub(crate) const LINK: Duration = Duration::from_secs(600);
/// How long a browser stays logged in.
pub(crate) const SESSION: Duration = Duration::from_secs(7 * 24 * 3600);
/// Links and sessions at once; the oldest go first.
const MOST: usize = 64;
/// Random bytes of a secret.
const BYTES: usize = 32;

/// Who has logged in, or may by a link.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Identity {
    /// The approver's name.
    pub(crate) name: String,
    /// Fingerprints. It counts while one of these is enrolled for that name.
    pub(crate) keys: Vec<String>,
    /// Whether the one key says who it is, by whatever name a machine knows its owner.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) by_key: bool,
}

impl Identity {
    pub(crate) fn of<'k>(
        person: &ApproverShown,
        keys: impl IntoIterator<Item = &'k KeyShown>,
    ) -> Self {
        let keys = keys.into_iter().map(|key| key.fingerprint.clone());
        Self {
            name: person.name.clone(),
            keys: keys.collect(),
            by_key: false,
        }
    }

    /// Whoever has just signed with that key: of many machines each names its owner by itself, and one that names them otherwise
    /// takes the others from nobody.
    pub(crate) fn by_key(self) -> Self {
        Self {
            by_key: true,
            ..self
        }
    }

    /// Whether both are of one person: by a key of both, or by a name, where no key alone says who it is.
    pub(crate) fn is_of_same_person(&self, other: &Self) -> bool {
        let is_by_name = !self.by_key && !other.by_key;
        self.keys.iter().any(|key| other.keys.contains(key))
            || (is_by_name && self.name == other.name)
    }

    /// Whether that is its name, or the fingerprint of one of its keys.
    pub(crate) fn goes_by(&self, name_or_key: &str) -> bool {
        self.name == name_or_key || self.keys.iter().any(|key| key == name_or_key)
    }

    /// Whether that is who somebody is called.
    pub(crate) fn is_called(&self, name: &str) -> bool {
        self.by_key || self.name == name
    }
}

/// What a file says.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct FileText {
    /// In seconds since 1970.
    until: u64,
    identity: Identity,
}

/// The directory.
#[derive(Clone, Debug)]
pub struct Files {
    dir: PathBuf,
}

/// What a file stands for.
#[derive(Clone, Copy)]
enum Shelf {
    Logins,
    Sessions,
}

impl Shelf {
    const fn name(self) -> &'static str {
        match self {
            Self::Logins => "logins",
            Self::Sessions => "sessions",
        }
    }

    const fn life(self) -> Duration {
        match self {
            Self::Logins => LINK,
            Self::Sessions => SESSION,
        }
    }
}

impl Files {
    /// Makes what is missing of it.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn open(dir: &Path) -> Result<Self> {
        for dir in [dir.to_owned(), dir.join("logins"), dir.join("sessions")] {
            let made = DirBuilder::new().recursive(true).mode(0o700).create(&dir);
            made.with_context(|| format!("cannot make {}", dir.display()))?;
        }
        Ok(Self {
            dir: dir.to_owned(),
        })
    }

    /// That of a console that has begun, for its own user alone: what another makes there the console could not take away.
    ///
    /// # Errors
    ///
    /// That there is none, or it is another user's.
    pub fn of_the_console(dir: &Path) -> Result<Self> {
        let owner = fs::metadata(dir.join("logins"));
        let owner = owner.with_context(|| {
            format!(
                "no console keeps its links in {}: systemctl start guard-console, or give its --state-dir",
                dir.display()
            )
        })?;
        if owner.uid() != rustix::process::geteuid().as_raw() {
            let uid = owner.uid();
            bail!(
                "only the console's own user makes links and ends sessions: sudo -u '#{uid}' guard-console"
            );
        }
        Ok(Self {
            dir: dir.to_owned(),
        })
    }

    /// A new link's secret.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn new_login(&self, identity: Identity) -> io::Result<String> {
        self.make(Shelf::Logins, identity)
    }

    /// For whom a link's secret is; from then on it is none.
    pub(crate) fn take_login(&self, secret: &str) -> Option<Identity> {
        let identity = self.identity(Shelf::Logins, secret);
        // Of two who take it at once, one removes the file.
        let is_taken = fs::remove_file(self.path(Shelf::Logins, secret)).is_ok();
        identity.filter(|_| is_taken)
    }

    /// Whether that is a link's secret.
    pub(crate) fn is_login(&self, secret: &str) -> bool {
        self.identity(Shelf::Logins, secret).is_some()
    }

    /// A new session's secret.
    pub(crate) fn new_session(&self, identity: Identity) -> io::Result<String> {
        self.make(Shelf::Sessions, identity)
    }

    /// Whose session's secret that is.
    pub(crate) fn session(&self, secret: &str) -> Option<Identity> {
        self.identity(Shelf::Sessions, secret)
    }

    /// Ends a session.
    pub(crate) fn end_session(&self, secret: &str) {
        let _ = fs::remove_file(self.path(Shelf::Sessions, secret));
    }

    /// Ends all sessions that are meant, and takes back links that nobody has used. Returns how many sessions that were.
    ///
    /// # Errors
    ///
    /// That one of them cannot be ended; all others are.
    pub(crate) fn end_all(&self, is_meant: impl Fn(&Identity) -> bool) -> io::Result<usize> {
        // The links first: each may become a session.
        let links = self.remove_all(Shelf::Logins, &is_meant);
        let ended = self.remove_all(Shelf::Sessions, &is_meant)?;
        links.map(|_| ended)
    }

    fn remove_all(&self, shelf: Shelf, is_meant: impl Fn(&Identity) -> bool) -> io::Result<usize> {
        let (mut removed, mut failed) = (0, Ok(()));
        for file in fs::read_dir(self.dir.join(shelf.name()))? {
            let path = file?.path();
            if !kept(&path).is_some_and(|kept| is_meant(&kept.identity)) {
                continue;
            }
            match fs::remove_file(&path) {
                Ok(()) => removed += 1,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => failed = Err(error),
            }
        }
        failed.map(|()| removed)
    }

    fn make(&self, shelf: Shelf, identity: Identity) -> io::Result<String> {
        self.tidy(shelf);
        let secret = secret()?;
        let until = (now() + shelf.life()).as_secs();
        let kept = serde_json::to_string(&FileText { until, identity })?;
        let mut open = OpenOptions::new();
        let open = open.write(true).create_new(true).mode(0o600);
        let mut file = open.open(self.path(shelf, &secret))?;
        file.write_all(kept.as_bytes())?;
        Ok(secret)
    }

    fn identity(&self, shelf: Shelf, secret: &str) -> Option<Identity> {
        let kept = kept(&self.path(shelf, secret))?;
        (kept.until > now().as_secs()).then_some(kept.identity)
    }

    fn path(&self, shelf: Shelf, secret: &str) -> PathBuf {
        let named = format!("guard console {}\n{secret}", shelf.name());
        let hash = digest(&SHA256, named.as_bytes());
        self.dir
            .join(shelf.name())
            .join(BASE64URL_NOPAD.encode(hash.as_ref()))
    }

    /// Removes what is over, and the oldest where there are too many.
    fn tidy(&self, shelf: Shelf) {
        let dir = self.dir.join(shelf.name());
        let files = fs::read_dir(dir).into_iter().flatten().flatten();
        let mut files: Vec<_> = files
            .map(|file| (until(&file.path()), file.path()))
            .collect();
        files.sort();
        let now = now().as_secs();
        let over = files.iter().filter(|(until, _)| *until <= now).count();
        let many = (files.len() + 1).saturating_sub(MOST);
        for (_, path) in files.iter().take(over.max(many)) {
            let _ = fs::remove_file(path);
        }
    }
}

/// A file of a version that did not write down who had logged in counts no more.
fn kept(path: &Path) -> Option<FileText> {
    serde_json::from_slice(&fs::read(path).ok()?).ok()
}

fn until(path: &Path) -> u64 {
    kept(path).map_or(0, |kept| kept.until)
}

fn now() -> Duration {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
}

/// 256 random bits, as text.
pub(crate) fn secret() -> io::Result<String> {
    let mut bits = [0; BYTES];
    SystemRandom::new()
        .fill(&mut bits)
        .map_err(|_| io::Error::other("there are no random numbers"))?;
    Ok(BASE64URL_NOPAD.encode(&bits))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alice() -> Identity {
        Identity {
            name: "alice".to_owned(),
            keys: vec!["SHA256:a".to_owned()],
            by_key: false,
        }
    }

    #[test]
    fn a_link_counts_once_and_a_session_until_it_ends() {
        let dir = tempfile::tempdir().unwrap();
        let files = Files::open(dir.path()).unwrap();
        let link = files.new_login(alice()).unwrap();
        assert!(files.session(&link).is_none(), "one is not the other");
        assert!(files.take_login("another").is_none() && files.is_login(&link));
        assert_eq!(files.take_login(&link), Some(alice()));
        assert_eq!(files.take_login(&link), None);
        let session = files.new_session(alice()).unwrap();
        assert!(!files.is_login(&session));
        assert_eq!(files.session(&session), Some(alice()));
        let later = Files::open(dir.path()).unwrap();
        assert_eq!(
            later.session(&session),
            Some(alice()),
            "it outlives the console"
        );
        later.end_session(&session);
        assert_eq!(files.session(&session), None);
    }

    #[test]
    fn all_sessions_and_links_of_a_person_end_and_no_others() {
        let dir = tempfile::tempdir().unwrap();
        let files = Files::open(dir.path()).unwrap();
        let of = |name: &str, keys: &[&str], by_key| Identity {
            name: name.to_owned(),
            keys: keys.iter().map(|&key| key.to_owned()).collect(),
            by_key,
        };
        let alices = [
            alice(),
            of("alice", &["SHA256:another"], false),
            // A machine calls the owner of her key as it likes.
            of("root", &["SHA256:a"], true),
        ];
        let others = [
            of("bob", &["SHA256:b"], false),
            of("alice", &["SHA256:c"], true),
        ];
        let begin = |identity: &Identity| {
            let link = files.new_login(identity.clone()).unwrap();
            (files.new_session(identity.clone()).unwrap(), link)
        };
        let own: Vec<_> = alices.iter().map(begin).collect();
        let other: Vec<_> = others.iter().map(begin).collect();
        let live = |all: &[(String, String)]| {
            let live = all.iter();
            let live = live
                .map(|(session, link)| [files.session(session).is_some(), files.is_login(link)]);
            live.collect::<Vec<_>>()
        };
        let ended = files.end_all(|one| one.is_of_same_person(&alice()));
        assert_eq!(ended.unwrap(), 3);
        assert_eq!(live(&own), [[false; 2]; 3]);
        assert_eq!(live(&other), [[true; 2]; 2]);
        assert_eq!(files.end_all(|one| one.goes_by("SHA256:c")).unwrap(), 1);
        assert_eq!(files.end_all(|one| one.goes_by("alice")).unwrap(), 0);
        assert_eq!(live(&other), [[true; 2], [false; 2]]);
        assert_eq!(files.end_all(|_| true).unwrap(), 1);
        assert_eq!(live(&other), [[false; 2]; 2]);
    }

    #[test]
    fn what_is_over_does_not_count_and_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let files = Files::open(dir.path()).unwrap();
        let link = files.new_login(alice()).unwrap();
        let kept = |until| {
            serde_json::to_string(&FileText {
                until,
                identity: alice(),
            })
            .unwrap()
        };
        fs::write(files.path(Shelf::Logins, &link), kept(now().as_secs() + 9)).unwrap();
        assert!(files.is_login(&link));
        fs::write(files.path(Shelf::Logins, &link), kept(1)).unwrap();
        assert!(!files.is_login(&link));
        files.new_login(alice()).unwrap();
        assert!(!files.path(Shelf::Logins, &link).exists());
        assert_eq!(files.take_login(&link), None);
        let old = files.new_session(alice()).unwrap();
        let nobody = (now().as_secs() + 9).to_string();
        fs::write(files.path(Shelf::Sessions, &old), nobody).unwrap();
        assert_eq!(files.session(&old), None, "it does not say whose it is");
    }

    #[test]
    fn there_are_only_so_many_and_none_is_named_by_its_secret() {
        let dir = tempfile::tempdir().unwrap();
        let files = Files::open(dir.path()).unwrap();
        let all: Vec<_> = (0..MOST + 5)
            .map(|_| files.new_session(alice()).unwrap())
            .collect();
        let kept: Vec<_> = fs::read_dir(dir.path().join("sessions"))
            .unwrap()
            .flatten()
            .collect();
        assert_eq!(kept.len(), MOST);
        assert!(files.session(all.last().unwrap()).is_some());
        assert!(
            kept.iter()
                .all(|file| !all.contains(&file.file_name().into_string().unwrap()))
        );
    }
}
