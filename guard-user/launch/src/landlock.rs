//! The command's Landlock domain, which keeps it from processes outside of the session.
//!
//! Processes of one user may read each other's memory, take each other's sockets, and signal each other. A process in a
//! Landlock domain may do that only to processes of the same domain, or of one within it. The domain forbids nothing else, as
//! far as the kernel permits:
//!
//! - From Linux 6.12 on (ABI 6) it handles no right at all. It scopes signals and abstract Unix sockets, and that
//!   it exists is enough against tracing.
//! - Before (ABI 2 to 5) a domain must handle some right. This one handles the renaming of files from one directory to
//!   another, which it then allows everywhere below "/". But the kernel lets no process mount anything whose
//!   domain handles a right to files: bubblewrap does not work in a session there.
//!
//! Without Landlock in the kernel, the command runs without a domain. [`layers`] tells what this kernel does.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use guard_proto::Failure;
use landlock::{
    AccessFs, CompatLevel, Compatible as _, PathBeneath, PathFd, RestrictSelfError, Ruleset,
    RulesetAttr as _, RulesetCreated, RulesetCreatedAttr as _, RulesetError, Scope,
};
use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process};
use rustix::thread::set_no_new_privs;

use super::failure;

/// What a process in a session's domain is kept from doing to processes outside.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Layers {
    /// ptrace(2), `process_vm_readv(2)`, `pidfd_getfd(2)`, and their memory, environment and descriptors in `/proc`.
    pub tracing: bool,
    /// Signals, in whatever way they are sent.
    pub signals: bool,
    /// Connecting and sending to abstract Unix sockets.
    pub abstract_sockets: bool,
}

/// What judges connections to abstract Unix sockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AbstractNames {
    /// The domain: only sockets of its own processes can be reached.
    Scoped,
    /// The kernel's security hooks, by the listener. A domain would refuse those that a policy allows.
    Judged,
}

/// Puts this thread, and all that comes from it, into a new domain for good. It must have `no_new_privs`.
pub(super) fn apply(names: AbstractNames) -> Result<(), Failure> {
    let applied = ruleset(names).and_then(|ruleset| match ruleset {
        Some(ruleset) => ruleset.restrict_self().map(drop),
        None => Ok(()),
    });
    applied.map_err(|why| {
        if is_full(&why) {
            failure(
                "cannot contain the command",
                "it would be in more Landlock domains than the kernel's 16, each within the other",
                "start it with fewer sandboxes around it",
            )
        } else {
            failure(
                "cannot contain the command",
                format!("its Landlock domain is refused: {why}"),
                "see whether a sandbox around guard forbids landlock_restrict_self(2)",
            )
        }
    })
}

/// The rules that this kernel supports; `None` if it has none that serve.
fn ruleset(names: AbstractNames) -> Result<Option<RulesetCreated>, RulesetError> {
    match scopes(names) {
        Some(ruleset) => ruleset.map(Some),
        None => renaming().transpose(),
    }
}

type Made = Result<RulesetCreated, RulesetError>;

/// A domain without rights but with scopes; `None` if the kernel lacks one of the two.
fn scopes(names: AbstractNames) -> Option<Made> {
    let scopes = match names {
        AbstractNames::Scoped => Scope::Signal | Scope::AbstractUnixSocket,
        AbstractNames::Judged => Scope::Signal.into(),
    };
    let scoped = whole().scope(scopes);
    scoped.ok().map(made)
}

/// A domain that handles one right, and allows it everywhere; `None` if the kernel does not know it.
fn renaming() -> Option<Made> {
    let handling = whole().handle_access(AccessFs::Refer).ok()?;
    let everything = PathFd::new("/").ok()?;
    let allowed = PathBeneath::new(everything, AccessFs::Refer);
    Some(made(handling).and_then(|ruleset| ruleset.add_rule(allowed)))
}

/// A ruleset that fails if the kernel lacks a part of it.
fn whole() -> Ruleset {
    Ruleset::default().set_compatibility(CompatLevel::HardRequirement)
}

fn made(ruleset: Ruleset) -> Made {
    // The caller has set it, and checks that.
    ruleset.create().map(|made| made.no_new_privs(false))
}

fn is_full(why: &RulesetError) -> bool {
    let RulesetError::RestrictSelf(RestrictSelfError::RestrictSelfCall { source, .. }) = why else {
        return false;
    };
    source.raw_os_error() == Some(Errno::TOOBIG.raw_os_error())
}

/// Whether this kernel keeps a domain's processes from signalling others, and from their abstract sockets.
#[must_use]
pub fn has_scopes() -> bool {
    scopes(AbstractNames::Scoped).is_some_and(|made| made.is_ok())
}

/// Tests, in a thread that ends with the domain, what a session's domain keeps from a process that was started outside.
///
/// # Errors
///
/// If there is no process to test it on, or the domain is refused.
pub fn layers() -> io::Result<Layers> {
    let other = Other::start()?;
    let pid = other.pid();
    let address = SocketAddr::from_abstract_name(format!("guard-landlock-{}", other.0.id()))?;
    let _listener = UnixListener::bind_addr(&address)?;
    let tried = thread::spawn(move || {
        set_no_new_privs(true)?;
        apply(AbstractNames::Scoped).map_err(|failure| io::Error::other(failure.why))?;
        Ok(Layers {
            tracing: is_refused(&File::open(format!("/proc/{}/mem", pid.as_raw_nonzero()))),
            signals: is_refused(&test_kill_process(pid).map_err(io::Error::from)),
            abstract_sockets: is_refused(&UnixStream::connect_addr(&address)),
        })
    });
    tried
        .join()
        .unwrap_or_else(|_| Err(io::Error::other("the thread that tries it panicked")))
}

fn is_refused<T>(tried: &io::Result<T>) -> bool {
    matches!(tried, Err(why) if why.kind() == ErrorKind::PermissionDenied)
}

/// A process outside of the domain that waits, and ends with this value.
struct Other(Child);

impl Other {
    fn start() -> io::Result<Self> {
        let mut waits = Command::new("cat");
        waits.stdin(Stdio::piped()).stdout(Stdio::null());
        let other = Self(waits.spawn()?);
        // Until it runs, it may have the memory of this very process, which is not protected from itself: vfork(2).
        let (own, its) = ("/proc/self/exe", format!("/proc/{}/exe", other.0.id()));
        for _ in 0..1000 {
            if fs::read_link(own)? != fs::read_link(&its)? {
                break;
            }
            thread::sleep(Duration::from_millis(1));
        }
        Ok(other)
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.0)
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        // Fails only where it has ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn what_the_domain_forbids_is_allowed_without_it() {
        let other = Other::start().unwrap();
        let memory = format!("/proc/{}/mem", other.0.id());
        assert!(File::open(memory).is_ok());
        assert!(test_kill_process(other.pid()).is_ok());
        let layers = layers().unwrap();
        // Signals and abstract sockets came together.
        assert_eq!(layers.signals, layers.abstract_sockets);
        assert!(layers.tracing || !layers.signals);
    }

    /// What kernels before 6.12 get.
    #[test]
    fn without_scopes_files_are_renamed_as_before_and_nobody_is_traced() {
        let other = Other::start().unwrap();
        let memory = format!("/proc/{}/mem", other.0.id());
        let Some(ruleset) = renaming() else { return };
        let directory = tempfile::tempdir().unwrap();
        let [from, to] = ["from", "to"].map(|name| directory.path().join(name));
        fs::create_dir(&from).unwrap();
        fs::create_dir(&to).unwrap();
        fs::write(from.join("file"), "x").unwrap();
        let tried = thread::spawn(move || {
            set_no_new_privs(true).unwrap();
            ruleset.unwrap().restrict_self().unwrap();
            fs::hard_link(from.join("file"), to.join("link")).unwrap();
            fs::rename(from.join("file"), to.join("file")).unwrap();
            File::open(memory)
        });
        assert!(is_refused(&tried.join().unwrap()));
    }

    #[test]
    fn the_kernels_limit_is_told() {
        let nested = thread::spawn(|| {
            set_no_new_privs(true).unwrap();
            (0..16).for_each(|_| apply(AbstractNames::Scoped).unwrap());
            apply(AbstractNames::Scoped)
        });
        let refused = nested.join().unwrap();
        if layers().unwrap() != Layers::default() {
            insta::assert_snapshot!(refused.unwrap_err(), @"cannot contain the command: it would be in more Landlock domains than the kernel's 16, each within the other");
        }
    }
}
