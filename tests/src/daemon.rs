//! A guardd of one's own.

use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};

use crate::reap::Reaper;
use crate::{AGENT, Guard, Network, Output, Tag, bins, exec, fit, mounts};

/// How long guardd may take until it enforces.
const PATIENCE: Duration = Duration::from_secs(20);

/// What to start a [`Daemon`] with.
#[derive(Debug)]
#[must_use = "nothing happens until it is started"]
pub struct DaemonBuilder {
    tag: Tag,
    netns: Option<PathBuf>,
    policies: Vec<(String, String)>,
    config: Option<String>,
    args: Vec<String>,
    env: Vec<(String, String)>,
}

impl DaemonBuilder {
    /// A policy that the daemon knows by name.
    pub fn policy(mut self, name: &str, text: &str) -> Self {
        self.policies.push((name.to_owned(), text.to_owned()));
        self
    }

    /// Its settings, which are the defaults otherwise.
    pub fn config(mut self, text: &str) -> Self {
        self.config = Some(text.to_owned());
        self
    }

    /// More arguments of guardd.
    pub fn args(mut self, args: &[&str]) -> Self {
        self.args.extend(args.iter().map(ToString::to_string));
        self
    }

    /// A variable of guardd's environment.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Makes its directories, without starting it.
    ///
    /// # Errors
    ///
    /// That this machine is not fit, or what cannot be made.
    pub fn prepare(self) -> Result<Daemon> {
        fit()?;
        mounts::bpffs()?;
        let name = self.tag.name();
        let daemon = Daemon {
            cgroup: mounts::cgroup2()?.join(&name),
            pins: Path::new(mounts::BPFFS).join(&name),
            dir: self.tag.dir(),
            started: None,
            log: Arc::default(),
            reaper: Reaper::start()?,
            builder: self,
        };
        daemon.make_directories()
    }

    /// Starts it, and waits until it enforces.
    ///
    /// # Errors
    ///
    /// That this machine is not fit, or that guardd does not enforce after 20 seconds, with its log.
    pub fn start(self) -> Result<Daemon> {
        let mut daemon = self.prepare()?;
        daemon.start()?;
        Ok(daemon)
    }
}

/// A real guardd, with directories of its own. Everything of it is taken down on drop, whatever state it
/// is in.
#[derive(Debug)]
pub struct Daemon {
    builder: DaemonBuilder,
    dir: PathBuf,
    pins: PathBuf,
    cgroup: PathBuf,
    started: Option<Child>,
    log: Arc<Log>,
    reaper: Reaper,
}

impl Daemon {
    /// A daemon on the developer's machine of a network.
    pub fn in_network(network: &Network) -> DaemonBuilder {
        DaemonBuilder {
            netns: Some(network.dev().path()),
            ..Self::on_this_machine()
        }
    }

    /// A daemon in the network namespace of the caller, which judges all the same.
    pub fn on_this_machine() -> DaemonBuilder {
        DaemonBuilder {
            tag: Tag::new(),
            netns: None,
            policies: Vec::new(),
            config: None,
            args: Vec::new(),
            env: Vec::new(),
        }
    }

    fn make_directories(mut self) -> Result<Self> {
        self.reaper.cgroup(&self.cgroup)?;
        self.reaper.dir(&self.pins)?;
        self.reaper.dir(&self.dir)?;
        let dir = self.policy_dir();
        fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
        for (name, text) in &self.builder.policies {
            self.write_policy(name, text)?;
        }
        if let Some(text) = &self.builder.config {
            self.write_config(text)?;
        }
        Ok(self)
    }

    /// Starts guardd, which must not run, and waits until it enforces.
    ///
    /// # Errors
    ///
    /// That it doesn't after 20 seconds, with its log.
    pub fn start(&mut self) -> Result<()> {
        ensure!(self.started.is_none(), "guardd runs already");
        let mut guardd = self.guardd()?;
        let mut child = guardd
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {guardd:?}"))?;
        self.reaper.process(child.id())?;
        let stderr = child.stderr.take().context("guardd has no stderr")?;
        self.started = Some(child);
        self.log = Arc::default();
        let log = Arc::clone(&self.log);
        thread::spawn(move || log.collect(stderr));
        self.log.wait_for("enforcing")
    }

    /// `guardd` with this daemon's directories, to be run on its machine.
    ///
    /// # Errors
    ///
    /// That there is no guardd.
    pub fn guardd(&self) -> Result<Command> {
        let mut guardd = self.on_machine(0, bins::find("guardd")?);
        for (option, dir) in [
            ("--state-dir", self.state_dir()),
            ("--pin-dir", self.pins.clone()),
            ("--cgroup-root", self.cgroup.clone()),
            ("--policy-dir", self.policy_dir()),
        ] {
            guardd.arg(option).arg(dir);
        }
        if self.builder.config.is_some() {
            guardd.arg("--config").arg(self.config());
        }
        guardd
            .args(&self.builder.args)
            .envs(self.builder.env.iter().map(|(name, value)| (name, value)));
        Ok(guardd)
    }

    /// Kills it at once, as a crash would.
    ///
    /// # Errors
    ///
    /// That it doesn't run.
    pub fn kill(&mut self) -> Result<ExitStatus> {
        self.end(Signal::KILL)
    }

    /// Asks it to end, and waits for that.
    ///
    /// # Errors
    ///
    /// That it doesn't run.
    pub fn stop(&mut self) -> Result<ExitStatus> {
        self.end(Signal::TERM)
    }

    fn end(&mut self, signal: Signal) -> Result<ExitStatus> {
        self.signal(signal)?;
        let mut child = self.started.take().context("guardd does not run")?;
        Ok(child.wait()?)
    }

    /// Sends it a signal: `HUP` to have it read the policies again.
    ///
    /// # Errors
    ///
    /// That it doesn't run.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let child = self.started.as_ref().context("guardd does not run")?;
        Ok(kill_process(Pid::from_child(child), signal)?)
    }

    /// `guardd teardown --force`.
    ///
    /// # Errors
    ///
    /// That it failed, with what it said.
    pub fn teardown(&mut self) -> Result<()> {
        if self.started.is_some() {
            self.stop()?;
        }
        exec::run(self.guardd()?.args(["teardown", "--force"])).map(drop)
    }

    /// `guard` as root on this daemon's machine: an approver.
    pub fn root<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Guard<'_> {
        self.user(0, args)
    }

    /// `guard` as the ordinary user that plays the agent.
    pub fn agent<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Guard<'_> {
        self.user(AGENT, args)
    }

    /// `guard` as any user.
    pub fn user<A: AsRef<OsStr>>(&self, uid: u32, args: impl IntoIterator<Item = A>) -> Guard<'_> {
        let args = args.into_iter().map(|arg| arg.as_ref().to_owned());
        Guard::new(self, uid).args(args)
    }

    /// Runs `guard status --json` or the like as root: the most common thing to ask.
    ///
    /// # Errors
    ///
    /// That it cannot be started.
    pub fn ask<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Result<Output> {
        self.root(args).run()
    }

    /// A command on this daemon's machine, as a user, outside any guard.
    #[must_use]
    pub fn on_machine(&self, uid: u32, program: impl AsRef<OsStr>) -> Command {
        let mut command = match &self.builder.netns {
            Some(netns) => {
                let mut nsenter = Command::new("nsenter");
                nsenter.arg(format!("--net={}", netns.display())).arg("--");
                nsenter.arg("setpriv");
                nsenter
            }
            None => Command::new("setpriv"),
        };
        command.args([format!("--reuid={uid}"), format!("--regid={uid}")]);
        command.args(["--clear-groups", "--"]).arg(program);
        command
    }

    /// Writes a policy of that name, new or not. A running daemon reads it when it is told to.
    ///
    /// # Errors
    ///
    /// That it cannot be written.
    pub fn write_policy(&self, name: &str, text: &str) -> Result<PathBuf> {
        let path = self.policy_dir().join(format!("{name}.toml"));
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(path)
    }

    /// Writes the settings of a daemon that was given some. It reads them when it starts.
    ///
    /// # Errors
    ///
    /// That they cannot be written.
    pub fn write_config(&self, text: &str) -> Result<()> {
        let path = self.config();
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
    }

    /// What its names carry.
    #[must_use]
    pub fn tag(&self) -> &Tag {
        &self.builder.tag
    }

    /// Its process, while it runs.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.started.as_ref().map(Child::id)
    }

    /// All that it has said since it was last started.
    #[must_use]
    pub fn log(&self) -> String {
        self.log.lock().text.clone()
    }

    /// Waits until its log since its last start contains `text`.
    ///
    /// # Errors
    ///
    /// That it doesn't after 20 seconds, with the log.
    pub fn wait_for_log(&self, text: &str) -> Result<()> {
        self.log.wait_for(text)
    }

    /// A directory that every user can reach, removed with the daemon.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Its state.
    #[must_use]
    pub fn state_dir(&self) -> PathBuf {
        self.dir.join("state")
    }

    /// Its settings, if it was given some.
    #[must_use]
    pub fn config(&self) -> PathBuf {
        self.dir.join("guardd.toml")
    }

    /// Its policies.
    #[must_use]
    pub fn policy_dir(&self) -> PathBuf {
        self.dir.join("policies")
    }

    /// Its pins.
    #[must_use]
    pub fn pin_dir(&self) -> &Path {
        &self.pins
    }

    /// Its root cgroup.
    #[must_use]
    pub fn cgroup_root(&self) -> &Path {
        &self.cgroup
    }

    /// Its control socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.state_dir().join("guardd.sock")
    }

    /// Its audit trail.
    #[must_use]
    pub fn audit(&self) -> PathBuf {
        self.state_dir().join("audit.jsonl")
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("guardd's log:\n{}", self.log());
        }
        // The reaper does the rest, as it would if this process were killed.
        if let Some(mut child) = self.started.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// What guardd says on standard error.
#[derive(Debug, Default)]
struct Log {
    said: Mutex<Said>,
    more: Condvar,
}

#[derive(Debug, Default)]
struct Said {
    text: String,
    ended: bool,
}

impl Log {
    fn collect(&self, stderr: ChildStderr) {
        for line in BufReader::new(stderr).lines().map_while(Result::ok) {
            let mut said = self.lock();
            said.text.push_str(&line);
            said.text.push('\n');
            self.more.notify_all();
        }
        self.lock().ended = true;
        self.more.notify_all();
    }

    /// A panic elsewhere leaves whole lines behind.
    fn lock(&self) -> MutexGuard<'_, Said> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait_for(&self, wanted: &str) -> Result<()> {
        let missing = |said: &mut Said| !said.ended && !said.text.contains(wanted);
        let waited = self.more.wait_timeout_while(self.lock(), PATIENCE, missing);
        let (said, _) = waited.unwrap_or_else(PoisonError::into_inner);
        if said.text.contains(wanted) {
            return Ok(());
        }
        let how = if said.ended {
            "ended and"
        } else {
            "waited and"
        };
        bail!(
            "guardd {how} did not say {wanted:?}; it said:\n{}",
            said.text
        )
    }
}
