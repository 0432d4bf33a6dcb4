//! What `/proc` says of a process, and whether guardd may start processes of other users.

use std::{fs, path::Path, sync::LazyLock};

use caps::{CapSet, Capability};
use guard_judge::command_line::command_without_secrets;
use guard_signed::visible;
use guard_sys::bounded::{BoundedReader, TIMEOUT};

/// A command line is shown up to this many bytes.
const MAX_COMMAND: u64 = 4096;

/// The longest name of a thread (`TASK_COMM_LEN` of linux/sched.h, without the 0).
const MAX_COMM: usize = 15;

/// A process of a session.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Process {
    /// The name of its executable's file.
    pub(crate) comm: Option<String>,
    /// Its executable.
    pub(crate) exe: Option<String>,
    /// Its command line, for approvers; else empty. The process chose it.
    pub(crate) command: Vec<String>,
    /// A warning about the process, to be shown.
    pub(crate) warning: Option<String>,
}

/// The process behind an event or a call, as far as it is known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct SeenProcess {
    /// Its id; none if it is unknown.
    pub(crate) pid: Option<u32>,
    /// What `/proc` says of it, if it is (still) in the session.
    pub(crate) process: Process,
}

/// A thread of a process, by their ids.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Thread {
    /// The process.
    pub(crate) tgid: u32,
    /// The thread.
    pub(crate) tid: u32,
}

impl Thread {
    /// The first thread of a process.
    #[must_use]
    pub(crate) const fn main(pid: u32) -> Self {
        Self {
            tgid: pid,
            tid: pid,
        }
    }
}

impl Process {
    /// The process of that id, if it is (still) in `cgroup`, as `/proc/PID/cgroup` names it.
    ///
    /// The id may be another process's by now: one outside of the session does not count.
    #[must_use]
    pub(crate) fn look(pid: u32, cgroup: &Path) -> Option<Self> {
        Self::seen(pid, cgroup, |_| Vec::new())
    }

    /// The same with its command line, which another thread reads: that takes two changes of threads, and where processes wait for a
    /// CPU those take long.
    #[must_use]
    pub(crate) fn look_closely(pid: u32, cgroup: &Path) -> Option<Self> {
        Self::seen(pid, cgroup, command)
    }

    fn seen(pid: u32, cgroup: &Path, command: impl Fn(&Path) -> Vec<String>) -> Option<Self> {
        let proc = Path::new("/proc").join(pid.to_string());
        let found = Self {
            comm: None,
            exe: executable(&proc),
            command: command(&proc),
            warning: None,
        };
        let is_inside = Self::is_in(pid, cgroup);
        let comm = found
            .exe
            .as_deref()
            .and_then(|exe| Path::new(exe).file_name());
        let comm = comm.map(|name| name.to_string_lossy().into_owned());
        is_inside.then_some(Self { comm, ..found })
    }

    /// The same, if the kernel reported a thread of that name. The process may run another program by now: then
    /// a warning gives the reported name, which any process may give itself.
    #[must_use]
    pub(crate) fn called(self, thread: Thread, name: &str) -> Self {
        if name.is_empty() {
            return self;
        }
        let Some(now) = self.comm.as_deref() else {
            let comm = Some(name.to_owned());
            return Self { comm, ..self };
        };
        if is_thread_name(now, name) {
            return self;
        }
        // A thread or a process that has ended is nothing unusual.
        let renamed = name_of_thread(thread).filter(|thread| thread != name);
        let warning = renamed.map(|_| exchanged(name, now));
        Self { warning, ..self }
    }

    /// Whether the process of that id is in `cgroup` now, or below it.
    #[must_use]
    pub(crate) fn is_in(pid: u32, cgroup: &Path) -> bool {
        let cgroups = fs::read_to_string(format!("/proc/{pid}/cgroup"));
        cgroups.is_ok_and(|cgroups| is_inside(&cgroups, cgroup))
    }
}

/// Whether this process can start a process of another user.
#[must_use]
pub(crate) fn may_start() -> bool {
    let of = |capability| caps::has_cap(None, CapSet::Effective, capability).unwrap_or(false);
    of(Capability::CAP_SETUID) && of(Capability::CAP_SETGID)
}

/// Whether a program called `comm` begins with a thread of that name.
fn is_thread_name(comm: &str, name: &str) -> bool {
    comm.as_bytes().iter().take(MAX_COMM).eq(name.as_bytes())
}

/// What a thread calls itself now, where it has not ended.
#[must_use]
pub(crate) fn name_of_thread(thread: Thread) -> Option<String> {
    let Thread { tgid, tid } = thread;
    let name = fs::read(format!("/proc/{tgid}/task/{tid}/comm")).ok()?;
    Some(String::from_utf8_lossy(name.trim_ascii_end()).into_owned())
}

fn exchanged(then: &str, now: &str) -> String {
    let [then, now] = [then, now].map(visible::program);
    format!(
        "{then} asked, and its process is {now} now: the program was exchanged meanwhile, or renamed"
    )
}

/// Whether `/proc/PID/cgroup` names the session's cgroup, or one below it.
fn is_inside(cgroups: &str, cgroup: &Path) -> bool {
    let mut paths = cgroups.lines().filter_map(|line| line.strip_prefix("0::"));
    paths
        .next()
        .is_some_and(|path| Path::new(path).starts_with(cgroup))
}

fn executable(proc: &Path) -> Option<String> {
    let exe = fs::read_link(proc.join("exe")).ok()?;
    Some(exe.to_string_lossy().into_owned())
}

fn command(proc: &Path) -> Vec<String> {
    // What cannot be read is not shown.
    static OF_SESSIONS: LazyLock<BoundedReader<Vec<u8>>> =
        LazyLock::new(|| BoundedReader::waiting(TIMEOUT));
    let text = OF_SESSIONS.read(&proc.join("cmdline"), MAX_COMMAND);
    words(&text.unwrap_or_default())
}

/// The words of a command line as in `/proc/PID/cmdline`, without passwords and tokens.
#[must_use]
pub(crate) fn words(line: &[u8]) -> Vec<String> {
    let end = line.iter().rposition(|byte| *byte != 0);
    let Some(end) = end else {
        return Vec::new();
    };
    let words = line[..=end].split(|byte| *byte == 0);
    let words: Vec<_> = words
        .map(|word| String::from_utf8_lossy(word).into_owned())
        .collect();
    command_without_secrets(&words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_believed_inside_its_session_only() {
        let cgroup = Path::new("/guard/s1");
        assert!(is_inside("0::/guard/s1\n", cgroup));
        assert!(is_inside("1:cpu:/\n0::/guard/s1/inner\n", cgroup));
        for other in [
            "0::/\n",
            "0::/s1\n",
            "0::/guard/s12\n",
            "0::/guard\n",
            "1:cpu:/guard/s1\n",
            "",
        ] {
            assert!(!is_inside(other, cgroup), "{other}");
        }
    }

    #[test]
    fn a_program_that_was_exchanged_is_told_from_a_thread() {
        let process = |comm: Option<&str>| Process {
            comm: comm.map(str::to_owned),
            ..Process::default()
        };
        let pid = std::process::id();
        let main = Thread::main(pid);
        let same = |comm: &str, name: &str| process(Some(comm)).called(main, name);
        for (comm, name) in [
            ("curl", "curl"),
            ("a-name-that-is-long", "a-name-that-is-"),
            ("curl", ""),
        ] {
            assert_eq!(same(comm, name), process(Some(comm)));
        }
        let thread = std::thread::Builder::new().name("lookup".to_owned());
        let named = thread.spawn(move || {
            let tid = rustix::thread::gettid()
                .as_raw_nonzero()
                .get()
                .unsigned_abs();
            process(Some("curl")).called(Thread { tgid: pid, tid }, "lookup")
        });
        assert_eq!(named.unwrap().join().unwrap(), process(Some("curl")));
        let other = same("bash", "curl");
        assert_eq!(other.comm.as_deref(), Some("bash"));
        insta::assert_snapshot!(other.warning.unwrap(), @"curl asked, and its process is bash now: the program was exchanged meanwhile, or renamed");
        assert_eq!(process(None).called(main, "curl"), process(Some("curl")));
        let ended = process(Some("bash")).called(Thread { tgid: pid, tid: 1 }, "curl");
        assert_eq!((ended.comm.as_deref(), ended.warning), (Some("bash"), None));
    }

    #[test]
    fn this_process_has_a_command_line() {
        let proc = Path::new("/proc/self");
        let exe = std::env::current_exe().unwrap();
        assert_eq!(executable(proc).unwrap(), exe.to_string_lossy());
        assert_eq!(
            command(proc),
            command_without_secrets(&std::env::args().collect::<Vec<_>>())
        );
    }
}
