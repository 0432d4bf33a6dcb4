//! What a watcher of the files has to know: where they are, and whether a change may be of one that is read.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs::{canonicalize, read_dir, read_link};
use std::io::ErrorKind;
use std::path::{Component, Path, PathBuf};

use crate::bounds::IN_DIRECTORY;
use crate::readers::{EACH, Format, HOME_ENDINGS, dirs_of_home, of_home};
use crate::walk::is_entered;

/// The directories of a home in which files are read, whether they are there or not; the home itself among them.
#[must_use]
pub fn home_dirs(home: &Path) -> Vec<PathBuf> {
    let files = of_home().filter_map(|(path, _)| path.parent());
    let dirs = dirs_of_home().map(|(dir, _, _)| Path::new(dir));
    let endings = HOME_ENDINGS.iter().map(|(dir, _, _)| Path::new(*dir));
    // Those above them, too: there one is made.
    let all = files.chain(dirs).chain(endings).flat_map(Path::ancestors);
    let all: BTreeSet<_> = all.map(|dir| home.join(dir)).collect();
    all.into_iter().collect()
}

/// As many links in one path the kernel follows.
const LINKS: usize = 40;

/// Where a link of a home leads: what is there, or will be.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Linked {
    /// A directory that is there.
    pub dir: PathBuf,
    /// What in it is read, or has to be there first; all of it where there is none.
    pub name: Option<OsString>,
}

/// Where the files of a home lie that are there by links, as the links are now. A project's links are not followed.
#[must_use]
pub fn linked(home: &Path) -> Vec<Linked> {
    let Ok(home) = canonicalize(home) else {
        return Vec::new();
    };
    let mut all: BTreeSet<_> = of_home()
        .filter_map(|(file, _)| target(&home, file))
        .collect();
    for (dir, inner, _) in dirs_of_home() {
        // Links below each directory in it are not looked for.
        let inner = if inner.starts_with(EACH) { "" } else { inner };
        if let Some(at) = target(&home, Path::new(dir)) {
            let whole = at.name.as_ref().map(|name| at.dir.join(name));
            let whole = whole.filter(|whole| whole.is_dir());
            all.extend(whole.map(|dir| Linked { dir, name: None }));
            all.insert(at);
        }
        let entries = read_dir(home.join(dir)).into_iter().flatten().flatten();
        for entry in entries.take(IN_DIRECTORY) {
            all.extend(target(
                &home,
                &Path::new(dir).join(entry.file_name()).join(inner),
            ));
        }
    }
    all.into_iter().collect()
}

/// Where a file below a directory is by links; none where no link leads there.
fn target(home: &Path, file: &Path) -> Option<Linked> {
    let (mut dir, mut links) = (home.to_owned(), 0);
    let mut rest = steps(file);
    while let Some(step) = rest.pop() {
        if step == OsStr::new("/") {
            dir = PathBuf::from("/");
        } else if step == OsStr::new("..") {
            dir.pop();
        } else {
            let link = read_link(dir.join(&step));
            let is_missing = matches!(&link, Err(error) if error.kind() == ErrorKind::NotFound);
            if let Ok(to) = link {
                links += 1;
                rest.extend(steps(&to));
            } else if is_missing || rest.is_empty() {
                let name = Some(step);
                return (links > 0).then_some(Linked { dir, name });
            } else {
                dir.push(step);
            }
        }
        if links > LINKS {
            return None;
        }
    }
    None
}

/// The steps of a path, the first at the end.
fn steps(path: &Path) -> Vec<OsString> {
    let steps = path.components().filter(|one| *one != Component::CurDir);
    steps.map(|one| one.as_os_str().to_owned()).rev().collect()
}

/// Whether a file or a directory that was made or written is one that is read, or may have such in it.
#[must_use]
pub fn is_read(path: &Path, is_dir: bool, project: &Path, home: Option<&Path>) -> bool {
    let in_project = path.strip_prefix(project).is_ok()
        && if is_dir {
            is_entered(path)
        } else {
            Format::of(path).is_some()
        };
    let below_home = home.and_then(|home| path.strip_prefix(home).ok());
    in_project || below_home.is_some_and(|path| is_of_the_home(path, is_dir))
}

fn is_of_the_home(path: &Path, is_dir: bool) -> bool {
    let file = of_home().any(|(file, _)| {
        if is_dir {
            file.starts_with(path)
        } else {
            file == path
        }
    });
    let ends_so = HOME_ENDINGS.iter().any(|(dir, ending, _)| {
        if is_dir {
            Path::new(dir).starts_with(path)
        } else {
            let is_so = path
                .as_os_str()
                .as_encoded_bytes()
                .ends_with(ending.as_bytes());
            is_so && path.parent() == Some(Path::new(dir))
        }
    });
    let of_dir = |dir: &Path| path.starts_with(dir) || (is_dir && dir.starts_with(path));
    file || ends_so || dirs_of_home().any(|(dir, _, _)| of_dir(Path::new(dir)))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn what_is_read_is_told_from_what_is_not() {
        let (project, home) = (Path::new("/h/p"), Path::new("/h"));
        for (path, is_dir, expected) in [
            ("/h/p/.env", false, true),
            ("/h/p/deploy/.env.production", false, true),
            ("/h/p/src/main.rs", false, false),
            ("/h/p/deploy", true, true),
            ("/h/p/node_modules", true, false),
            ("/h/.kube/config", false, true),
            ("/h/.kube", true, true),
            ("/h/.config/gcloud", true, true),
            ("/h/.ssh/config.d/a", false, true),
            ("/h/.bash_history", false, false),
            ("/h/work.ovpn", false, true),
            ("/h/.config/wireguard/wg0.conf", false, true),
            ("/h/.config/wireguard/notes", false, false),
            ("/h/Documents/work.ovpn", false, false),
            ("/h/other/.env", false, false),
            ("/etc/.env", false, false),
        ] {
            let found = is_read(Path::new(path), is_dir, project, Some(home));
            assert_eq!(found, expected, "{path}");
        }
    }

    #[test]
    fn a_link_is_followed_to_what_is_there_or_will_be() {
        let dir = tempfile::tempdir().unwrap();
        let at = canonicalize(dir.path()).unwrap();
        let home = at.join("home");
        std::fs::create_dir_all(home.join(".ssh")).unwrap();
        std::fs::create_dir_all(at.join("dots/ssh.d")).unwrap();
        std::fs::write(home.join(".netrc"), "").unwrap();
        let link = |to: &str, from: &str| symlink(to, home.join(from)).unwrap();
        assert_eq!(linked(&home), []);
        // To what is not there, through another, out of the home; a directory; and round in a circle.
        link("../dots/missing/config", ".kube");
        link("../../dots/ssh.d", ".ssh/config.d");
        link("/proc/self/../../nowhere/at/all", ".pgpass");
        link(".my.cnf", ".my.cnf");
        symlink("../home/.env.real", at.join("dots/env")).unwrap();
        link("../dots/env", ".env");
        let found: BTreeSet<_> = linked(&home).into_iter().collect();
        let expected = [
            (at.join("dots"), Some("missing")),
            (at.join("dots"), Some("ssh.d")),
            (at.join("dots/ssh.d"), None),
            (PathBuf::from("/"), Some("nowhere")),
            (home.clone(), Some(".env.real")),
        ];
        let expected = expected.map(|(dir, name)| {
            let name = name.map(OsString::from);
            Linked { dir, name }
        });
        assert_eq!(found, BTreeSet::from(expected));
    }

    #[test]
    fn the_directories_above_are_watched_too() {
        let dirs = home_dirs(Path::new("/h"));
        for dir in [
            "/h",
            "/h/.kube",
            "/h/.config",
            "/h/.config/gcloud/configurations",
        ] {
            assert!(dirs.iter().any(|one| one == Path::new(dir)), "{dirs:?}");
        }
    }
}
