//! What a person has said is not production, and which encrypted files nobody has to read. guardd keeps it, where no session can write.
//!
//! Where none runs, it is in a file of that person's, outside of every project; that counts for nothing where one does, since whatever
//! runs as that person, a session too, may write to it. The person is told what it says, and may say it again.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use guard_discover::{Label, PLAIN};
use guard_proto::{
    Call, Failure,
    decisions::{DecisionsReply, Dismissal, DismissedFile},
};
use guard_sys::accounts::UserAccount;
use jiff::Timestamp;
use rustix::process::getuid;
use serde::{Deserialize, Serialize};

use crate::change::Change;
use crate::client::Client;
use crate::error::CliError;
use crate::misplaced::again;
use crate::person::Person;
use crate::project::top;
use crate::render::path_word;

/// Mode bits: writable by the group, or by everybody.
const WRITABLE_BY_OTHERS: u32 = 0o022;
/// No file of them is longer, in bytes.
const LONGEST: u64 = 1 << 20;

/// All of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Dismissals {
    dismissed: Vec<Dismissal>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    files: Vec<DismissedFile>,
    /// What the file says while a guardd runs.
    #[serde(skip)]
    unkept: Vec<Dismissal>,
    /// The project that is looked through: what was said of another one counts for nothing here.
    #[serde(skip)]
    project: Option<String>,
    /// Which directory below the project's top is looked through.
    #[serde(skip)]
    below: PathBuf,
}

/// When, by whom, and how widely.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Dismissed {
    /// When.
    at: Timestamp,
    /// The user.
    pub(super) by: String,
    /// The project; null: wherever it is found.
    pub(super) dir: Option<String>,
}

/// What it means that an encrypted file is dismissed.
const UNKNOWN: &str = "its contents are not known, and a person says that this is all right";

/// The same of a file that is only named so.
const ONLY_NAMED: &str = "it is only named encrypted, and a person says that this is all right";

/// When, and by whom it was said that nobody has to know what is in an encrypted file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct DismissedSeal {
    #[serde(flatten)]
    pub(super) when: Dismissed,
    /// What that means.
    pub(super) says: &'static str,
}

impl DismissedSeal {
    /// With what it means for a file that was passed over for that reason.
    pub(super) fn said_of(self, why: &str) -> Self {
        let says = if why == PLAIN { ONLY_NAMED } else { UNKNOWN };
        Self { says, ..self }
    }
}

/// An encrypted file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SealedFile<'f> {
    pub(super) file: &'f str,
    /// Of its bytes.
    pub(super) sha256: &'f str,
}

/// A place, and what it looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LabelledPlace<'p> {
    pub(super) host: &'p str,
    pub(super) port: u16,
    pub(super) label: Label,
}

impl Dismissed {
    /// The day.
    pub(super) fn day(&self) -> String {
        self.at.strftime("%Y-%m-%d").to_string()
    }
}

impl Dismissals {
    /// Those that guardd keeps of a user's, or of the caller's; where none runs, those of the person's file.
    ///
    /// # Errors
    ///
    /// guardd's, and those of [`Self::read`].
    pub(crate) fn known(
        socket: &Path,
        uid: Option<u32>,
        person: &Person,
        dir: &Path,
    ) -> Result<Self, CliError> {
        let top = top(dir);
        let whole = dir.canonicalize().ok().zip(top.as_ref());
        let below = whole.and_then(|(dir, top)| dir.strip_prefix(top).ok().map(Path::to_owned));
        let below = below.unwrap_or_default();
        let project = top.map(|top| top.to_string_lossy().into_owned());
        let file = || {
            let file = person.dismissals();
            file.map_or_else(|| Ok(Self::default()), |file| Self::read(&file))
        };
        let mut client = match Client::connect(socket) {
            Ok(client) => client,
            Err(CliError::NoDaemon(_)) => {
                return Ok(Self {
                    project,
                    below,
                    ..file()?
                });
            }
            Err(error) => return Err(error),
        };
        let decided: DecisionsReply = client.call(&Call::Decisions { uid })?;
        Ok(Self {
            // Of another user's file nothing is said; nor of one that is none, as it counts for nothing.
            unkept: match uid {
                Some(_) => Vec::new(),
                None => file().unwrap_or_default().dismissed,
            },
            project,
            below,
            dismissed: decided.dismissed,
            files: decided.files,
        })
    }

    /// The project that is looked through.
    pub(super) fn project(&self) -> Option<&str> {
        self.project.as_deref()
    }

    /// Has guardd keep that a place is not what it looks like, in that project or wherever it is found, or is after all; none where no
    /// guardd runs.
    ///
    /// # Errors
    ///
    /// guardd's.
    pub(super) fn keep(
        &self,
        socket: &Path,
        place: LabelledPlace<'_>,
        dir: Option<&str>,
        withdraw: bool,
    ) -> Result<Option<Option<Dismissed>>, CliError> {
        let mut client = match Client::connect(socket) {
            Ok(client) => client,
            Err(CliError::NoDaemon(_)) => return Ok(None),
            Err(error) => return Err(error),
        };
        let decided: DecisionsReply = client.call(&Call::Dismiss {
            host: place.host.to_owned(),
            port: place.port,
            label: place.label.as_str().to_owned(),
            dir: dir.map(str::to_owned),
            withdraw,
        })?;
        Ok(Some(self.find(&decided.dismissed, place)))
    }

    /// Has guardd keep that nobody has to know what is in an encrypted file with those bytes, or that somebody has to, after all;
    /// none where no guardd runs.
    ///
    /// # Errors
    ///
    /// guardd's.
    pub(super) fn keep_file(
        &self,
        socket: &Path,
        sealed: SealedFile<'_>,
        dir: Option<&str>,
        withdraw: bool,
    ) -> Result<Option<Option<DismissedSeal>>, CliError> {
        let mut client = match Client::connect(socket) {
            Ok(client) => client,
            Err(CliError::NoDaemon(_)) => return Ok(None),
            Err(error) => return Err(error),
        };
        let decided: DecisionsReply = client.call(&Call::DismissFile {
            file: sealed.file.to_owned(),
            sha256: sealed.sha256.to_owned(),
            dir: dir.map(str::to_owned),
            withdraw,
        })?;
        Ok(Some(self.find_file(&decided.files, sealed)))
    }

    /// What a file is called from the project's top on; a home's by its own name.
    pub(super) fn key(&self, file: &str) -> String {
        if file.starts_with(['~', '/']) {
            file.to_owned()
        } else {
            self.below.join(file).to_string_lossy().into_owned()
        }
    }

    /// Whether a person has said that nobody has to know what is in an encrypted file with those bytes.
    pub(super) fn of_file(&self, sealed: SealedFile<'_>) -> Option<DismissedSeal> {
        let key = self.key(sealed.file);
        let file = &key;
        self.find_file(&self.files, SealedFile { file, ..sealed })
    }

    fn find_file(&self, all: &[DismissedFile], sealed: SealedFile<'_>) -> Option<DismissedSeal> {
        let is_it = |one: &&DismissedFile| one.file == sealed.file && one.sha256 == sealed.sha256;
        let mut all = all.iter().filter(is_it);
        let found = all.find(|one| self.holds_for(one.dir.as_deref()))?;
        Some(DismissedSeal {
            when: Dismissed {
                at: found.at,
                by: found.by.clone(),
                dir: found.dir.clone(),
            },
            says: UNKNOWN,
        })
    }

    /// What was said of an encrypted file here, with whatever bytes.
    pub(super) fn said_of_file(&self, file: &str) -> Vec<DismissedFile> {
        let key = self.key(file);
        let said = self.files.iter().filter(|one| one.file == key);
        let said = said.filter(|one| self.holds_for(one.dir.as_deref()));
        said.cloned().collect()
    }

    /// Reads the dismissals of a file; none where there is no such file.
    ///
    /// # Errors
    ///
    /// Where it cannot be read, is no such file, or others may write to it: then nobody knows who has said what.
    pub(crate) fn read(file: &Path) -> Result<Self, Failure> {
        match read(file) {
            Ok(Some(text)) => Self::parse(&text).map_err(|why| unusable(file, &why)),
            Ok(None) => Ok(Self::default()),
            Err(error) => Err(unusable(file, &error.to_string())),
        }
    }

    fn parse(text: &str) -> Result<Self, String> {
        serde_json::from_str(text).map_err(|error| error.to_string())
    }

    /// Whether a place was dismissed as what it looks like.
    pub(super) fn of(&self, host: &str, port: u16, label: Label) -> Option<Dismissed> {
        self.find(&self.dismissed, LabelledPlace { host, port, label })
    }

    /// Whether it was while no guardd ran, and the one that runs knows nothing of it.
    pub(super) fn unkept(&self, host: &str, port: u16, label: Label) -> Option<Dismissed> {
        let kept = self.of(host, port, label);
        let unkept = self.find(&self.unkept, LabelledPlace { host, port, label });
        unkept.filter(|_| kept.is_none())
    }

    fn find(&self, all: &[Dismissal], place: LabelledPlace<'_>) -> Option<Dismissed> {
        let is_it = |one: &&Dismissal| {
            let is_there = one.host == place.host && one.port == place.port;
            is_there && one.label == place.label.as_str()
        };
        let found = all.iter().find(|one| is_it(one) && self.holds(one))?;
        Some(Dismissed {
            at: found.at,
            by: found.by.clone(),
            dir: found.dir.clone(),
        })
    }

    /// Whether it counts in the project that is looked through.
    fn holds(&self, one: &Dismissal) -> bool {
        self.holds_for(one.dir.as_deref())
    }

    fn holds_for(&self, dir: Option<&str>) -> bool {
        dir.is_none() || dir == self.project.as_deref()
    }

    /// What was said of a place, whatever it looks like by now: here, or `anywhere`.
    pub(super) fn said(&self, host: &str, port: u16, anywhere: bool) -> Vec<Dismissal> {
        let all = [&self.dismissed, &self.unkept].into_iter().flatten();
        let said = all.filter(|one| (one.host.as_str(), one.port) == (host, port));
        let mut said: Vec<_> = said
            .filter(|one| anywhere || self.holds(one))
            .cloned()
            .collect();
        said.dedup_by(|one, other| one.is_same(other));
        said
    }

    /// Those of places that are none of these, which are gone or are said elsewhere by now.
    pub(super) fn apart_from(&self, places: &[(&str, u16)]) -> Vec<Dismissal> {
        let is_gone = |one: &&Dismissal| !places.contains(&(one.host.as_str(), one.port));
        self.dismissed.iter().filter(is_gone).cloned().collect()
    }

    /// Takes what was said out of a file; nothing where there is no such file.
    ///
    /// # Errors
    ///
    /// As [`Self::add`].
    pub(super) fn remove(file: PathBuf, said: &[Dismissal]) -> Result<(), CliError> {
        let mut all = Self::read(&file)?;
        let before = all.dismissed.len();
        all.dismissed
            .retain(|one| !said.iter().any(|said| said.is_same(one)));
        if all.dismissed.len() == before {
            Ok(())
        } else {
            all.write(file)
        }
    }

    /// Adds a place to a file's, in that project or wherever it is found.
    ///
    /// # Errors
    ///
    /// As [`Self::read`], and where it cannot be written.
    pub(super) fn add(
        file: PathBuf,
        place: LabelledPlace<'_>,
        dir: Option<&str>,
    ) -> Result<Dismissed, CliError> {
        let mut all = Self::read(&file)?;
        let new = Dismissal {
            host: place.host.to_owned(),
            port: place.port,
            label: place.label.as_str().to_owned(),
            dir: dir.map(str::to_owned),
            at: now(),
            by: user(),
        };
        let known = all.dismissed.iter().find(|one| one.is_same(&new)).cloned();
        let is_new = known.is_none();
        let said = known.unwrap_or(new);
        if is_new {
            all.dismissed.push(said.clone());
            all.write(file)?;
        }
        Ok(Dismissed {
            at: said.at,
            by: said.by,
            dir: said.dir,
        })
    }

    /// Adds an encrypted file to a file's.
    ///
    /// # Errors
    ///
    /// As [`Self::add`].
    pub(super) fn add_file(
        file: PathBuf,
        sealed: SealedFile<'_>,
        dir: Option<&str>,
    ) -> Result<DismissedSeal, CliError> {
        let mut all = Self::read(&file)?;
        let new = DismissedFile {
            file: sealed.file.to_owned(),
            sha256: sealed.sha256.to_owned(),
            dir: dir.map(str::to_owned),
            at: now(),
            by: user(),
        };
        let when = Dismissed {
            at: new.at,
            by: new.by.clone(),
            dir: new.dir.clone(),
        };
        all.files.retain(|one| !one.is_same(&new));
        all.files.push(new);
        all.write(file)?;
        Ok(DismissedSeal {
            when,
            says: UNKNOWN,
        })
    }

    /// Takes what was said of encrypted files out of a file; nothing where there is no such file.
    ///
    /// # Errors
    ///
    /// As [`Self::add`].
    pub(super) fn remove_files(file: PathBuf, said: &[DismissedFile]) -> Result<(), CliError> {
        let mut all = Self::read(&file)?;
        let before = all.files.len();
        all.files
            .retain(|one| !said.iter().any(|said| said.is_same(one)));
        if all.files.len() == before {
            Ok(())
        } else {
            all.write(file)
        }
    }

    fn write(&self, file: PathBuf) -> Result<(), CliError> {
        let text = serde_json::to_string_pretty(self).map_err(io::Error::from);
        let text = text.map_err(|error| unusable(&file, &error.to_string()))?;
        Change::of(file, |_| Ok(Some(text + "\n")))?.write()
    }
}

/// The text of a file of the person's; none where there is no such file.
///
/// # Errors
///
/// Where it cannot be read, is no such file, or others may write to it.
pub(super) fn read(file: &Path) -> io::Result<Option<String>> {
    let about = match fs::metadata(file) {
        Ok(about) => about,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let is_own = about.uid() == rustix::process::geteuid().as_raw() || about.uid() == 0;
    let refused = match () {
        () if !about.is_file() => Some("it is no file"),
        () if !is_own => Some("it is another user's"),
        () if about.mode() & WRITABLE_BY_OTHERS != 0 => Some("others may write to it"),
        () if about.len() > LONGEST => Some("it is too long"),
        () => None,
    };
    match refused {
        Some(why) => Err(io::Error::other(why)),
        None => fs::read_to_string(file).map(Some),
    }
}

/// The time, as it is written.
pub(super) fn now() -> Timestamp {
    let now = Timestamp::now();
    Timestamp::from_millisecond(now.as_millisecond()).unwrap_or(now)
}

/// This user's name, or else the uid.
fn user() -> String {
    let uid = getuid().as_raw();
    let account = UserAccount::by_uid(uid).ok().flatten();
    account.map_or_else(|| uid.to_string(), |account| account.name)
}

fn unusable(file: &Path, why: &str) -> Failure {
    let account = UserAccount::by_uid(getuid().as_raw()).ok().flatten();
    let own = account.filter(|own| own.home.is_absolute() && !file.starts_with(&own.home));
    let of_environment = Person::own();
    if let (Some(own), Some(home)) = (own, of_environment.home())
        && home != own.home
        && file.starts_with(home)
    {
        return of_anothers_home(file, home, &own.home);
    }
    let (file, word) = (file.display(), path_word(file));
    Failure {
        what: format!("cannot tell from {file} what is not production"),
        why: why.to_owned(),
        fix: format!(
            "mend it, or take it away: then everything is listed again:\nls -l {word}\nrm {word}"
        ),
    }
}

/// Whoever became another user may have kept the HOME of before.
fn of_anothers_home(file: &Path, home: &Path, own: &Path) -> Failure {
    let typed: Vec<_> = std::env::args_os().collect();
    Failure {
        what: format!("cannot tell from {} what is not production", file.display()),
        why: format!("HOME is {}, which is not this user's", home.display()),
        fix: format!("HOME={} {}", own.display(), again("", &typed)),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    const DB: &str = "db.example.net";

    fn labelled(host: &str, port: u16, label: Label) -> LabelledPlace<'_> {
        LabelledPlace { host, port, label }
    }

    fn sealed<'f>(file: &'f str, sha256: &'f str) -> SealedFile<'f> {
        SealedFile { file, sha256 }
    }

    #[test]
    fn the_home_of_another_user_is_named() {
        let [file, root, own] = ["/root/.local/x.json", "/root", "/home/a"].map(Path::new);
        let failure = of_anothers_home(file, root, own);
        assert_eq!(failure.why, "HOME is /root, which is not this user's");
        assert!(
            failure.fix.starts_with("HOME=/home/a guard "),
            "{}",
            failure.fix
        );
    }

    #[test]
    fn what_is_dismissed_stays_so_as_what_it_looked_like() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("guard/discover.json");
        assert_eq!(Dismissals::read(&file).unwrap(), Dismissals::default());
        let add = |looks| Dismissals::add(file.clone(), looks, None).unwrap();
        let first = add(labelled(DB, 5432, Label::Maybe));
        assert_eq!(add(labelled(DB, 5432, Label::Maybe)), first);
        add(labelled("2001:db8::1", 22, Label::Production));
        let all = Dismissals::read(&file).unwrap();
        assert_eq!(all.dismissed.len(), 2);
        assert_eq!(all.of(DB, 5432, Label::Maybe), Some(first));
        // What looks graver by now was not what the person said it of.
        assert_eq!(all.of(DB, 5432, Label::Production), None);
        assert_eq!(all.of(DB, 5433, Label::Maybe), None);
    }

    #[test]
    fn what_is_dismissed_in_a_project_is_so_in_that_one() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("discover.json");
        let looks = labelled(DB, 5432, Label::Production);
        Dismissals::add(file.clone(), looks, Some("/home/dev/shop")).unwrap();
        let of = |project: &str| Dismissals {
            project: Some(project.to_owned()),
            ..Dismissals::read(&file).unwrap()
        };
        let is_so = |project| of(project).of(DB, 5432, Label::Production).is_some();
        assert!(is_so("/home/dev/shop"));
        assert!(!is_so("/home/dev/bank") && !is_so("/home/dev/shop/inside"));
        // Taken back there it says nothing of this.
        assert_eq!(of("/home/dev/bank").said(DB, 5432, false), []);
        assert_eq!(of("/home/dev/bank").said(DB, 5432, true).len(), 1);
        // What the home says is the same everywhere.
        Dismissals::add(file.clone(), looks, None).unwrap();
        assert!(is_so("/home/dev/bank"));
        assert_eq!(of("/home/dev/shop").said(DB, 5432, false).len(), 2);
    }

    #[test]
    fn what_is_said_of_an_encrypted_file_is_so_of_its_bytes_in_its_project() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("discover.json");
        let own = sealed(".env.vault", "0a");
        let said = Dismissals::add_file(file.clone(), own, Some("/home/dev/shop")).unwrap();
        assert!(said.says.contains("not known"), "{said:?}");
        let of = |project: &str| Dismissals {
            project: Some(project.to_owned()),
            ..Dismissals::read(&file).unwrap()
        };
        let shop = of("/home/dev/shop");
        assert_eq!(shop.of_file(own), Some(said));
        for other in [sealed(".env.vault", "0b"), sealed("other/.env.vault", "0a")] {
            assert_eq!(shop.of_file(other), None, "{other:?}");
        }
        assert_eq!(of("/home/dev/bank").of_file(own), None);
        assert_eq!(of("/home/dev/bank").said_of_file(".env.vault"), []);
        Dismissals::add_file(file.clone(), sealed("~/.env", "0c"), None).unwrap();
        assert!(
            of("/home/dev/bank")
                .of_file(sealed("~/.env", "0c"))
                .is_some()
        );
        // The file has other bytes by now: what was said of it is taken back all the same.
        let said = shop.said_of_file(".env.vault");
        assert_eq!(said.len(), 1);
        Dismissals::remove_files(file.clone(), &said).unwrap();
        assert_eq!(of("/home/dev/shop").of_file(own), None);
    }

    #[test]
    fn what_is_withdrawn_is_so_whatever_it_looked_like() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("discover.json");
        Dismissals::remove(file.clone(), &[]).unwrap();
        assert!(!file.exists());
        for (port, label) in [
            (5432, Label::Maybe),
            (5432, Label::Production),
            (22, Label::Maybe),
        ] {
            Dismissals::add(file.clone(), labelled(DB, port, label), None).unwrap();
        }
        let all = Dismissals::read(&file).unwrap();
        let said = all.said(DB, 5432, false);
        assert_eq!(said.len(), 2);
        assert_eq!(all.apart_from(&[(DB, 5432)]).len(), 1);
        Dismissals::remove(file.clone(), &said).unwrap();
        let left = Dismissals::read(&file).unwrap();
        assert_eq!(left.said(DB, 5432, true), []);
        assert_eq!(left.said(DB, 22, true).len(), 1);
    }

    #[test]
    fn what_a_file_says_is_told_while_guardd_does_not_know_it() {
        let said = Dismissal {
            host: "db.example.net".to_owned(),
            port: 5432,
            label: "production".to_owned(),
            dir: None,
            at: Timestamp::UNIX_EPOCH,
            by: "dev".to_owned(),
        };
        let mut all = Dismissals {
            unkept: vec![said.clone()],
            ..Dismissals::default()
        };
        let unkept = |all: &Dismissals, label| all.unkept("db.example.net", 5432, label).is_some();
        assert!(all.of("db.example.net", 5432, Label::Production).is_none());
        assert!(unkept(&all, Label::Production) && !unkept(&all, Label::Maybe));
        all.dismissed.push(said);
        assert!(!unkept(&all, Label::Production));
    }

    #[test]
    fn a_file_that_is_none_dismisses_nothing_and_is_left_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("discover.json");
        for text in ["", "{}", "{\"dismissed\": [], \"more\": 1}", "[]"] {
            fs::write(&file, text).unwrap();
            assert!(Dismissals::read(&file).is_err(), "{text}");
            assert!(Dismissals::add(file.clone(), labelled("a", 1, Label::Maybe), None).is_err());
            assert_eq!(fs::read_to_string(&file).unwrap(), text);
        }
        fs::write(&file, "{\"dismissed\": []}").unwrap();
        assert!(Dismissals::read(&file).is_ok());
        fs::set_permissions(&file, fs::Permissions::from_mode(0o666)).unwrap();
        let error = Dismissals::read(&file).unwrap_err();
        assert!(error.why.contains("others"), "{error}");
    }
}
