//! What whoever watches the files has to know: where they are, and whether a change may be of one that is read.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::readers::{Format, HOME_DIRS, of_home};
use crate::walk::is_entered;

/// The directories of a home in which files are read, whether they are there or not; the home itself among them.
#[must_use]
pub fn home_dirs(home: &Path) -> Vec<PathBuf> {
    let files = of_home().filter_map(|(path, _)| path.parent());
    let dirs = HOME_DIRS.iter().map(|(dir, _, _)| Path::new(*dir));
    // Those above them, too: there one is made.
    let all = files.chain(dirs).flat_map(Path::ancestors);
    let all: BTreeSet<_> = all.map(|dir| home.join(dir)).collect();
    all.into_iter().collect()
}

/// Whether a file or a directory that was made or written is one that is read, or may have such in it.
#[must_use]
pub fn is_read(path: &Path, is_dir: bool, project: &Path, home: Option<&Path>) -> bool {
    let in_project = path.strip_prefix(project).is_ok()
        && match is_dir {
            true => is_entered(path),
            false => Format::of(path).is_some(),
        };
    let below_home = home.and_then(|home| path.strip_prefix(home).ok());
    in_project || below_home.is_some_and(|path| is_of_the_home(path, is_dir))
}

fn is_of_the_home(path: &Path, is_dir: bool) -> bool {
    let file = of_home().any(|(file, _)| match is_dir {
        true => file.starts_with(path),
        false => file == path,
    });
    let of_dir = |dir: &Path| path.starts_with(dir) || (is_dir && dir.starts_with(path));
    file || HOME_DIRS.iter().any(|(dir, _, _)| of_dir(Path::new(*dir)))
}

#[cfg(test)]
mod tests {
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
            ("/h/other/.env", false, false),
            ("/etc/.env", false, false),
        ] {
            let found = is_read(Path::new(path), is_dir, project, Some(home));
            assert_eq!(found, expected, "{path}");
        }
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
