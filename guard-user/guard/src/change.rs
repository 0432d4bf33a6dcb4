//! A file of settings as it is, and as it shall be.

use std::fs::{self, Permissions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use guard_proto::Failure;
use rustix::fs::OFlags;
use similar::TextDiff;
use tempfile::NamedTempFile;

use crate::error::CliError;

/// Settings are at most this long, in bytes.
const MAX_LENGTH: u64 = 16 * 1024 * 1024;

/// What shall become of a file; no text: it is not there.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) file: PathBuf,
    pub(crate) before: Option<String>,
    pub(crate) after: Option<String>,
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
        let before = read(&file).map_err(|error| cannot("read", &file, &error))?;
        let after = edit(before.as_deref()).map_err(|why| not_understood(&file, why))?;
        Ok(Self {
            file,
            before,
            after,
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
        let now = read(&self.file).map_err(|error| cannot("read", &self.file, &error))?;
        if now != self.before {
            return Err(CliError::Local(Failure {
                what: format!("{} was not written", self.file.display()),
                why: "somebody has changed it since it was read".into(),
                fix: "look at it again, with the same command".into(),
            }));
        }
        let written = match &self.after {
            Some(text) => replace(&self.file, text),
            None => fs::remove_file(&self.file),
        };
        written.map_err(|error| cannot("write", &self.file, &error))
    }
}

/// What differs between two texts, in the format of `diff -u`.
pub(crate) fn unified([before, after]: [&str; 2], [old, new]: [&str; 2]) -> String {
    let diff = TextDiff::from_lines(before, after);
    diff.unified_diff().header(old, new).to_string()
}

/// Where a file really is, so that a person sees what is written, and nobody can lead it elsewhere afterwards.
fn target(file: &Path) -> io::Result<PathBuf> {
    let is_absent = |error: &io::Error| error.kind() == io::ErrorKind::NotFound;
    match fs::canonicalize(file) {
        Err(error) if is_absent(&error) => {}
        found => return found,
    }
    match (file.parent().map(fs::canonicalize), file.file_name()) {
        (Some(Ok(dir)), Some(name)) => Ok(dir.join(name)),
        (Some(Err(error)), _) if !is_absent(&error) => Err(error),
        _ => Ok(file.to_owned()),
    }
}

/// What is no file has no settings, and may never end.
fn read(file: &Path) -> io::Result<Option<String>> {
    let flags = OFlags::NONBLOCK | OFlags::NOFOLLOW;
    let mut open = fs::OpenOptions::new();
    let opened = match open
        .read(true)
        .custom_flags(flags.bits().cast_signed())
        .open(file)
    {
        Ok(opened) => opened,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    if !opened.metadata()?.is_file() {
        return Err(io::Error::other("it is no file"));
    }
    let mut text = String::new();
    opened.take(MAX_LENGTH + 1).read_to_string(&mut text)?;
    match text.len() as u64 > MAX_LENGTH {
        true => Err(io::ErrorKind::FileTooLarge.into()),
        false => Ok(Some(text)),
    }
}

/// Puts the text in the file's place, which keeps its mode.
fn replace(target: &Path, text: &str) -> io::Result<()> {
    let dir = target.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(dir)?;
    let mode: Option<Permissions> = fs::metadata(target).ok().map(|about| about.permissions());
    let mut new = NamedTempFile::new_in(dir)?;
    new.write_all(text.as_bytes())?;
    new.as_file().set_permissions(mode.unwrap_or_else(usual))?;
    new.as_file().sync_all()?;
    new.persist(target)?;
    Ok(())
}

/// The mode of a new file, as others make it.
fn usual() -> Permissions {
    let mask = rustix::process::umask(rustix::fs::Mode::empty());
    rustix::process::umask(mask);
    std::os::unix::fs::PermissionsExt::from_mode(0o666 & !mask.bits())
}

fn cannot(verb: &str, file: &Path, error: &io::Error) -> CliError {
    CliError::Local(Failure {
        what: format!("cannot {verb} {}", file.display()),
        why: error.to_string(),
        fix: format!("look at who may:\nls -ld {}", file.display()),
    })
}

fn not_understood(file: &Path, why: String) -> CliError {
    CliError::Local(Failure {
        what: format!("{} was left as it is", file.display()),
        why,
        fix: "mend it, or enter guard by hand: docs/agents.md has the lines".into(),
    })
}

#[cfg(test)]
mod tests {
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
        // Whoever decides sees which file it really is, and where the link leads by then does not matter.
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
}
