//! Runs code with the rights of the command's user, which root may have to take on.

use std::io;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use guard_sys::accounts::UserAccount;
use rustix::process::{Gid, Uid};
use rustix::thread::{gettid, set_thread_groups, set_thread_res_gid, set_thread_res_uid};

use super::CommandIdentity;

/// A thread that has been joined is gone within this time.
const GONE: Duration = Duration::from_secs(1);

impl CommandIdentity {
    /// Calls `work` with the rights of the command's user, and no more.
    ///
    /// # Errors
    ///
    /// If root cannot become that user, or `work` panics.
    pub fn with_rights<T: Send>(&self, work: impl FnOnce() -> T + Send) -> io::Result<T> {
        let Some((account, groups)) = self.account() else {
            return Ok(work());
        };
        // Each thread has its own user, as the kernel sees it: this one gives up root for good, and ends.
        let (done, thread) = thread::scope(|scope| {
            let lent = scope.spawn(|| {
                become_user(account, groups)?;
                Ok((work(), gettid()))
            });
            lent.join()
                .unwrap_or_else(|_| Err(io::Error::other("the thread that does it panicked")))
        })?;
        // It counts as a thread for a moment yet, and a process with two cannot be copied.
        let task = PathBuf::from(format!("/proc/self/task/{}", thread.as_raw_nonzero()));
        let deadline = Instant::now() + GONE;
        while task.exists() && Instant::now() < deadline {
            thread::sleep(Duration::from_micros(50));
        }
        Ok(done)
    }

    /// Gives this process, which has one thread, the rights of the command's user for good; nothing else is given up.
    ///
    /// # Errors
    ///
    /// If root cannot become that user.
    pub fn adopt(&self) -> io::Result<()> {
        match self.account() {
            Some((account, groups)) => become_user(account, groups),
            None => Ok(()),
        }
    }
}

/// Gives this thread alone the rights of a user.
fn become_user(account: &UserAccount, groups: &[u32]) -> io::Result<()> {
    let groups: Vec<_> = groups.iter().copied().map(Gid::from_raw).collect();
    let (uid, gid) = (Uid::from_raw(account.uid), Gid::from_raw(account.gid));
    // The uid last: without root's, the groups stay as they are.
    set_thread_groups(&groups)?;
    set_thread_res_gid(gid, gid, gid)?;
    set_thread_res_uid(uid, uid, uid)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use rustix::process::geteuid;

    use super::*;

    #[test]
    fn rights_are_lent_and_not_given() {
        if !geteuid().is_root() {
            let own = CommandIdentity::choose(None).unwrap();
            assert_eq!(own.with_rights(geteuid).unwrap(), geteuid());
            return;
        }
        let nobody = CommandIdentity::choose(Some("nobody")).unwrap();
        let lent = nobody.with_rights(|| {
            let thread = format!("/proc/self/task/{}", gettid().as_raw_nonzero());
            (geteuid().as_raw(), fs::read("/etc/shadow").is_err(), thread)
        });
        let (uid, refused, thread) = lent.unwrap();
        assert_eq!((uid, refused), (nobody.uid(), true));
        assert!(!std::path::Path::new(&thread).exists());
        assert!(geteuid().is_root());
        assert!(nobody.with_rights(|| panic!("the test says so")).is_err());
    }
}
