//! From one version to the next, and back: with the programs of the version before. What runs under it goes on.

mod layouts;
mod lived;

use std::fs;
use std::path::PathBuf;

use guard_lab::{AGENT, Attempt, Daemon, Json as _, Network, Shell, Stepped, Tested, eventually};
use lived::{ALLOWED, ASKED, Lived};
use serde_json::Value;

use crate::half::before;

/// What no policy allows, and of which a person says so, too.
const SAID_NO: &str = "192.0.2.30";

/// How the last guardd began, as its audit log has it.
fn last_start(daemon: &Daemon) -> Tested<String> {
    let log = daemon.ask(["log", "--json"])?.success()?;
    let records = log.json_lines()?;
    let mut starts = records
        .iter()
        .filter(|record| record["kind"] == "daemon-start");
    Ok(starts.next_back().unwrap()["start"].text()?.to_owned())
}

/// Starts the version before, in place of what ran until now.
fn start_before(daemon: &mut Daemon) -> Tested {
    daemon.use_programs(Some(before::programs(daemon)));
    daemon.start()?;
    let status = daemon.json(["status"])?;
    assert_eq!(status["version"], before::VERSION);
    Ok(())
}

/// Starts the version under test.
fn start_today(daemon: &mut Daemon) -> Tested {
    daemon.use_programs(None);
    daemon.start()?;
    let status = daemon.json(["status"])?;
    assert_eq!(status["version"], env!("CARGO_PKG_VERSION"));
    Ok(())
}

/// The ids of the programs that are attached.
fn programs(daemon: &Daemon) -> Tested<Vec<u64>> {
    let status = daemon.json(["status"])?;
    assert_eq!(status["enforcing"], true, "{status}");
    let hooks = status["hooks"].list()?.iter();
    // The others are not in the object.
    let of_object = hooks.filter(|hook| before::has(hook["name"].as_str().unwrap()));
    Ok(of_object
        .map(|hook| hook["program_id"].as_u64().unwrap())
        .collect())
}

/// A session that connects all the time to what its policy allows.
struct Steady {
    shell: Shell,
    stop: PathBuf,
}

impl Steady {
    fn begin(daemon: &Daemon) -> Tested<Self> {
        let run = daemon.agent(["run", "--policy", "upgrade", "--name", "steady"]);
        let mut shell = Shell::run_by(daemon, run)?;
        let probe = daemon.program("guard-lab")?;
        let stop = daemon.dir().join("stop");
        let line = format!(
            "good=0 bad=0; until [ -e {} ]; do if {} {} | grep -q '\"ok\":true'; then good=$((good+1)); else \
             bad=$((bad+1)); fi; done; echo done $good $bad",
            stop.display(),
            probe.display(),
            Attempt::tcp(ALLOWED, 443).args().join(" ")
        );
        shell.tell(&line)?;
        Ok(Self { shell, stop })
    }

    /// Ends it: it got through each time.
    fn check(mut self) -> Tested {
        fs::write(&self.stop, "")?;
        let done = self.shell.line_with("done ")?;
        let counts: Vec<u32> = done
            .split_whitespace()
            .skip(1)
            .map(|count| count.parse().unwrap())
            .collect();
        assert!(counts[0] > 5 && counts[1] == 0, "{done}");
        Ok(())
    }
}

/// The requests about what was answered with no.
fn asked_again(daemon: &Daemon) -> Tested<Vec<Value>> {
    let pending = daemon.json(["pending"])?;
    let pending = pending.list()?.iter();
    let about = pending.filter(|one| one["destination"]["address"] == SAID_NO);
    Ok(about.cloned().collect())
}

#[test]
fn the_version_before_is_upgraded_and_comes_back() -> Tested {
    let (network, production) = Network::with_production()?;
    let mut daemon = lived::prepared(&network)?;
    start_before(&mut daemon)?;
    let mut lived = Lived::begin(&daemon)?;
    let steady = Steady::begin(&daemon)?;
    let before = programs(&daemon)?;
    lived.goes_on(&daemon)?;
    daemon.stop()?;

    start_today(&mut daemon)?;
    assert_eq!(last_start(&daemon)?, "replaced");
    daemon.wait_for_log("replaced the programs of build")?;
    let today = programs(&daemon)?;
    assert!(today.iter().all(|id| !before.contains(id)));
    lived.goes_on(&daemon)?;
    let mut asks = Shell::start(&daemon, "upgrade")?;
    assert!(!asks.reaches(&Attempt::tcp(SAID_NO, 443))?);
    eventually("it is asked", || Ok(asked_again(&daemon)?.len() == 1))?;
    let request = asked_again(&daemon)?[0]["id"].clone();
    daemon.json(["deny", request.text()?])?;
    let mut still_no = |daemon: &Daemon| -> Tested {
        assert!(!asks.reaches(&Attempt::tcp(SAID_NO, 443))?);
        assert!(asked_again(daemon)?.is_empty());
        Ok(())
    };
    still_no(&daemon)?;
    let programs_before = before::programs(&daemon);
    is_asked_by_the_other(&mut daemon, Some(programs_before))?;
    daemon.stop()?;

    what_it_does_not_know_keeps_it_from_starting(&mut daemon)?;
    lived.is_guarded();

    // It takes what is pinned for its own.
    start_before(&mut daemon)?;
    assert_eq!(last_start(&daemon)?, "replaced");
    assert!(programs(&daemon)?.iter().all(|id| !today.contains(id)));
    lived.goes_on(&daemon)?;
    still_no(&daemon)?;
    is_asked_by_the_other(&mut daemon, None)?;
    daemon.kill()?;

    start_today(&mut daemon)?;
    assert_eq!(last_start(&daemon)?, "replaced");
    lived.goes_on(&daemon)?;
    still_no(&daemon)?;
    daemon.kill()?;

    // The same again adopts, and changes no program.
    start_today(&mut daemon)?;
    assert_eq!(last_start(&daemon)?, "adopted");
    lived.goes_on(&daemon)?;
    steady.check()?;
    daemon.stop()?;
    lived.check(&network, &production)?;
    assert!(production.reached_at(SAID_NO, 443)?.is_empty());
    let outside = Attempt::tcp(SAID_NO, 443).outside(network.dev(), AGENT);
    assert!(outside?.ok);
    Ok(())
}

/// With settings that came later the version before does not start.
fn what_it_does_not_know_keeps_it_from_starting(daemon: &mut Daemon) -> Tested {
    daemon.use_programs(Some(before::programs(daemon)));
    let settings = fs::read_to_string(daemon.config())?;
    for (key, text) in [
        ("strict", "strict = true\n"),
        ("run_as_root", "run_as_root = true\n"),
        ("on_request", "on_request = [\"/bin/true\"]\n"),
        ("approve", "approve = { polkit = true }\n"),
    ] {
        // Before the tables, if it is none.
        daemon.write_config(&format!("{text}{settings}"))?;
        let refused = daemon.guardd()?.output()?;
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert_eq!(refused.status.code(), Some(2), "{said}");
        assert!(said.contains(&format!("unknown field `{key}`")), "{said}");
    }
    daemon.write_config(&settings)?;
    Ok(())
}

/// What each version's `guard` has to say of the other's guardd.
fn is_asked_by_the_other(daemon: &mut Daemon, other: Option<PathBuf>) -> Tested {
    daemon.use_programs(other);
    for verb in ["status", "sessions", "holes", "pending"] {
        daemon.json([verb])?;
    }
    Ok(())
}

#[test]
fn a_half_made_upgrade_is_finished_by_whoever_comes() -> Tested {
    let (network, production) = Network::with_production()?;
    let mut daemon = lived::prepared(&network)?;
    start_before(&mut daemon)?;
    let mut lived = Lived::begin(&daemon)?;
    let before = programs(&daemon)?;
    // Killed in the middle, today's guardd leaves programs of both. The old one takes none of them for its own.
    let mut steps = 20;
    while last_start(&daemon)? != "replaced" {
        daemon.kill()?;
        daemon.use_programs(None);
        let today = daemon.guardd()?;
        let ended = Stepped::start(&daemon, &today, Some(steps))?.wait()?;
        assert!(ended.was_killed(), "{ended:?}");
        start_before(&mut daemon)?;
        steps += 1;
    }
    daemon.wait_for_log("finished what a guardd was killed over")?;
    let now = programs(&daemon)?;
    assert!(now.iter().all(|id| !before.contains(id)));
    assert_eq!(before::links(&daemon), now.len());
    lived.goes_on(&daemon)?;
    daemon.stop()?;
    lived.check(&network, &production)?;
    Ok(())
}

#[test]
fn a_policy_that_the_version_before_cannot_read_stays_in_force() -> Tested {
    let (network, production) = Network::with_production()?;
    let mut daemon = lived::prepared(&network)?;
    daemon.write_policy("later", &lived::later())?;
    start_today(&mut daemon)?;
    let mut shell = Shell::start(&daemon, "later")?;
    let mut is_guarded = || -> Tested {
        assert!(shell.reaches(&Attempt::tcp(ALLOWED, 443))?);
        assert!(!shell.reaches(&Attempt::tcp(ASKED, 443))?);
        Ok(())
    };
    is_guarded()?;
    let run = |daemon: &Daemon| {
        let run = ["run", "--policy", "later", "--", "true"];
        daemon.agent(run).run().unwrap()
    };
    run(&daemon).success()?;
    daemon.stop()?;

    start_before(&mut daemon)?;
    is_guarded()?;
    let refused = run(&daemon);
    assert_eq!(refused.code(), Some(125), "{refused:?}");
    assert!(refused.stderr.contains("unknown key `unix`"), "{refused:?}");
    daemon.stop()?;

    start_today(&mut daemon)?;
    is_guarded()?;
    run(&daemon).success()?;
    daemon.stop()?;
    assert!(production.reached_at(ASKED, 443)?.is_empty());
    let outside = Attempt::tcp(ASKED, 443).outside(network.dev(), AGENT);
    assert!(outside?.ok);
    Ok(())
}
