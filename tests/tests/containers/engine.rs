//! The two engines, each in a network of its own, and one image that both have.

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

use guard_lab::{Attempt, Network, Production, Report, eventually};

use crate::containers::machine::{ok, reload, run};

/// What makes an image: a shell, the lab's program, and the libraries that it needs.
const IMAGE: &str = r#"
rm -rf /tmp/image && mkdir -p /tmp/image/bin && cd /tmp/image && mkdir dev etc proc run sys tmp
cp "$(command -v busybox)" "$0" bin
for name in cat echo mkdir mount nslookup sh sleep unshare; do ln -s busybox bin/$name; done
for file in $(ldd "$0" | grep -o '/[^ ]*'); do mkdir -p ".${file%/*}"; cp "$file" ".$file"; done
tar -cf /tmp/image.tar .
"#;

/// A program that makes containers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Engine {
    Podman,
    Docker,
}

/// An engine's network. It lives as long as the tests' process.
pub(crate) struct Lab {
    pub(crate) network: &'static Network,
    pub(crate) production: Production,
}

impl Engine {
    pub(crate) const BOTH: [Self; 2] = [Self::Podman, Self::Docker];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Podman => "podman",
            Self::Docker => "docker",
        }
    }

    /// What the name of a container's scope begins with.
    fn prefix(self) -> &'static str {
        match self {
            Self::Podman => "libpod",
            Self::Docker => "docker",
        }
    }

    /// What places a container in the guard's slice.
    pub(crate) fn in_slice(self) -> &'static [&'static str] {
        match self {
            Self::Podman => &["--cgroups=no-conmon", "--cgroup-parent=guard.slice"],
            Self::Docker => &["--cgroup-parent=guard.slice"],
        }
    }

    /// The engine's network, where it runs and has the image.
    pub(crate) fn lab(self) -> &'static Lab {
        static LABS: [OnceLock<Lab>; 2] = [const { OnceLock::new() }; 2];
        LABS[self as usize].get_or_init(|| {
            let network: &Network = Box::leak(Box::new(Network::new().unwrap()));
            if self == Self::Docker {
                start_docker(network);
            }
            let import = ["import", "-c", "ENV PATH=/bin:/usr/bin:/usr/sbin"];
            let tar = image().to_str().unwrap();
            let mut import = self.command_in(network, &[&import[..], &[tar, "lab"]].concat());
            text(&import.output().unwrap());
            // Without port 53, which tests of names have for a server of their own.
            let tcp = [22, 80, 443, 2283, 5432, 8080];
            let production = Production::launch(network, &tcp, &[443], true).unwrap();
            Lab {
                network,
                production,
            }
        })
    }

    fn command_in(self, network: &Network, words: &[&str]) -> Command {
        let mut command = network.dev().command("env");
        // Podman believes that it is a service where this is set, and leaves its helpers where they are.
        command.args(["-u", "INVOCATION_ID", self.name()]);
        command.args((self == Self::Podman).then_some("--cgroup-manager=systemd"));
        command.args(words).stdin(Stdio::null());
        command
    }

    /// What came of a command of the engine's.
    pub(crate) fn output(self, words: &[&str]) -> Output {
        let mut command = self.command_in(self.lab().network, words);
        command.output().unwrap()
    }

    /// What a command of the engine's printed, which must succeed.
    pub(crate) fn says(self, words: &[&str]) -> String {
        text(&self.output(words))
    }

    /// Runs a script in a container of its own, to its end.
    pub(crate) fn runs(self, options: &[&str], script: &str) -> String {
        let run = [&["run", "--rm"], options, &["lab", "sh", "-c", script]];
        self.says(&run.concat())
    }

    /// Makes attempts as the first thing in a container of its own.
    pub(crate) fn attempts(self, options: &[&str], attempts: &[Attempt]) -> Vec<Report> {
        reports(&self.runs(options, &script(attempts)))
    }

    /// A container that makes attempts first, and then goes on.
    pub(crate) fn starts(self, options: &[&str], first: &[Attempt]) -> Container {
        let script = format!("{}; exec sleep 1000", script(first));
        let run = [&["run", "-d"], options, &["lab", "sh", "-c", &script]];
        let id = self.says(&run.concat());
        Container { engine: self, id }
    }
}

/// A container that runs. It is removed on drop.
pub(crate) struct Container {
    pub(crate) engine: Engine,
    pub(crate) id: String,
}

impl Container {
    /// The unit that it is in.
    pub(crate) fn scope(&self) -> String {
        format!("{}-{}.scope", self.engine.prefix(), self.id)
    }

    /// What its session is called.
    pub(crate) fn session(&self) -> String {
        format!("{}-{}.scope", self.engine.prefix(), &self.id[..12])
    }

    pub(crate) fn output(&self, words: &[&str]) -> Output {
        self.engine.output(&[&["exec", &self.id], words].concat())
    }

    /// Makes attempts in a process that the engine puts into it.
    pub(crate) fn attempts(&self, attempts: &[Attempt]) -> Vec<Report> {
        let output = self.output(&["sh", "-c", &script(attempts)]);
        reports(&text(&output))
    }

    pub(crate) fn attempt(&self, attempt: Attempt) -> Report {
        self.attempts(&[attempt]).remove(0)
    }

    /// What came of the attempts that it began with.
    pub(crate) fn first(&self, attempts: usize) -> Vec<Report> {
        let read = || reports(&self.engine.says(&["logs", &self.id]));
        eventually("attempts", || read().len() == attempts).unwrap();
        read()
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        // `-t 0` is Podman's alone, and it waits ten seconds without.
        let time: &[&str] = match self.engine {
            Engine::Podman => &["-t", "0"],
            Engine::Docker => &[],
        };
        let remove = [&["rm", "-f"], time, &[&self.id]];
        let _ = self.engine.output(&remove.concat());
    }
}

fn script(attempts: &[Attempt]) -> String {
    let line = |attempt: &Attempt| format!("guard-lab {}; ", attempt.args().join(" "));
    attempts.iter().map(line).collect::<String>() + "true"
}

/// One a line; Podman's log of events may come between.
fn reports(said: &str) -> Vec<Report> {
    let lines = said.lines().filter(|line| line.starts_with('{'));
    lines.map(|line| Report::parse(line).unwrap()).collect()
}

pub(crate) fn text(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout.clone())
        .unwrap()
        .trim_end()
        .to_owned()
}

fn image() -> &'static PathBuf {
    static MADE: OnceLock<PathBuf> = OnceLock::new();
    MADE.get_or_init(|| {
        let program = guard_lab::bins::find("guard-lab").unwrap();
        ok(&["sh", "-ec", IMAGE, program.to_str().unwrap()]);
        "/tmp/image.tar".into()
    })
}

/// Docker's own units, in a network: not by `NetworkNamespacePath=`, with which each would have mounts of its own.
fn start_docker(network: &Network) {
    for (unit, program) in [
        ("containerd", "containerd"),
        (
            "docker",
            "dockerd -H fd:// --containerd=/run/containerd/containerd.sock",
        ),
    ] {
        let dir = format!("/run/systemd/system/{unit}.service.d");
        std::fs::create_dir_all(&dir).unwrap();
        let netns = network.dev().path();
        let exec = format!("nsenter --net={} {program}", netns.display());
        let text = format!("[Service]\nExecStart=\nExecStart={exec}\n");
        std::fs::write(format!("{dir}/lab.conf"), text).unwrap();
    }
    reload();
    ok(&["systemctl", "start", "docker.service"]);
    let driver = run(&["docker", "info", "--format", "{{.CgroupDriver}}"]);
    assert_eq!(text(&driver), "systemd");
}
