//! How a session comes to trust the guard's own authority, by which the proxy answers for HTTPS destinations that are
//! read-only. Only the session does, and it goes on trusting all that it would have trusted without the guard.
//!
//! - Programs that go by a variable find a file with what they had and one certificate more: `variables.rs`.
//! - Where root starts the session, it also sees the system's own files so, in a mount namespace of its own: `view.rs`.
//!   For others a mount namespace takes a user namespace, in which root's files would be nobody's.
//!
//! Nothing here keeps a session from starting. What does not trust the authority refuses HTTPS to read-only
//! destinations, and is guarded as ever.

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

use rustix::process::geteuid;
use tempfile::TempDir;

use self::authority::Authority;
use self::variables::{Before, Plan};
use self::view::View;
use super::Identity;
use super::populated::may_be_populated;

/// What the directory of a session's files is called, and what in it names the session's cgroup.
const PREFIX: &str = "guard-trust-";
const SESSION: &str = "session";
/// Where a view's files are, below the directory of guardd's socket.
const VIEW: &str = "trust";

/// What makes a session trust the authority.
#[derive(Debug)]
pub struct Trust {
    plan: Plan,
    place: StoreLocation,
}

#[derive(Debug)]
enum StoreLocation {
    /// A directory of the user's own.
    Directory(TempDir),
    View(View),
}

/// What the session's command finds, and what the person should know.
#[derive(Debug, Default)]
pub struct Effect {
    /// Variables that it has beside, or in place of, what it inherits.
    pub environment: Vec<(OsString, OsString)>,
    /// What could not be done.
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
    /// Reads what the command would trust, with the rights of whom it runs as, and adds `authority`, a certificate as
    /// PEM. `state` is the directory of guardd's socket, `cgroup` the session's. Beside it, what the person should know.
    /// `None` where there is nothing that could be done, or that has to be.
    #[must_use]
    pub fn prepare(
        authority: &str,
        identity: &Identity,
        state: &Path,
        cgroup: &Path,
    ) -> (Option<Self>, Vec<String>) {
        let Some(authority) = Authority::parse(authority) else {
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

    /// Makes it so for this process, which is about to become the command and still has the caller's rights.
    #[must_use]
    pub fn take_effect(&self) -> Effect {
        let shown = match &self.place {
            StoreLocation::Directory(_) => Ok(Vec::new()),
            StoreLocation::View(view) => view.show(&self.plan.files),
        };
        match shown {
            Ok(warnings) => Effect {
                environment: self.plan.environment.clone(),
                warnings,
            },
            Err(why) => Effect {
                environment: Vec::new(),
                warnings: vec![without(why)],
            },
        }
    }

    /// Cleans up when the command has ended. What others in the session's `cgroup` still read stays; a view goes with
    /// the last of them.
    pub fn finish(self, cgroup: &Path) {
        if let StoreLocation::Directory(directory) = self.place
            && may_be_populated(cgroup)
        {
            // The path of what stays is of no use.
            let _ = directory.keep();
        }
    }
}

fn without(why: impl std::fmt::Display) -> String {
    format!(
        "the session does not trust guard's certificate, so programs refuse HTTPS to read-only destinations: {why}"
    )
}

/// Where the files will be, and what the person should know about it.
fn place(
    authority: &Authority,
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

/// What there is, read with the rights of this thread, and what is to be.
fn plan(authority: &Authority, place: &StoreLocation) -> Plan {
    let bundle = system::existing(system::BUNDLES);
    let bundle = bundle.iter().find_map(|path| system::read(path).ok());
    let none = bundle.is_none();
    let before = Before {
        variable: &|name: &str| env::var_os(name),
        bundle,
        has_view: matches!(place, StoreLocation::View(_)),
    };
    let mut plan = Plan::make(authority, &before, place.path());
    if none {
        plan.warnings.push(without(
            "the system's own certificates are nowhere that guard knows; let SSL_CERT_FILE name them",
        ));
    }
    plan
}

/// Where the directories of sessions are.
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

/// Removes what is left of this user's sessions that have ended: where `guard run` was killed, or the session went on without
/// it, nobody else does. Whatever keeps it from that is for the next one.
fn sweep(base: &Path) {
    for entry in fs::read_dir(base).into_iter().flatten().flatten() {
        let is_ours = entry.file_name().as_bytes().starts_with(PREFIX.as_bytes());
        let path = entry.path();
        let is_dir = entry.file_type().is_ok_and(|kind| kind.is_dir());
        if is_ours && is_dir && is_own(&path) && has_ended(&path) {
            let _ = fs::remove_dir_all(path);
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
    // Whether cgroups can be seen from here at all: with a guardd, the cgroups above may have gone as well.
    let nearest = cgroup.ancestors().find(|dir| dir.is_dir());
    let is_seen = nearest.is_some_and(|dir| dir.join("cgroup.controllers").exists());
    cgroup.is_absolute() && is_seen && !cgroup.exists()
}

fn is_own(dir: &Path) -> bool {
    let is_own = |meta: fs::Metadata| meta.is_dir() && meta.uid() == geteuid().as_raw();
    dir.is_absolute() && fs::metadata(dir).is_ok_and(is_own)
}

#[cfg(test)]
mod tests;
