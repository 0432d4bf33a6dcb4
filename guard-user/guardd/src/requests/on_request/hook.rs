//! One run of the command.

use std::{process::Stdio, time::Duration};

use anyhow::{Context as _, Result, bail};
use guard_sys::accounts::UserAccount;
use rustix::process::{Pid, Signal, kill_process_group};
use serde::Serialize;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    process::{Child, ChildStderr, Command},
    time::timeout,
};

use crate::{config::Config, process::may_start, sessions::systemd};

/// The user that runs it if the settings name none.
const NOBODY: &str = "nobody";
/// How long it may run.
const TIMEOUT: Duration = Duration::from_secs(30);
/// How much longer systemd has to report its end.
const GRACE: Duration = Duration::from_secs(5);
/// Bytes of its standard error that are logged.
const MAX_SAID: usize = 300;
/// Its PATH: nothing of guardd's own environment is passed on.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The exit status that has it run again later, while the request waits: `EX_TEMPFAIL` of sysexits.h.
const LATER: i32 = 75;

/// How a run has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HookEnd {
    /// It has told.
    Told,
    /// It is to be run again.
    Later,
}

/// The command, and the user that runs it.
#[derive(Debug)]
pub(super) struct RequestHook {
    words: Vec<String>,
    account: UserAccount,
    /// guardd cannot become another user itself, so the service manager starts it.
    by_manager: bool,
}

impl RequestHook {
    /// The command in the settings; none if they have none.
    ///
    /// # Errors
    ///
    /// If it cannot be run as the settings say.
    pub(super) fn of(config: &Config) -> Result<Option<Self>> {
        let Some(words) = config.on_request.clone() else {
            return Ok(None);
        };
        if !words
            .first()
            .is_some_and(|program| program.starts_with('/'))
        {
            bail!("it begins with no path: give the program's, as in [\"/usr/local/bin/ask\"]");
        }
        let by_manager = !may_start();
        if by_manager && !systemd::is_there() {
            bail!("guardd may not become another user, and no systemd runs that could");
        }
        Ok(Some(Self {
            words,
            account: account(config.on_request_user.as_deref())?,
            by_manager,
        }))
    }

    /// Runs it with what it is to tell on its standard input, until it ends or its time is up.
    ///
    /// # Errors
    ///
    /// If it failed, took too long or could not be started.
    pub(super) async fn run(&self, told: &impl Serialize) -> Result<HookEnd> {
        let mut input = serde_json::to_vec(told).context("it has no JSON form")?;
        input.push(b'\n');
        let mut command = self.command();
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true);
        let mut child = command
            .spawn()
            .with_context(|| format!("cannot run {}", self.words[0]))?;
        let group = child
            .id()
            .and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
        let longest = TIMEOUT
            + if self.by_manager {
                GRACE
            } else {
                Duration::ZERO
            };
        let ended = timeout(longest, finish(&mut child, &input)).await;
        if let Some(group) = group.filter(|_| ended.is_err()) {
            // The command and what it has started. It was not waited for yet, so the id is its own.
            let _ = kill_process_group(group, Signal::KILL);
            let _ = child.wait().await;
        }
        let seconds = longest.as_secs();
        ended.with_context(|| {
            format!(
                "{} took longer than {seconds} s, and was killed",
                self.words[0]
            )
        })?
    }

    fn command(&self) -> Command {
        let mut command = if self.by_manager {
            self.managed()
        } else {
            let mut command = Command::new(&self.words[0]);
            // As root, this gives up the groups as well.
            command
                .args(&self.words[1..])
                .gid(self.account.gid)
                .uid(self.account.uid);
            command
        };
        command.env_clear().env("PATH", PATH).current_dir("/");
        command
    }

    /// The same as a unit of its own, in the system's slice.
    fn managed(&self) -> Command {
        let mut run = Command::new("systemd-run");
        run.args([
            "--quiet",
            "--pipe",
            "--wait",
            "--collect",
            "--service-type=exec",
        ])
        .arg("--description=guard: tells of a request")
        .arg(format!("--uid={}", self.account.uid))
        .arg(format!("--gid={}", self.account.gid))
        .arg(format!("--property=RuntimeMaxSec={}s", TIMEOUT.as_secs()));
        for property in [
            "NoNewPrivileges=yes",
            "CapabilityBoundingSet=",
            "ProtectSystem=strict",
            "ProtectHome=yes",
            // What a run leaves there, the next finds.
            "RuntimeDirectory=guard-on-request",
            "RuntimeDirectoryMode=0700",
            "RuntimeDirectoryPreserve=yes",
            "PrivateTmp=yes",
            "PrivateDevices=yes",
            "TasksMax=64",
            "UMask=0077",
        ] {
            run.arg(format!("--property={property}"));
        }
        run.arg("--").args(&self.words);
        run
    }
}

/// Writes the request to it, and waits for its end.
async fn finish(child: &mut Child, input: &[u8]) -> Result<HookEnd> {
    let stdin = child.stdin.take();
    let stderr = child.stderr.take();
    let hand_over = async {
        if let Some(mut stdin) = stdin {
            // It may end without reading all of it.
            let _ = stdin.write_all(input).await;
        }
    };
    let (ended, said, ()) = tokio::join!(child.wait(), said(stderr), hand_over);
    let status = ended.context("it cannot be waited for")?;
    if status.success() {
        return Ok(HookEnd::Told);
    }
    if status.code() == Some(LATER) {
        let said = said.trim();
        if !said.is_empty() {
            tracing::warn!("on_request: it is run again later: {said:?}");
        }
        return Ok(HookEnd::Later);
    }
    match said.trim() {
        "" => bail!("it failed: {status}"),
        said => bail!("it failed: {status}: {said:?}"),
    }
}

/// The beginning of its standard error. The rest is read too, so that it does not block.
async fn said(stderr: Option<ChildStderr>) -> String {
    let Some(mut stderr) = stderr else {
        return String::new();
    };
    let mut kept = Vec::new();
    let mut buffer = [0; 1024];
    while let Ok(length @ 1..) = stderr.read(&mut buffer).await {
        let room = MAX_SAID.saturating_sub(kept.len()).min(length);
        kept.extend_from_slice(&buffer[..room]);
    }
    String::from_utf8_lossy(&kept).into_owned()
}

/// The user that runs it, by the settings.
fn account(set: Option<&str>) -> Result<UserAccount> {
    let name = set.unwrap_or(NOBODY);
    let found = match name.parse() {
        Ok(uid) => UserAccount::by_uid(uid)?.or_else(|| Some(UserAccount::unlisted(uid, uid))),
        Err(_) => UserAccount::by_name(name)?,
    };
    let account =
        found.with_context(|| format!("there is no user {name}: change on_request_user"))?;
    if account.uid == 0 || account.gid == 0 {
        bail!("it does not run as root, nor in root's group: change on_request_user");
    }
    Ok(account)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(words: &[&str], user: Option<&str>) -> Config {
        Config {
            on_request: Some(words.iter().map(|word| (*word).to_owned()).collect()),
            on_request_user: user.map(str::to_owned),
            ..Config::default()
        }
    }

    #[test]
    fn it_is_never_root_and_always_a_path() {
        assert!(RequestHook::of(&Config::default()).unwrap().is_none());
        for (words, user) in [
            (&["/bin/true"][..], Some("root")),
            (&["/bin/true"], Some("0")),
            (&["/bin/true"], Some("no such user")),
            (&["true"], None),
            (&[], None),
        ] {
            assert!(
                RequestHook::of(&config(words, user)).is_err(),
                "{words:?} {user:?}"
            );
        }
        assert_eq!(account(None).unwrap().name, NOBODY);
    }

    #[test]
    fn the_manager_is_told_of_all_bounds() {
        let hook = RequestHook {
            words: vec!["/bin/echo".to_owned(), "--uid=0".to_owned()],
            account: UserAccount::unlisted(61234, 61234),
            by_manager: true,
        };
        let command = hook.command();
        let words: Vec<_> = command
            .as_std()
            .get_args()
            .map(|word| word.to_str().unwrap())
            .collect();
        for word in [
            "--uid=61234",
            "--gid=61234",
            "--property=RuntimeMaxSec=30s",
            "--property=NoNewPrivileges=yes",
        ] {
            assert!(words.contains(&word), "{words:?}");
        }
        assert!(
            words.ends_with(&["--", "/bin/echo", "--uid=0"]),
            "{words:?}"
        );
    }
}
