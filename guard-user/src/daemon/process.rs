//! What `/proc` tells of a process that was stopped.

use std::{fs, io::Read, path::Path};

/// A command line is shown up to this many bytes.
const MAX_COMMAND: u64 = 4096;

/// A process of a session.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Process {
    /// The name of its executable's file.
    pub comm: Option<String>,
    /// Its executable.
    pub exe: Option<String>,
    /// Its command line. The process chose it.
    pub command: Vec<String>,
}

impl Process {
    /// The process of that id, if it is (still) in `cgroup`, as `/proc/PID/cgroup` names it.
    ///
    /// The id may be another process's by now: one outside of the session is not believed.
    #[must_use]
    pub fn look(pid: u32, cgroup: &Path) -> Option<Self> {
        let proc = Path::new("/proc").join(pid.to_string());
        let found = Self {
            comm: None,
            exe: executable(&proc),
            command: command(&proc),
        };
        let is_inside = Self::is_in(pid, cgroup);
        let comm = found
            .exe
            .as_deref()
            .and_then(|exe| Path::new(exe).file_name());
        let comm = comm.map(|name| name.to_string_lossy().into_owned());
        is_inside.then_some(Self { comm, ..found })
    }

    /// Whether the process of that id is in `cgroup` now, or below it.
    #[must_use]
    pub fn is_in(pid: u32, cgroup: &Path) -> bool {
        let cgroups = fs::read_to_string(format!("/proc/{pid}/cgroup"));
        cgroups.is_ok_and(|cgroups| is_inside(&cgroups, cgroup))
    }
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
    let mut text = Vec::new();
    if let Ok(file) = fs::File::open(proc.join("cmdline")) {
        // What cannot be read is not shown.
        let _ = file.take(MAX_COMMAND).read_to_end(&mut text);
    }
    words(&text)
}

/// The words of a command line as in `/proc/PID/cmdline`.
#[must_use]
pub fn words(line: &[u8]) -> Vec<String> {
    let end = line.iter().rposition(|byte| *byte != 0);
    let Some(end) = end else {
        return Vec::new();
    };
    let words = line[..=end].split(|byte| *byte == 0);
    words
        .map(|word| String::from_utf8_lossy(word).into_owned())
        .collect()
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
    fn this_process_has_a_command_line() {
        let proc = Path::new("/proc/self");
        let exe = std::env::current_exe().unwrap();
        assert_eq!(executable(proc).unwrap(), exe.to_string_lossy());
        assert_eq!(command(proc), std::env::args().collect::<Vec<_>>());
    }
}
