//! A guardd of one's own.

mod builder;
mod log;

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::thread;

use anyhow::{Context as _, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::guard::json_lines;
use crate::reap::Reaper;
use crate::{AGENT, Guard, Network, Output, Tag, bins, eventually, exec, is_failing, mounts};
pub use builder::DaemonBuilder;
use log::Log;

/// A real guardd, with directories of its own. Everything of it is taken down on drop, whatever state it
/// is in.
#[derive(Debug)]
pub struct Daemon {
    builder: DaemonBuilder,
    dir: PathBuf,
    pins: PathBuf,
    cgroup: PathBuf,
    started: Option<Child>,
    /// Where its programs are, if they are not those under test.
    programs: Option<PathBuf>,
    log: Arc<Log>,
    reaper: Reaper,
}

impl Daemon {
    /// A daemon on the developer's machine of a network.
    pub fn in_network(network: &Network) -> DaemonBuilder {
        DaemonBuilder::new(Some(network.dev().path()))
    }

    /// A daemon in the network namespace of the caller, which judges all the same.
    pub fn on_this_machine() -> DaemonBuilder {
        DaemonBuilder::new(None)
    }

    /// Starts guardd, which must not run, and waits until it enforces.
    ///
    /// # Errors
    ///
    /// That it doesn't in time, with its log.
    pub fn start(&mut self) -> Result<()> {
        let guardd = self.guardd()?;
        self.start_as(guardd)
    }

    /// As [`Self::start`], with another program in guardd's place.
    ///
    /// # Errors
    ///
    /// That it doesn't enforce in time, with its log.
    pub fn start_as(&mut self, mut guardd: Command) -> Result<()> {
        ensure!(self.started.is_none(), "guardd runs already");
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
        let program = match &self.programs {
            Some(dir) => dir.join("guardd"),
            None => bins::find("guardd")?,
        };
        let mut guardd = self.on_machine(0, program);
        guardd
            .args(self.arguments())
            .envs(self.builder.env.iter().map(|(name, value)| (name, value)));
        Ok(match self.builder.machine_id {
            Some(_) => mounts::with_file(&guardd, &self.machine_id(), "/etc/machine-id"),
            None => guardd,
        })
    }

    /// From now on its `guard` and `guardd` are those in a directory; with none those under test, as at first.
    pub fn use_programs(&mut self, dir: Option<PathBuf>) {
        self.programs = dir;
    }

    /// One of guard's programs, by a path by which every user can run it.
    ///
    /// # Errors
    ///
    /// That there is none of that name.
    pub fn program(&self, name: &str) -> Result<PathBuf> {
        bins::for_everybody(name, self.tag())
    }

    /// Its `guard`, by a path by which every user can run it.
    pub(crate) fn guard(&self) -> Result<PathBuf> {
        match &self.programs {
            Some(dir) => bins::open_path(dir.join("guard"), &self.tag().dir().join("bin-other")),
            None => bins::for_everybody("guard", self.tag()),
        }
    }

    /// What guardd is told by [`Self::guardd`].
    #[must_use]
    pub fn arguments(&self) -> Vec<OsString> {
        let mut arguments = Vec::new();
        for (option, dir) in [
            ("--state-dir", self.state_dir()),
            ("--pin-dir", self.pins.clone()),
            ("--cgroup-root", self.cgroup.clone()),
            ("--policy-dir", self.policy_dir()),
        ] {
            arguments.extend([option.into(), dir.into_os_string()]);
        }
        if self.builder.config.is_some() {
            arguments.extend(["--config".into(), self.config().into_os_string()]);
        }
        arguments.extend(self.builder.args.iter().map(OsString::from));
        arguments
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

    /// Waits until it ends by itself.
    ///
    /// # Errors
    ///
    /// That it doesn't run, or doesn't end.
    pub fn wait(&mut self) -> Result<ExitStatus> {
        let mut child = self.started.take().context("guardd does not run")?;
        exec::ended(&mut child).with_context(|| self.log())
    }

    fn end(&mut self, signal: Signal) -> Result<ExitStatus> {
        self.signal(signal)?;
        let mut child = self.started.take().context("guardd does not run")?;
        exec::ended(&mut child).with_context(|| self.log())
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

    /// Whether one of its programs is attached, by the name that `guard status` has for its hook: kernels differ.
    ///
    /// # Errors
    ///
    /// That guardd does not say.
    pub fn has_hook(&self, name: &str) -> Result<bool> {
        let status = self.root(["status"]).json()?;
        let hooks = status["hooks"].as_array().context("guard tells no hooks")?;
        let mut hooks = hooks.iter();
        Ok(hooks.any(|hook| hook["name"] == name && hook["attached"] == true))
    }

    /// The JSON that `guard` prints for root.
    ///
    /// # Errors
    ///
    /// That it failed, or printed something else.
    pub fn json<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Result<Value> {
        self.root(args).json()
    }

    /// The same, where it is a list.
    ///
    /// # Errors
    ///
    /// As with [`Self::json`].
    pub fn list<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Result<Vec<Value>> {
        self.root(args).list()
    }

    /// What `guard` says as it refuses root something.
    ///
    /// # Errors
    ///
    /// That it did not refuse it, with all that it said.
    pub fn refused<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Result<String> {
        self.root(args).refused()
    }

    /// Runs `guard` as root, whatever comes of it.
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
        self.on_machine_with(uid, &[], program)
    }

    /// The same, with capabilities that the user keeps: such as `net_raw`.
    #[must_use]
    pub fn on_machine_with(
        &self,
        uid: u32,
        capabilities: &[&str],
        program: impl AsRef<OsStr>,
    ) -> Command {
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
        if !capabilities.is_empty() {
            let added: Vec<_> = capabilities.iter().map(|one| format!("+{one}")).collect();
            let added = added.join(",");
            command.args(["--inh-caps", &added, "--ambient-caps", &added]);
        }
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

    /// Writes a policy that is none of the daemon's, for every user to give to `--policy`.
    ///
    /// # Errors
    ///
    /// That it cannot be written.
    pub fn write_for_agents(&self, name: &str, text: &str) -> Result<PathBuf> {
        let dir = self.tag().dir().join("agents");
        let path = dir.join(format!("{name}.toml"));
        let write = || {
            fs::create_dir_all(&dir)?;
            fs::set_permissions(&dir, fs::Permissions::from_mode(0o755))?;
            fs::write(&path, text)?;
            fs::set_permissions(&path, fs::Permissions::from_mode(0o644))
        };
        write().with_context(|| format!("cannot write {}", path.display()))?;
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

    /// The `/proc/PID` of a program of guard's that it has started, such as `guard-proxy`; nothing where none runs.
    #[must_use]
    pub fn child(&self, name: &str) -> Option<PathBuf> {
        let guardd = self.pid()?;
        let children = fs::read_to_string(format!("/proc/{guardd}/task/{guardd}/children")).ok()?;
        let mut children = children
            .split_whitespace()
            .map(|pid| PathBuf::from(format!("/proc/{pid}")));
        children.find(|process| {
            fs::read(process.join("cmdline")).is_ok_and(|words| words.starts_with(name.as_bytes()))
        })
    }

    /// The same, once it runs.
    ///
    /// # Errors
    ///
    /// That it does not in time.
    pub fn child_once(&self, name: &str) -> Result<PathBuf> {
        let mut found = None;
        eventually(&format!("{name} runs"), || {
            found = self.child(name);
            found.is_some()
        })?;
        found.with_context(|| format!("no {name}"))
    }

    /// All that it has said since it was last started.
    #[must_use]
    pub fn log(&self) -> String {
        self.log.text()
    }

    /// Waits until its log since its last start contains `text`.
    ///
    /// # Errors
    ///
    /// That it doesn't in time, with the log.
    pub fn wait_for_log(&self, text: &str) -> Result<()> {
        self.log.wait_for(text)
    }

    /// A directory that every user can reach, removed with the daemon.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// A path of that name in a directory where every user may write.
    ///
    /// # Errors
    ///
    /// That the directory cannot be made.
    pub fn open_place(&self, name: &str) -> Result<PathBuf> {
        let dir = self.tag().dir().join("everybodys");
        fs::create_dir_all(&dir)?;
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o777))?;
        Ok(dir.join(name))
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

    /// What guardd reads as the machine's id, where it was given one.
    fn machine_id(&self) -> PathBuf {
        self.dir.join("machine-id")
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

    /// Its audit log.
    #[must_use]
    pub fn audit(&self) -> PathBuf {
        self.state_dir().join("audit.jsonl")
    }

    /// The records of a kind in the audit log's file.
    ///
    /// # Errors
    ///
    /// That it cannot be read.
    pub fn audited(&self, kind: &str) -> Result<Vec<Value>> {
        Ok(of_kind(
            json_lines(&fs::read_to_string(self.audit())?)?,
            kind,
        ))
    }

    /// The records of a kind that `guard log` tells.
    ///
    /// # Errors
    ///
    /// That it failed.
    pub fn logged(&self, kind: &str) -> Result<Vec<Value>> {
        let log = self.ask(["log", "--json"])?.success()?;
        Ok(of_kind(log.json_lines()?, kind))
    }
}

fn of_kind(mut records: Vec<Value>, kind: &str) -> Vec<Value> {
    records.retain(|record| record["kind"] == kind);
    records
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if is_failing() {
            eprintln!("guardd's log:\n{}", self.log());
        }
        // The reaper does the rest, as it would if this process were killed.
        if let Some(mut child) = self.started.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
