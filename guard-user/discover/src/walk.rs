//! The files of a project whose names say that they tell where something is.

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::available_parallelism;
use std::time::Instant;

use ignore::{WalkBuilder, WalkState};

use crate::discovery::Bounds;
use crate::readers::Format;

/// What tools fill, and nobody configures a project in.
const SKIPPED: [&str; 17] = [
    ".git",
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
    ".terraform",
];

/// What a walk found, and what it left out.
#[derive(Debug, Default)]
pub(crate) struct Walked {
    /// In their order.
    pub(crate) files: Vec<(PathBuf, Format)>,
    pub(crate) left_out: Vec<(PathBuf, &'static str)>,
}

/// Walks. What a project says is to be ignored is not: there are the files that matter.
pub(crate) fn walk(project: &Path, bounds: &Bounds, deadline: Option<Instant>) -> Walked {
    let found = Mutex::new(Walked::default());
    let (too_late, too_many) = (AtomicBool::new(false), AtomicBool::new(false));
    let threads = available_parallelism().map_or(1, |threads| threads.get().min(4));
    let walker = WalkBuilder::new(project)
        .standard_filters(false)
        .follow_links(false)
        .same_file_system(true)
        .max_depth(Some(bounds.depth))
        .threads(threads)
        .filter_entry(|entry| {
            let is_dir = entry.file_type().is_some_and(|kind| kind.is_dir());
            entry.depth() == 0 || !is_dir || !SKIPPED.iter().any(|name| *name == entry.file_name())
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
            if is_dir && entry.depth() == bounds.depth {
                leave_out(entry.path(), "too deep");
            } else if !is_dir && let Some(format) = Format::of(entry.file_name()) {
                let path = entry.path().strip_prefix(project).unwrap_or(entry.path());
                if let Ok(mut found) = found.lock() {
                    found.files.push((path.to_owned(), format));
                    // Twice, so that which are read depends less on who was faster.
                    if found.files.len() > 2 * bounds.files {
                        too_many.store(true, Ordering::Relaxed);
                        return WalkState::Quit;
                    }
                }
            }
            WalkState::Continue
        })
    });
    let mut found = found.into_inner().unwrap_or_default();
    found
        .files
        .sort_by_cached_key(|(path, _)| (path.components().count(), path.clone()));
    found.left_out.sort();
    found.left_out.dedup();
    if found.files.len() > bounds.files || too_many.into_inner() {
        found.files.truncate(bounds.files);
        found
            .left_out
            .push((PathBuf::from("."), "more files than are read"));
    }
    if too_late.into_inner() {
        found.left_out.push((PathBuf::from("."), "out of time"));
    }
    found
}
