//! The project's file: where it is, and whether it may be read. Whoever writes to the project chooses what lies there.

use std::fs::{Metadata, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use guard_proto::Failure;
use rustix::fs::OFlags;
use rustix::process::geteuid;

use crate::policy_file::whole;
use crate::render::{command_line, path_word};

/// What it is called.
pub(crate) const NAME: &str = ".guard.toml";
/// It is no longer, in bytes.
const LONGEST: u64 = 64 * 1024;
/// Directories that are looked in, the working directory first.
const DEPTH: usize = 32;
/// Mode bits: everybody may write.
const WRITABLE_BY_ALL: u32 = 0o002;

/// Why a file is not read.
#[derive(Debug, thiserror::Error)]
enum WhyUnread {
    /// Neither its reader owns it nor root.
    #[error("it is another user's")]
    Anothers,
    /// For any other reason.
    #[error("{0}")]
    Other(String),
}

/// The file, as it was read once.
#[derive(Debug)]
pub(super) struct ReadFile {
    /// Where it is.
    pub(super) path: PathBuf,
    /// The same, as a person would type it.
    pub(super) shown: PathBuf,
    /// All of it.
    pub(super) bytes: Vec<u8>,
}

impl ReadFile {
    /// One of which nothing is known but where it would be.
    pub(super) fn unread(path: &Path) -> Self {
        Self {
            path: whole(path),
            shown: path.to_owned(),
            bytes: Vec::new(),
        }
    }
}

/// The file of the directory or, where that is in a repository, the nearest one up to its top.
///
/// # Errors
///
/// Where there is something of that name that is not read: what narrows must not go unnoticed.
pub(super) fn look(dir: &Path) -> Result<Option<ReadFile>, Failure> {
    // Where the command's user may not go, or that is gone, that user has no project.
    let Ok(real) = dir.canonicalize() else {
        return Ok(None);
    };
    for (steps, dir) in up_to_top(&real).into_iter().enumerate() {
        let path = dir.join(NAME);
        if path.symlink_metadata().is_ok() {
            let shown = match steps {
                0 => PathBuf::from(NAME),
                steps => PathBuf::from("../".repeat(steps)).join(NAME),
            };
            let bytes = bytes(&path).map_err(|why| match why {
                WhyUnread::Anothers => anothers(&shown, dir),
                WhyUnread::Other(why) => unreadable(&shown, &why),
            })?;
            return Ok(Some(ReadFile { path, shown, bytes }));
        }
    }
    Ok(None)
}

/// The directory, and those above it up to the top of its repository, if it is in one.
fn up_to_top(real: &Path) -> Vec<&Path> {
    let mut above: Vec<_> = real.ancestors().take(DEPTH).collect();
    let owners = owners(real);
    let top = above.iter().position(|dir| is_top(dir, &owners));
    above.truncate(top.unwrap_or(0) + 1);
    above
}

/// Whose directories may be the top of a repository: the user's, root's, and those of whoever has the directory itself. There a project
/// is that owner's in any case, and what narrows in it counts.
fn owners(real: &Path) -> Vec<u32> {
    let own = real.metadata().map(|about| about.uid());
    [geteuid().as_raw(), 0].into_iter().chain(own).collect()
}

/// Whether a repository begins there. As with git's `safe.directory`, what somebody else puts above, as into /tmp, makes none: it would
/// have everybody below look for a policy there, and run into whatever they call so.
fn is_top(dir: &Path, owners: &[u32]) -> bool {
    let is_theirs =
        |about: io::Result<Metadata>| about.is_ok_and(|about| owners.contains(&about.uid()));
    let git = dir.join(".git").symlink_metadata();
    // Nobody else makes a file of the user's or root's: what narrows beside a colleague's repository counts.
    let has_own = || {
        dir.join(NAME)
            .symlink_metadata()
            .is_ok_and(|about| is_own(&about))
    };
    git.is_ok() && (has_own() || is_theirs(git) && is_theirs(dir.symlink_metadata()))
}

fn is_own(about: &Metadata) -> bool {
    about.uid() == geteuid().as_raw() || about.uid() == 0
}

/// The top of the repository that a directory is in; itself, where it is in none.
pub(crate) fn top(dir: &Path) -> Option<PathBuf> {
    let real = dir.canonicalize().ok()?;
    up_to_top(&real).last().map(|top| (*top).to_owned())
}

/// A file that a person names.
///
/// # Errors
///
/// As [`look`].
pub(super) fn read(path: &Path) -> Result<ReadFile, Failure> {
    let there = path.symlink_metadata();
    if there.is_err_and(|error| error.kind() == io::ErrorKind::NotFound) {
        return Err(missing(path));
    }
    let bytes = bytes(path).map_err(|why| unreadable(path, &why.to_string()))?;
    // As [`look`] has it: a yes counts for the file that was found so.
    Ok(ReadFile {
        path: whole(path),
        shown: path.to_owned(),
        bytes,
    })
}

/// Its bytes.
fn bytes(path: &Path) -> Result<Vec<u8>, WhyUnread> {
    let other = |why: &str| WhyUnread::Other(why.to_owned());
    let failed = |error: io::Error| WhyUnread::Other(error.to_string());
    // Without waiting for whoever writes to a FIFO.
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let opened = OpenOptions::new()
        .read(true)
        .custom_flags(flags.bits().cast_signed())
        .open(path);
    let file = opened.map_err(|error| match error.raw_os_error() {
        Some(code) if code == rustix::io::Errno::LOOP.raw_os_error() => other("it is a link"),
        Some(code) if code == rustix::io::Errno::NXIO.raw_os_error() => other("it is no file"),
        _ => failed(error),
    })?;
    let about = file.metadata().map_err(failed)?;
    let is_own = is_own(&about);
    let refused = match () {
        () if !about.is_file() => Some(other("it is no file")),
        () if !is_own => Some(WhyUnread::Anothers),
        () if about.mode() & WRITABLE_BY_ALL != 0 => Some(other("everybody may write to it")),
        () if about.len() > LONGEST => Some(other("it is too long")),
        () => None,
    };
    if let Some(why) = refused {
        return Err(why);
    }
    let mut bytes = Vec::new();
    file.take(LONGEST + 1)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    if bytes.len() as u64 > LONGEST {
        Err(other("it is too long"))
    } else {
        Ok(bytes)
    }
}

/// None of that name: what a person is to name instead is the one that judges sessions here, if there is any.
fn missing(path: &Path) -> Failure {
    let judges = look(Path::new(".")).ok().flatten();
    let fix = match judges {
        Some(found) => format!(
            "name the one that judges what starts here:\nguard trust {}",
            path_word(&found.shown)
        ),
        None => "go to the project, or name its file:\nguard trust PROJECT/.guard.toml".to_owned(),
    };
    Failure {
        what: "there is nothing to trust".into(),
        why: format!("there is no file {}", path.display()),
        fix,
    }
}

pub(super) fn unreadable(path: &Path, why: &str) -> Failure {
    let shown = path.display();
    Failure {
        what: format!("the project's policy {shown} is not taken"),
        why: why.to_owned(),
        fix: format!(
            "mend it, or take it away: a policy of at most {} KiB, in a file of yours that not everybody may write to:\nls -l {}",
            LONGEST / 1024,
            path_word(path)
        ),
    }
}

/// What somebody else has put there stops every command below: only they, or root, can take it away.
fn anothers(shown: &Path, dir: &Path) -> Failure {
    let file = dir.join(NAME);
    let both = [dir, &file].map(|path| path.to_string_lossy().into_owned());
    Failure {
        what: format!("the project's policy {} is not taken", shown.display()),
        why: format!("{}, in {}", WhyUnread::Anothers, dir.display()),
        fix: format!(
            "have its owner or root take it away, or start in a directory of yours that is not below; whose they are:\nls -ld {}",
            command_line(&both)
        ),
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{PermissionsExt as _, chown, symlink};

    use rustix::fs::{CWD, FileType, Mode, mknodat};

    use super::*;

    #[test]
    fn the_nearest_up_to_the_top_of_the_repository_counts() {
        let dir = tempfile::tempdir().unwrap();
        let top = dir.path().join("top");
        let below = top.join("a/b");
        fs::create_dir_all(&below).unwrap();
        let shown = || look(&below).unwrap().map(|found| found.shown);
        fs::write(dir.path().join(NAME), "").unwrap();
        fs::write(top.join(NAME), "").unwrap();
        assert_eq!(shown(), None, "no repository, so no directory above");
        fs::create_dir(top.join(".git")).unwrap();
        assert_eq!(shown().unwrap(), Path::new("../../.guard.toml"));
        fs::write(top.join("a").join(NAME), "").unwrap();
        assert_eq!(shown().unwrap(), Path::new("../.guard.toml"));
        fs::remove_file(top.join(NAME)).unwrap();
        fs::remove_file(top.join("a").join(NAME)).unwrap();
        assert_eq!(shown(), None, "not beyond the top");
    }

    #[test]
    fn a_file_that_a_person_names_is_the_one_that_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let (below, link) = (dir.path().join("sub"), dir.path().join("link"));
        fs::create_dir(&below).unwrap();
        fs::create_dir(dir.path().join(".git")).unwrap();
        symlink(dir.path(), &link).unwrap();
        fs::write(dir.path().join(NAME), "").unwrap();
        let found = look(&below).unwrap().unwrap().path;
        for named in [below.join("..").join(NAME), link.join(NAME)] {
            assert_eq!(read(&named).unwrap().path, found, "{}", named.display());
        }
    }

    #[test]
    fn a_file_that_is_not_there_is_said_to_be_missing() {
        let dir = tempfile::tempdir().unwrap();
        let failure = read(&dir.path().join(NAME)).unwrap_err();
        assert!(failure.why.starts_with("there is no file /"), "{failure}");
        assert!(
            failure.fix.contains("guard trust PROJECT/.guard.toml"),
            "{}",
            failure.fix
        );
    }

    #[test]
    fn what_is_no_plain_file_of_ones_own_is_refused_and_said() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(NAME);
        let why = || look(dir.path()).unwrap_err().why;
        symlink("/etc/passwd", &path).unwrap();
        assert_eq!(why(), "it is a link");
        fs::remove_file(&path).unwrap();
        // A link to nowhere is no absence.
        symlink("/nonexistent", &path).unwrap();
        assert_eq!(why(), "it is a link");
        fs::remove_file(&path).unwrap();
        mknodat(CWD, &path, FileType::Fifo, Mode::from(0o600), 0).unwrap();
        assert_eq!(why(), "it is no file");
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        assert_eq!(why(), "it is no file");
        fs::remove_dir(&path).unwrap();
        fs::write(&path, " ".repeat(64 * 1024 + 1)).unwrap();
        assert_eq!(why(), "it is too long");
        fs::write(&path, "version = 1\n").unwrap();
        assert!(look(dir.path()).unwrap().is_some());
        fs::set_permissions(&path, Permissions::from_mode(0o666)).unwrap();
        assert_eq!(why(), "everybody may write to it");
        fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        if geteuid().is_root() {
            chown(&path, Some(61234), None).unwrap();
            let failure = look(dir.path()).unwrap_err();
            let dir = dir.path().canonicalize().unwrap();
            let dir = dir.display();
            assert_eq!(failure.why, format!("it is another user's, in {dir}"));
            assert!(
                failure
                    .fix
                    .ends_with(&format!("\nls -ld {dir} {dir}/.guard.toml")),
                "{}",
                failure.fix
            );
        }
    }

    #[test]
    fn what_another_user_puts_above_makes_no_repository_of_ones_own_directory() {
        const OTHER: u32 = 61234;
        if !geteuid().is_root() {
            // Only root gives files to others.
            return;
        }
        // As /tmp is, with a `.git` and a policy in it of somebody else's.
        let shared = tempfile::tempdir().unwrap();
        let own = shared.path().join("own/sub");
        fs::create_dir_all(&own).unwrap();
        let (git, file) = (shared.path().join(".git"), shared.path().join(NAME));
        fs::create_dir(&git).unwrap();
        fs::write(&file, "").unwrap();
        let give = |path: &Path, uid| chown(path, Some(uid), None).unwrap();
        let shown = |dir: &Path| look(dir).map(|found| found.map(|found| found.shown));
        let above = Path::new("../../.guard.toml");
        assert_eq!(shown(&own).unwrap().as_deref(), Some(above), "one's own");
        give(&file, OTHER);
        shown(&own).unwrap_err();
        give(&git, OTHER);
        assert_eq!(shown(&own).unwrap(), None, "a .git of another user's");
        assert_eq!(top(&own).unwrap(), own.canonicalize().unwrap());
        give(&git, 0);
        give(shared.path(), OTHER);
        assert_eq!(shown(&own).unwrap(), None, "a directory of another user's");
        // Where one is in the other's own directories, what narrows there does not go unnoticed.
        give(&own, OTHER);
        give(&git, OTHER);
        let failure = shown(&own).unwrap_err();
        let anothers = WhyUnread::Anothers.to_string();
        assert!(failure.why.starts_with(&anothers), "{failure}");
        fs::remove_dir(&git).unwrap();
        assert_eq!(shown(&own).unwrap(), None, "no repository");
    }
}
