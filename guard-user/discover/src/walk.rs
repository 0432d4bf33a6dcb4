//! The files of a project whose names say that they tell where something is.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Component, Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::available_parallelism;
use std::time::Instant;

use data_encoding::HEXLOWER;
use ignore::{DirEntry, WalkBuilder, WalkState};
use sha2::{Digest as _, Sha256};

use crate::bounds::{Bounds, LINK, MORE_FILES, OUT_OF_TIME};
use crate::readers::Format;

/// What tools fill, and nobody configures a project in.
const SKIPPED: [&str; 16] = [
    ".hg",
    ".svn",
    "node_modules",
    ".nox",
    "target",
    "__pycache__",
    ".venv",
    "venv",
    ".tox",
    ".mypy_cache",
    ".cache",
    ".next",
    ".nuxt",
    "bower_components",
    ".gradle",
    ".pytest_cache",
];

/// What is in the path of all that nix and bazel make links to: what they have built, and nobody configures a project in.
const MADE: [&str; 3] = ["/nix/store/", "/_bazel_", "/.git/annex/objects/"];

/// What files are called by that configure nothing. A link of another name may lead to a directory.
const FILES: [&str; 48] = [
    "a", "bash", "c", "cc", "cpp", "css", "csv", "go", "gz", "h", "hpp", "htm", "html", "ico",
    "ipynb", "jar", "java", "jpeg", "jpg", "js", "json", "jsx", "lock", "md", "mdc", "mdx", "mjs",
    "mod", "mp4", "o", "pdf", "png", "py", "rb", "rs", "rst", "sh", "so", "sum", "svg", "tgz",
    "toml", "ts", "tsx", "txt", "xml", "yaml", "yml",
];

/// What plain files without an ending are called, in capitals.
const NOTICES: [&str; 26] = [
    "AUTHORS",
    "BUGS",
    "BUILD",
    "CHANGELOG",
    "CHANGES",
    "CODEOWNERS",
    "CONTRIBUTING",
    "CONTRIBUTORS",
    "COPYING",
    "COPYRIGHT",
    "HISTORY",
    "INSTALL",
    "LICENCE",
    "LICENSE",
    "LICENSES",
    "MAINTAINERS",
    "NEWS",
    "NOTICE",
    "NOTICES",
    "OWNERS",
    "PATENTS",
    "README",
    "THANKS",
    "TODO",
    "VERSION",
    "WORKSPACE",
];

/// So many links are listed.
const LINKS: usize = 64;

/// Directories in which the files at the top alone say something.
const SHALLOW: [&str; 2] = [".git", ".terraform"];

/// No more directories are handed to the watcher.
pub const DIRS: usize = 1_024;

/// Whether the files in a directory may say something.
pub(crate) fn is_entered(dir: &Path) -> bool {
    let named = |names: &[&str], path: Option<&Path>| {
        let name = path.and_then(Path::file_name);
        names.iter().any(|known| name == Some(known.as_ref()))
    };
    !named(&SKIPPED, Some(dir)) && !named(&SHALLOW, dir.parent())
}

/// What a walk left out.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct NotWalked {
    pub(crate) path: PathBuf,
    pub(crate) why: &'static str,
    /// Of a link's target, as it is written.
    pub(crate) sha256: Option<String>,
}

/// What a walk found, and what it left out.
#[derive(Debug, Default)]
pub(crate) struct Walked {
    /// In their order.
    pub(crate) files: Vec<(PathBuf, Format)>,
    /// Those that are read when all others are.
    last: Vec<(PathBuf, Format)>,
    pub(crate) left_out: Vec<NotWalked>,
    /// The directories, as far as they are counted.
    pub(crate) dirs: Vec<PathBuf>,
}

/// Walks. What a project says is to be ignored is not: there are the files that matter.
pub(crate) fn walk(project: &Path, bounds: &Bounds, deadline: Option<Instant>) -> Walked {
    let top = top(project, bounds, deadline);
    let walk = Walk {
        project,
        bounds,
        deadline,
        device: std::fs::metadata(project).ok().map(|of| of.dev()),
        places: places(project),
        links: AtomicUsize::new(0),
        found: Mutex::default(),
        many: AtomicUsize::new(0),
        too_late: AtomicBool::new(false),
        too_many: AtomicBool::new(false),
    };
    let threads = available_parallelism().map_or(1, |threads| threads.get().min(4));
    let walker = WalkBuilder::new(project)
        .standard_filters(false)
        .follow_links(false)
        .same_file_system(true)
        .max_depth(Some(bounds.depth))
        .threads(threads)
        .filter_entry(|entry| entry.depth() == 0 || !is_dir(entry) || is_entered(entry.path()))
        .build_parallel();
    walker.run(|| Box::new(|entry| walk.visit(entry)));
    walk.end(top)
}

fn is_dir(entry: &DirEntry) -> bool {
    entry.file_type().is_some_and(|kind| kind.is_dir())
}

/// A walk, which several threads do.
struct Walk<'w> {
    project: &'w Path,
    bounds: &'w Bounds,
    deadline: Option<Instant>,
    /// The file system that the project is on.
    device: Option<u64>,
    found: Mutex<Walked>,
    /// The project, as it is called and where it really lies.
    places: [PathBuf; 2],
    /// How many links to elsewhere were found.
    links: AtomicUsize,
    /// How many files were found of kinds that some projects have thousands of.
    many: AtomicUsize,
    too_late: AtomicBool,
    too_many: AtomicBool,
}

impl Walk<'_> {
    fn visit(&self, entry: Result<DirEntry, ignore::Error>) -> WalkState {
        if self.deadline.is_some_and(|end| Instant::now() > end) {
            self.too_late.store(true, Ordering::Relaxed);
            return WalkState::Quit;
        }
        match entry {
            Err(_) => self.leave_out(Path::new("."), "a part that cannot be listed"),
            Ok(entry) if is_dir(&entry) => self.enter(&entry),
            Ok(entry) => {
                if let Some(format) = self.format_of(entry.path()) {
                    return self.keep(self.below(entry.path()), format);
                }
                if entry.path_is_symlink() {
                    self.look_at_link(entry.path());
                }
            }
        }
        WalkState::Continue
    }

    /// The reader for a file, where it is to be read.
    fn format_of(&self, path: &Path) -> Option<Format> {
        Format::of(path).or_else(|| Format::of_prose(path).filter(|_| self.bounds.deep))
    }

    /// Leaves out what may be a directory that no walk enters. A link is judged by its words: to look where it leads may mount
    /// something, or never end.
    fn look_at_link(&self, link: &Path) {
        let Ok(target) = std::fs::read_link(link) else {
            return self.leave_out(link, LINK);
        };
        if !is_entered(link) || is_file(link) || is_file(&target) {
            return;
        }
        let below = self.below(link);
        let dir = below.parent().unwrap_or(Path::new(""));
        let to = plain(&self.places[0].join(dir).join(&target));
        let is_made = MADE.iter().any(|made| to.to_string_lossy().contains(made));
        let mut places = self.places.iter();
        let is_walked = places.any(|place| {
            let within = to.strip_prefix(place);
            within.is_ok_and(|within| within.ancestors().all(is_entered))
        });
        if is_made || is_walked {
            return;
        }
        if self.links.fetch_add(1, Ordering::Relaxed) >= LINKS {
            return self.leave_out(Path::new("."), "more links to elsewhere than are told");
        }
        let sha256 = HEXLOWER.encode(&Sha256::digest(target.as_os_str().as_bytes()));
        self.note(NotWalked {
            sha256: Some(sha256),
            ..self.left_out(link, LINK)
        });
    }

    fn enter(&self, dir: &DirEntry) {
        let is_elsewhere = || dir.metadata().ok().map(|of| of.dev()) != self.device;
        if dir.depth() > 0 && is_elsewhere() {
            return self.leave_out(dir.path(), "another file system");
        }
        if let Ok(mut found) = self.found.lock()
            && found.dirs.len() < DIRS
        {
            found.dirs.push(dir.path().to_owned());
        }
        if dir.depth() == self.bounds.depth {
            self.leave_out(dir.path(), "too deep");
        }
    }

    /// Keeps a file, where there is room for it.
    fn keep(&self, path: PathBuf, format: Format) -> WalkState {
        let most = self.bounds.files;
        let is_over = format.is_many() && self.many.fetch_add(1, Ordering::Relaxed) >= most;
        let Ok(mut found) = self.found.lock() else {
            return WalkState::Continue;
        };
        // Of those that are read last as many as are read: they take no other's place.
        if is_over || (format.is_last() && found.last.len() >= most) {
            self.too_many.store(true, Ordering::Relaxed);
        } else if format.is_last() {
            found.last.push((path, format));
        } else {
            found.files.push((path, format));
            // Twice and more, so that which are read depends less on who was faster.
            if found.files.len() > 3 * most {
                self.too_many.store(true, Ordering::Relaxed);
                return WalkState::Quit;
            }
        }
        WalkState::Continue
    }

    fn leave_out(&self, path: &Path, why: &'static str) {
        self.note(self.left_out(path, why));
    }

    fn left_out(&self, path: &Path, why: &'static str) -> NotWalked {
        NotWalked {
            path: self.below(path),
            why,
            sha256: None,
        }
    }

    fn note(&self, left_out: NotWalked) {
        if let Ok(mut found) = self.found.lock() {
            found.left_out.push(left_out);
        }
    }

    fn below(&self, path: &Path) -> PathBuf {
        path.strip_prefix(self.project).unwrap_or(path).to_owned()
    }

    /// What was found, in its order, with those files at the top; and what there was no room or no time for.
    fn end(self, top: Vec<(PathBuf, Format)>) -> Walked {
        let mut found = self.found.into_inner().unwrap_or_default();
        found.files.extend(top);
        for files in [&mut found.files, &mut found.last] {
            files.sort_by_cached_key(|(path, format)| {
                (format.is_many(), path.components().count(), path.clone())
            });
            files.dedup_by(|one, other| one.0 == other.0);
        }
        found.files.append(&mut found.last);
        found.left_out.sort();
        found.left_out.dedup();
        let mut all_of_it = |why| {
            found.left_out.push(NotWalked {
                path: PathBuf::from("."),
                why,
                sha256: None,
            });
        };
        if found.files.len() > self.bounds.files || self.too_many.into_inner() {
            found.files.truncate(self.bounds.files);
            all_of_it(MORE_FILES);
        }
        if self.too_late.into_inner() {
            all_of_it(OUT_OF_TIME);
        }
        found
    }
}

fn places(project: &Path) -> [PathBuf; 2] {
    let called =
        std::path::absolute(project).map_or_else(|_| project.to_owned(), |path| plain(&path));
    let real = project.canonicalize().unwrap_or_else(|_| called.clone());
    [called, real]
}

/// Whether a path is a plain file's, by its name, or a program's.
fn is_file(path: &Path) -> bool {
    let extension = path.extension().and_then(OsStr::to_str);
    let name = path.file_name().and_then(OsStr::to_str).unwrap_or_default();
    let dir = path.parent().and_then(Path::file_name);
    NOTICES.contains(&name)
        || dir.is_some_and(|dir| dir == "bin")
        || extension.is_some_and(|one| FILES.contains(&one.to_ascii_lowercase().as_str()))
}

/// A path without `.` and `..`.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => _ = plain.pop(),
            part => plain.push(part),
        }
    }
    plain
}

/// The files at the top of a project, however many lie below: the walk goes deep first, and ends at so many.
fn top(project: &Path, bounds: &Bounds, deadline: Option<Instant>) -> Vec<(PathBuf, Format)> {
    let entries = std::fs::read_dir(project).into_iter().flatten();
    let in_time = entries.take_while(|_| deadline.is_none_or(|end| Instant::now() <= end));
    let files = in_time
        .flatten()
        .filter(|entry| entry.file_type().is_ok_and(|kind| !kind.is_dir()));
    let named = files.filter_map(|entry| {
        let format = Format::of(&entry.path()).filter(|format| !format.is_last())?;
        Some((PathBuf::from(entry.file_name()), format))
    });
    let mut top: Vec<_> = named.collect();
    top.sort_by_cached_key(|(path, format)| (format.is_many(), path.clone()));
    top.truncate(bounds.files);
    top
}
