//! Has a session trust the guard's own authority, by which the proxy answers for read-only HTTPS destinations. Only the session
//! does, and it still trusts all that it would have trusted without the guard.
//!
//! - Programs that read a variable find a file with their certificates and one more: `variables.rs`.
//! - Where root starts the session, it also sees the system's own files so, in a mount namespace of its own: `view.rs`.
//!   For others a mount namespace takes a user namespace, in which root's files would be nobody's.
//!
//! Nothing here prevents a session from starting. A program that does not trust the authority gets no HTTPS to read-only
//! destinations, and is guarded all the same.

mod authority;
mod files;
mod java;
mod jks;
mod pkcs12;
mod system;
mod variables;
mod view;
mod wget;

use std::env;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::geteuid;
use tempfile::TempDir;

use self::authority::AuthorityCertificate;
use self::variables::{UnguardedState, VariablesPlan};
use self::view::View;
use super::CommandIdentity;
use super::populated::may_be_populated;

/// The prefix of a session's directory, and below the file in it that names the session's cgroup.
const PREFIX: &str = "guard-trust-";
const SESSION: &str = "session";
/// Where a view's files are, below the directory of guardd's socket.
const VIEW: &str = "trust";

/// A session's trust in the authority.
#[derive(Debug)]
pub struct Trust {
    plan: VariablesPlan,
    place: StoreLocation,
}

#[derive(Debug)]
enum StoreLocation {
    /// A directory of the user's own.
    Directory(TempDir),
    View(View),
}

/// The effect on the session's command, and warnings for the person.
#[derive(Debug, Default)]
pub struct TrustEffect {
    /// Variables that it gets beside, or in place of, inherited ones.
    pub environment: Vec<(OsString, OsString)>,
    /// Warnings of what could not be done.
    pub warnings: Vec<String>,
}

impl StoreLocation {
    fn path(&self) -> &Path {
        match self {
            Self::Directory(directory) => directory.path(),
            Self::View(view) => view.place(),
        }
    }
}

impl Trust {
    /// Reads what the command would trust, with the rights of its user, and adds `authority`, a certificate as PEM. `state` is
    /// the directory of guardd's socket, `cgroup` the session's. Returns it with warnings for the person. `None` if nothing
    /// can, or has to be, done.
    #[must_use]
    pub fn prepare(
        authority: &str,
        identity: &CommandIdentity,
        state: &Path,
        cgroup: &Path,
    ) -> (Option<Self>, Vec<String>) {
        let Some(authority) = AuthorityCertificate::parse(authority) else {
            return (None, vec![without("what guardd gave is no certificate")]);
        };
        let (place, mut warnings) = match place(&authority, state, cgroup) {
            Ok(place) => place,
            Err(why) => return (None, vec![without(why)]),
        };
        let plan = match identity.with_rights(|| plan(&authority, &place)) {
            Ok(plan) => plan,
            Err(why) => return (None, vec![without(why)]),
        };
        warnings.extend(plan.warnings.iter().cloned());
        if let StoreLocation::Directory(directory) = &place {
            if plan.files.is_empty() {
                return (None, warnings);
            }
            if let Err(why) = plan.files.write(directory.path()) {
                return (None, vec![without(why)]);
            }
        }
        (Some(Self { plan, place }), warnings)
    }

    /// Applies it to this process, which is about to become the command and still has the caller's rights.
    #[must_use]
    pub fn take_effect(&self) -> TrustEffect {
        let shown = match &self.place {
            StoreLocation::Directory(_) => Ok(Vec::new()),
            StoreLocation::View(view) => view.show(&self.plan.files),
        };
        match shown {
            Ok(warnings) => TrustEffect {
                environment: self.plan.environment.clone(),
                warnings,
            },
            Err(why) => TrustEffect {
                environment: Vec::new(),
                warnings: vec![without(why)],
            },
        }
    }

    /// Cleans up when the command has ended. What other processes in the session's `cgroup` still read stays; a view goes with
    /// the last of them.
    pub fn finish(self, cgroup: &Path) {
        if let StoreLocation::Directory(directory) = self.place
            && may_be_populated(cgroup)
        {
            // The path of a directory that stays is of no use.
            let _ = directory.keep();
        }
    }
}

fn without(why: impl std::fmt::Display) -> String {
    format!(
        "the session does not trust guard's certificate, so programs refuse HTTPS to read-only destinations: {why}"
    )
}

/// Where the files will be, and warnings for the person.
fn place(
    authority: &AuthorityCertificate,
    state: &Path,
    cgroup: &Path,
) -> io::Result<(StoreLocation, Vec<String>)> {
    if geteuid().is_root() {
        let (view, warnings) = View::of_system(authority, state.join(VIEW));
        return Ok((StoreLocation::View(view), warnings));
    }
    let base = std::path::absolute(base())?;
    sweep(&base);
    Ok((
        StoreLocation::Directory(directory(&base, cgroup)?),
        Vec::new(),
    ))
}

/// The plan, from what this thread's rights allow to read.
fn plan(authority: &AuthorityCertificate, place: &StoreLocation) -> VariablesPlan {
    let bundle = system::existing(system::BUNDLES);
    let bundle = bundle.iter().find_map(|path| system::read(path).ok());
    let none = bundle.is_none();
    let before = UnguardedState {
        variable: &|name: &str| env::var_os(name),
        bundle,
        has_view: matches!(place, StoreLocation::View(_)),
    };
    let mut plan = VariablesPlan::make(authority, &before, place.path());
    if none {
        plan.warnings.push(without(
            "the system's own certificates are nowhere that guard knows; let SSL_CERT_FILE name them",
        ));
    }
    plan
}

/// The parent of the sessions' directories.
fn base() -> PathBuf {
    let own = env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    let own = own.filter(|dir| is_own(dir));
    own.unwrap_or_else(env::temp_dir)
}

/// A directory that this user alone may enter.
fn directory(base: &Path, cgroup: &Path) -> io::Result<TempDir> {
    let directory = tempfile::Builder::new()
        .prefix(PREFIX)
        .permissions(fs::Permissions::from_mode(0o700))
        .tempdir_in(base)?;
    let session = cgroup.as_os_str().as_bytes();
    fs::write(directory.path().join(SESSION), session)?;
    Ok(directory)
}

/// Removes leftovers of this user's sessions that have ended: if `guard run` was killed, or the session outlived it, nothing
/// else does. A failure is left to the next sweep.
fn sweep(base: &Path) {
    for entry in fs::read_dir(base).into_iter().flatten().flatten() {
        let is_ours = entry.file_name().as_bytes().starts_with(PREFIX.as_bytes());
        let path = entry.path();
        let is_dir = entry.file_type().is_ok_and(|kind| kind.is_dir());
        if !is_ours || !is_dir || !is_own(&path) {
            continue;
        }
        if has_ended(&path) {
            let _ = fs::remove_dir_all(path);
        } else if is_old(&path) {
            // Killed as it made or removed this one, a `guard run` left it empty: only then does this succeed.
            let _ = fs::remove_dir(path);
        }
    }
}

/// Whether the session of that directory has ended: guardd removes its cgroup then.
fn has_ended(directory: &Path) -> bool {
    // A session may have left anything there.
    let Ok(cgroup) = system::read(&directory.join(SESSION)) else {
        return false;
    };
    let cgroup = Path::new(OsStr::from_bytes(&cgroup));
    // Whether cgroups can be seen from here at all: with guardd's, the cgroups above may have gone as well.
    let nearest = cgroup.ancestors().find(|dir| dir.is_dir());
    let is_seen = nearest.is_some_and(|dir| dir.join("cgroup.controllers").exists());
    cgroup.is_absolute() && is_seen && !cgroup.exists()
}

/// Whether nothing was added or removed there for a minute.
fn is_old(directory: &Path) -> bool {
    let changed = fs::metadata(directory).and_then(|meta| meta.modified());
    let age = changed.map(|changed| changed.elapsed().unwrap_or_default());
    age.is_ok_and(|age| age > Duration::from_secs(60))
}

fn is_own(dir: &Path) -> bool {
    let is_own = |meta: fs::Metadata| meta.is_dir() && meta.uid() == geteuid().as_raw();
    dir.is_absolute() && fs::metadata(dir).is_ok_and(is_own)
}

#[cfg(test)]
mod tests;
