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
use ring::{
    digest::{SHA256, digest},
    rand::{SecureRandom as _, SystemRandom},
};

/// How long a link counts.
pub(crate) const LINK: Duration = Duration::from_secs(600);
/// How long a browser stays logged in.
pub(crate) const SESSION: Duration = Duration::from_secs(7 * 24 * 3600);
/// Links and sessions at once; the oldest go first.
const MOST: usize = 64;
/// Random bytes of a secret.
const BYTES: usize = 32;

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
            bail!("only the console's own user makes links: sudo -u '#{uid}' guard-console login");
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
    pub fn new_login(&self) -> io::Result<String> {
        self.make(Shelf::Logins)
    }

    /// Whether that is a link's secret; from then on it is none.
    pub(crate) fn take_login(&self, secret: &str) -> bool {
        let counts = self.counts(Shelf::Logins, secret);
        // Of two who take it at once, one removes the file.
        let is_taken = fs::remove_file(self.path(Shelf::Logins, secret)).is_ok();
        counts && is_taken
    }

    /// Whether that is a link's secret.
    pub(crate) fn is_login(&self, secret: &str) -> bool {
        self.counts(Shelf::Logins, secret)
    }

    /// A new session's secret.
    pub(crate) fn new_session(&self) -> io::Result<String> {
        self.make(Shelf::Sessions)
    }

    /// Whether that is a session's secret.
    pub(crate) fn is_session(&self, secret: &str) -> bool {
        self.counts(Shelf::Sessions, secret)
    }

    /// Ends a session.
    pub(crate) fn end_session(&self, secret: &str) {
        let _ = fs::remove_file(self.path(Shelf::Sessions, secret));
    }

    fn make(&self, shelf: Shelf) -> io::Result<String> {
        self.tidy(shelf);
        let secret = secret()?;
        let until = now() + shelf.life();
        let mut open = OpenOptions::new();
        let open = open.write(true).create_new(true).mode(0o600);
        let mut file = open.open(self.path(shelf, &secret))?;
        write!(file, "{}", until.as_secs())?;
        Ok(secret)
    }

    fn counts(&self, shelf: Shelf, secret: &str) -> bool {
        until(&self.path(shelf, secret)).is_some_and(|until| until > now().as_secs())
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
            .map(|file| (until(&file.path()).unwrap_or_default(), file.path()))
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

/// Until when a file counts, in seconds since 1970.
fn until(path: &Path) -> Option<u64> {
    fs::read_to_string(path).ok()?.parse().ok()
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

    #[test]
    fn a_link_counts_once_and_a_session_until_it_ends() {
        let dir = tempfile::tempdir().unwrap();
        let files = Files::open(dir.path()).unwrap();
        let link = files.new_login().unwrap();
        assert!(!files.is_session(&link), "one is not the other");
        assert!(!files.take_login("another") && files.is_login(&link));
        assert!(files.take_login(&link) && !files.take_login(&link));
        let session = files.new_session().unwrap();
        assert!(files.is_session(&session) && !files.is_login(&session));
        let later = Files::open(dir.path()).unwrap();
        assert!(later.is_session(&session), "it outlives the console");
        later.end_session(&session);
        assert!(!files.is_session(&session));
    }

    #[test]
    fn what_is_over_does_not_count_and_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let files = Files::open(dir.path()).unwrap();
        let link = files.new_login().unwrap();
        fs::write(files.path(Shelf::Logins, &link), "1").unwrap();
        assert!(!files.is_login(&link));
        files.new_login().unwrap();
        assert!(!files.path(Shelf::Logins, &link).exists());
        assert!(!files.take_login(&link));
    }

    #[test]
    fn there_are_only_so_many_and_none_is_named_by_its_secret() {
        let dir = tempfile::tempdir().unwrap();
        let files = Files::open(dir.path()).unwrap();
        let all: Vec<_> = (0..MOST + 5)
            .map(|_| files.new_session().unwrap())
            .collect();
        let kept: Vec<_> = fs::read_dir(dir.path().join("sessions"))
            .unwrap()
            .flatten()
            .collect();
        assert_eq!(kept.len(), MOST);
        assert!(files.is_session(all.last().unwrap()));
        assert!(
            kept.iter()
                .all(|file| !all.contains(&file.file_name().into_string().unwrap()))
        );
    }
}
