//! The system's certificate files with one certificate more, as the session sees them: in a mount namespace of its own, which
//! ends with it. Nothing in the session has the rights to undo that.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use guard_sys::mounts;

use super::authority::AuthorityCertificate;
use super::files::{Files, write};
use super::{java, jks, system};

/// OpenSSL's hash of the authority's subject, `O=guard, CN=guard read-only CA`: `openssl x509 -subject_hash`.
const SUBJECT_HASH: &str = "561c11a9";

/// Its name among the sources of p11-kit.
const ANCHOR: &str = "guard-read-only-ca.pem";

/// By the group, or by everybody.
const WRITABLE_BY_OTHERS: u32 = 0o022;

/// What files and directories take beside their content, in bytes, generously.
const OVERHEAD: u64 = 4 << 20;

/// The files to show.
#[derive(Clone, Debug)]
pub(super) struct View {
    /// Where the files are.
    at: PathBuf,
    authority: AuthorityCertificate,
    files: Vec<Shown>,
    /// Directories that get one more file, and its name.
    directories: Vec<(PathBuf, String)>,
}

/// A file of the system's, and the content to show in its place.
#[derive(Clone, Debug)]
struct Shown {
    path: PathBuf,
    content: Vec<u8>,
}

impl View {
    /// Reads the system's files. Returns the view with warnings for the person.
    pub(super) fn of_system(authority: &AuthorityCertificate, at: PathBuf) -> (Self, Vec<String>) {
        let (bundles, mut warnings) =
            shown(system::BUNDLES, |content| Ok(authority.beside(content)));
        let (stores, more) = shown(system::JAVA, |content| {
            java::beside(authority, content, jks::PASSWORD)
        });
        warnings.extend(more);
        let hashed = system::existing(system::HASHED).into_iter();
        let hashed = hashed.filter_map(|dir| {
            let name = free_name(&dir)?;
            Some((dir, name))
        });
        let anchors = system::existing(system::ANCHORS).into_iter();
        let anchors = anchors.map(|dir| (dir, ANCHOR.to_owned()));
        let view = Self {
            at,
            authority: authority.clone(),
            files: [bundles, stores].concat(),
            directories: hashed.chain(anchors).collect(),
        };
        (view, warnings)
    }

    /// Where the files for variables will be.
    pub(super) fn place(&self) -> &Path {
        &self.at
    }

    /// Gives this process a view of its own, with these files and the changed ones of the system. Returns the system's files
    /// that could not be changed.
    ///
    /// # Errors
    ///
    /// Why a step failed, with the step.
    pub(super) fn show(&self, files: &Files) -> Result<Vec<String>, String> {
        let step = |what: &'static str| move |why: io::Error| format!("{what}: {why}");
        mount_point(&self.at).map_err(step("there is no place for its files"))?;
        mounts::own_view().map_err(step("there is no mount namespace"))?;
        let size = files.size() + self.size() + OVERHEAD;
        mounts::memory(&self.at, size).map_err(step("there is no tmpfs"))?;
        files
            .write(&self.at)
            .map_err(step("its files cannot be written"))?;
        let warnings = self.change_system();
        mounts::freeze(&self.at).map_err(step("its files stay writable"))?;
        Ok(warnings)
    }

    fn size(&self) -> u64 {
        let contents = self.files.iter().map(|one| one.content.len() as u64);
        contents.sum()
    }

    fn change_system(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        let mut overlaid: Vec<&Path> = Vec::new();
        for (index, (dir, name)) in self.directories.iter().enumerate() {
            match self.overlay(index, dir, name) {
                Ok(()) => overlaid.push(dir),
                Err(why) => warnings.push(unchanged(dir, &why)),
            }
        }
        for (index, one) in self.files.iter().enumerate() {
            if overlaid.iter().any(|dir| one.path.starts_with(dir)) {
                continue;
            }
            if let Err(why) = self.bind(index, one) {
                warnings.push(unchanged(&one.path, &why));
            }
        }
        warnings
    }

    /// Shows a directory with one more file, and with the changed files below it. The directory stays at its path when the
    /// system replaces its files, and so does the view.
    fn overlay(&self, index: usize, dir: &Path, name: &str) -> io::Result<()> {
        let inside = |path: &Path| self.files.iter().any(|one| one.path == path);
        // Other mounts below it would no longer be seen.
        if let Some(other) = mounts::below(dir)?.iter().find(|path| !inside(path)) {
            let why = format!("{} is mounted below it", other.display());
            return Err(io::Error::other(why));
        }
        let layer = self.at.join(format!("directory-{index}"));
        fs::create_dir(&layer)?;
        write(&layer.join(name), self.authority.pem())?;
        for one in &self.files {
            if let Ok(below) = one.path.strip_prefix(dir) {
                let path = layer.join(below);
                let parents = path.parent().unwrap_or(&layer);
                fs::DirBuilder::new()
                    .recursive(true)
                    .mode(0o755)
                    .create(parents)?;
                write(&path, &one.content)?;
            }
        }
        mounts::overlay(&layer, dir)
    }

    fn bind(&self, index: usize, one: &Shown) -> io::Result<()> {
        let file = self.at.join(format!("file-{index}"));
        write(&file, &one.content)?;
        Ok(rustix::mount::mount_bind(&file, &one.path)?)
    }
}

fn unchanged(path: &Path, why: &io::Error) -> String {
    let path = path.display();
    format!(
        "the session sees {path} as it is, so programs that go by it refuse HTTPS to read-only destinations: {why}"
    )
}

/// The system's files that exist, extended. Those that have the certificate already stay.
fn shown(
    paths: &[&str],
    extend: impl Fn(&[u8]) -> Result<Option<Vec<u8>>, &'static str>,
) -> (Vec<Shown>, Vec<String>) {
    let (mut all, mut warnings) = (Vec::new(), Vec::new());
    for path in system::existing(paths) {
        let content = system::read(&path);
        match content.and_then(|content| extend(&content).map_err(io::Error::other)) {
            Ok(Some(content)) => all.push(Shown { path, content }),
            Ok(None) => {}
            Err(why) => warnings.push(unchanged(&path, &why)),
        }
    }
    (all, warnings)
}

/// The name by which OpenSSL finds it in this directory. OpenSSL tries the numbers in turn: certificates may share a subject.
fn free_name(dir: &Path) -> Option<String> {
    let mut names = (0..10).map(|number| format!("{SUBJECT_HASH}.{number}"));
    names.find(|name| dir.join(name).symlink_metadata().is_err())
}

/// An empty directory of root's to mount on. It stays: other sessions may use it.
fn mount_point(at: &Path) -> io::Result<()> {
    match fs::DirBuilder::new().mode(0o755).create(at) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    let meta = fs::symlink_metadata(at)?;
    if !meta.is_dir() || meta.uid() != 0 || meta.mode() & WRITABLE_BY_OTHERS != 0 {
        let why = format!("{} is no directory of root's alone", at.display());
        return Err(io::Error::other(why));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
