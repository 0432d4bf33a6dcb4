//! A machine with systemd on which guard is installed, to be thrown away afterwards.

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::{Mutex, MutexGuard, Once, PoisonError};
use std::time::Duration;

use guard_lab::{ALLOWS, Attempt, CONFIRMS, Network, Report, eventually};
use serde_json::Value;

/// The account that the agents run under; the user of other suites has none.
pub(crate) const USER: &str = "agent";
pub(crate) const UID: u32 = 61236;

/// What is enough of units where the package has brought none.
const UNITS: [(&str, &str); 2] = [
    (
        "guard.slice",
        "[Unit]\nRequires=guardd.service\nAfter=guardd.service\n",
    ),
    (
        "guardd.service",
        "[Unit]\nPartOf=guard.slice\n[Service]\nType=notify\nExecStart=/usr/bin/guardd\n",
    ),
];

pub(crate) const CONFIG: &str = "/etc/guard/guardd.toml";
const NO_RESOLVER: &str = "resolvers = [\"127.0.0.1:1\"]\n";

/// One test at a time: they all share the one guardd.
static ONE: Mutex<()> = Mutex::new(());
static MADE: Once = Once::new();

pub(crate) fn machine() -> MutexGuard<'static, ()> {
    assert!(
        Path::new("/run/systemd/system").is_dir(),
        "this needs a machine of its own with systemd as PID 1: cargo xtask vm"
    );
    let one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    MADE.call_once(make);
    configure("");
    one
}

fn make() {
    assert!(
        Path::new("/usr/bin/guardd").is_file(),
        "guard is not installed"
    );
    fs::create_dir_all("/etc/guard/policies").unwrap();
    for (name, text) in [("asks", CONFIRMS), ("open", ALLOWS)] {
        fs::write(format!("/etc/guard/policies/{name}.toml"), text).unwrap();
    }
    if !run(&["id", USER]).status.success() {
        ok(&["useradd", "--uid", &UID.to_string(), "--create-home", USER]);
    }
    if !run(&["systemctl", "cat", "guardd.service"])
        .status
        .success()
    {
        for (name, text) in UNITS {
            fs::write(Path::new("/run/systemd/system").join(name), text).unwrap();
        }
    }
    reload();
}

/// Has guardd run with these settings, beside the usual ones.
pub(crate) fn configure(settings: &str) {
    configure_whole(&format!("{NO_RESOLVER}{settings}"));
}

/// Has guardd run with these settings alone.
pub(crate) fn configure_whole(text: &str) {
    let is_new = fs::read_to_string(CONFIG).is_ok_and(|now| now == text);
    if !is_new {
        fs::write(CONFIG, text).unwrap();
        let _ = run(&["systemctl", "stop", "guard.slice"]);
        let _ = run(&["systemctl", "stop", "guardd.service"]);
    }
    ok(&["systemctl", "start", "guardd.service", "guard.slice"]);
}

/// A unit of the tests' own, which systemd reads when it is first used. It is stopped on drop, with what is left of it.
pub(crate) struct Unit(pub(crate) String);

impl Unit {
    pub(crate) fn new(name: &str, network: &Network, service: &str) -> Self {
        let text = format!(
            "[Unit]\nStartLimitIntervalSec=0\n[Service]\nNetworkNamespacePath={}\nSlice=guard.slice\n{service}\n",
            network.dev().path().display()
        );
        fs::write(format!("/run/systemd/system/{name}"), text).unwrap();
        Self(name.to_owned())
    }

    pub(crate) fn start(&self) -> bool {
        run(&["systemctl", "start", &self.0]).status.success()
    }

    pub(crate) fn stop(&self) {
        ok(&["systemctl", "stop", &self.0]);
    }

    pub(crate) fn show(&self, property: &str) -> String {
        ok(&["systemctl", "show", "--value", "-p", property, &self.0])
    }

    /// What it said so far.
    pub(crate) fn journal(&self) -> String {
        let _ = run(&["journalctl", "--sync"]);
        ok(&["journalctl", "-b", "-o", "cat", "--no-pager", "-u", &self.0])
    }

    /// Waits until it has said that.
    pub(crate) fn says(&self, text: &str) {
        let said = eventually(text, || self.journal().contains(text));
        assert!(said.is_ok(), "{text:?} is not in: {}", self.journal());
    }
}

impl Drop for Unit {
    fn drop(&mut self) {
        let _ = run(&["systemctl", "kill", "-s", "KILL", &self.0]);
        let _ = run(&["systemctl", "stop", &self.0]);
        let _ = run(&["systemctl", "reset-failed", &self.0]);
        let _ = fs::remove_file(format!("/run/systemd/system/{}", self.0));
    }
}

/// A transient unit in the network that runs to its end: the options, then what it runs.
pub(crate) fn transient(network: &Network, properties: &[&str], command: &[&str]) -> Output {
    let netns = format!("NetworkNamespacePath={}", network.dev().path().display());
    let mut run = Command::new("systemd-run");
    run.args(["--quiet", "--wait", "--pipe", "--collect", "-p", &netns]);
    for property in properties {
        run.args(["-p", property]);
    }
    run.arg("--")
        .args(command)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

/// Makes an attempt in a transient unit.
pub(crate) fn attempt(network: &Network, properties: &[&str], to: &str) -> Report {
    let args = probe(to);
    let args: Vec<_> = args.iter().map(String::as_str).collect();
    let output = transient(network, properties, &args);
    let said = String::from_utf8_lossy(&output.stdout);
    Report::parse(&said).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

/// What makes an attempt.
pub(crate) fn probe(to: &str) -> Vec<String> {
    let program = guard_lab::bins::find("guard-lab").unwrap();
    let mut words = vec![program.to_str().unwrap().to_owned()];
    words.extend(Attempt::tcp(to, 443).args());
    words
}

/// Makes an attempt inside a unit that runs: in its cgroup and its network, as its user.
pub(crate) fn attempt_in(unit: &str, network: &Network, to: &str) -> Report {
    let procs = format!("/sys/fs/cgroup/guard.slice/{unit}/cgroup.procs");
    let script = format!("echo $$ > {procs} && exec \"$@\"");
    let mut sh = Command::new("nsenter");
    sh.arg(format!("--net={}", network.dev().path().display()));
    sh.args(["sh", "-c", &script, "sh", "setpriv"]);
    sh.args([format!("--reuid={UID}"), format!("--regid={UID}")]);
    sh.args(["--clear-groups", "--"]).args(probe(to));
    Report::of(&mut sh).unwrap()
}

pub(crate) fn is_refused(report: &Report) -> bool {
    !report.ok && report.errno.as_deref() == Some("EPERM")
}

pub(crate) fn run(words: &[&str]) -> Output {
    let mut command = Command::new(words[0]);
    command
        .args(&words[1..])
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

/// Runs something that must succeed, and gives what it printed.
pub(crate) fn ok(words: &[&str]) -> String {
    let output = run(words);
    assert!(output.status.success(), "{words:?}: {output:?}");
    String::from_utf8(output.stdout)
        .unwrap()
        .trim_end()
        .to_owned()
}

pub(crate) fn reload() {
    ok(&["systemctl", "daemon-reload"]);
}

pub(crate) fn sessions() -> Vec<Value> {
    let said = ok(&["guard", "sessions", "--json"]);
    serde_json::from_str(&said).unwrap()
}

/// The session of a unit, once it is there.
pub(crate) fn session(unit: &str) -> Value {
    let find = || sessions().into_iter().find(|one| one["name"] == unit);
    eventually("session", || find().is_some()).unwrap_or_else(|_| panic!("no session {unit}"));
    find().unwrap()
}

/// Waits until nothing of that name is a session.
pub(crate) fn has_ended(unit: &str) {
    eventually("ended", || sessions().iter().all(|one| one["name"] != unit)).unwrap();
}

pub(crate) fn pause(millis: u64) {
    std::thread::sleep(Duration::from_millis(millis));
}
