//! A policy that the user names as a file: read with the user's own rights, and shown where it is wrong.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;
use std::thread;

use rustix::process::{Gid, Uid};
use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};

use super::error::CliError;
use super::render::Output;
use crate::policy::{self, Diagnostic, Parsed, Severity};
use crate::proto::{Failure, MAX_POLICY_FRAME, PolicyRef};
use crate::session::Identity;
use crate::sys::accounts::Account;

/// Whether `--policy` means a file and not one of guardd's own policies.
pub(crate) fn is_file(policy: &str) -> bool {
    policy.contains('/') || policy.ends_with(".toml")
}

/// What guardd gets for `--policy`: a name of its own, or a file's text.
///
/// # Errors
///
/// `read`'s, or that the policy is invalid, once all that is wrong with it is shown.
pub(crate) fn policy_ref(
    policy: &str,
    read: impl FnOnce(&Path) -> Result<PolicyFile, Failure>,
    output: Output,
) -> Result<PolicyRef, CliError> {
    if !is_file(policy) {
        return Ok(PolicyRef {
            name: Some(policy.to_owned()),
            file: None,
            text: None,
        });
    }
    let file = read(Path::new(policy))?;
    let parsed = file.parse(output)?;
    Ok(file.to_wire(&parsed))
}

/// A policy as its file has it.
#[derive(Debug)]
pub(crate) struct PolicyFile {
    /// The file, as the user wrote it.
    pub(crate) name: String,
    /// What is in it.
    pub(crate) text: String,
}

impl PolicyFile {
    /// Reads `path` with the rights of this process.
    ///
    /// # Errors
    ///
    /// Where it cannot be read, is too long, or is no text.
    pub(crate) fn read(path: &Path) -> Result<Self, Failure> {
        Self::new(path, read(path))
    }

    /// Reads `path` with the rights of whoever the command will run as, to whom root may be lending its own.
    ///
    /// # Errors
    ///
    /// As [`PolicyFile::read`]; and where root cannot become that user.
    pub(crate) fn read_as(path: &Path, identity: &Identity) -> Result<Self, Failure> {
        let Some((account, groups)) = identity.account() else {
            return Self::read(path);
        };
        // Users of a process are those of its threads, as the kernel sees it: this one gives up root for good,
        // and ends.
        let text = thread::scope(|scope| {
            let reader = scope.spawn(|| {
                become_user(account, groups)?;
                read(path)
            });
            reader
                .join()
                .unwrap_or_else(|_| Err(io::Error::other("the thread that reads it panicked")))
        });
        Self::new(path, text)
    }

    fn new(path: &Path, text: io::Result<String>) -> Result<Self, Failure> {
        let name = path.to_string_lossy().into_owned();
        match text {
            Ok(text) => Ok(Self { name, text }),
            Err(error) => Err(Failure {
                what: format!("cannot read the policy {name}"),
                why: error.to_string(),
                fix: "give a policy file that you may read, or the name of an installed policy:\nls /etc/guard/policies /usr/share/guard/policies".into(),
            }),
        }
    }

    /// The policy, once its warnings are shown.
    ///
    /// # Errors
    ///
    /// Where it is invalid, once all that is wrong with it is shown.
    pub(crate) fn parse(&self, output: Output) -> Result<Parsed, CliError> {
        let parsed = policy::parse(&self.name, &self.text)
            .map_err(|diagnostics| self.invalid(&diagnostics, output))?;
        if !output.is_json() {
            self.show(&parsed.warnings);
        }
        Ok(parsed)
    }

    /// Shows all that is wrong with it, for people; as an error, the first of it.
    pub(crate) fn invalid(&self, diagnostics: &[Diagnostic], output: Output) -> CliError {
        if !output.is_json() {
            self.show(diagnostics);
        }
        let first = diagnostics
            .iter()
            .find(|one| one.severity == Severity::Error);
        let why = first.map_or_else(String::new, |first| {
            format!(
                "line {}, column {}: {}",
                first.line, first.column, first.message
            )
        });
        CliError::Local(Failure {
            what: format!("the policy {} is invalid", self.name),
            why,
            fix: format!(
                "correct it, until this finds nothing:\nguard check {}",
                self.name
            ),
        })
    }

    /// Shows, on standard error, what is to be said about it. That nobody reads it changes nothing.
    pub(crate) fn show(&self, diagnostics: &[Diagnostic]) {
        let _ =
            anstream::stderr().write_all(policy::render(diagnostics, &self.text, true).as_bytes());
    }

    /// What guardd gets.
    pub(crate) fn to_wire(&self, parsed: &Parsed) -> PolicyRef {
        PolicyRef {
            name: Some(parsed.policy.name.clone()),
            file: Some(self.name.clone()),
            text: Some(self.text.clone()),
        }
    }
}

/// Gives this thread, and it alone, the rights of a user.
fn become_user(account: &Account, groups: &[u32]) -> io::Result<()> {
    let groups: Vec<_> = groups.iter().copied().map(Gid::from_raw).collect();
    let (uid, gid) = (Uid::from_raw(account.uid), Gid::from_raw(account.gid));
    // The uid last: without root's, the groups stay as they are.
    set_thread_groups(&groups)?;
    set_thread_res_gid(gid, gid, gid)?;
    set_thread_res_uid(uid, uid, uid)?;
    Ok(())
}

/// The text of a file, or of a pipe such as `<(…)` gives, that is no longer than guardd takes.
fn read(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    let limit = MAX_POLICY_FRAME as u64;
    let length = File::open(path)?
        .take(limit + 1)
        .read_to_string(&mut text)?;
    if length as u64 > limit {
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            format!("it is longer than {limit} bytes"),
        ));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn files_are_told_from_names() {
        for file in ["./agent", "agent.toml", "/etc/agent.toml", "a/b"] {
            assert!(is_file(file), "{file}");
        }
        for name in ["homelab", "aws-prod", "toml"] {
            assert!(!is_file(name), "{name}");
        }
    }

    #[test]
    fn what_cannot_be_read_says_so() {
        let missing = PolicyFile::read(Path::new("/nonexistent/agent.toml")).unwrap_err();
        insta::assert_snapshot!(missing, @"cannot read the policy /nonexistent/agent.toml: No such file or directory (os error 2)");
        assert!(PolicyFile::read(Path::new("/")).is_err());
        assert!(PolicyFile::read(Path::new("/dev/zero")).is_err());
    }

    #[test]
    fn another_user_reads_what_it_may_only() {
        if !rustix::process::geteuid().is_root() {
            // Only root has rights to lend.
            assert!(Identity::choose(None).unwrap().account().is_none());
            return;
        }
        let nobody = Identity::choose(Some("nobody")).unwrap();
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("agent.toml");
        fs::write(&file, "version = 1").unwrap();
        let permit = |path: &Path, mode| {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        };
        permit(directory.path(), 0o755);
        permit(&file, 0o644);
        let read = PolicyFile::read_as(&file, &nobody).unwrap();
        assert_eq!(read.text, "version = 1");
        permit(&file, 0o600);
        assert!(PolicyFile::read_as(&file, &nobody).is_err());
        assert!(PolicyFile::read(&file).is_ok(), "the caller's rights stay");
    }
}
