//! Taking things down, also after a run that was killed.
//!
//! A [`Reaper`] is a process that is told what was made, and takes it down once its standard input ends:
//! because its owner was dropped, or because it died.

use std::fs;
use std::io::{BufRead, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use rustix::fd::OwnedFd;
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open, pidfd_send_signal};

use crate::{PATIENCE, bins, exec, patience};

/// The owner's end.
#[derive(Debug)]
pub struct Reaper(Child);

impl Reaper {
    /// Starts one that has nothing to take down yet.
    ///
    /// # Errors
    ///
    /// That it cannot be started.
    pub fn start() -> Result<Self> {
        let child = Command::new(bins::find("guard-lab")?)
            .arg("reap")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            // A Ctrl-C is for the run, whose end this one has to outlive.
            .process_group(0)
            .spawn()
            .context("cannot start guard-lab reap")?;
        Ok(Self(child))
    }

    /// To be killed.
    ///
    /// # Errors
    ///
    /// That the reaper is gone.
    pub fn process(&mut self, pid: u32) -> Result<()> {
        self.tell("process", &pid.to_string())
    }

    /// To be emptied and removed, with all below it.
    pub(crate) fn cgroup(&mut self, dir: &Path) -> Result<()> {
        self.tell("cgroup", &dir.to_string_lossy())
    }

    /// To be deleted, with the processes in it.
    pub(crate) fn netns(&mut self, name: &str) -> Result<()> {
        self.tell("netns", name)
    }

    /// To be removed, with all below it.
    pub(crate) fn dir(&mut self, dir: &Path) -> Result<()> {
        self.tell("dir", &dir.to_string_lossy())
    }

    fn tell(&mut self, kind: &str, what: &str) -> Result<()> {
        let stdin = self.0.stdin.as_mut().context("the reaper has no input")?;
        writeln!(stdin, "{kind} {what}").context("guard-lab reap is gone")
    }
}

impl Drop for Reaper {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        match self.0.wait() {
            Ok(status) if status.success() => {}
            Ok(status) => eprintln!("guard-lab reap: {status}"),
            Err(error) => eprintln!("guard-lab reap: {error}"),
        }
    }
}

#[derive(Default)]
struct Doomed {
    processes: Vec<OwnedFd>,
    cgroups: Vec<PathBuf>,
    netns: Vec<String>,
    dirs: Vec<PathBuf>,
}

/// `guard-lab reap`: reads what was made, one line each, and takes it down when there are no more.
///
/// # Errors
///
/// What could not be taken down; the rest was.
pub fn reap(input: impl BufRead) -> Result<()> {
    let mut doomed = Doomed::default();
    for line in input.lines() {
        doomed.add(&line?)?;
    }
    let problems = doomed.take_down();
    ensure!(problems.is_empty(), "still there: {}", problems.join("; "));
    Ok(())
}

impl Doomed {
    fn add(&mut self, line: &str) -> Result<()> {
        let (kind, what) = line.split_once(' ').context("no name")?;
        match kind {
            "process" => self.add_process(what.parse()?),
            "cgroup" => self.cgroups.push(tagged(what)?),
            "netns" => self.netns.push(what.to_owned()),
            "dir" => self.dirs.push(tagged(what)?),
            _ => bail!("{kind} is nothing that can be taken down"),
        }
        Ok(())
    }

    /// Holds on to the process, whose pid may later be another's.
    fn add_process(&mut self, pid: i32) {
        let process = Pid::from_raw(pid).map(|pid| pidfd_open(pid, PidfdFlags::empty()));
        self.processes.extend(process.and_then(Result::ok));
    }

    fn take_down(&self) -> Vec<String> {
        for process in &self.processes {
            // One that is gone already is what is wanted.
            let _ = pidfd_send_signal(process, Signal::KILL);
        }
        let cgroups = self.cgroups.iter().map(|dir| remove_cgroup(dir));
        let netns = self.netns.iter().map(|name| delete_netns(name));
        let dirs = self.dirs.iter().map(|dir| remove_dir(dir));
        let done = cgroups.chain(netns).chain(dirs);
        done.filter_map(|result| result.err().map(|error| format!("{error:#}")))
            .collect()
    }
}

/// A path that a lab made: its last part says so.
fn tagged(path: &str) -> Result<PathBuf> {
    let path = PathBuf::from(path);
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    ensure!(
        path.is_absolute() && name.starts_with("guard-"),
        "{} is not the lab's",
        path.display()
    );
    Ok(path)
}

/// Kills all that run in a cgroup or below, and removes it. One that isn't there is fine.
///
/// # Errors
///
/// That a process would not die, or that a cgroup cannot be removed.
pub fn remove_cgroup(dir: &Path) -> Result<()> {
    if !dir.exists() {
        return Ok(());
    }
    fs::write(dir.join("cgroup.kill"), "1")
        .with_context(|| format!("cannot kill what runs in {}", dir.display()))?;
    let deadline = Instant::now() + patience(PATIENCE);
    while let Err(error) = remove_cgroup_tree(dir) {
        if Instant::now() > deadline {
            return Err(error);
        }
        thread::sleep(Duration::from_millis(2));
    }
    Ok(())
}

/// Depth first, for a cgroup that has children cannot be removed.
fn remove_cgroup_tree(dir: &Path) -> Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_cgroup_tree(&entry.path())?;
        }
    }
    fs::remove_dir(dir).with_context(|| format!("cannot remove {}", dir.display()))
}

fn delete_netns(name: &str) -> Result<()> {
    if !Path::new("/run/netns").join(name).exists() {
        return Ok(());
    }
    let pids = exec::run(Command::new("ip").args(["netns", "pids", name]))?;
    let deadline = Instant::now() + patience(PATIENCE);
    for pid in pids.lines() {
        while looks_at_the_kernel(pid) && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(2));
        }
        if let Some(pid) = pid.parse().ok().and_then(Pid::from_raw) {
            let _ = kill_process(pid, Signal::KILL);
        }
    }
    exec::run(Command::new("ip").args(["netns", "delete", name]))?;
    Ok(())
}

/// Whether it is a process of guardd's that tries what the kernel can do: by itself it ends soon and removes its cgroup, killed it
/// leaves that for the next.
fn looks_at_the_kernel(pid: &str) -> bool {
    let arguments = fs::read(Path::new("/proc").join(pid).join("cmdline"));
    arguments.is_ok_and(|arguments| arguments == b"/proc/self/exe\0probe\0")
}

fn remove_dir(dir: &Path) -> Result<()> {
    match fs::remove_dir_all(dir) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            Err(e).with_context(|| format!("cannot remove {}", dir.display()))
        }
        _ => Ok(()),
    }
}
