//! The files of a project whose names say that they tell where something is.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::available_parallelism;
use std::time::Instant;

use ignore::{WalkBuilder, WalkState};

use crate::discovery::{Bounds, OUT_OF_TIME};
use crate::readers::Format;

/// What tools fill, and nobody configures a project in.
const SKIPPED: [&str; 15] = [
    ".hg",
    ".svn",
    "node_modules",
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

/// Directories in which the files at the top alone say something.
const SHALLOW: [&str; 2] = [".git", ".terraform"];

/// No more directories are told to whoever watches them.
pub const DIRS: usize = 1_024;

/// Whether the files in a directory may say something.
pub(crate) fn is_entered(dir: &Path) -> bool {
    let named = |names: &[&str], path: Option<&Path>| {
        let name = path.and_then(Path::file_name);
        names.iter().any(|known| name == Some(known.as_ref()))
    };
    !named(&SKIPPED, Some(dir)) && !named(&SHALLOW, dir.parent())
}

/// What a walk found, and what it left out.
#[derive(Debug, Default)]
pub(crate) struct Walked {
    /// In their order.
    pub(crate) files: Vec<(PathBuf, Format)>,
    /// Those that are read when all others are.
    last: Vec<(PathBuf, Format)>,
    pub(crate) left_out: Vec<(PathBuf, &'static str)>,
    /// The directories, as far as they are counted.
    pub(crate) dirs: Vec<PathBuf>,
}

/// Walks. What a project says is to be ignored is not: there are the files that matter.
pub(crate) fn walk(project: &Path, bounds: &Bounds, deadline: Option<Instant>) -> Walked {
    let top = top(project, bounds, deadline);
    let found = Mutex::new(Walked::default());
    let (too_late, too_many) = (AtomicBool::new(false), AtomicBool::new(false));
    let many = AtomicUsize::new(0);
    let device = std::fs::metadata(project).ok().map(|of| of.dev());
    let threads = available_parallelism().map_or(1, |threads| threads.get().min(4));
    let walker = WalkBuilder::new(project)
        .standard_filters(false)
        .follow_links(false)
        .same_file_system(true)
        .max_depth(Some(bounds.depth))
        .threads(threads)
        .filter_entry(|entry| {
            let is_dir = entry.file_type().is_some_and(|kind| kind.is_dir());
            entry.depth() == 0 || !is_dir || is_entered(entry.path())
        })
        .build_parallel();
    walker.run(|| {
        Box::new(|entry| {
            if deadline.is_some_and(|deadline| Instant::now() > deadline) {
                too_late.store(true, Ordering::Relaxed);
                return WalkState::Quit;
            }
            let leave_out = |path: &Path, why| {
                let path = path.strip_prefix(project).unwrap_or(path).to_owned();
                if let Ok(mut found) = found.lock() {
                    found.left_out.push((path, why));
                }
            };
            let Ok(entry) = entry else {
                leave_out(Path::new("."), "a part that cannot be listed");
                return WalkState::Continue;
            };
            let is_dir = entry.file_type().is_some_and(|kind| kind.is_dir());
            let is_elsewhere = || entry.metadata().ok().map(|of| of.dev()) != device;
            if is_dir && entry.depth() > 0 && is_elsewhere() {
                leave_out(entry.path(), "another file system");
                return WalkState::Continue;
            }
            if is_dir
                && let Ok(mut found) = found.lock()
                && found.dirs.len() < DIRS
            {
                found.dirs.push(entry.path().to_owned());
            }
            if is_dir && entry.depth() == bounds.depth {
                leave_out(entry.path(), "too deep");
            } else if !is_dir && let Some(format) = Format::of(entry.path()) {
                let path = entry.path().strip_prefix(project).unwrap_or(entry.path());
                if format.is_many() && many.fetch_add(1, Ordering::Relaxed) >= bounds.files {
                    too_many.store(true, Ordering::Relaxed);
                    return WalkState::Continue;
                }
                if let Ok(mut found) = found.lock() {
                    if format.is_last() {
                        // Of these as many as are read: they take no other's place.
                        match found.last.len() < bounds.files {
                            true => found.last.push((path.to_owned(), format)),
                            false => too_many.store(true, Ordering::Relaxed),
                        }
                        return WalkState::Continue;
                    }
                    found.files.push((path.to_owned(), format));
                    // Twice and more, so that which are read depends less on who was faster.
                    if found.files.len() > 3 * bounds.files {
                        too_many.store(true, Ordering::Relaxed);
                        return WalkState::Quit;
                    }
                }
            }
            WalkState::Continue
        })
    });
    let mut found = found.into_inner().unwrap_or_default();
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
    if found.files.len() > bounds.files || too_many.into_inner() {
        found.files.truncate(bounds.files);
        found
            .left_out
            .push((PathBuf::from("."), "more files than are read"));
    }
    if too_late.into_inner() {
        found.left_out.push((PathBuf::from("."), OUT_OF_TIME));
    }
    found
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
