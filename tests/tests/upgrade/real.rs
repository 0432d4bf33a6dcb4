//! The version before itself, and back to it, as docs/operations.md tells.

use std::fs;
use std::path::PathBuf;

use guard_lab::{AGENT, Attempt, Daemon, Network, Production, Shell, bins, eventually};
use serde_json::Value;

use crate::half::before;
use crate::upgrade::lived::{ALLOWED, Lived};
use crate::upgrade::{last_start, lived, programs};

/// What no policy allows, and of which a person says so, too.
const SAID_NO: &str = "192.0.2.30";

/// A hole for reads is open there.
const READ: &str = "192.0.2.10";

/// A session that connects all the time to what its policy allows.
struct Steady {
    shell: Shell,
    stop: PathBuf,
}

impl Steady {
    fn begin(daemon: &Daemon) -> Self {
        let run = daemon.agent(["run", "--policy", "upgrade", "--name", "steady"]);
        let mut shell = Shell::run_by(daemon, run).unwrap();
        let probe = bins::for_everybody("guard-lab", daemon.tag()).unwrap();
        let stop = daemon.dir().join("stop");
        let line = format!(
            "good=0 bad=0; until [ -e {} ]; do if {} {} | grep -q '\"ok\":true'; then good=$((good+1)); else \
             bad=$((bad+1)); fi; done; echo done $good $bad",
            stop.display(),
            probe.display(),
            Attempt::tcp(ALLOWED, 443).args().join(" ")
        );
        shell.tell(&line).unwrap();
        Self { shell, stop }
    }

    /// Ends it: it got through each time.
    fn check(mut self) {
        fs::write(&self.stop, "").unwrap();
        let done = self.shell.line_with("done ").unwrap();
        let counts: Vec<u32> = done
            .split_whitespace()
            .skip(1)
            .map(|count| count.parse().unwrap())
            .collect();
        assert!(counts[0] > 5 && counts[1] == 0, "{done}");
    }
}

/// Starts the version before, in place of what ran until now.
fn start_before(daemon: &mut Daemon) {
    daemon.use_programs(Some(bins::before().unwrap()));
    daemon.start().unwrap();
    let status = daemon.root(["status"]).json().unwrap();
    assert_eq!(status["version"], "0.1.0");
}

/// Starts the version under test.
fn start_today(daemon: &mut Daemon) {
    daemon.use_programs(None);
    daemon.start().unwrap();
}

/// The requests about what was answered with no.
fn asked_again(daemon: &Daemon) -> Vec<Value> {
    let pending = daemon.root(["pending"]).json().unwrap();
    let pending = pending.as_array().unwrap().iter();
    let about = pending.filter(|one| one["destination"]["address"] == SAID_NO);
    about.cloned().collect()
}

#[test]
fn the_version_before_is_upgraded_and_comes_back() {
    if !before::works_here() {
        return;
    }
    let network = Network::new().unwrap();
    let production = Production::start(&network).unwrap();
    let mut daemon = lived::prepared(&network);
    start_before(&mut daemon);
    let mut lived = Lived::begin(&daemon);
    let steady = Steady::begin(&daemon);
    let before = programs(&daemon);
    lived.goes_on(&daemon);
    daemon.stop().unwrap();

    start_today(&mut daemon);
    assert_eq!(last_start(&daemon), "replaced");
    let today = programs(&daemon);
    assert!(today.iter().all(|id| !before.contains(id)));
    lived.goes_on(&daemon);
    let mut asks = Shell::start(&daemon, "upgrade").unwrap();
    assert!(!asks.reaches(&Attempt::tcp(SAID_NO, 443)).unwrap());
    eventually("it is asked", || asked_again(&daemon).len() == 1).unwrap();
    let request = asked_again(&daemon)[0]["id"].clone();
    daemon
        .root(["deny", request.as_str().unwrap()])
        .json()
        .unwrap();
    assert!(!asks.reaches(&Attempt::tcp(SAID_NO, 443)).unwrap());
    assert!(asked_again(&daemon).is_empty());
    is_asked_by_the_other(&mut daemon, bins::before().ok());
    daemon.stop().unwrap();

    what_it_does_not_know_keeps_it_from_starting(&mut daemon);
    lived.is_guarded();

    // It takes what is pinned for its own, answers of no aside.
    start_before(&mut daemon);
    assert_eq!(last_start(&daemon), "replaced");
    assert!(programs(&daemon).iter().all(|id| !today.contains(id)));
    lived.goes_on(&daemon);
    assert!(!asks.reaches(&Attempt::tcp(SAID_NO, 443)).unwrap());
    eventually("it is asked again", || asked_again(&daemon).len() == 1).unwrap();
    is_asked_by_the_other(&mut daemon, None);
    daemon.kill().unwrap();

    start_today(&mut daemon);
    assert_eq!(last_start(&daemon), "replaced");
    lived.goes_on(&daemon);
    steady.check();
    daemon.stop().unwrap();
    lived.check(&network, &production);
    assert!(production.reached_at(SAID_NO, 443).unwrap().is_empty());
    let outside = Attempt::tcp(SAID_NO, 443).outside(network.dev(), AGENT);
    assert!(outside.unwrap().ok);
}

/// With settings that came later the version before does not start.
fn what_it_does_not_know_keeps_it_from_starting(daemon: &mut Daemon) {
    daemon.use_programs(Some(bins::before().unwrap()));
    let settings = fs::read_to_string(daemon.config()).unwrap();
    for (key, table) in [
        (
            "assign",
            "[[assign]]\nunit = \"x.service\"\npolicy = \"upgrade\"\n",
        ),
        ("metrics", "[metrics]\nlisten = \"127.0.0.1:9478\"\n"),
    ] {
        daemon.write_config(&format!("{settings}{table}")).unwrap();
        let refused = daemon.guardd().unwrap().output().unwrap();
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert_eq!(refused.status.code(), Some(2), "{said}");
        assert!(said.contains(&format!("unknown field `{key}`")), "{said}");
    }
    daemon.write_config(&settings).unwrap();
}

/// What each version's `guard` has to say of the other's guardd: all, but for the one that came later, whose `status`
/// has more to tell.
fn is_asked_by_the_other(daemon: &mut Daemon, other: Option<PathBuf>) {
    let later = other.is_none();
    daemon.use_programs(other);
    let status = daemon.ask(["status"]).unwrap();
    if later {
        assert_eq!(status.code(), Some(2), "{status:?}");
        assert!(status.stderr.contains("are of one version"), "{status:?}");
    } else {
        assert_eq!(status.code(), Some(0), "{status:?}");
    }
    for verb in ["sessions", "holes", "pending"] {
        daemon.root([verb]).json().unwrap();
    }
}

/// What a hole for reads is to the version before: one that lets nothing through.
#[test]
fn a_hole_for_reads_lets_nothing_through_in_the_version_before() {
    if !before::works_here() {
        return;
    }
    let network = Network::new().unwrap();
    let production = Production::start(&network).unwrap();
    let mut daemon = lived::prepared(&network);
    start_today(&mut daemon);
    let mut shell = Shell::start(&daemon, "upgrade").unwrap();
    let open = ["open", READ, "--read-only", "--reason", "a look"];
    let own = daemon.root(open).json().unwrap();
    let counted = [&open[..], &["--connections", "3"]].concat();
    daemon.root(counted).json().unwrap();
    let holes = daemon.root(["holes"]).json().unwrap();
    assert_eq!(holes[0]["connections_left"], Value::Null);
    assert_eq!(holes[1]["connections_left"], 3);
    daemon.stop().unwrap();

    start_before(&mut daemon);
    let holes = daemon.root(["holes"]).json().unwrap();
    assert_eq!(holes[0]["id"], own["id"]);
    for hole in holes.as_array().unwrap() {
        assert_eq!(hole["connections_left"], 0, "{hole}");
    }
    for attempt in [Attempt::tcp(READ, 443), Attempt::udp(READ, 53)] {
        assert!(!shell.reaches(&attempt).unwrap());
    }
    assert!(production.reached_at(READ, 443).unwrap().is_empty());
    // It opens and closes others beside it.
    let wide = daemon.root(["open", READ]).json().unwrap()["id"].clone();
    assert!(shell.reaches(&Attempt::tcp(READ, 443)).unwrap());
    let close = ["close", wide.as_str().unwrap()];
    daemon.root(close).json().unwrap();
    assert!(!shell.reaches(&Attempt::tcp(READ, 443)).unwrap());
    daemon.kill().unwrap();

    start_today(&mut daemon);
    let holes = daemon.root(["holes"]).json().unwrap();
    assert_eq!(holes.as_array().unwrap().len(), 2);
    assert_eq!(
        (&holes[0]["read_only"], &holes[0]["reason"]),
        (&true.into(), &"a look".into())
    );
    daemon.stop().unwrap();
}
