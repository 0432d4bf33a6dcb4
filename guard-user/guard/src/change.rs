//! A file of settings as it is, and as it shall be.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::hash::{BuildHasher as _, RandomState};
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use guard_proto::Failure;
use rustix::fs::{
    AtFlags, CWD, Mode, OFlags, ResolveFlags, fchmod, fstat, mkdirat, openat, openat2, renameat,
    statat, unlinkat,
};
use rustix::io::Errno;
use similar::TextDiff;

use crate::error::CliError;
use crate::render::path_word;

/// Settings are at most this long, in bytes.
const MAX_LENGTH: u64 = 16 * 1024 * 1024;

/// What shall become of a file; no text: it is not there.
#[derive(Debug)]
pub(crate) struct Change {
    pub(crate) file: PathBuf,
    pub(crate) before: Option<String>,
    pub(crate) after: Option<String>,
    dir: Dir,
}

/// The directory of a file, held open from the moment that the file is read: its path may lead elsewhere by the time that it is
/// written, where others may write to what is above it.
#[derive(Debug)]
struct Dir {
    /// The directory, or its nearest ancestor that exists.
    open: OwnedFd,
    /// The directories below that are still to be made.
    missing: PathBuf,
}

impl Change {
    /// Reads a file, and has `edit` make of its text what it shall be.
    ///
    /// # Errors
    ///
    /// Where it cannot be read, and those of `edit`, which say what in it cannot be understood.
    pub(crate) fn of(
        file: PathBuf,
        edit: impl FnOnce(Option<&str>) -> Result<Option<String>, String>,
    ) -> Result<Self, CliError> {
        let file = target(&file).map_err(|error| cannot("find", &file, &error))?;
        let dir = Dir::of(&file).map_err(|error| cannot("find", &file, &error))?;
        let before = if dir.missing.as_os_str().is_empty() {
            read(&dir.open, name(&file))
        } else {
            Ok(None)
        };
        let before = before.map_err(|error| cannot("read", &file, &error))?;
        let after = edit(before.as_deref()).map_err(|why| not_understood(&file, why))?;
        Ok(Self {
            file,
            before,
            after,
            dir,
        })
    }

    /// Whether it changes anything.
    pub(crate) fn is_one(&self) -> bool {
        self.before != self.after
    }

    /// The change in the format of `diff -u`.
    pub(crate) fn diff(&self) -> String {
        let [before, after] =
            [&self.before, &self.after].map(|text| text.as_deref().unwrap_or_default());
        let name = |text: &Option<String>| match text {
            Some(_) => self.file.display().to_string(),
            None => "/dev/null".to_owned(),
        };
        unified([before, after], [&name(&self.before), &name(&self.after)])
    }

    /// Does it: whoever reads the file meanwhile reads the one or the other, whole.
    ///
    /// # Errors
    ///
    /// Where the file has changed since it was read, or cannot be written.
    pub(crate) fn write(&self) -> Result<(), CliError> {
        let cannot_write = |error| cannot("write", &self.file, &error);
        let made = self.dir.made().map_err(cannot_write)?;
        let (dir, name) = (made.as_ref().unwrap_or(&self.dir.open), name(&self.file));
        let now = read(dir, name).map_err(|error| cannot("read", &self.file, &error))?;
        if now != self.before || !self.is_there(dir) {
            return Err(CliError::Local(Failure {
                what: format!("{} was not written", self.file.display()),
                why: "somebody has changed it since it was read".into(),
                fix: "look at it again, with the same command".into(),
            }));
        }
        let written = match &self.after {
            Some(text) => replace(dir, name, text),
            None => unlinkat(dir, name, AtFlags::empty()).map_err(io::Error::from),
        };
        written.map_err(cannot_write)
    }

    /// Whether the file's path still leads to that directory.
    fn is_there(&self, dir: impl AsFd) -> bool {
        let now = open_dir(parent(&self.file)).and_then(|now| Ok((fstat(now)?, fstat(dir)?)));
        now.is_ok_and(|(now, held)| (now.st_dev, now.st_ino) == (held.st_dev, held.st_ino))
    }
}

impl Dir {
    /// The directory of a file whose path is real.
    fn of(file: &Path) -> io::Result<Self> {
        let dir = parent(file);
        for above in dir.ancestors() {
            let open = match open_dir(above) {
                Err(error) if is_absent(&error) => continue,
                opened => opened?,
            };
            let missing = dir.strip_prefix(above).map_err(io::Error::other)?;
            let missing = missing.to_owned();
            return Ok(Self { open, missing });
        }
        Err(io::ErrorKind::NotFound.into())
    }

    /// Those that are missing, made; the last of them. None: none was.
    fn made(&self) -> io::Result<Option<OwnedFd>> {
        let mut last: Option<OwnedFd> = None;
        for part in &self.missing {
            let above = last.as_ref().unwrap_or(&self.open);
            match mkdirat(above, part, Mode::from_raw_mode(0o777)) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(error) => return Err(error.into()),
            }
            let flags = DIRECTORY | OFlags::NOFOLLOW;
            last = Some(openat(above, part, flags, Mode::empty())?);
        }
        Ok(last)
    }
}

/// What differs between two texts, in the format of `diff -u`.
pub(crate) fn unified([before, after]: [&str; 2], [old, new]: [&str; 2]) -> String {
    let diff = TextDiff::from_lines(before, after);
    diff.unified_diff().header(old, new).to_string()
}

/// Where a file really is, or will be, so that a person sees what is written, and nobody can lead it elsewhere afterwards.
fn target(file: &Path) -> io::Result<PathBuf> {
    let file = std::path::absolute(file)?;
    for above in file.ancestors() {
        let real = match fs::canonicalize(above) {
            Err(error) if is_absent(&error) => continue,
            found => found?,
        };
        let missing = file.strip_prefix(above).map_err(io::Error::other)?;
        if missing.as_os_str().is_empty() {
            return Ok(real);
        }
        let mut parts = missing.components();
        // Above what is not there is nothing.
        return if parts.all(|part| matches!(part, Component::Normal(_))) {
            Ok(real.join(missing))
        } else {
            Err(io::ErrorKind::NotFound.into())
        };
    }
    Err(io::ErrorKind::NotFound.into())
}

fn is_absent(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound
}

/// How a directory is held.
const DIRECTORY: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// A directory by its real path: a link in it was put there since that was found.
fn open_dir(path: &Path) -> io::Result<OwnedFd> {
    let links = ResolveFlags::NO_SYMLINKS;
    Ok(openat2(CWD, path, DIRECTORY, Mode::empty(), links)?)
}

/// The directory of a file whose path is whole.
fn parent(file: &Path) -> &Path {
    file.parent().unwrap_or(Path::new("/"))
}

/// A file's name in its directory; of what is none, one that cannot be opened as a file.
fn name(file: &Path) -> &OsStr {
    file.file_name().unwrap_or(OsStr::new("."))
}

/// What is no file has no settings, and may never end.
fn read(dir: impl AsFd, name: &OsStr) -> io::Result<Option<String>> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let opened = match openat(dir, name, flags, Mode::empty()) {
        Ok(opened) => File::from(opened),
        Err(Errno::NOENT) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    if !opened.metadata()?.is_file() {
        return Err(io::Error::other("it is no file"));
    }
    let mut text = String::new();
    opened.take(MAX_LENGTH + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MAX_LENGTH {
        Err(io::ErrorKind::FileTooLarge.into())
    } else {
        Ok(Some(text))
    }
}

/// Puts the text in the file's place, which keeps its mode.
fn replace(dir: impl AsFd, name: &OsStr, text: &str) -> io::Result<()> {
    let dir = dir.as_fd();
    let about = statat(dir, name, AtFlags::SYMLINK_NOFOLLOW).ok();
    // No more of it than that: the new file is its writer's, whosever the old one was.
    let mode = about.map(|about| Mode::from_raw_mode(about.st_mode & 0o777));
    let new = format!(".guard-{:016x}", RandomState::new().hash_one(name));
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = openat(dir, &new, flags, Mode::from_raw_mode(0o600))?;
    let written = fill(file, text, mode.unwrap_or_else(usual))
        .and_then(|()| Ok(renameat(dir, &new, dir, name)?));
    written.inspect_err(|_| {
        // What is left of it is in nobody's way.
        let _ = unlinkat(dir, &new, AtFlags::empty());
    })
}

fn fill(file: OwnedFd, text: &str, mode: Mode) -> io::Result<()> {
    let mut file = File::from(file);
    file.write_all(text.as_bytes())?;
    fchmod(&file, mode)?;
    file.sync_all()
}

/// The mode of a new file, as others make it.
fn usual() -> Mode {
    let mask = rustix::process::umask(Mode::empty());
    rustix::process::umask(mask);
    Mode::from_raw_mode(0o666) & !mask
}

fn cannot(verb: &str, file: &Path, error: &io::Error) -> CliError {
    CliError::Local(Failure {
        what: format!("cannot {verb} {}", file.display()),
        why: error.to_string(),
        fix: format!("look at who may:\nls -ld {}", path_word(file)),
    })
}

fn not_understood(file: &Path, why: String) -> CliError {
    CliError::Local(Failure {
        what: format!("{} was left as it is", file.display()),
        why,
        fix: "mend it, or enter guard by hand: /usr/share/doc/guard/docs/agents.md has the lines"
            .into(),
    })
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    #[test]
    fn a_file_is_replaced_whole_and_keeps_its_mode_and_its_link() {
        let dir = tempfile::tempdir().unwrap();
        let [real, link] = ["real.json", "link.json"].map(|name| dir.path().join(name));
        fs::write(&real, "{}\n").unwrap();
        fs::set_permissions(&real, Permissions::from_mode(0o600)).unwrap();
        symlink(&real, &link).unwrap();
        let change = Change::of(link.clone(), |_| Ok(Some("{\"a\": 1}\n".to_owned()))).unwrap();
        assert!(change.is_one());
        assert!(
            change.diff().contains("-{}\n+{\"a\": 1}\n"),
            "{}",
            change.diff()
        );
        change.write().unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read_to_string(&real).unwrap(), "{\"a\": 1}\n");
        assert_eq!(
            fs::metadata(&real).unwrap().permissions().mode() & 0o777,
            0o600
        );
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
        // The person who decides sees which file it really is, and where the link leads by then does not matter.
        assert_eq!(change.file, fs::canonicalize(&real).unwrap());
    }

    #[test]
    fn what_is_no_file_is_not_read() {
        let dir = tempfile::tempdir().unwrap();
        let link = dir.path().join(".mcp.json");
        symlink("/dev/zero", &link).unwrap();
        for odd in [link, dir.path().to_owned()] {
            let error = Change::of(odd, |_| panic!("it was read")).unwrap_err();
            assert!(error.to_string().contains("no file"), "{error}");
        }
    }

    #[test]
    fn a_file_that_was_changed_meanwhile_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("sub/settings.json");
        let change = Change::of(file.clone(), |before| {
            assert_eq!(before, None);
            Ok(Some("new".to_owned()))
        });
        let change = change.unwrap();
        fs::create_dir(dir.path().join("sub")).unwrap();
        fs::write(&file, "theirs").unwrap();
        let error = change.write().unwrap_err();
        assert!(error.failure().unwrap().why.contains("changed"), "{error}");
        assert_eq!(fs::read_to_string(&file).unwrap(), "theirs");
        fs::remove_file(&file).unwrap();
        change.write().unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), "new");
    }

    /// As whoever writes to the project may do it between the question and its answer.
    #[test]
    fn a_directory_that_was_swapped_for_a_link_leads_nowhere() {
        let text = "{}\n";
        for (was_there, after) in [(true, Some("new")), (true, None), (false, Some("new"))] {
            let dir = tempfile::tempdir().unwrap();
            let [project, other, away] =
                ["project", "other", "away"].map(|name| dir.path().join(name));
            let claude = project.join(".claude");
            let file = claude.join("settings.json");
            fs::create_dir_all(&other).unwrap();
            fs::create_dir_all(&project).unwrap();
            if was_there {
                fs::create_dir(&claude).unwrap();
                fs::write(&file, text).unwrap();
                fs::write(other.join("settings.json"), text).unwrap();
            }
            let change = Change::of(file.clone(), |_| Ok(after.map(str::to_owned))).unwrap();
            if was_there {
                fs::rename(&claude, &away).unwrap();
            }
            symlink(&other, &claude).unwrap();
            let error = change.write().unwrap_err();
            assert!(error.to_string().contains("settings.json"), "{error}");
            let theirs = fs::read_to_string(other.join("settings.json")).ok();
            assert_eq!(theirs.as_deref(), was_there.then_some(text));
            assert_eq!(
                fs::read_dir(&other).unwrap().count(),
                usize::from(was_there)
            );
            if was_there {
                assert_eq!(
                    fs::read_to_string(away.join("settings.json")).unwrap(),
                    text
                );
            }
        }
    }

    #[test]
    fn a_file_whose_directories_are_not_there_has_its_real_path() {
        let dir = tempfile::tempdir().unwrap();
        let [real, link] = ["real", "link"].map(|name| dir.path().join(name));
        fs::create_dir(&real).unwrap();
        symlink(&real, &link).unwrap();
        let change = Change::of(link.join("a/b/x.toml"), |_| Ok(Some("x".to_owned()))).unwrap();
        let file = fs::canonicalize(&real).unwrap().join("a/b/x.toml");
        assert_eq!(change.file, file);
        change.write().unwrap();
        assert_eq!(fs::read_to_string(file).unwrap(), "x");
        assert!(Change::of(link.join("c/../x.toml"), |_| Ok(None)).is_err());
    }
}
