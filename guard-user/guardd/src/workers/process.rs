//! A worker as guardd's child, if guardd may give up root for it.

use std::{
    env, io,
    os::fd::OwnedFd,
    path::Path,
    process::{ExitStatus, Stdio},
};

use anyhow::{Context as _, Result, bail};
use guard_sys::{accounts::UserAccount, packets::Packets};
use tokio::process::{Child, Command};

/// The user of all of them on a machine where guard was not installed.
const NOBODY: &str = "nobody";

/// The user that a worker of that name runs as, by the settings.
///
/// # Errors
///
/// If there is no such user, or it is root.
pub(crate) fn account(set: Option<&str>, name: &str) -> Result<UserAccount> {
    let found = match set {
        Some(name) => UserAccount::named(name)?,
        None => match UserAccount::named(name)? {
            None => UserAccount::named(NOBODY)?,
            found => found,
        },
    };
    let user = set.unwrap_or(NOBODY);
    let account = found.with_context(|| format!("there is no user {user} for it to run as"))?;
    if account.uid == 0 {
        bail!("it does not run as root: change [proxy] user in guardd.toml");
    }
    Ok(account)
}

/// A running worker and its connection. It is killed when this is dropped.
#[derive(Debug)]
pub(crate) struct RunningWorker {
    /// The connection.
    pub(crate) packets: Packets,
    child: Child,
}

impl RunningWorker {
    /// Waits until it has ended.
    ///
    /// # Errors
    ///
    /// The system's.
    pub(crate) async fn ended(&mut self) -> io::Result<ExitStatus> {
        self.child.wait().await
    }

    /// Ends it, and waits for that.
    ///
    /// # Errors
    ///
    /// The system's.
    pub(crate) async fn end(mut self) -> io::Result<()> {
        self.child.kill().await
    }
}

/// Starts `program` as a proxy, run by that user. It gives up all rights before it reads anything; it inherits its end of the
/// connection as standard input, and standard error.
///
/// It dies with the thread that calls this.
///
/// # Errors
///
/// The system's.
pub(crate) fn start(
    program: &Path,
    name: &str,
    account: &UserAccount,
) -> io::Result<RunningWorker> {
    let (packets, theirs): (_, OwnedFd) = Packets::pair()?;
    let mut command = Command::new(program);
    command
        .arg0(name)
        .args(["--fd", "0", "--user"])
        .arg(account.uid.to_string())
        .env_clear()
        .envs(env::var_os("RUST_LOG").map(|filter| ("RUST_LOG", filter)))
        .current_dir("/")
        .stdin(Stdio::from(theirs))
        .stdout(Stdio::null())
        .kill_on_drop(true);
    let child = command.spawn()?;
    Ok(RunningWorker { packets, child })
}

#[cfg(test)]
mod tests {
    use super::*;

    const USER: &str = "guard-proxy";

    #[test]
    fn a_proxy_is_never_root() {
        for root in ["root", "0"] {
            assert!(account(Some(root), USER).is_err(), "{root}");
        }
        assert!(account(Some("no such user"), USER).is_err());
        assert_eq!(account(Some("61234"), USER).unwrap().uid, 61234);
        let default = account(None, USER).unwrap();
        assert!([USER, NOBODY].contains(&default.name.as_str()));
    }
}
