//! The proxy as a child of guardd's, where that may give up root for it.

use std::{
    env, io,
    os::fd::OwnedFd,
    path::Path,
    process::{ExitStatus, Stdio},
};

use anyhow::{Context as _, Result, bail};
use guard_sys::{accounts::Account, packets::Packets};
use tokio::process::{Child, Command};

use super::program::NAME;

/// The proxy's user on a machine where guard was installed.
const USER: &str = "guard-proxy";
/// Everywhere else.
const NOBODY: &str = "nobody";

/// As whom a proxy runs, given what the settings say.
///
/// # Errors
///
/// Where there is no such user, or that is root.
pub fn account(set: Option<&str>) -> Result<Account> {
    let found = match set {
        Some(name) => Account::named(name)?,
        None => match Account::named(USER)? {
            None => Account::named(NOBODY)?,
            found => found,
        },
    };
    let name = set.unwrap_or(NOBODY);
    let account = found.with_context(|| format!("there is no user {name} for it to run as"))?;
    if account.uid == 0 {
        bail!("it does not run as root: change [proxy] user in guardd.toml");
    }
    Ok(account)
}

/// A proxy, and what is said to it. It is killed when this is dropped.
#[derive(Debug)]
pub struct Started {
    /// The conversation.
    pub packets: Packets,
    child: Child,
}

impl Started {
    /// Its process; none where it has ended.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// Waits until it has ended.
    ///
    /// # Errors
    ///
    /// The system's.
    pub async fn ended(&mut self) -> io::Result<ExitStatus> {
        self.child.wait().await
    }

    /// Ends it, and waits until it has.
    ///
    /// # Errors
    ///
    /// The system's.
    pub async fn end(mut self) -> io::Result<()> {
        self.child.kill().await
    }
}

/// Starts `program` as a proxy of that user's. It gives up everything before it hears anything; what it inherits is its end of the conversation, as standard input, and standard error.
///
/// It dies with the thread that calls this.
///
/// # Errors
///
/// The system's.
pub fn start(program: &Path, account: &Account) -> io::Result<Started> {
    let (packets, theirs): (_, OwnedFd) = Packets::pair()?;
    let mut command = Command::new(program);
    command
        .arg0(NAME)
        .args(["--fd", "0", "--user"])
        .arg(account.uid.to_string())
        .env_clear()
        .envs(env::var_os("RUST_LOG").map(|filter| ("RUST_LOG", filter)))
        .current_dir("/")
        .stdin(Stdio::from(theirs))
        .stdout(Stdio::null())
        .kill_on_drop(true);
    let child = command.spawn()?;
    Ok(Started { packets, child })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_is_never_root() {
        for root in ["root", "0"] {
            assert!(account(Some(root)).is_err(), "{root}");
        }
        assert!(account(Some("no such user")).is_err());
        assert_eq!(account(Some("61234")).unwrap().uid, 61234);
        let default = account(None).unwrap();
        assert!([USER, NOBODY].contains(&default.name.as_str()));
    }
}
